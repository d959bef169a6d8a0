"""Which nodes there are, and to which of them a run's cases go."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from benchmarks.cluster import nodes as nodes_module
from benchmarks.cluster.identity import NODE, labels, libraries, resource, resources
from benchmarks.cluster.local import LOOPBACK, OBJECTS, LocalNodes
from benchmarks.cluster.nodes import Cluster, Node
from benchmarks.hardware import detected
from benchmarks.run.node import standing
from compressors.interface import PressbenchError

pytest.importorskip("ray")
OWN = detected()["cpu"].hardware_class


def node(**changed: str) -> Node:
    """A machine of this class with the same libraries but those named."""
    theirs = {**libraries(), **changed}
    told = {"classes": OWN, **{name: text.replace("+", "_") for name, text in theirs.items()}}
    return Node("id", "10.0.0.7", {NODE: 1.0, resource(OWN, theirs): 1.0}, told)


def test_a_node_with_the_same_libraries_is_taken() -> None:
    assert node().refusal(libraries()) is None


def test_a_node_with_another_torch_is_refused_in_one_line() -> None:
    own = libraries()
    assert node(torch="1.0.0").refusal(own) == f"it has other libraries: torch 1.0.0, here {own['torch']}"
    assert resource(OWN, {**own, "torch": "1.0.0"}) not in resources(), "Ray never places a case there"


def test_a_node_that_was_not_started_by_pressbench_is_refused() -> None:
    plain = Node("id", "10.0.0.8", {"CPU": 8.0}, {})
    assert "pressbench cluster join" in (plain.refusal(libraries()) or "")


@pytest.mark.parametrize("named", ["local:", "local:0", "local:x", "local:1000", "local:-1", "local:²"])
def test_so_many_nodes_cannot_be_here(named: str) -> None:
    with pytest.raises(PressbenchError, match=r"after local: there must be a number from 1 to"):
        LocalNodes(named)


def test_without_ray_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PressbenchError, match=r"--cluster needs a package that is not installed: .*cluster"):
        nodes_module.the_library()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Of one node here, and others that were started with other libraries and without any."""
    found = Cluster("local:1")
    theirs = {**libraries(), "torch": "1.0.0"}
    more = {"num_cpus": 1, "object_store_memory": OBJECTS, "include_dashboard": False, "node_ip_address": LOOPBACK}
    other = {**labels(), "pressbench/torch": "1.0.0"}
    found._local._cluster.add_node(resources={NODE: 1, resource("cpu-amx", theirs): 1}, labels=other, **more)
    found._local._cluster.add_node(**more)
    yield found
    found.close()


def test_only_what_fits_is_given_anything(cluster: Cluster) -> None:
    assert len(cluster.nodes()) == 3 and len(cluster.fitting(OWN)) == 1 and not cluster.fitting("cpu-generic")
    told = sorted(cluster.told())
    assert len(told) == 2 and all("\n" not in line for line in told)
    assert any("torch 1.0.0, here" in line for line in told) and any("cluster join" in line for line in told)


def test_devices_are_classes_of_nodes(cluster: Cluster) -> None:
    (usual,) = cluster.select([])
    assert (usual.name, usual.hardware_class) == ("cpu", OWN), "ids as on a machine alone"
    (named,) = cluster.select([OWN])
    assert (named.name, named.hardware_class) == (OWN, OWN)
    for wrong, why in (("cpu-generic", "no node of that class"), ("cpu-none", "no class of hardware")):
        with pytest.raises(PressbenchError, match=f"--hardware {wrong}: {why}; this cluster has {OWN}$"):
            cluster.select([wrong])


def test_a_node_says_how_it_is_qualified(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    (here,) = cluster.fitting(OWN)
    folder = tmp_path_factory.mktemp("qualifications")
    assert "cpu: never asked" in cluster.ask(here, standing, str(folder))


def test_an_address_where_nobody_is_is_one_line() -> None:
    with pytest.raises(PressbenchError, match=r"--cluster "):
        Cluster("no address")
