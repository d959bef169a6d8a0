"""Translation: a text and its translation, scored by chrF."""

from __future__ import annotations

from typing import ClassVar, Literal

from benchmarks.zoo.own.text_to_text import TextToText


class Translation(TextToText):
    """Columns `source` and `target`; of a column that holds both by language, as WMT's sets do, `translation.en`."""

    name: ClassVar[str] = "translation"
    metric: ClassVar[Literal["chrf", "rougeL"]] = "chrf"


KIND = Translation()
