"""What a model's folder says before any weights are read: its configuration, its head, its vocabulary."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressors.artifact import file_hash
from compressors.interface import PressbenchError
from compressors.saved_folder import WEIGHTS, check_there, header, indexed

SMALL = 64 * 2**20
"""A file below this is no file of weights."""
DROPPED = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "auto_map")
"""Keys of a configuration that say nothing about the dense model, which is in fp32 and keeps no cache of itself."""


ADAPTER = "adapter_config.json"
QUANTIZED = ("hf_quant_config.json", "quantize_config.json", "quant_config.json")
"""Files that a quantized checkpoint has beside it where config.json does not say so."""
SCALES = re.compile(
    r"(weight_scale(_inv)?|input_scale|weight_zero_point|qweight|qzeros|scales|g_idx|absmax|quant_state\..*|SCB)$"
)
"""How tensors end that only a quantized checkpoint has."""
ADAPTERS = (ADAPTER, "adapter_model.*", "adapters.safetensors", "*lora*.safetensors", "*lora*.bin")
"""Files of an adapter, of which one lies beside a model."""
OTHERS = (
    "pytorch_model*.bin", "tf_model*.h5", "flax_model*.msgpack", "*.safetensors", "consolidated*.pth", "*.gguf",
    "*.ckpt",
)  # fmt: skip
"""Files of weights that are there beside those that are read."""


class ModelError(PressbenchError):
    """A mistake in the model: which file, and what would be right."""


@dataclass(frozen=True)
class Checkpoint:
    """A model's folder, looked at. said: how the user named it. config: what rebuilds it, JSON. folder: where its
    small files are; its weights may come later. labels: the names of the head's outputs, in order."""

    said: str
    folder: Path
    config: Mapping[str, Any]
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What a person should know of the folder."""

    @property
    def architecture(self) -> str:
        """The class of transformers that it is."""
        return str(self.config["architectures"][0])

    @property
    def quantization(self) -> str | None:
        """The method by which it is quantized, in the configuration's own word; None where that names none."""
        found = self.config.get("quantization_config")
        return str(found.get("quant_method", "quantized")) if isinstance(found, Mapping) else None

    @functools.cached_property
    def longest(self) -> int | None:
        """The most tokens that it has positions for; None where nothing says so."""
        from compressors.skeleton import skeleton

        keys = ("max_position_embeddings", "n_positions", "max_sequence_length")
        found = next((int(self.config[key]) for key in keys if self.config.get(key)), None)
        # Positions that have a place for padding, as RoBERTa's and all that came of it, begin behind that.
        for name, part in skeleton(self.config, device="meta").named_modules():
            padding = getattr(part, "padding_idx", None) if name.endswith("position_embeddings") else None
            if padding is not None and hasattr(part, "num_embeddings"):
                return int(part.num_embeddings) - int(padding) - 1
        return found


def look(folder: Path, said: str, *, allow_pickle: bool, quantized: bool = False) -> Checkpoint:
    """Look at a folder that has all files, weights included. quantized: whether it may be without its configuration
    saying so. Raises ModelError."""
    found = look_at_config(folder, said, quantized=quantized)
    weights = weight_files(folder, said, allow_pickle=allow_pickle)
    if weights[0].suffix == ".safetensors":
        _check_head(found, weights)
        if not quantized and found.quantization is None:
            check_stored(weights, said)
    return dataclasses.replace(found, notes=(*found.notes, *_left_alone(folder, weights)))


