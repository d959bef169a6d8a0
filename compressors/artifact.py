"""An artifact: a compressed model as files on disk, what a user would ship.

    artifact.json    what it is: schema, runtime, recipe, configuration, and every file's SHA-256
    model.*          the weights or the graph, in the runtime's own format; never pickle

Opening checks every file against its hash, so that a truncated or edited artifact is refused by name.
Everything the suite measures is measured on an artifact opened from disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressors.interface import InputSpec, ModelSpec, PressbenchError
from compressors.runtimes.base import Forward, Inventory, runtime
from compressors.runtimes.executed import Executed, Uncounted
from compressors.runtimes.generation import Generator
from compressors.runtimes.writing import Writer

SCHEMA = 1
MANIFEST = "artifact.json"


class ArtifactError(PressbenchError):
    """The files are not a usable artifact: what is wrong, and with which file."""


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Artifact:
    """An artifact on disk. Make one with `save`, read one with `open_artifact`."""

    directory: Path
    manifest: Mapping[str, Any]

    @property
    def recipe(self) -> list[dict[str, Any]]:
        """The steps that made it: compressor, parameters, structure, seconds, what else is told of it."""
        return list(self.manifest["recipe"])

    @property
    def spec(self) -> ModelSpec:
        """The model it was made from."""
        inputs = {n: InputSpec(i["dtype"], tuple(i["axes"])) for n, i in self.manifest["inputs"].items()}
        output = self.manifest.get("output", "logits")
        return ModelSpec(self.manifest["model"], self.manifest["config"], inputs, output)

    @property
    def compress_seconds(self) -> float:
        """Seconds that all steps of the recipe took together."""
        return float(sum(step["seconds"] for step in self.manifest["recipe"]))

    @property
    def disk_bytes(self) -> int:
        """Bytes on disk of every file of it, the manifest included; what a cache puts beside them is none."""
        return (self.directory / MANIFEST).stat().st_size + sum(f["bytes"] for f in self.manifest["files"].values())

    @property
    def digest(self) -> str:
        """SHA-256 over what decides how it answers and by which work: the hashes of the payload files, the runtime with
        its options, and the recipe with its structure. The same weights under another structure are another model."""
        recipe = [[step["compressor"], step["parameters"], step["structure"]] for step in self.manifest["recipe"]]
        files = {name: facts["sha256"] for name, facts in self.manifest["files"].items()}
        parts = [files, self.manifest["runtime"], self.manifest["options"], recipe]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def model(self) -> Any:
        """The model loaded from disk, in a form that can be changed: an nn.Module for the torch runtime,
        else the runtime's own graph."""
        return runtime(self.manifest["runtime"]).read(self.directory, self.manifest)

    def load(self, *, device: str = "cpu", threads: int = 1) -> Forward:
        """Load it into its runtime."""
        return runtime(self.manifest["runtime"]).load(self.directory, self.manifest, device=device, threads=threads)

    def generator(self, *, device: str = "cpu", threads: int = 1) -> Generator:
        """Load it into its runtime with a key-value cache. Raises Unsupported where it can have none."""
        files, manifest = self.directory, self.manifest
        return runtime(manifest["runtime"]).generator(files, manifest, device=device, threads=threads)

    def writer(self, *, device: str = "cpu", threads: int = 1) -> Writer:
        """Load it into its runtime to write from source texts. Raises Unsupported where it cannot."""
        files, manifest = self.directory, self.manifest
        return runtime(manifest["runtime"]).writer(files, manifest, device=device, threads=threads)

    def executed(self, inputs: Mapping[str, Any]) -> Executed | None:
        """What one forward pass on `inputs` executes on the CPU; None where its runtime does not tell, or a library's
        own operator is among it."""
        with contextlib.suppress(Uncounted):
            return runtime(self.manifest["runtime"]).executed(self.directory, self.manifest, inputs)
        return None

    def inventory(self) -> Inventory:
        """What its files hold."""
        return runtime(self.manifest["runtime"]).inventory(self.directory, self.manifest)


def save(
    model: Any,
    directory: Path,
    spec: ModelSpec,
    *,
    recipe: Sequence[Mapping[str, Any]] = (),
    runtime_name: str = "torch",
    options: Mapping[str, Any] | None = None,
) -> Artifact:
    """Write `model` to the empty `directory` and return the artifact, opened from there."""
    directory.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "model": spec.name,
        "runtime": runtime_name,
        "options": dict(options or {}),
        "inputs": {n: {"dtype": i.dtype, "axes": list(i.axes)} for n, i in spec.inputs.items()},
        "output": spec.output,
        "recipe": list(recipe),
        "config": dict(spec.config),
        "payload": {},
    }
    runtime(runtime_name).save(model, directory, manifest)
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != MANIFEST)
    manifest["files"] = {
        p.relative_to(directory).as_posix(): {"bytes": p.stat().st_size, "sha256": file_hash(p)} for p in files
    }
    try:
        text = json.dumps(manifest, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{directory}: recipe and structure must be JSON values: {error}") from None
    (directory / MANIFEST).write_text(text, encoding="utf-8")
    return open_artifact(directory)


def open_artifact(directory: Path) -> Artifact:
    """Read an artifact and check it. Raises ArtifactError naming the file at fault."""
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        schema = int(manifest["schema"])
    except FileNotFoundError:
        raise ArtifactError(f"{directory}: not an artifact, {MANIFEST} is missing") from None
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        raise ArtifactError(f"{path}: damaged, not readable as JSON with a schema number") from None
    if schema > SCHEMA:
        raise ArtifactError(f"{path}: schema {schema} is newer than this version reads ({SCHEMA}): upgrade pressbench")
    missing_keys = {"runtime", "options", "inputs", "recipe", "config", "payload", "files", "model"} - set(manifest)
    if missing_keys:
        raise ArtifactError(f"{path}: damaged, without {', '.join(sorted(missing_keys))}")
    try:
        files = {name: (int(facts["bytes"]), str(facts["sha256"])) for name, facts in manifest["files"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ArtifactError(f"{path}: damaged, its list of files cannot be read") from None
    root = directory.resolve()
    for name, (size, sha256) in files.items():
        file = directory / name
        if root not in file.resolve().parents:
            raise ArtifactError(f"{path}: names a file outside the artifact: {name!r}")
        if not file.is_file():
            raise ArtifactError(f"{file}: missing")
        if file.stat().st_size != size:
            raise ArtifactError(f"{file}: {file.stat().st_size} bytes where {size} were saved (truncated?)")
        if file_hash(file) != sha256:
            raise ArtifactError(f"{file}: its SHA-256 is not the one it was saved with (corrupted or edited)")
    return Artifact(directory, manifest)
