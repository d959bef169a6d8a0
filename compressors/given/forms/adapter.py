"""A folder of an adapter that PEFT wrote: LoRA, on the dense model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from compressors import surgery
from compressors.adapters.kept import put_beside
from compressors.given.form import Fit, Form, GivenError, Looked
from compressors.given.within import check_within
from compressors.interface import Compressed, ModelSpec

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
OTHERS = ("use_dora", "use_qalora", "alora_invocation_tokens", "trainable_token_indices", "target_parameters")
"""Settings of PEFT under which an adapter is more than two thin matrices beside a layer."""


class Adapter(Form):
    """Beside the layers of the dense model, and merged into them: two artifacts of one folder. Both hold the whole
    model, as neither runs without it."""

    name: ClassVar[str] = "an adapter that PEFT wrote"
    runtime: ClassVar[str] = "torch"
    requires: ClassVar[Mapping[str, str]] = {"peft": "peft"}
    ways: ClassVar[Mapping[str, bool]] = {"": False, "-merged": True}
    part: ClassVar[bool] = True

    def main(self, path: Path, said: str) -> Path | None:
        return path / CONFIG if path.is_dir() and (path / CONFIG).is_file() else None

    def look(self, main: Path, said: str) -> Looked:
        from safetensors import SafetensorError, safe_open

        check_within(main.parent, (CONFIG, WEIGHTS), said)
        try:
            config = json.loads(main.read_text(encoding="utf-8"))
            kind = str(config["peft_type"])
        except (ValueError, OSError, KeyError, TypeError, RecursionError):
            raise GivenError(f"{said}/{CONFIG}: not readable as JSON with a peft_type") from None
        if kind != "LORA" or (more := next((key for key in OTHERS if config.get(key)), None)):
            what = f"{kind}, not LORA" if kind != "LORA" else f"LORA with {more}"
            raise GivenError(f"{said}: {what}: merge it (merge_and_unload), save that and name its folder")
        weights = main.parent / WEIGHTS
        if not weights.is_file():
            raise GivenError(f"{said}: no {WEIGHTS}; pickle is not read")
        try:
            with safe_open(weights, framework="np") as file:
                names = list(file.keys())
        except (SafetensorError, OSError) as error:
            raise GivenError(f"{said}/{WEIGHTS}: damaged or truncated: {error}") from None
        return Looked(said, {CONFIG: main, WEIGHTS: weights}, {"config": config, "tensors": names})

    def fit(self, looked: Looked, model: ModelSpec, inputs: Mapping[str, str], output: str | None) -> Fit:
        if inputs or output:
            raise GivenError(f"{looked.said}: inputs and output are said of graphs; an adapter has the dense model's")
        base = looked.facts["config"].get("base_model_name_or_path") or "no model that it names"
        return Fit(notes=(f"trained on {base}, put on the dense model here",))

    def compressed(self, looked: Looked, fit: Fit, model: Any, merged: bool) -> Compressed:
        import peft

        folder, said = looked.files[CONFIG].parent, looked.said
        try:
            loaded = peft.PeftModel.from_pretrained(model, str(folder), is_trainable=False)
        except Exception as error:  # of many kinds: a layer that is not there, a matrix of another shape
            words = " ".join(str(error).split())[:300]
            raise GivenError(f"{said}: it is not of this model: {words or type(error).__name__}") from None
        _check_taken(said, looked.facts["tensors"], set(peft.get_peft_model_state_dict(loaded)))
        if merged:
            return Compressed(loaded.merge_and_unload().eval())
        saved = {
            name: module.modules_to_save[loaded.active_adapter]
            for name, module in loaded.get_base_model().named_modules()
            if isinstance(module, peft.utils.other.ModulesToSaveWrapper)
        }
        factors = {name: _factors(module, said, name) for name, module in _layers(loaded.get_base_model()).items()}
        plain = loaded.unload()
        for name, module in saved.items():
            surgery.replace(plain, name, module)
        ranks = {name: len(down) for name, (down, _) in factors.items()}
        put_beside(plain, ranks)
        for name, (down, up) in factors.items():
            layer = surgery.get(plain, name)
            layer.down.data, layer.up.data = down, up
        return Compressed(plain.eval(), {"adapters": ranks})

    def told(self, looked: Looked) -> str:
        config = looked.facts["config"]
        version = f", by PEFT {config['peft_version']}" if config.get("peft_version") else ""
        return f"LoRA adapter of rank {config.get('r', '?')} ({len(looked.facts['tensors'])} tensors{version})"


def _layers(model: nn.Module) -> dict[str, Any]:
    from peft.tuners.lora.layer import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def _factors(layer: Any, said: str, name: str) -> tuple[Any, Any]:
    """A and s B of a layer's one adapter, float32. Raises GivenError where it is not beside a linear layer."""
    (key,) = layer.active_adapters
    if type(layer.get_base_layer()) is not nn.Linear or layer.lora_bias.get(key):
        raise GivenError(
            f"{said}: {name} is no linear layer of torch's own with a plain adapter: merge it and name that"
        )
    return layer.lora_A[key].weight.detach().float(), (layer.scaling[key] * layer.lora_B[key].weight).detach().float()


def _check_taken(said: str, stored: list[str], taken: set[str]) -> None:
    """Raises GivenError where a tensor of the file was not taken, or one was made at random."""
    if extra := sorted(set(stored) - taken):
        raise GivenError(f"{said}: {len(extra)} tensors of {WEIGHTS} are of no layer here, the first {extra[0]}")
    if lacking := sorted(taken - set(stored)):
        raise GivenError(f"{said}: {len(lacking)} tensors of the adapter are not in {WEIGHTS}, the first {lacking[0]}")


FORM = Adapter()
