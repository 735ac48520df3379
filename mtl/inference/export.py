"""Predictions -> rows -> files. A cell that a spreadsheet would run as a formula is neutralised in CSV."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from mtl.errors import ConfigError
from mtl.types import Analysis, LabelScores

OUTPUT_ENDINGS = (".jsonl", ".csv", ".parquet")
FORMULA_START = ("=", "+", "-", "@", "\t", "\r")


def prediction_rows(texts: Sequence[str], found: Sequence[Analysis]) -> list[dict[str, object]]:
    """One row a text: `TASK` and `TASK_score` for labels, a list of spans for entities, what was cut."""
    rows = []
    for text, analysis in zip(texts, found, strict=True):
        row: dict[str, object] = {"text": text}
        for name, value in analysis.predictions.items():
            if isinstance(value, LabelScores):
                row[name], row[f"{name}_score"] = value.label, round(value.scores[value.label], 4)
            elif isinstance(value, tuple):
                row[name] = [{**asdict(s), "score": round(s.score, 4), "word": text[s.start : s.end]} for s in value]
        rows.append({**row, "truncated_at": analysis.truncated_at})
    return rows


def check_output(path: Path) -> None:
    """Whether `write_rows` could write there: ask before a long computation.

    Raises:
        ConfigError: for an unknown ending, or a folder that is not there.
    """
    if path.suffix not in OUTPUT_ENDINGS:
        raise ConfigError(f"{path.name}: unknown ending {path.suffix!r}; use one of {', '.join(OUTPUT_ENDINGS)}")
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent}: no such folder; make it first")


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes .jsonl, .csv or .parquet.

    Raises:
        ConfigError: as `check_output` does.
    """
    check_output(path)
    if path.suffix == ".jsonl":
        path.write_text(
            "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows), encoding="utf-8"
        )
    elif path.suffix == ".csv":
        cells = [{key: _cell(value) for key, value in row.items()} for row in rows]
        pd.DataFrame(cells).to_csv(path, index=False, lineterminator="\r\n")  # so that a lone \r is quoted
    else:
        frame = pd.DataFrame(list(rows))
        if "truncated_at" in frame:
            frame["truncated_at"] = frame["truncated_at"].astype("Int64")
        frame.to_parquet(path, index=False)


def _cell(value: object) -> object:
    """A list as JSON; text that starts like a formula with an apostrophe before it."""
    if isinstance(value, (list, tuple)):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, str) and value.startswith(FORMULA_START):
        return f"'{value}"
    return value
