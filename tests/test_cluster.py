"""A run over two nodes of this machine: the same records as without, whoever dies on the way."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

sys.path.append(str(Path(__file__).parent))
import tiny_models
from matrix_run import NO_TARGETS, ROOT, Place, finish

from benchmarks.cache import Cache
from benchmarks.cluster.identity import labels, resources
from benchmarks.cluster.local import CPUS, LOOPBACK, OBJECTS
from benchmarks.cluster.nodes import Cluster
from benchmarks.hardware.devices.cpu import physical_cpus
from benchmarks.matrix.cases import Case
from benchmarks.matrix.targets import Target
from benchmarks.preparation.settings import Settings
from benchmarks.progress import Stages
from benchmarks.run import node, spread
from benchmarks.run.node import Job
from benchmarks.zoo import find_model
from compressors import registry
from results.store.record import CaseRecord
from results.store.store import list_runs, read_run

RayCluster = pytest.importorskip("ray.cluster_utils").Cluster
pytestmark = pytest.mark.skipif(len(physical_cpus()) < 2, reason="two nodes need two cores")

SLOW = '''
import errno
import os
import time
from dataclasses import dataclass
from typing import ClassVar

from compressors.interface import Compressed, Compressor


@dataclass(frozen=True)
class Slow(Compressor):
    """Takes its time."""

    name: ClassVar[str] = "slow"
    family: ClassVar[str] = "planted"
    effect: ClassVar[str] = "simulated"
    variants: ClassVar[dict] = {}

    seconds: float = 3.0

    def compress(self, model, context):
        time.sleep(self.seconds)
        if os.environ.get("PLANTED_FULL"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        model.classifier.weight.data *= 1 + self.seconds / 10
        return Compressed(model)
'''
METHODS = [f"slow:seconds={seconds}" for seconds in (2.0, 2.1, 2.2, 2.3)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("cluster")
    tiny_models.trained_classifier(folder / "dense")
    rows = [(text, ("negative", "positive")[label]) for text, label in tiny_models.reviews(150, seed=3)]
    tiny_models.write_csv(folder / "reviews.csv", ("text", "label"), rows)
    return Place(folder, folder / "cache", {"planted_slow": SLOW}, NO_TARGETS)


def begin(place: Place, results: str, *options: str, methods: list[str] = METHODS, **environment: str) -> Any:
    named = ["--model", "./dense", "--data", "reviews.csv", *(f"--compressor={m}" for m in ["dense", *methods])]
    command = place.command(*named, *options, target=str(ROOT / "benchmarks"), results=results)
    return place.start("-m", "pytest", *command, at=place.folder, fresh="--cluster" in options, **environment)


@pytest.fixture
def nodes(place: Place) -> Iterator[RayCluster]:
    """One node, on the first core, to which others can be added."""
    os.environ.setdefault("RAY_enable_metrics_collection", "0")
    found = RayCluster(initialize_head=False)
    add(found, place, physical_cpus()[0], PRESSBENCH_CACHE=str(place.folder / "first"))
    yield found
    found.shutdown()


def add(nodes: RayCluster, place: Place, cpu: int, **environment: str) -> None:
    """A node more, on that core alone."""
    paths = f"{place.site}{os.pathsep}{ROOT}"
    nodes.add_node(
        num_cpus=1, resources=resources(), labels=labels(), object_store_memory=OBJECTS, include_dashboard=False,
        node_ip_address=LOOPBACK, env_vars={CPUS: str(cpu), "PYTHONPATH": paths, **environment},
    )  # fmt: skip


def by_core(place: Place, results: str) -> dict[int, int]:
    """Logical CPU -> how many records of a method are of the node that has it."""
    found = records(place, results).values()
    return Counter(one.evidence["node"]["key"]["cpus"][0] for one in found if one.family == "planted")


def records(place: Place, results: str) -> dict[tuple[str, str], CaseRecord]:
    (path,) = list_runs(place.folder / results)
    return {(one.measure, one.case): one for one in read_run(path).cases}


def below(process: int, name: str) -> list[psutil.Process]:
    """The processes of that name below it, the oldest first: their numbers may have begun anew between two of them."""
    found = []
    for one in psutil.Process(process).children(recursive=True):
        try:
            if name in one.name():
                found.append(one)
        except psutil.NoSuchProcess:
            continue
    return sorted(found, key=lambda one: one.create_time())


def until(there: Callable[[], Any], seconds: float = 240.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := there()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)
    return found


def lines(place: Place, results: str) -> int:
    (*_, path) = [None, *list_runs(place.folder / results)] if (place.folder / results).is_dir() else [None]
    return len(path.read_text().splitlines()) if path else 0


def test_two_nodes_measure_what_one_machine_does(place: Place) -> None:
    accuracy = ["-m", "accuracy"]
    alone = finish(begin(place, "alone", *accuracy))
    spread = finish(begin(place, "spread", *accuracy, "--cluster", "local:2"))
    assert alone.code == spread.code == 0, spread.out + spread.err
    one, two = records(place, "alone"), records(place, "spread")
    assert set(one) == set(two) and len(two) == 1 + len(METHODS)
    for key, record in two.items():
        assert record.measures["accuracy"] == one[key].measures["accuracy"]
        assert record.evidence["predictions"] == one[key].evidence["predictions"]
        assert (record.verdict, record.artifact) == (one[key].verdict, one[key].artifact)
    cores = [tuple(record.evidence["node"]["key"]["cpus"]) for record in two.values()]
    assert len(set(cores)) == 2 and all(len(own) < len(physical_cpus()) for own in cores), "each has cores of its own"
    assert all(record.fingerprint != one[key].fingerprint for key, record in two.items()), "and so its fingerprint"


def test_a_node_that_dies_costs_nothing(place: Place) -> None:
    run = begin(place, "killed", "-m", "footprint", "--cluster", "local:2")
    until(lambda: lines(place, "killed") >= 2)
    _, second = until(lambda: nodes if len(nodes := below(run.pid, "raylet")) == 2 else None)
    second.kill()
    done = finish(run)
    assert done.code == 0, done.out + done.err
    found = records(place, "killed")
    assert len(found) == 1 + len(METHODS) and {record.verdict for record in found.values()} == {"measured"}
    assert "measured more than once" not in done.out


def test_a_node_that_comes_late_takes_what_is_left(place: Place, nodes: RayCluster) -> None:
    methods = [f"slow:seconds={1 + tenth / 10}" for tenth in range(1, 9)]
    run = begin(place, "late", "-m", "footprint", "--cluster", nodes.address, methods=methods)
    until(lambda: lines(place, "late") >= 2)
    add(nodes, place, physical_cpus()[1])
    done = finish(run)
    assert done.code == 0, done.out + done.err
    found = by_core(place, "late")
    assert sum(found.values()) == len(methods) and found[physical_cpus()[1]] >= 1


def test_a_case_that_has_no_room_on_one_node_goes_to_another(place: Place, nodes: RayCluster) -> None:
    add(nodes, place, physical_cpus()[1], PLANTED_FULL="1")
    methods = [f"slow:seconds={tenth / 10}" for tenth in range(1, 6)]
    done = finish(begin(place, "no-room", "-m", "footprint", "--cluster", nodes.address, methods=methods))
    assert done.code == 0, done.out + done.err
    assert by_core(place, "no-room") == {physical_cpus()[0]: len(methods)}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 128 kB."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "small", tmp_path], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_a_node_whose_disk_is_full_is_given_nothing_more(place: Place, nodes: RayCluster, small_disk: Path) -> None:
    add(nodes, place, physical_cpus()[1], PRESSBENCH_CACHE=str(small_disk))
    methods = [f"slow:seconds={tenth / 10}" for tenth in range(1, 6)]
    options = ("-m", "footprint", "--cache", "", "--cluster", nodes.address)  # of each node its own
    done = finish(begin(place, "full", *options, methods=methods, PRESSBENCH_CACHE=str(place.folder / "asking")))
    assert done.code == 0, done.out + done.err
    assert by_core(place, "full") == {physical_cpus()[0]: len(methods)}
    said = " ".join((done.out + done.err).split())
    assert said.count("nothing more is measured on the node") == 1 and os.strerror(errno.ENOSPC) in said


def test_where_no_node_has_room_it_is_an_error_that_says_so(place: Place) -> None:
    nodes = RayCluster(initialize_head=False)
    add(nodes, place, physical_cpus()[0], PLANTED_FULL="1")
    done = finish(begin(place, "none", "-m", "footprint", "--cluster", nodes.address, methods=["slow:seconds=0.05"]))
    nodes.shutdown()
    (found,) = [one for one in records(place, "none").values() if one.family == "planted"]
    assert done.code == 1 and found.verdict == "error" and os.strerror(errno.ENOSPC) in found.reason


def test_cases_of_a_class_without_a_node_end_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "GONE_SECONDS", 3.0)
    cluster = Cluster("local:1")
    (held,) = cluster.select([])
    gone = dataclasses.replace(held, hardware_class="cpu-generic")
    model, usual = find_model("vit-digits"), registry.variants()["dense"]
    cases = [Case(measure, "dense", usual, model, gone, None, Target()) for measure in ("accuracy", "footprint")]
    settings = Settings(tier="quick", seed=0, stage_seconds=60.0, qualifications=Path("nowhere"))
    session = spread.SpreadSession(Cache(Path("nowhere")), settings, Stages(), "run")
    session.spread(cluster, cases, Job("run", settings, None, None), lambda record: None)
    started = time.monotonic()
    found = [session.accuracy(cases[0]), session.footprint(cases[1])]
    took = time.monotonic() - started
    session.close()
    assert {one.verdict for one in found} == {"error"} and took < 5.5, "they waited together"
    assert all("no node of class cpu-generic was there for 3 s" in one.reason for one in found)


def test_a_case_that_no_node_has_room_for_does_not_wait_for_those_that_have_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It had none on one that is there, and the one that it went to has gone."""
    monkeypatch.setattr(spread, "GONE_SECONDS", 3.0)
    cluster = Cluster("local:1")
    (held,) = cluster.select([])
    (there,) = cluster.fitting(held.hardware_class)
    case = Case("footprint", "dense", registry.variants()["dense"], find_model("vit-digits"), held, None, Target())
    settings = Settings(tier="quick", seed=0, stage_seconds=60.0, qualifications=Path("nowhere"))
    session = spread.SpreadSession(Cache(Path("nowhere")), settings, Stages(), "run")
    session.spread(cluster, [case], Job("run", settings, None, None), lambda record: None)
    session._too_large["footprint", case.id].add(there.id)
    record = session.footprint(case)
    session.close()
    assert record.verdict == "error" and "was there for 3 s, but for 1 whose disk had no room" in record.reason


