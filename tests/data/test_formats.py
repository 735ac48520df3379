"""Entities and labels in every shape and every file format; what is cut mid-word; what a spreadsheet writes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from mtl.data import tables
from mtl.data.tokenization import TextTokenizer
from mtl.errors import DataError
from mtl.tasks import Classification, NamedEntities
from mtl.types import Example, Span

PLACES = NamedEntities(name="places", labels=("LOC",))
MOOD = Classification(name="mood", labels=("good", "bad"))
TOKENS, TAGS = ["in", "New", "York", "!"], ["O", "B-LOC", "I-LOC", "O"]
SPANS = [{"start": 3, "end": 11, "label": "LOC"}]
EXPECTED = [Example(("in New York !",), {"places": (Span(3, 11, "LOC"),)})]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


CONLL = "".join(f"{token}\t{tag}\n" for token, tag in zip(TOKENS, TAGS, strict=True)).encode()


@pytest.mark.parametrize("zipped", ["", ".gz"])
@pytest.mark.parametrize(
    ("ending", "content"),
    [
        ("conll", CONLL),
        ("iob2", CONLL),
        ("marked", b"in [New York](LOC) !\n"),
        ("jsonl", json.dumps({"tokens": TOKENS, "tags": TAGS}).encode()),
        ("jsonl", json.dumps({"text": "in New York !", "spans": SPANS}).encode()),
        ("csv", b'tokens,tags\nin New York !,O B-LOC I-LOC O\n'),
        ("csv", b'tokens,tags\n"[""in"", ""New"", ""York"", ""!""]","[""O"", ""B-LOC"", ""I-LOC"", ""O""]"\n'),
        ("csv", b'text,spans\nin New York !,"[{""start"": 3, ""end"": 11, ""label"": ""LOC""}]"\n'),
        ("tsv", b"text\tspans\nin New York !\t" + b'"' + json.dumps(SPANS).replace('"', '""').encode() + b'"\n'),
    ],
)  # fmt: skip
def test_entities_read_alike_from_every_text_format(tmp_path: Path, ending: str, content: bytes, zipped: str) -> None:
    path = write(tmp_path / f"rows.{ending}{zipped}", content)
    assert tables.examples(tables.read(path), [PLACES]) == EXPECTED


@pytest.mark.parametrize("zipped", ["", ".gz"])
@pytest.mark.parametrize(
    "columns", [{"tokens": [TOKENS], "tags": [TAGS]}, {"text": ["in New York !"], "spans": [SPANS]}]
)
def test_entities_read_alike_from_parquet(tmp_path: Path, columns: dict[str, list], zipped: str) -> None:
    pd.DataFrame(columns).to_parquet(tmp_path / "plain")
    path = write(tmp_path / f"rows.parquet{zipped}", (tmp_path / "plain").read_bytes())
    assert tables.examples(tables.read(path), [PLACES]) == EXPECTED


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"\xef\xbb\xbftext,label\nhello,good\n"),
        ("a.tsv", b"\xef\xbb\xbftext\tlabel\r\nhello\tgood\r\n"),
        ("a.jsonl", b'\xef\xbb\xbf{"text": "hello", "label": "good"}\r\n'),
        ("a.marked", b"\xef\xbb\xbfgood\thello\n"),
    ],
)
def test_a_byte_order_mark_belongs_to_no_column(tmp_path: Path, name: str, content: bytes) -> None:
    found = tables.examples(tables.read(write(tmp_path / name, content)), [MOOD])
    assert found == [Example(("hello",), {"mood": "good"})]


def test_of_many_ragged_rows_the_first_ten_are_named(tmp_path: Path) -> None:
    lines = ["text,label", *(f"a{i},good" if i % 2 else f"a{i}" for i in range(30))]
    with pytest.raises(DataError) as caught:
        tables.read(write(tmp_path / "a.csv", "\n".join(lines).encode()))
    first, *rest = str(caught.value).splitlines()
    assert first == "a.csv: the first 10 of 15 bad rows"
    assert rest[0] == "row 1 (line 2): has 1 cells; expected 2, one for each of text, label"
    assert rest[-1].startswith("row 19 (line 20): ")
    assert len(rest) == 10


def test_both_kinds_of_task_find_their_bad_rows_at_once(tmp_path: Path) -> None:
    rows = [
        {"text": "Rome", "label": "odd", "spans": []},
        {"text": "Rome", "label": "good", "spans": [{"start": 0, "end": 9, "label": "LOC"}]},
        {"text": "Rome", "label": "good", "spans": [{"start": 0, "end": 4, "label": "PER"}]},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)).encode())
    with pytest.raises(DataError) as caught:
        tables.examples(tables.read(path), [MOOD, PLACES])
    lines = str(caught.value).splitlines()
    assert lines[0] == "a.jsonl: 3 bad rows"
    assert [line.split(":")[0] for line in lines[1:]] == [
        "row 1, column 'label'", "row 2, column 'spans'", "row 3, column 'spans'"
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["catcatcatcat" * 8, "the " * 28 + "catcatcat"])
def test_a_text_cut_within_a_word_says_the_character(tokenizer: TextTokenizer, text: str) -> None:
    tokens = tokenizer([text])
    cut = tokens.truncated_at[0]
    assert 0 < cut < len(text)
    assert tokens.lengths.tolist() == [32]
    read = tokenizer([text[:cut]])
    assert read.truncated_at == (None,)
    assert read.ids.tolist() == tokens.ids.tolist()  # exactly what stands before the cut was read


def test_the_cut_counts_characters_and_not_bytes(tokenizer: TextTokenizer) -> None:
    text = "👍🏽 é " * 30
    cut = tokenizer([text]).truncated_at[0]
    assert tokenizer([text[:cut]]).ids.tolist() == tokenizer([text]).ids.tolist()
    assert tokenizer([text[:cut]]).truncated_at == (None,)
    assert text[cut] == " "
