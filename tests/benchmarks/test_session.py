"""What cases share must not let one spoil the next, and what options name is told in one line."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.cache import Cache
from benchmarks.cases import Case
from benchmarks.measure import stages
from benchmarks.measure.speed import Budget
from benchmarks.measure.worker import WorkerError
from benchmarks.progress import Stages
from benchmarks.selection import parse_compressors
from benchmarks.session import Session
from benchmarks.settings import Settings
from benchmarks.targets import Target
from benchmarks.zoo import find_model
from compressors import registry
from compressors.interface import Hardware, PressbenchError, Unsupported
from results.record import CaseRecord

CPU = Hardware("cpu", "cpu-vnni", threads=1)


class FakeLane:
    """Takes a second a slot; the `dies_at`th slot finds the worker gone, and every one after it too."""

    calls = 1

    def __init__(self, name: str, dies_at: int | None) -> None:
        self.name, self.dies_at, self.slots, self.closed = name, dies_at, 0, False

    def slot(self) -> float:
        self.slots += 1
        if self.closed or (self.dies_at and self.slots >= self.dies_at):
            raise WorkerError("died", f"{self.name}: the process was ended by SIGSEGV")
        return 1.0

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def session(tmp_path: Path) -> Session:
    settings = Settings(budget=Budget(pairs=10, at_least=10))
    return Session("run", Cache(tmp_path), settings, Stages(io.StringIO()))


@pytest.fixture
def lanes(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[FakeLane]:
    """Every lane that the session opened. The first one of the dense model dies at its 15th slot."""
    opened: list[FakeLane] = []

    def lane(name: str, *_: Any) -> FakeLane:
        first = name == "dense" and not any(lane.name == name for lane in opened)
        opened.append(FakeLane(name, 15 if first else None))
        return opened[-1]

    artifact = SimpleNamespace(digest="0" * 64, recipe=[])
    monkeypatch.setattr(session.prepared, "dense", lambda *_: SimpleNamespace(artifact=artifact))
    monkeypatch.setattr(session.prepared, "artifact", lambda *_: artifact)
    monkeypatch.setattr(session.lanes, "open", lane)
    return opened


def speed(session: Session, compressor: str) -> CaseRecord:
    model = find_model("vit-digits")
    build = registry.variants()[compressor]
    return session.speed(Case("speed", compressor, build, model, CPU, model.workloads[0], Target()))


def test_a_dense_worker_that_dies_costs_one_case_and_not_the_rest(session: Session, lanes: list[FakeLane]) -> None:
    records = [speed(session, name) for name in ("int8-openvino", "int8-onnxruntime", "distil-layers")]
    assert [r.verdict for r in records] == ["measured", "error", "measured"]
    assert "SIGSEGV" in records[1].reason
    assert [lane.name for lane in lanes].count("dense") == 2
    session.close()
    assert all(lane.closed for lane in lanes)


def test_the_dense_model_is_loaded_once_for_all_cases(session: Session, lanes: list[FakeLane]) -> None:
    for name in ("int8-openvino", "distil-layers"):
        speed(session, name)
        lanes[-1].slots = 0  # nobody dies
        for lane in lanes:
            lane.dies_at = None
    assert [lane.name for lane in lanes].count("dense") == 1


def test_what_failed_once_is_not_tried_again(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    def step(*_: Any) -> None:
        tries.append("tried")
        raise WorkerError("hung", "method on model: no answer in 900 s, stopped")

    monkeypatch.setattr(session.prepared, "dense", lambda *_: SimpleNamespace(artifact=None))
    monkeypatch.setattr(session.prepared, "_step", step)
    model, compressor = find_model("vit-digits"), registry.variants()["distil-layers"]
    for measure in ("accuracy", "footprint", "speed"):
        workload = model.workloads[0] if measure == "speed" else None
        case = Case(measure, "distil-layers", compressor, model, CPU, workload, Target())
        record = getattr(session, measure)(case)
        assert (record.verdict, record.reason) == ("error", "method on model: no answer in 900 s, stopped")
    assert tries == ["tried"]


def test_a_margin_that_the_data_cannot_resolve_is_unsupported_before_anything_is_built(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.prepared, "dense", lambda *_: pytest.fail("the dense model was asked for"))
    model = find_model("vit-digits")
    target = Target(accuracy_drop=0.001)
    record = session.accuracy(Case("accuracy", "dense", registry.variants()["dense"], model, CPU, None, target))
    assert record.verdict == "unsupported"
    assert "599 examples cannot resolve a margin" in record.reason


def test_assets_that_cannot_be_had_are_unsupported_with_the_reason(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRESSBENCH_MINILM", "/nowhere")
    with pytest.raises(Unsupported, match="asset minilm: PRESSBENCH_MINILM=/nowhere has no file"):
        session.prepared.dense(find_model("minilm-bbc"))


def test_what_was_finished_before_is_not_measured_again(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.prepared, "dense", lambda *_: pytest.fail("the dense model was asked for"))
    model = find_model("vit-digits")
    case = Case("footprint", "dense", registry.variants()["dense"], model, CPU, None, Target())
    stored = CaseRecord(
        run="run", case=case.id, measure="footprint", compressor="dense", model=model.name, hardware="cpu",
        verdict="fail", reason="as it was",
    )  # fmt: skip
    session.finished = {(case.id, "footprint"): stored}
    assert session.footprint(case) is stored


def test_a_method_that_writes_to_the_dense_model_is_named_and_the_model_made_again(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dense entry is sealed here; the method's worker writes to it and then dies."""
    model, compressor = find_model("vit-digits"), registry.variants()["distil-layers"]
    made: list[Path] = []

    def build(folder: Path) -> None:
        made.append(folder)
        (folder / "train.safetensors").write_text("training")

    def dense(_: object) -> SimpleNamespace:
        entry = session.cache.build("dense", "vit-digits", {}, build)
        artifact = SimpleNamespace(digest="0" * 64, directory=entry / "artifact")
        return SimpleNamespace(entry=entry, artifact=artifact, identity="same")

    class Vandal:
        def __init__(self, *_: Any) -> None: ...
        def __enter__(self) -> Vandal:
            return self

        def __exit__(self, *_: object) -> None: ...
        def call(self, *_: Any, **__: Any) -> None:
            (dense(None).entry / "train.safetensors").write_text("spoilt")
            raise WorkerError("died", "the process was ended by SIGSEGV")

    monkeypatch.setattr(session.prepared, "dense", dense)
    monkeypatch.setattr(session.prepared, "worker", Vandal)
    case = Case("accuracy", "distil-layers", compressor, model, CPU, None, Target())
    record = session.accuracy(case)
    assert record.verdict == "error"
    assert "distil-layers on vit-digits: wrote to what it was given to read: " in record.reason
    assert record.reason.endswith("train.safetensors is not what was written (its SHA-256 differs)")
    dense(None)
    assert len(made) == 2


