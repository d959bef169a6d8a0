"""Which of many suspects stay suspect, given how many cases were looked at."""

from collections.abc import Mapping

from scipy import stats

from benchmarks.verdicts.judgement import check_fraction, finite_list


def control_false_discoveries(p_values: Mapping[str, float], level: float = 0.05) -> tuple[str, ...]:
    """The names that stay suspect, in the order given: those whose adjusted p is at most `level`.

    Give it the p of every case that was judged, not of the suspects alone: selecting first undoes it.
    Benjamini & Yekutieli 2001, by scipy.stats.false_discovery_control(method="by"): among what stays,
    at most `level` is false in expectation, however the cases depend on one another (they share a
    machine). Needs p-values that are valid one by one. No p-values, no names. ValueError on a p outside
    [0, 1], level outside (0, 1).
    """
    check_fraction("level", level)
    if not p_values:
        return ()
    values = finite_list("p-values", list(p_values.values()))
    if values.min() < 0 or values.max() > 1:
        raise ValueError("p-values must lie between 0 and 1")
    adjusted = stats.false_discovery_control(values, method="by")
    return tuple(name for name, p in zip(p_values, adjusted, strict=True) if p <= level)
