"""Long texts out of short documents."""

from __future__ import annotations

from benchmarks.zoo.tasks.bbc_long_text import joined


def test_each_document_is_whole_in_one_text_and_what_is_too_short_is_left_out() -> None:
    documents = [f" {number}:" + "x" * (7 + number % 5) + "\n" for number in range(50)]
    texts = joined(documents, 40)
    assert all(len(text) >= 40 for text in texts)
    parts = [part for text in texts for part in text.split("\n\n")]
    assert parts == [document.strip() for document in documents[: len(parts)]]
    assert len(documents) - len(parts) < 5
    # None is longer than it must be: without its last document it were too short.
    assert all(sum(map(len, text.split("\n\n")[:-1])) < 40 for text in texts)