# -- options ---------------------------------------------------------------------------------------


def test_without_an_option_it_is_the_whole_tier() -> None:
    assert parse_compressors(None, "quick") == registry.variants("quick")
    assert set(parse_compressors(None, "quick")) < set(parse_compressors(None, "nightly"))


def test_an_id_a_class_and_parameters_of_ones_own() -> None:
    assert list(parse_compressors(["distil-layers-3"], "quick")) == ["distil-layers-3"]  # of another tier, and wanted
    assert set(parse_compressors(["quantize-weights"], "quick")) == {
        "quantize-weights-8bit",
        "quantize-weights-4bit-g64",
    }
    chosen = parse_compressors(["quantize-weights:bits=5,granularity=channel,symmetric=false"], "quick")
    assert list(chosen) == ["quantize-weights-bits=5-granularity=channel-symmetric=False"]
    (built,) = chosen.values()
    assert built.parameters | {"bits": 5, "granularity": "channel", "symmetric": False} == built.parameters


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("int8-opnvino", "unknown compressor 'int8-opnvino'; did you mean int8-openvino"),
        ("int8-opnvino:samples=3", "unknown compressor 'int8-opnvino'; did you mean int8-openvino"),
        ("int8-openvino:sample=3", "compressor 'int8-openvino' has no parameter 'sample'; did you mean samples?"),
        ("int8-openvino:samples", "--compressor int8-openvino:samples: 'samples' is not key=value"),
        ("int8-openvino:", "--compressor int8-openvino:: '' is not key=value"),
        ("int8-openvino:samples=0", "compressor 'int8-openvino': samples is 0, must be at least 1"),
    ],
)
def test_a_compressor_that_makes_no_sense_is_one_line(text: str, told: str) -> None:
    with pytest.raises(PressbenchError) as error:
        parse_compressors([text], "quick")
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)


class Answers:
    """Stands in for a worker: answers with the same logits, and remembers what was asked."""

    def __init__(self) -> None:
        self.evaluated: list[str] = []

    def __call__(self, name: str, hardware: Hardware) -> Answers:
        self.name = name
        return self

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None: ...

    def call(self, function: Any, *_: Any, **__: Any) -> Any:
        if function is stages.predict:
            self.evaluated.append(self.name)
        return np.eye(3, dtype=np.float32)


@pytest.fixture
def evaluated(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    (tmp_path / "examples").write_bytes(b"the test set")
    answers = Answers()
    monkeypatch.setattr(session.prepared, "dense", lambda *_: SimpleNamespace(test_path=tmp_path / "examples"))
    monkeypatch.setattr(session.prepared, "worker", answers)
    return answers


def saved(digest: str = "0" * 64, options: dict[str, Any] | None = None, sparsity: float = 0.5) -> Any:
    manifest = {"runtime": "torch", "options": options or {}}
    recipe = [{"compressor": "prune-magnitude", "parameters": {"sparsity": sparsity}}]
    return SimpleNamespace(digest=digest, directory=Path("nowhere"), manifest=manifest, recipe=recipe)


def test_the_same_files_are_evaluated_once_and_by_the_next_run_not_at_all(
    session: Session, evaluated: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = find_model("vit-digits")
    for label in ("first", "second"):
        assert session.prepared.predictions(saved(), model, CPU, label).tolist() == [0, 1, 2]
    assert evaluated.evaluated == ["first"]
    again = Session("later", Cache(tmp_path), session.settings, Stages(io.StringIO()))
    monkeypatch.setattr(again.prepared, "dense", session.prepared.dense)
    monkeypatch.setattr(again.prepared, "worker", evaluated)
    assert again.prepared.predictions(saved(), model, CPU, "third").tolist() == [0, 1, 2]
    assert evaluated.evaluated == ["first"]


def test_whatever_could_change_an_answer_is_evaluated_again(
    session: Session, evaluated: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(label: str, artifact: Any, hardware: Hardware = CPU) -> None:
        session.prepared.predictions(artifact, find_model("vit-digits"), hardware, label)

    ask("as it was", saved())
    ask("other bytes", saved(digest="1" * 64))
    ask("bf16", saved(options={"dtype": "bfloat16"}))
    ask("parameters that a layer may read when it is loaded", saved(sparsity=0.6))
    ask("more threads", saved(), Hardware("cpu-2", "cpu-vnni", threads=2))
    (tmp_path / "examples").write_bytes(b"another test set")
    ask("other examples", saved())
    monkeypatch.setattr("benchmarks.preparation.code_of", lambda step: [__file__])
    ask("other code", saved())
    assert len(evaluated.evaluated) == 7
