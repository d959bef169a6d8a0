"""A suite of many cases, by simulation: who stays a suspect among all, and what the control would miss alone."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
from simulated_runs import TAU, cut, noise

from benchmarks.verdicts import control_false_discoveries


def suites(drop=0.0, worse=0, suites=1500, cases=80, count=10):
    """Which of `suites` x `cases` are suspect, and their p-values; the first `worse` cases truly slower."""
    rng = np.random.default_rng(7)
    shifts = np.where(np.arange(cases) < worse, math.log1p(-drop), 0.0)
    history = TAU * rng.standard_normal((suites * cases, count))
    new = TAU * rng.standard_normal((suites * cases, 1)) + np.tile(shifts, suites)[:, None]
    suspect, p = cut(history, new)
    return suspect.reshape(suites, cases), p.reshape(suites, cases)


def kept(p):
    names = [control_false_discoveries(dict(zip(map(str, range(row.size)), row, strict=True))) for row in p]
    return np.array([[str(i) in row for i in range(p.shape[1])] for row in names])


def test_a_suite_of_eighty_unchanged_cases_is_silent_with_control_and_not_without():
    suspect, p = suites()
    assert suspect.any(axis=1).mean() > 0.3
    assert kept(p).any(axis=1).mean() <= 0.05


def test_controlling_the_suspects_alone_would_undo_the_control():
    suspect, p = suites(suites=300)
    chosen = [row[mask] for row, mask in zip(p, suspect, strict=True)]
    stays = [len(control_false_discoveries({str(i): x for i, x in enumerate(row)})) > 0 for row in chosen]
    assert np.mean(stays) > 0.3


def test_spikes_need_confirmation_as_well_as_control():
    """A spiked run has an honestly tiny p: control keeps it, and only fresh processes tell it from a change."""
    rng = np.random.default_rng(7)
    history, new = TAU * noise("spiked", rng, (80 * 200, 10)), TAU * noise("spiked", rng, (80 * 200, 4))
    suspect, p = cut(history, new)
    stays = kept(p[:, 0].reshape(200, 80))
    recurs = (suspect[:, 1:].sum(axis=1) >= 2).reshape(200, 80)
    assert stays.any(axis=1).mean() > 0.4
    assert (stays & recurs).any(axis=1).mean() <= 0.03


def test_true_drops_stay_and_false_ones_are_few_among_them():
    _, p = suites(drop=0.15, worse=8, suites=300)
    stays = kept(p)
    assert stays[:, :8].mean() > 0.8
    false = stays[:, 8:].sum(axis=1) / np.maximum(stays.sum(axis=1), 1)
    assert false.mean() <= 0.05


def test_control_follows_benjamini_and_yekutieli():
    p = {"a": 0.04, "b": 0.001, "c": 0.015, "d": 0.5}
    harmonic = 1 + 1 / 2 + 1 / 3 + 1 / 4
    assert 0.015 * 4 / 2 * harmonic > 0.05 >= 0.001 * 4 * harmonic
    assert control_false_discoveries(p) == ("b",)
    assert control_false_discoveries(p, 0.07) == ("b", "c")  # in the order given
    assert control_false_discoveries({}) == ()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: control_false_discoveries({"a": 1.5}), "p-values must"),
        (lambda: control_false_discoveries({"a": math.nan}), "p-values must"),
        (lambda: control_false_discoveries({"a": 0.5}, 0.0), "level must be"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
