"""What one node leaves for another: whole and as it was made, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cache import SEAL, Cache
from benchmarks.cluster.shared_cache import Shared

KEY = {"seed": 1}


class Node:
    """A cache of its own, with what it said and how often it made something."""

    def __init__(self, folder: Path, url: str) -> None:
        self.said: list[str] = []
        self.made = 0
        self.cache = Cache(folder, self.said.append, Shared(url))

    def build(self, text: str = "weights") -> str:
        def make(folder: Path) -> None:
            self.made += 1
            (folder / "sub").mkdir()
            (folder / "sub" / "weights.bin").write_text(text)
            (folder / "config.json").write_text("{}")

        return (self.cache.build("artifacts", "any model", KEY, make) / "sub" / "weights.bin").read_text()


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / "shared"


@pytest.fixture
def nodes(tmp_path: Path, shared: Path) -> tuple[Node, Node]:
    return Node(tmp_path / "one", shared.as_uri()), Node(tmp_path / "other", shared.as_uri())


def entry_in(shared: Path) -> Path:
    (entry,) = (shared / "artifacts").iterdir()
    return entry


def test_what_one_has_made_the_other_fetches(nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    assert one.build() == other.build("made anew") == "weights"
    assert (one.made, other.made) == (1, 0) and one.said == other.said == []
    assert other.build("again") == "weights", "from its own cache by now"


def test_half_an_entry_is_not_there_yet(nodes: tuple[Node, Node], shared: Path) -> None:
    one, other = nodes
    one.build()
    (entry_in(shared) / SEAL).unlink()
    assert other.build("made anew") == "made anew" and other.made == 1


@pytest.mark.parametrize("how", ["changed", "missing", "more"])
def test_what_is_not_as_it_was_made_is_made_here(nodes: tuple[Node, Node], shared: Path, how: str) -> None:
    one, other = nodes
    one.build()
    file = entry_in(shared) / "sub" / "weights.bin"
    if how == "changed":
        file.write_text("weights!")
    elif how == "missing":
        file.unlink()
    else:
        file.with_name("more.bin").write_text("")
    assert other.build("made anew") == "made anew"
    (line,) = other.said
    assert "shared cache" in line and line.endswith("it is made here") and "\n" not in line


def test_a_place_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    node = Node(tmp_path / "one", (blocked / "below").as_uri())
    assert node.build() == "weights" and node.made == 1
    assert len(node.said) == 1 and "could not be left in the shared cache" in node.said[0]
