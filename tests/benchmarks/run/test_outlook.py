"""What is left of a run: nothing said where nothing is known, and a number that does not jump about."""

from __future__ import annotations

import random

import pytest

from benchmarks.run.outlook import LEAST, Outlook, Planned, in_words


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def plan(number: int, measure: str = "speed", model: str = "m") -> list[Planned]:
    return [Planned(measure, f"{model}-{n}", model) for n in range(number)]


def stored(cases: list[Planned], seconds: float) -> dict[tuple[str, str], float]:
    return {(one.measure, one.case): seconds for one in cases}


def finish(outlook: Outlook, clock: Clock, one: Planned, seconds: float) -> None:
    clock.now += seconds
    outlook.finished(one.measure, one.case, seconds)


def test_a_first_run_counts_cases_and_says_no_time() -> None:
    clock, cases = Clock(), plan(10)
    outlook = Outlook(cases, {}, clock)
    assert str(outlook) == "0 of 10 cases"
    for one in cases[: LEAST - 1]:
        finish(outlook, clock, one, 60)
    assert str(outlook) == "2 of 10 cases"


def test_one_case_of_which_nothing_is_known_keeps_the_whole_unknown() -> None:
    clock, cases, other = Clock(), plan(6), plan(1, measure="accuracy")
    outlook = Outlook([*cases, *other], stored(cases, 60), clock)
    assert outlook.seconds() is None
    finish(outlook, clock, other[0], 5)
    assert outlook.seconds() == 360


def test_from_three_cases_of_a_measure_and_model_on_their_mean_stands_for_the_rest() -> None:
    clock, cases = Clock(), plan(7)
    outlook = Outlook(cases, {}, clock)
    for one, seconds in zip(cases, (30, 90, 120), strict=False):
        finish(outlook, clock, one, seconds)
    assert outlook.seconds() == 4 * 80
    assert str(outlook) == "3 of 7 cases, about 5 min left"
    elsewhere = Outlook([*cases, *plan(1, model="other")], {}, clock)
    for one in cases:
        finish(elsewhere, clock, one, 60)
    assert elsewhere.seconds() is None


def test_time_counts_down_and_never_below_what_cases_not_begun_will_take() -> None:
    clock, cases = Clock(), plan(3)
    outlook = Outlook(cases, stored(cases, 100), clock)
    assert outlook.seconds() == 300
    clock.now += 40
    assert outlook.seconds() == 260
    clock.now += 1000  # the first case hangs
    assert outlook.seconds() == 200


def test_an_estimate_is_replaced_only_where_it_is_clearly_off() -> None:
    clock, cases = Clock(), plan(20)
    outlook = Outlook(cases, stored(cases, 60), clock)
    finish(outlook, clock, cases[0], 50)  # ten seconds early, of twenty minutes
    assert outlook.seconds() == 20 * 60 - 50
    for one in cases[1:5]:
        finish(outlook, clock, one, 180)
    left = outlook.seconds()
    assert left is not None and 15 * 120 < left < 15 * 180  # the machine is three times as slow today


def test_a_run_with_a_warm_cache_is_not_told_the_time_of_a_cold_one() -> None:
    clock, cases = Clock(), plan(20)
    outlook = Outlook(cases, stored(cases, 100), clock)
    for one in cases[:10]:
        finish(outlook, clock, one, 10)
    left = outlook.seconds()
    assert left is not None and 100 <= left < 200


@pytest.mark.parametrize("seed", range(5))
def test_over_a_night_the_number_rarely_rises_and_is_about_right(seed: int) -> None:
    chance, clock = random.Random(seed), Clock()
    cases = plan(60)
    usual = {(one.measure, one.case): chance.uniform(5, 60) for one in cases}
    took = {key: seconds * chance.uniform(0.7, 1.4) for key, seconds in usual.items()}
    outlook, rises, before = Outlook(cases, usual, clock), 0, float("inf")
    for number, one in enumerate(cases):
        finish(outlook, clock, one, took[one.measure, one.case])
        left, really = outlook.seconds(), sum(took[other.measure, other.case] for other in cases[number + 1 :])
        if number < len(cases) - 1:
            assert left is not None
            assert abs(left - really) < max(150, 0.35 * really)
            rises += left > before
            before = left
    assert rises <= 6


def test_what_was_finished_before_a_run_was_resumed_counts_and_took_no_time() -> None:
    clock, cases = Clock(), plan(4)
    outlook = Outlook(cases, stored(cases, 60), clock)
    for one in cases[:2]:
        outlook.finished(one.measure, one.case, None)
    assert str(outlook) == "2 of 4 cases, about 2 min left"
    outlook.finished("speed", "m-0", 5)  # a suspect's second turn
    outlook.finished("speed", "unplanned", 5)
    assert outlook.done == 2


def test_at_the_end_there_is_no_time_left_to_tell() -> None:
    clock, cases = Clock(), plan(2)
    outlook = Outlook(cases, stored(cases, 60), clock)
    for one in cases:
        finish(outlook, clock, one, 60)
    assert str(outlook) == "2 of 2 cases"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a minute"),
        (59, "less than a minute"),
        (61, "about 1 min"),
        (530, "about 9 min"),
        (1420, "about 25 min"),
        (3400, "about 55 min"),
        (3550, "about 1 h"),
        (5000, "about 1.5 h"),
        (7200, "about 2 h"),
    ],
)
def test_durations_are_as_rough_as_they_are_known(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
