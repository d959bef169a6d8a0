"""The trials of a search: proposed, kept, taken up again. What a recipe is worth is made up here, by a formula; whole
searches on real files are in tests/test_search.py."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.search.space import Space, parse_space
from benchmarks.search.study import Search
from benchmarks.search.trials import Trial
from compressors import recipe
from compressors.interface import PressbenchError

HEADS = "prune-structured:heads_removed=0.1..0.9/0.2,neurons_removed=0.1..0.9/0.2"


def worth(number: int, text: str) -> Trial:
    """Speed grows with what is cut, and so does the loss; at most 0.02 may be lost. The best of the grid is known."""
    given = recipe.parameters(text)
    heads, neurons = given["heads_removed"], given["neurons_removed"]
    lost = 0.02 * heads + 0.03 * neurons**2
    speed = 1 + heads + 2 * neurons
    found = {"size": 1 - 0.3 * heads - 0.5 * neurons, "lost": lost, "lost_high": lost}
    if lost > 0.02:
        return Trial(text, **found, beyond={"quality": lost / 0.02 - 1})
    return Trial(text, **found, speed=speed, speed_low=speed)


def search(file: Path, sampler: str, *goals: str, text: str = HEADS, seed: int = 0, model: str = "one") -> Search:
    return Search(file, parse_space([text]), goals or ("speed",), sampler, seed, {"model": model})


def silent(number: int, found: Trial) -> None:
    pass


def every(space: Space) -> list[Trial]:
    return [worth(0, space.alternatives[0].recipe(values)) for values in space.grid()]


@pytest.mark.parametrize(("sampler", "count"), [("grid", 25), ("tpe", 18), ("nsga2", 24)])
def test_the_known_best_of_a_small_grid_is_found(sampler: str, count: int, tmp_path: Path) -> None:
    found = search(tmp_path / "a.db", sampler)
    found.go(count, worth, silent)
    best = max((one for one in every(found.space) if one.kept), key=lambda one: one.speed or 0)
    chosen = found.front()[0]  # there may be others as fast
    assert chosen.kept and chosen.speed is not None and best.speed is not None
    # The grid has it; a sampler that saw a part of it comes within a tenth, as one in eight of the grid does.
    assert chosen.speed >= best.speed * (1 if sampler == "grid" else 0.9)


def test_several_goals_have_a_front_of_what_nothing_beats(tmp_path: Path) -> None:
    found = search(tmp_path / "a.db", "grid", "loss", "size")
    found.go(25, worth, silent)
    kept = [one for one in every(found.space) if one.kept]

    def beaten(one: Trial) -> bool:
        return any(
            (o.lost, o.size) != (one.lost, one.size) and o.lost <= one.lost and o.size <= one.size  # type: ignore[operator]
            for o in kept
        )

    assert {one.recipe for one in found.front()} == {one.recipe for one in kept if not beaten(one)}


def test_after_a_kill_it_goes_on_and_measures_nothing_twice(tmp_path: Path) -> None:
    asked: list[str] = []

    def measure(limit: int) -> Callable[[int, str], Trial]:
        def one(number: int, text: str) -> Trial:
            if len(asked) == limit:
                raise KeyboardInterrupt
            asked.append(text)
            return worth(number, text)

        return one

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "a.db", "grid").go(20, measure(7), silent)
    again = search(tmp_path / "a.db", "grid")
    assert len(again.trials()) == 7
    again.go(25, measure(1000), silent)
    assert len(asked) == len(set(asked)) == 25  # the one under way too, which is the eighth
    straight = search(tmp_path / "b.db", "grid")
    straight.go(25, worth, silent)
    assert again.front() == straight.front()


def test_a_failure_is_kept_with_its_reason_and_not_tried_again(tmp_path: Path) -> None:
    text = "prune-layers:removed=0.2|0.5"

    def measure(number: int, one: str) -> Trial:
        return Trial(one, failed="no such layer") if "0.5" in one else Trial(one, 0.5, 0.0, 0.0, 2.0, 2.0)

    found = search(tmp_path / "a.db", "grid", text=text)
    found.go(5, measure, silent)
    assert [one.failed for _, one in sorted(found.trials(), key=lambda t: t[1].recipe)] == ["", "no such layer"]
    assert [one.recipe for one in found.front()] == ["prune-layers:removed=0.2"]


def test_where_nothing_keeps_it_the_nearest_is_told(tmp_path: Path) -> None:
    found = search(tmp_path / "a.db", "grid", text="prune-layers:removed=0.2|0.5|0.7")
    lost = {"0.2": 0.03, "0.5": 0.05, "0.7": 0.09}

    def measure(number: int, one: str) -> Trial:
        high = lost[one.rpartition("=")[2]]
        return Trial(one, 0.5, high, high, beyond={"quality": high / 0.02 - 1})

    found.go(3, measure, silent)
    nearest = found.nearest()
    assert found.front() == [] and nearest and nearest.recipe == "prune-layers:removed=0.2"


def test_a_file_of_another_search_is_refused(tmp_path: Path) -> None:
    search(tmp_path / "a.db", "tpe")
    for more, told in (
        ({"text": "prune-layers:removed=0.2|0.5"}, "its space is"),
        ({"model": "two"}, 'its model is "one", here it is "two"'),
    ):
        with pytest.raises(PressbenchError, match=told):
            search(tmp_path / "a.db", "tpe", **more)  # type: ignore[arg-type]
    with pytest.raises(PressbenchError, match="its goals is"):
        search(tmp_path / "a.db", "tpe", "size")
    search(tmp_path / "a.db", "nsga2", seed=3)  # who proposes may change, what the numbers mean may not


def test_a_file_that_is_no_search_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database\n" * 100)
    with pytest.raises(PressbenchError, match=r"text\.db: no database of a search"):
        search(tmp_path / "text.db", "tpe")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("create table studies (a int)")
    with pytest.raises(PressbenchError, match=r"other\.db: no database of a search"):
        search(tmp_path / "other.db", "tpe")
