"""The statistics behind the verdicts, one question a file: is it as fast as claimed (`speed`), did it
lose more than the margin (`accuracy`, `perplexity`, `score`), or in one class (`classes`), is there
anything to lose at all (`worth`), has it become worse than its own history
(`regression`, `false_discoveries`), or was that the machine (`environment`).

Pure functions over numbers: no I/O, no clocks, nothing from the rest of the project. Each docstring
gives its formula, assumptions, units and source; error rates are checked by simulation in
tests/benchmarks/verdicts.
Not here: whether the machine was fit to measure (`unqualified`).
"""

from benchmarks.verdicts.accuracy import (
    AccuracyJudgement,
    accuracy_drop,
    minimum_detectable_effect,
    proportion_interval,
    resolves,
)
from benchmarks.verdicts.classes import ClassJudgement, calibration_error, calibration_rise, worst_class_drop
from benchmarks.verdicts.environment import EnvironmentJudgement, environment_changed
from benchmarks.verdicts.false_discoveries import control_false_discoveries
from benchmarks.verdicts.judgement import Judgement, Verdict
from benchmarks.verdicts.perplexity import PerplexityJudgement, perplexity_rise, resolves_perplexity
from benchmarks.verdicts.regression import (
    WORTH,
    Change,
    ChangeJudgement,
    Confirmation,
    Recurrence,
    confirmed,
    detectable,
    judge_against_anchor,
    judge_change,
    runs_to_detect,
    shrunken,
)
from benchmarks.verdicts.score import ScoreJudgement, resolves_score, score_drop, score_interval
from benchmarks.verdicts.sign_test import log_e_value
from benchmarks.verdicts.speed import (
    FEWEST,
    SpeedJudgement,
    SpeedTest,
    anytime_interval,
    estimate,
    log_speedup,
    pairs_to_decide,
)
from benchmarks.verdicts.worth import above_chance, one_answer, surely_better

__all__ = [
    "FEWEST",
    "WORTH",
    "AccuracyJudgement",
    "Change",
    "ChangeJudgement",
    "ClassJudgement",
    "Confirmation",
    "EnvironmentJudgement",
    "Judgement",
    "PerplexityJudgement",
    "Recurrence",
    "ScoreJudgement",
    "SpeedJudgement",
    "SpeedTest",
    "Verdict",
    "above_chance",
    "accuracy_drop",
    "anytime_interval",
    "calibration_error",
    "calibration_rise",
    "confirmed",
    "control_false_discoveries",
    "detectable",
    "environment_changed",
    "estimate",
    "judge_against_anchor",
    "judge_change",
    "log_e_value",
    "log_speedup",
    "minimum_detectable_effect",
    "one_answer",
    "pairs_to_decide",
    "perplexity_rise",
    "proportion_interval",
    "resolves",
    "resolves_perplexity",
    "resolves_score",
    "runs_to_detect",
    "score_drop",
    "score_interval",
    "shrunken",
    "surely_better",
    "worst_class_drop",
]
