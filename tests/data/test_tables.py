"""Every format gives the same rows; what is wrong with a file comes back in one error that names it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from mtl.data import tables
from mtl.errors import ConfigError, DataError
from mtl.tasks import Classification, NamedEntities, Similarity
from mtl.types import Example, Span

MOOD = Classification(name="mood", labels=("good", "bad"))
PLACES = NamedEntities(name="places", labels=("LOC",))
PAIRS = Similarity(name="pairs")
TEXTS = ["fine, really", 'she said "no"\ntwice', "żółć 👍🏽"]
LABELS = ["good", "bad", "good"]


def write_csv(path: Path) -> None:
    pd.DataFrame({"text": TEXTS, "label": LABELS}).to_csv(path, index=False)


def write_tsv(path: Path) -> None:
    pd.DataFrame({"text": TEXTS, "label": LABELS}).to_csv(path, index=False, sep="\t")


def write_jsonl(path: Path) -> None:
    rows = [json.dumps({"text": t, "label": n}) for t, n in zip(TEXTS, LABELS, strict=True)]
    path.write_text("\n".join(rows), encoding="utf-8")


def write_parquet(path: Path) -> None:
    pd.DataFrame({"text": TEXTS, "label": LABELS}).to_parquet(path)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("write", [write_csv, write_tsv, write_jsonl, write_parquet])
def test_every_format_gives_the_same_rows(tmp_path: Path, write: Callable[[Path], None], zipped: bool) -> None:
    path = tmp_path / f"rows.{write.__name__.removeprefix('write_')}"
    write(path)
    if zipped:
        path = Path(f"{path}.gz")
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
    found = tables.examples(tables.read(path), [MOOD])
    assert found == [Example((t,), {"mood": n}) for t, n in zip(TEXTS, LABELS, strict=True)]


@pytest.mark.parametrize("ending", ["conll", "iob2", "conll.gz"])
@pytest.mark.parametrize("tags", ["O B-LOC I-LOC", "O I-LOC I-LOC", "O B-LOC E-LOC"])
def test_word_columns_give_sentences(tmp_path: Path, ending: str, tags: str) -> None:
    lines = [f"{w} NN {t}" for w, t in zip(["in", "New", "York"], tags.split(), strict=True)]
    text = "\n".join(["-DOCSTART- -X- O", "", "# a comment", *lines, "", "", "so\tO", ""])
    path = tmp_path / f"words.{ending}"
    path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    found = tables.examples(tables.read(path), [PLACES])
    assert found == [
        Example(("in New York",), {"places": (Span(3, 11, "LOC"),)}),
        Example(("so",), {"places": ()}),
    ]


def test_marked_text_gives_labels_and_spans(tmp_path: Path) -> None:
    path = tmp_path / "rows.marked"
    path.write_text("good\tthe [New York](LOC) office, [Rome](LOC)\n\nno label [here](LOC)\n", encoding="utf-8")
    found = tables.examples(tables.read(path), [MOOD, PLACES])
    assert found[0] == Example(
        ("the New York office, Rome",), {"mood": "good", "places": (Span(4, 12, "LOC"), Span(21, 25, "LOC"))}
    )
    assert found[1].targets == {"places": (Span(9, 13, "LOC"),)}


def test_the_help_desk_sample_reads_with_a_class_and_spans_on_each_row() -> None:
    from mtl.settings import Settings

    table = tables.read(Settings().samples / "helpdesk.marked")
    tasks = [
        Classification(name="request", labels=Classification.labels_in(table.rows)),
        NamedEntities(name="things", labels=NamedEntities.labels_in(table.rows)),
    ]
    found = tables.examples(table, tasks)
    assert len(found) >= 200
    assert (len(tasks[0].labels), len(tasks[1].labels)) == (6, 4)
    assert all(set(row.targets) == {"request", "things"} for row in found)
    assert not any(mark in row.texts[0] for row in found for mark in "[]")


def test_columns_can_have_other_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("utterance,intent\nhello,good\n", encoding="utf-8")
    table = tables.read(path, columns={"text": "utterance", "label": "intent"})
    assert tables.examples(table, [MOOD]) == [Example(("hello",), {"mood": "good"})]
    with pytest.raises(DataError, match="has no column 'intention'; it has utterance, intent"):
        tables.read(path, columns={"label": "intention"})


def test_one_column_cannot_be_two_things(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("utterance,intent\nhello,good\n", encoding="utf-8")
    with pytest.raises(DataError, match="one column cannot be text and label"):
        tables.read(path, columns={"text": "utterance", "label": "utterance"})


def test_labels_can_be_renamed_in_every_shape(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"text": "Rome", "label": "fine", "spans": [{"start": 0, "end": 4, "label": "city"}]},
        {"tokens": ["Rome"], "tags": ["B-city"], "label": "fine"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = tables.examples(tables.read(path), [MOOD, PLACES], rename={"fine": "good", "city": "LOC"})
    assert [row.targets for row in found] == [{"mood": "good", "places": (Span(0, 4, "LOC"),)}] * 2


def test_a_missing_target_is_absent_and_an_empty_list_is_not(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": "a", "label": "good"}, {"text": "b", "label": "", "spans": []}, {"text": "c", "spans": None}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = tables.examples(tables.read(path), [MOOD, PLACES])
    assert [dict(row.targets) for row in found] == [{"mood": "good"}, {"places": ()}, {}]


def test_the_first_ten_bad_rows_come_together(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"text {i},{'odd' if i % 2 else 'good'}\n" for i in range(1, 31)))
    with pytest.raises(DataError) as caught:
        tables.examples(tables.read(path), [MOOD])
    lines = str(caught.value).splitlines()
    assert lines[0] == "rows.csv: the first 10 of 15 bad rows"
    assert lines[1] == "row 1, column 'label': 'odd'; expected one of good, bad"
    assert [line.split(",")[0] for line in lines[1:]] == [f"row {i}" for i in range(1, 21, 2)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "text,label\nok,good\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("a.csv", "text,label\nok,good\ncaf\xe9,bad\n".encode("latin-1"), "line 3 is not UTF-8 (byte 0xe9)"),
        ("a.csv", b"text,label\nok,good\nragged\na,b,c\n", "row 2 (line 3): has 1 cells; expected 2"),
        ("a.csv", b'text,label\n"open,good\n', "check its quotes"),
        ("a.csv", b"text,text\na,b\n", "a column name stands twice"),
        ("a.csv", b"text,label\n", "has no rows"),
        ("a.csv", b"", "has no rows"),
        ("a.csv", b"remark\nx\n", "task 'mood' needs a column 'label'; the file has remark"),
        ("a.csv", b"text,label\n ,good\n", "row 1, column 'text': ' '; expected a text"),
        ("a.jsonl", b'{"text": "a"\n', "row 1: not JSON"),
        ("a.jsonl", b"[1]\n", "row 1: '[1]'; expected an object"),
        ("a.parquet", b"PAR1 nonsense", "is no Parquet file"),
        ("a.conll", b"word\n", "expected a word and a tag"),
        ("a.csv.gz", gzip.compress(b"text,label\na,good\n" * 50)[:-20], "cannot be unpacked"),
        ("a.csv.gz", b"text,label\n", "cannot be unpacked"),
        ("a.jsonl", b'{"text": ["a", "b"], "label": "good"}\n', "row 1, column 'text': ['a', 'b']; expected a text"),
        ("a.jsonl", b'{"text": "a", "label": ' + b"[" * 100_000, "row 1: not JSON"),
        ("a.jsonl", b'{"text": "a", "label": ' + b"9" * 5_000 + b"}", "row 1: not JSON"),
        ("a.jsonl", b"{}\n{}\n", "has no rows"),
        ("a.xlsx", b"", "unknown ending '.xlsx'; use one of .csv"),
    ],
)
def test_a_bad_file_says_where_and_how_to_mend_it(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        tables.examples(tables.read(path), [MOOD])
    assert words in str(caught.value)
    assert str(caught.value).startswith(name.split("/")[0])


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xef\xbb\xbftext,label\r\nhello,good\r\n\r\n")
    assert tables.examples(tables.read(path), [MOOD]) == [Example(("hello",), {"mood": "good"})]


def test_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        tables.read(tmp_path / "nothing.csv")


def test_pairs_have_two_texts_and_cannot_share_a_table_with_single_ones(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("sentence1,sentence2,score,label\na,b,2.5,good\n", encoding="utf-8")
    table = tables.read(path)
    assert tables.examples(table, [PAIRS]) == [Example(("a", "b"), {"pairs": 0.5})]
    with pytest.raises(ConfigError, match="cannot share a table"):
        tables.examples(table, [PAIRS, MOOD])


def test_a_limit_reads_no_further(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na,good\nb,bad\nragged\n", encoding="utf-8")
    assert len(tables.read(path, limit=2).rows) == 2


def test_half_an_emoji_becomes_one_replacement_character(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "a \\ud83d b", "label": "good"}\n')
    (row,) = tables.examples(tables.read(path), [MOOD])
    assert row.texts == ("a \ufffd b",)


def test_other_line_separators_are_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.marked"
    path.write_text("good\tone\u2028two\r\nbad\tthree\x85four\n", encoding="utf-8", newline="")
    found = tables.examples(tables.read(path), [MOOD])
    assert [row.texts[0] for row in found] == ["one\u2028two", "three\x85four"]


def test_a_cell_that_cannot_be_read_is_not_renamed_to_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "Rome", "spans": "[{'start': 0}]"}), encoding="utf-8")
    with pytest.raises(DataError, match="column 'spans'"):
        tables.examples(tables.read(path), [PLACES], rename={"city": "LOC"})


def test_what_is_too_large_when_unpacked_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"text\n" + b"a\n" * 2_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match="larger than 1 MB when unpacked"):
        tables.read(path, max_bytes=1_000_000)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_the_separator_of_a_spreadsheet_is_found(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"Text{mark}label\n'a'{mark}good\n", encoding="utf-8")
    assert tables.read(path).columns == ("Text", "label")


def test_plain_text_is_one_text_a_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("one, two\n\nthree\n", encoding="utf-8")
    assert [row.texts[0] for row in tables.examples(tables.read(path), [])] == ["one, two", "three"]
