"""Answers as files: exact words beside exact offsets, whole numbers with gaps, no cell that runs as a formula."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mtl.data import tables
from mtl.inference.export import FORMULA_START, prediction_rows, write_rows
from mtl.types import Analysis, LabelScores, PairScore, Span

TEXT = "👍🏽 in Zürich"
SPAN = Span(6, 12, "LOC", 0.98765)


def analysis(truncated_at: int | None = None) -> Analysis:
    label = LabelScores("law", {"law": 0.123456, "food": 0.876544})
    return Analysis({"topic": label, "places": (SPAN,)}, np.zeros(2, np.float32), 4, truncated_at)


def test_a_row_says_label_score_spans_and_cut() -> None:
    (row,) = prediction_rows([TEXT], [analysis(7)])
    place = {"start": 6, "end": 12, "label": "LOC", "score": 0.9877, "word": "rich"}
    start = TEXT.index("Zürich")
    span = Span(start, start + 6, "LOC", 0.98765)
    (exact,) = prediction_rows([TEXT], [Analysis({"places": (span,)}, np.zeros(2, np.float32), 4, None)])
    assert exact["places"] == [{**place, "start": start, "end": start + 6, "word": "Zürich"}]
    assert (row["text"], row["topic"], row["topic_score"], row["truncated_at"]) == (TEXT, "law", 0.1235, 7)


def test_a_pair_score_is_no_cell_of_a_single_text() -> None:
    (row,) = prediction_rows(["a"], [Analysis({"pairs": PairScore(0.5)}, np.zeros(2, np.float32), 4, None)])
    assert row == {"text": "a", "truncated_at": None}


def test_texts_and_answers_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="shorter"):
        prediction_rows(["a", "b"], [analysis()])


@pytest.mark.parametrize("start", FORMULA_START)
def test_no_cell_of_a_csv_file_runs_as_a_formula(tmp_path: Path, start: str) -> None:
    path = tmp_path / "rows.csv"
    write_rows(path, [{"text": f"{start}SUM(A1:A9)", "note": f"a{start}b", "score": -1.5, "list": [1]}])
    with path.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["text"] == f"'{start}SUM(A1:A9)"
    assert row["note"] == f"a{start}b"  # only the first character counts
    assert (row["score"], row["list"]) == ("-1.5", "[1]")  # numbers stay numbers


def test_a_csv_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    texts = ["a\rb", "a\nb", "a\r\nb", 'say "a", b', "a\u2028b", TEXT]
    write_rows(path, prediction_rows(texts, [analysis()] * len(texts)))
    assert [row.values["text"] for row in tables.read(path).rows] == texts
    assert pd.read_csv(path, lineterminator=None)["text"].tolist() == texts


def test_jsonl_keeps_every_character_and_one_row_a_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    texts = ["two\nlines\u2028or three", '"quoted" \\', TEXT]
    write_rows(path, prediction_rows(texts, [analysis()] * 3))
    lines = path.read_text(encoding="utf-8").split("\n")
    assert [json.loads(line)["text"] for line in lines[:-1]] == texts
    assert lines[-1] == ""
    assert "Zürich" in lines[2]  # readable, not escaped


def test_parquet_keeps_types_and_gaps(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_rows(path, prediction_rows(["a" * 12] * 3, [analysis(9), analysis(), analysis(4)]))
    frame = pd.read_parquet(path)
    assert str(frame["truncated_at"].dtype) == "Int64"
    assert frame["truncated_at"].fillna(-1).tolist() == [9, -1, 4]
    assert frame["topic_score"].dtype == np.float64
    assert [dict(span)["label"] for span in frame["places"][0]] == ["LOC"]


def test_a_column_without_any_cut_is_still_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_rows(path, prediction_rows(["a", "b"], [analysis(), analysis()]))
    frame = pd.read_parquet(path)
    assert str(frame["truncated_at"].dtype) == "Int64"
    assert frame["truncated_at"].isna().all()
