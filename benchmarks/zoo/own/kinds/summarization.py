"""Summarisation: a text and its summary, scored by ROUGE-L."""

from __future__ import annotations

from typing import ClassVar, Literal

from benchmarks.zoo.own.text_to_text import TextToText


class Summarization(TextToText):
    """Columns `source` and `target`."""

    name: ClassVar[str] = "summarization"
    metric: ClassVar[Literal["chrf", "rougeL"]] = "rougeL"


KIND = Summarization()