@pytest.mark.parametrize(
    ("verdict", "reason", "free", "wanting"),
    [
        ("error", "SafetensorError: No space left on device (os error 28)", 2**40, True),
        ("unsupported", f"cache: cannot write data: {os.strerror(errno.ENOSPC)}; set PRESSBENCH_CACHE", 2**40, True),
        ("error", "RuntimeError: basic_ios::clear: iostream error", 2**20, True),  # as OpenVINO says it
        ("error", "RuntimeError: basic_ios::clear: iostream error", 2**40, False),
        ("unsupported", "needs a GPU", 2**20, False),
        ("fail", "0.9 of the dense file", 2**20, False),
    ],
)
def test_want_of_room_is_known_by_what_is_said_or_left(
    verdict: str, reason: str, free: int, wanting: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    record: Any = SimpleNamespace(verdict=verdict, reason=reason, evidence={})
    assert (node._no_room(record, tmp_path) is not None) is wanting


def test_a_run_that_is_killed_leaves_no_node_and_loses_nothing(place: Place) -> None:
    run = begin(place, "resumed", "-m", "accuracy", "--cluster", "local:2", "-p", "no:cacheprovider")
    until(lambda: lines(place, "resumed") >= 3)
    nodes = below(run.pid, "raylet") + below(run.pid, "gcs_server")
    assert len(nodes) == 3
    os.kill(run.pid, signal.SIGKILL)
    run.wait(60)
    until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in nodes), 60)
    came = len(records(place, "resumed"))
    alone = finish(begin(place, "resumed", "-m", "accuracy", "--resume"))
    assert "cannot be resumed: --cluster was given, is not given" in " ".join((alone.out + alone.err).split())
    done = finish(begin(place, "resumed", "-m", "accuracy", "--cluster", "local:2", "--resume"))
    assert done.code == 0, done.out + done.err
    assert f"{came} of {1 + len(METHODS)} cases are finished" in done.out + done.err
    assert len(records(place, "resumed")) == 1 + len(METHODS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cluster", "local:0"], "--cluster local:0: after local: there must be a number from 1 to"),
        (["--cluster", "local:1", "--hardware", "cpu-generic"], "--hardware cpu-generic: no node of that class"),
    ],
)
def test_what_cannot_be_asked_of_a_cluster_is_one_line(place: Place, options: list[str], said: str) -> None:
    done = finish(begin(place, "refused", *options))
    told = [line for line in (done.out + done.err).splitlines() if "ERROR" in line or said in line]
    assert done.code == 4 and any(said in line for line in told), done.out + done.err
    assert "Traceback" not in done.out + done.err
