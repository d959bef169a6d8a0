"""What cases share must not let one spoil the next."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.matrix.cases import Case
from benchmarks.matrix.targets import Target
from benchmarks.measure import stages
from benchmarks.measure.exclusive import Occupied
from benchmarks.measure.outside import Account
from benchmarks.measure.watch import Watch, Window
from benchmarks.measure.worker import WorkerError
from benchmarks.run import supervision
from benchmarks.run.session import Session
from benchmarks.zoo import find_model
from benchmarks.zoo.workload import decode
from compressors import conformance, registry
from compressors.interface import Hardware, Unsupported
from results.history.qualification import Qualification, QualificationStore
from results.store.record import CaseRecord
from results.store.store import new_run_id, now

CPU = Hardware("cpu", "cpu-vnni", threads=1)


def planted(fingerprint: str, **found: Any) -> Qualification:
    deviations = {"tau": 0.0, "tau_placement": 0.0, "tau_contention": 0.0, "qualified": False} | found
    return Qualification(
        id=new_run_id(), ended=now(), fingerprint=fingerprint, hardware="cpu", hardware_class="cpu-vnni", **deviations
    )


class FakeLane:
    """Takes a second a slot; the `dies_at`th slot finds the worker gone, and every one after it too."""

    calls = 1

    def __init__(self, name: str, dies_at: int | None) -> None:
        self.name, self.dies_at, self.slots, self.closed = name, dies_at, 0, False
        self.account, self.checks = Account(1), []

    def begin(self) -> None: ...

    def slot(self, number: int = 0, seed: int = 0) -> float:
        self.slots += 1
        if self.closed or (self.dies_at and self.slots >= self.dies_at):
            raise WorkerError("died", f"{self.name}: the process was ended by SIGSEGV")
        return 1.0

    def bytes_read(self) -> int:
        return 540_000_000

    def memory(self) -> int:
        return 2**20

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def lanes(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[FakeLane]:
    """Every lane that the session opened. The first one of the dense model dies at its 15th slot."""
    opened: list[FakeLane] = []

    def lane(name: str, *_: Any) -> FakeLane:
        first = name == "dense" and not any(lane.name == name for lane in opened)
        opened.append(FakeLane(name, 15 if first else None))
        return opened[-1]

    artifact = SimpleNamespace(digest="0" * 64, recipe=[])
    monkeypatch.setattr(session.prepared, "dense", lambda *_: SimpleNamespace(artifact=artifact, told=None))
    monkeypatch.setattr(session.prepared, "artifact", lambda *_: artifact)
    monkeypatch.setattr(session.prepared, "measured_on", lambda *_: {})
    monkeypatch.setattr(session.lanes, "open", lane)
    monkeypatch.setattr(session.supervision, "_probe", lambda *_: {"bandwidth_gb_s": 20.0})
    monkeypatch.setattr(Watch, "stop", lambda _: Window(1.0, 0.0, 0.0, 0))
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


def decoding(session: Session, compressor: str) -> CaseRecord:
    model = find_model("smollm2-bbc")
    build = registry.variants()[compressor]
    return session.speed(Case("speed", compressor, build, model, CPU, decode(1, 128, 16), Target()))


@pytest.mark.parametrize("qualified", [True, False])
def test_a_decode_is_held_against_the_bandwidth_of_the_machine(
    session: Session, lanes: list[FakeLane], tmp_path: Path, qualified: bool
) -> None:
    """135 million fp32 weights at 20 GB/s are 27 ms a token; 16 tokens took a second, 62.5 ms each."""
    if qualified:
        with_settings(session, qualifications=tmp_path / "qualifications")
        fingerprint = session.prepared.fingerprint(CPU)["hash"]
        stored = planted(fingerprint, ceilings={"bandwidth_gb_s": 40.0})
        QualificationStore(tmp_path / "qualifications").append(stored)
    record = decoding(session, "int8-openvino")
    assert record.measures["seconds_per_token"].value == 1 / 16
    assert record.measures["bytes_per_token"].value == 540_000_000
    share = record.measures["bandwidth_floor_share"].value
    assert share == pytest.approx((0.5 if qualified else 1) * 0.027 / (1 / 16))
    source = f"qualification {stored.id}" if qualified else "probes around this case"
    assert record.evidence["floor"]["source"] == source
    assert "bandwidth_floor_share" not in speed(session, "int8-openvino").measures


def test_what_cannot_generate_is_neither_made_nor_loaded(
    session: Session, lanes: list[FakeLane], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    artifact = session.prepared.artifact
    monkeypatch.setattr(
        session.prepared, "artifact", lambda method, *rest: made.append(method.name) or artifact(method, *rest)
    )
    record = decoding(session, "int8-onnxruntime")
    assert (record.verdict, made) == ("unsupported", [])
    assert record.reason == "onnxruntime keeps no key-value cache here: no prefill and no decode"
    assert decoding(session, "int8-openvino").verdict == "measured"
    assert {"openvino-fp32", "openvino-bf16", "torch-bf16"} <= set(made)
    assert "onnxruntime-fp32" not in {*made, *(lane.name for lane in lanes)}
    made.clear()
    speed(session, "int8-openvino")  # a forward pass, which it can
    assert "onnxruntime-fp32" in made


@pytest.mark.parametrize("name", ["onnxruntime-fp32", "openvino-fp32", "openvino-bf16", "int8-openvino", "torch-bf16"])
def test_the_runtime_that_is_known_before_is_that_of_the_artifact(name: str) -> None:
    compressor = registry.variants()[name]
    assert conformance._made(compressor.steps, "bert").manifest["runtime"] == compressor.steps[-1].makes


# -- conditions ------------------------------------------------------------------------------------


def judged(session: Session, target: float = 0.5) -> CaseRecord:
    """A case with a target, dense against dense: its speed-up is 1."""
    model = find_model("vit-digits")
    speeds = Target(speed={CPU.hardware_class: target})
    build = registry.variants()["int8-openvino"]
    return session.speed(Case("speed", "int8-openvino", build, model, CPU, model.workloads[0], speeds))


def with_settings(session: Session, **changes: Any) -> None:
    session.prepared.settings = dataclasses.replace(session.settings, **changes)


@pytest.mark.parametrize(("accepted", "verdict"), [(False, "unqualified"), (True, "pass")])
def test_a_contended_case_is_unqualified_unless_that_is_accepted(
    session: Session, lanes: list[FakeLane], monkeypatch: pytest.MonkeyPatch, accepted: bool, verdict: str
) -> None:
    monkeypatch.setattr(Watch, "stop", lambda _: Window(1.0, 0.31, 0.0, 0))
    with_settings(session, unqualified_ok=accepted)
    record = judged(session)
    assert record.verdict == record.measures["speedup"].verdict == verdict
    assert record.reason.startswith("contended: steal time 31% (at most 10%); speed-up 1x") != accepted
    assert record.evidence["contended"] is True
    assert record.evidence["unqualified_ok"] is accepted
    assert record.measures["speedup"].value == pytest.approx(1.0), "the number is kept"


def test_a_machine_in_use_is_unqualified_and_says_by_whom(
    session: Session, lanes: list[FakeLane], monkeypatch: pytest.MonkeyPatch
) -> None:
    def occupied(*_: Any) -> None:
        raise Occupied("cpu is being timed by process 7 (ann, pytest benchmarks, since today); gave up after 900 s")

    monkeypatch.setattr(session.supervision, "alone", occupied)
    record = judged(session)
    assert record.verdict == "unqualified"
    assert "process 7 (ann, pytest benchmarks, since today)" in record.reason


def test_without_a_qualification_records_say_so(session: Session, lanes: list[FakeLane]) -> None:
    evidence = judged(session).evidence
    assert (evidence["tau"], evidence["qualified"]) == (0.0, False)
    assert evidence["tau_source"] == "none: the machine is not qualified"


def test_tau_by_option_widens_the_bound_and_is_named(session: Session, lanes: list[FakeLane]) -> None:
    with_settings(session, tau=0.1)
    wide = judged(session, 0.5)
    for lane in lanes:  # nobody dies
        lane.dies_at = None
    narrow = judged(session, 0.95)
    assert wide.verdict == "pass"
    assert narrow.verdict == "inconclusive"
    assert "widened to 0.7528 to 1.199x by machine noise of 10.00%" in narrow.reason
    assert "clears the target but not the machine's noise" in narrow.reason
    assert (wide.evidence["tau"], wide.evidence["tau_source"]) == (0.1, "option --tau")


def test_a_machine_never_qualified_is_qualified_once_and_only_for_a_target(
    session: Session, lanes: list[FakeLane], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done: list[str] = []

    def short(hardware: Hardware, store: QualificationStore, **options: Any) -> Qualification:
        assert options["quick"]
        done.append(hardware.name)
        found = planted(session.prepared.fingerprint(hardware)["hash"], tau=0.02, qualified=True)
        store.append(found)
        return found

    monkeypatch.setattr(supervision, "qualify", short)
    with_settings(session, qualify=True, qualifications=tmp_path / "q")
    assert speed(session, "distil-layers").evidence["qualification"] is None
    assert done == []
    for _ in range(2):
        for lane in lanes:  # nobody dies
            lane.dies_at = None
        evidence = judged(session).evidence
        assert (evidence["tau"], evidence["qualified"]) == (0.02, True)
        assert evidence["tau_source"] == f"qualification {evidence['qualification']}"
    assert done == ["cpu"]


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
        training = entry / "train.safetensors"
        return SimpleNamespace(entry=entry, artifact=artifact, identity="same", training_path=training)

    class Vandal:
        def __init__(self, *_: Any) -> None: ...
        def __enter__(self) -> Vandal:
            return self

        def __exit__(self, *_: object) -> None: ...
        def call(self, does: Any, *_: Any, **__: Any) -> None:
            if does is stages.ask_dense:  # which runs none of the method's code
                return
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
