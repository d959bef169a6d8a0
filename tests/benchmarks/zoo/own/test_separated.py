"""CSV and TSV as people write them: every row is read as it stands, or the line is named."""

from __future__ import annotations

import csv
import io
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.zoo.own.separated import separated
from benchmarks.zoo.own.table import DataError, Table


def read(text: str, *, tabs: bool = False) -> Table:
    return separated(text, "data.tsv" if tabs else "data.csv", tabs=tabs)


def test_a_mark_that_opens_a_text_in_a_tsv_swallows_no_line() -> None:
    lines = ["text\tlabel", *(f"{chr(34) if i % 4 == 0 else ''}text {i}\t{i % 2}" for i in range(40))]
    table = read("\n".join(lines) + "\n", tabs=True)
    assert len(table.rows) == 40
    assert table.rows[0]["text"] == '"text 0' and table.rows[1]["text"] == "text 1"
    assert table.notes == ("quotation marks are taken as characters: some open a field and do not close it",)


def test_a_tsv_that_a_spreadsheet_wrote_is_quoted() -> None:
    table = read('text\tlabel\n"he said ""hi"""\t1\nplain\t0\n', tabs=True)
    assert [row["text"] for row in table.rows] == ['he said "hi"', "plain"]
    table = read('text\tlabel\n"two\nlines"\t1\nplain\t0\n', tabs=True)
    assert [row["text"] for row in table.rows] == ["two\nlines", "plain"]
    assert table.notes == ("1 fields hold line breaks within quotation marks",)


def test_a_quotation_that_nobody_closes_is_refused_with_its_line() -> None:
    with pytest.raises(DataError, match=r"data\.csv: line 3: a quotation mark opens a field that none closes"):
        read('text,label\na,1\n"b,0\nc,1\n')
    with pytest.raises(DataError, match=r"data.csv: line 2: .* expected after"):
        read('text,label\n"a" b,1\nc,0\n')


def test_a_separator_at_the_end_of_rows_moves_no_column() -> None:
    table = read("text,reply,solved,label\n" + "".join(f"t{i},r{i},s{i},l{i},\n" for i in range(5)))
    assert table.rows[3] == {"text": "t3", "reply": "r3", "solved": "s3", "label": "l3"}
    assert table.notes == ("5 rows end with a separator, which makes no column",)
    assert read("a,b,\n1,2,\n").columns == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2,3\n", "line 2 has 3 fields, the heading 2"),
        ("a,b\n1,2\n\n3\n", "line 4 has 1 field, the heading 2"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
    ],
)
def test_rows_of_another_width_are_refused_with_their_line(text: str, told: str) -> None:
    with pytest.raises(DataError, match=f"data.csv: {told}"):
        read(text)


def test_empty_lines_are_told_and_empty_fields_are_rows() -> None:
    table = read("text\nfirst\n\n\nsecond\n")
    assert [row["text"] for row in table.rows] == ["first", "second"]
    assert table.notes == ("2 empty lines are left out",)
    assert [row["text"] for row in read('text\nfirst\n""\nsecond\n').rows] == ["first", None, "second"]


def test_words_are_no_numbers_and_no_missing_values() -> None:
    assert read("a;b\n007;NA\n").rows == [{"a": "007", "b": "NA"}]


FIELD = st.text(string.ascii_letters + ' ,;"\t\n|é日', max_size=12).map(lambda text: text.replace("\r", ""))


@given(st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1, max_size=8), st.sampled_from([",", ";"]))
def test_what_a_writer_of_csv_wrote_is_read_as_it_was(rows: list[tuple[str, str, str]], separator: str) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=separator).writerows([("one", "two", "three"), *rows])
    table = read(out.getvalue())
    assert [tuple(row[name] or "" for name in table.columns) for row in table.rows] == rows


@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=8))
def test_a_dump_without_quoting_is_read_as_it_was(rows: list[tuple[str, str]]) -> None:
    clean = [tuple(field.replace("\t", " ").replace("\n", " ") for field in row) for row in rows]
    clean = [row for row in clean if not any(field.startswith('"') and field.endswith('"') for field in row)]
    table = read("".join(f"{a}\t{b}\n" for a, b in [("one", "two"), *clean]), tabs=True)
    assert [tuple(row[name] or "" for name in table.columns) for row in table.rows] == clean
