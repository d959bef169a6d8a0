"""What every judgement has in common."""

from benchmarks.verdicts import Verdict


def test_verdicts_are_the_six_words():
    words = ["pass", "fail", "inconclusive", "unqualified", "unsupported", "error"]
    assert [str(verdict) for verdict in Verdict] == words