def look_at_config(folder: Path, said: str, *, quantized: bool = False) -> Checkpoint:
    """The configuration alone. quantized: whether it may be of a quantized model without saying so."""
    import transformers

    path = folder / "config.json"
    if not path.is_file():
        if (folder / ADAPTER).is_file():
            raise ModelError(f"{said}: an adapter, no whole model; merge it into its base and save that")
        raise ModelError(f"{said}: no config.json; a model folder is what save_pretrained writes")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"{said}/config.json: not readable as JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ModelError(f"{said}/config.json: must be a JSON object")
    kind, names = raw.get("model_type"), raw.get("architectures")
    if not kind or not names:
        raise ModelError(f"{said}/config.json: without {'model_type' if not kind else 'architectures'}")
    cls = getattr(transformers, str(names[0]), None)
    if not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
        own = "its code is its own, which is never run here" if "auto_map" in raw else "unknown"
        raise ModelError(
            f"{said}: {names[0]} is no class of transformers {transformers.__version__} ({own}); "
            "use a model whose class is part of transformers"
        )
    declared = raw.get("quantization_config")
    if declared is not None and not isinstance(declared, dict):
        raise ModelError(f"{said}/config.json: quantization_config must be a JSON object")
    beside = next((name for name in QUANTIZED if (folder / name).is_file()), None)
    if beside and not (quantized or declared):
        raise ModelError(
            f"{said}: it is quantized already ({beside}), and config.json does not say how: the model must be the one "
            "before that, or one with a quantization_config"
        )
    if found := next((path.name for pattern in ADAPTERS for path in sorted(folder.glob(pattern))), None):
        raise ModelError(
            f"{said}: an adapter lies beside the model ({found}), and who loads the folder with peft gets the two "
            "together; merge it (merge_and_unload) and save that, or take it out of the folder"
        )
    try:
        config = transformers.AutoConfig.for_model(kind, **{k: v for k, v in raw.items() if k != "model_type"})
    except Exception as error:  # whatever its own checks raise
        raise ModelError(f"{said}/config.json: {' '.join(str(error).split())[:200]}") from None
    kept = {k: v for k, v in raw.items() if k not in DROPPED} | {"architectures": [str(names[0])]}
    if "use_cache" in config.to_dict():
        kept["use_cache"] = False  # an exported graph has none; who generates asks for it
    named: dict[Any, Any] = config.id2label or {}
    labels = tuple(str(named.get(number, number)) for number in range(int(config.num_labels or 0)))
    return Checkpoint(said, folder, kept, labels)


def weight_files(folder: Path, said: str, *, allow_pickle: bool) -> list[Path]:
    """The files of weights. Raises ModelError where there are none, or pickle only and that is not allowed."""
    if (names := indexed(folder, said, ModelError)) is not None:
        check_there(folder, names, said, ModelError)
        return [folder / name for name in names]
    if (single := folder / WEIGHTS).is_file():
        return [single]
    if pickled := sorted(folder.glob("pytorch_model*.bin")):
        if allow_pickle:
            return pickled
        raise ModelError(
            f"{said}: its weights are there as pickle only ({pickled[0].name}), a format that can run code; save them "
            "as safetensors, or pass --allow-pickle to read them with torch's unpickler of weights"
        )
    raise ModelError(f"{said}: no weights (model.safetensors)")


def identity(folder: Path) -> dict[str, str]:
    """File -> SHA-256 of all that decides the model."""
    kinds = (".json", ".txt", ".model", ".safetensors", ".bin", ".spm")
    return {p.name: file_hash(p) for p in sorted(folder.iterdir()) if p.is_file() and p.suffix in kinds}


def check_stored(weights: list[Path], said: str) -> None:
    """Weights in 8 bits or fewer, and what belongs to them, are no dense model's."""
    for path in weights:
        types = header(path, said, ModelError)
        if scales := [name for name in types if SCALES.search(name)]:
            raise ModelError(
                f"{said}: it is quantized already: {path.name} has {len(scales)} tensors such as {scales[0]}; the "
                "dense model must be the one before that"
            )
        few = [name for name, stored in types.items() if stored.startswith(("f8", "f4", "f6", "i8", "u8", "i4"))]
        if narrow := [name for name in few if name.endswith("weight")]:
            raise ModelError(
                f"{said}: it is quantized already: {narrow[0]} of {path.name} is stored in 8 bits or fewer; the dense "
                "model must be the one before that"
            )


def _left_alone(folder: Path, weights: list[Path]) -> tuple[str, ...]:
    """The files of weights that are there too, by name."""
    read = {path.name for path in weights}
    found = sorted({p.name for pattern in OTHERS for p in folder.glob(pattern) if p.name not in read})
    if (folder / WEIGHTS).is_file() and WEIGHTS not in read:
        found.append(WEIGHTS)
    return (f"weights are read from {', '.join(sorted(read)[:3])}; left alone: {', '.join(found)}",) if found else ()


_HEADS = ("classifier", "score", "lm_head", "qa_outputs", "pre_classifier", "classification_head")


def _check_head(found: Checkpoint, weights: list[Path]) -> None:
    """A head that the configuration names and the file lacks would be made at random."""
    from compressors.skeleton import skeleton

    names = [name for path in weights for name in header(path, found.said, ModelError)]
    stored = {part for name in names for part in name.split(".")}
    model = skeleton(found.config, device="meta")
    tied = {re.split(r"\.", name)[0] for name in getattr(model, "all_tied_weights_keys", {}) or {}}
    for name, child in model.named_children():
        if name in _HEADS and name not in stored and name not in tied and any(True for _ in child.parameters()):
            raise ModelError(
                f"{found.said}: its weights have no {name}.*, the head of {found.architecture}: fine-tune it for the "
                "task first"
            )
