"""A folder that `save_pretrained` wrote: a student, a pruned model, another architecture, or one that a quantization
library packed."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch

from compressors.accounting import account
from compressors.given.form import Fit, Form, GivenError, Looked
from compressors.given.graph import classes
from compressors.given.within import check_within
from compressors.interface import ModelSpec
from compressors.runtimes.folder import CONFIG
from compressors.saved_folder import INDEX, WEIGHTS, check_there, header, indexed

MORE = ("generation_config.json",)
READ = (".jinja", ".json", ".model", ".safetensors", ".txt")
"""How the names of files end that transformers reads, of a tokenizer or a processor too."""
LIBRARIES: Mapping[str, Mapping[str, str]] = {
    "auto-round": {"auto_round": "auto-round"},
    "awq": {"gptqmodel": "gptqmodel"},
    "bitsandbytes": {"bitsandbytes": "bitsandbytes", "accelerate": "accelerate"},
    "compressed-tensors": {"compressed_tensors": "compressed-tensors"},
    "gptq": {"gptqmodel": "gptqmodel", "optimum": "optimum"},
    "torchao": {"torchao": "torchao"},
}
"""What a configuration calls a quantization -> what transformers reads it by: import name -> what to install."""
HEADS = (
    "ForSequenceClassification", "ForTokenClassification", "ForImageClassification", "ForCausalLM", "LMHeadModel",
    "ForConditionalGeneration", "MTModel",
)  # fmt: skip


class Folder(Form):
    """transformers executes it, in the type that its weights are stored in."""

    name: ClassVar[str] = "a folder that save_pretrained wrote"
    runtime: ClassVar[str] = "transformers"
    reads_by_itself: ClassVar[bool] = True

    def main(self, path: Path, said: str) -> Path | None:
        there = path.is_dir() and (path / CONFIG).is_file()
        return path / CONFIG if there and any((path / name).is_file() for name in (WEIGHTS, INDEX)) else None

    def needed(self, main: Path, said: str) -> Mapping[str, str]:
        quantization = _config(main, said).get("quantization_config")
        if quantization is None:
            return {}
        if not isinstance(quantization, dict):
            raise GivenError(f"{said}: {CONFIG} has a quantization_config that is no table")
        method = str(quantization.get("quant_method", ""))
        if method not in LIBRARIES:
            raise GivenError(f"{said}: {CONFIG} names the quantization {method!r}, which is not read here; those that "
                             f"are: {', '.join(LIBRARIES)}")  # fmt: skip
        return LIBRARIES[method]

    def look(self, main: Path, said: str) -> Looked:
        folder, config = main.parent, _config(main, said)
        names = _shards(folder, said)
        tensors = {name: kind for shard in names for name, kind in header(folder / shard, said, GivenError).items()}
        small = [name for name in (INDEX, *MORE) if (folder / name).is_file()]
        files = {name: folder / name for name in (CONFIG, *names, *small)}
        return Looked(said, files, {"config": config, "tensors": tensors})

    def fit(self, looked: Looked, model: ModelSpec, inputs: Mapping[str, str], output: str | None) -> Fit:
        if inputs or output:
            raise GivenError(f"{looked.said}: inputs and output are said of graphs; a folder has those of transformers")
        config = looked.facts["config"]
        theirs, ours = (
            str((config.get("architectures") or ["?"])[0]),
            str((model.config.get("architectures") or [""])[0]),
        )
        heads = [next((head for head in HEADS if name.endswith(head)), "") for name in (theirs, ours)]
        if heads[0] != heads[1]:
            raise GivenError(f"{looked.said}: {theirs} has another head than the dense model, {ours}")
        if heads[0].endswith("Classification"):
            counts = [classes(one) for one in (config, model.config)]
            if counts[0] != counts[1]:
                raise GivenError(f"{looked.said}: it has {counts[0]} outputs, the dense model {counts[1]}")
        return Fit()

    def check(self, looked: Looked, model: ModelSpec) -> None:
        """That each tensor of the files is taken, and none that the answers depend on made at random. A library that
        reads packed weights has names of its own for them, and is believed."""
        import transformers

        config = looked.facts["config"]
        if config.get("quantization_config") is not None:
            return
        cls: Any = getattr(transformers, config["architectures"][0])
        loaded, told = cls.from_pretrained(
            looked.files[CONFIG].parent, dtype=torch.float32, local_files_only=True, trust_remote_code=False,
            use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
        taken = inspect.signature(loaded.forward).parameters
        inputs = {name: one for name, one in model.inputs.items() if name in taken}
        account(loaded, told, looked.said, ModelSpec(model.name, config, inputs, model.output))

    def told(self, looked: Looked) -> str:
        config = looked.facts["config"]
        kinds = sorted(set(looked.facts["tensors"].values()))
        method = (config.get("quantization_config") or {}).get("quant_method")
        version = config.get("transformers_version")
        how = f", {method}" if method else ""
        by = f", by transformers {version}" if version else ""
        return f"{config['architectures'][0]}{how} ({', '.join(kinds)}{by})"


def _config(main: Path, said: str) -> dict[str, Any]:
    import transformers

    check_within(main.parent, sorted(file.name for file in main.parent.iterdir() if file.suffix in READ), said)
    try:
        config = json.loads(main.read_text(encoding="utf-8"))
        name = str(config["architectures"][0])
        config["model_type"]
    except (ValueError, OSError, KeyError, IndexError, TypeError, RecursionError):
        raise GivenError(f"{said}/{CONFIG}: not readable as JSON with architectures and a model_type") from None
    cls = getattr(transformers, name, None)
    if not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
        own = "its code is its own, which is never run here" if "auto_map" in config else "unknown"
        raise GivenError(f"{said}: {name} is no class of transformers {transformers.__version__} ({own})")
    return dict(config)


def _shards(folder: Path, said: str) -> list[str]:
    """The files of weights, as the index names them, or the one there is. Raises GivenError."""
    names = indexed(folder, said, GivenError)
    if names is None:
        return [WEIGHTS]
    if (folder / WEIGHTS).is_file() and WEIGHTS not in names:
        raise GivenError(f"{said}: two sets of weights in one folder, {WEIGHTS} and those of {INDEX}: take one out")
    check_there(folder, names, said, GivenError)
    return names


FORM = Folder()
