"""Predictions -> rows -> files, a piece at a time. A cell that a spreadsheet would run as a formula is neutralised
in CSV. A file appears under its name when it is whole."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mtl.errors import ConfigError, DataError
from mtl.tasks import Task
from mtl.types import Analysis, LabelScores

if TYPE_CHECKING:
    import pyarrow as pa

OUTPUT_ENDINGS = (".jsonl", ".csv", ".parquet")
FORMULA_START = ("=", "+", "-", "@", "\t", "\r")

Rows = Sequence[Mapping[str, object]]


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


def prediction_columns(tasks: Sequence[Task]) -> tuple[str, ...]:
    """What `prediction_rows` calls its columns."""
    names = ["text"]
    for task in tasks:
        names += [task.name] if task.reads_words else [task.name, f"{task.name}_score"]
    return (*names, "truncated_at")


def check_output(path: Path) -> None:
    """Whether `writing` could write there: ask before a long computation.

    Raises:
        ConfigError: for an unknown ending, or a folder that is not there.
    """
    if path.suffix not in OUTPUT_ENDINGS:
        raise ConfigError(f"{path.name}: unknown ending {path.suffix!r}; use one of {', '.join(OUTPUT_ENDINGS)}")
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent}: no such folder; make it first")


@contextmanager
def writing(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Rows], None]]:
    """A function that writes rows, as often as it is called; without an error inside, the file is there afterwards.

    Raises:
        ConfigError: as `check_output` does.
        DataError: for rows that Parquet cannot hold in one column.
    """
    check_output(path)
    part = path.with_name(f".{path.name}.part")
    try:
        with _WRITERS[path.suffix](part, columns) as write:
            yield write
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_rows(path: Path, rows: Rows) -> None:
    """Writes .jsonl, .csv or .parquet in one go.

    Raises:
        ConfigError, DataError: as `writing` does.
    """
    with writing(path, tuple(dict.fromkeys(name for row in rows for name in row))) as write:
        write(rows)


@contextmanager
def _jsonl(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Rows], None]]:  # noqa: ARG001
    with path.open("w", encoding="utf-8") as file:

        def write(rows: Rows) -> None:
            file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)

        yield write


@contextmanager
def _csv(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Rows], None]]:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")  # so that a lone \r is quoted
        writer.writerow([_cell(name) for name in columns])

        def write(rows: Rows) -> None:
            writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)

        yield write


@contextmanager
def _parquet(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Rows], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: list[pq.ParquetWriter] = []

    def write(rows: Rows) -> None:
        try:
            if not writer:
                writer.append(pq.ParquetWriter(path, _schema(columns, rows)))
            schema = writer[0].schema
            arrays = [pa.array([row.get(field.name) for row in rows], type=field.type) for field in schema]
        except (pa.ArrowException, OverflowError) as error:
            raise DataError(
                f"a column holds values of several types, which Parquet cannot ({error}); write .jsonl instead"
            ) from error
        writer[0].write_table(pa.Table.from_arrays(arrays, schema=schema))

    try:
        yield write
    finally:
        if not writer:
            write([])
        writer[0].close()


_WRITERS = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}


def _schema(columns: Sequence[str], rows: Rows) -> pa.Schema:
    """The types of the columns, with a note for pandas that whole numbers stay so where some are missing."""
    import pandas as pd
    import pyarrow as pa

    schema = pa.schema([(name, _type(name, rows)) for name in columns])
    if "truncated_at" not in columns:
        return schema
    gaps = pd.DataFrame({"truncated_at": pd.array([], dtype="Int64")})
    return schema.with_metadata(pa.Schema.from_pandas(gaps, preserve_index=False).metadata)


def _type(name: str, rows: Rows) -> pa.DataType:
    """The type of a column by its first rows; of one that is empty there, text."""
    import pyarrow as pa

    if name == "truncated_at":
        return pa.int64()
    if name == "vector":
        return pa.list_(pa.float32())
    values = [row.get(name) for row in rows]
    known = pa.array([value for value in values if value is not None]).type
    is_spans = any(isinstance(value, list) for value in values) and (pa.types.is_null(known) or known == _empty_list())
    if is_spans:
        return _spans()
    return pa.string() if pa.types.is_null(known) else known


def _empty_list() -> pa.DataType:
    import pyarrow as pa

    return pa.list_(pa.null())


def _spans() -> pa.DataType:
    import pyarrow as pa

    fields = [("start", pa.int64()), ("end", pa.int64()), ("label", pa.string())]
    return pa.list_(pa.struct([*fields, ("score", pa.float64()), ("word", pa.string())]))


def _cell(value: object) -> object:
    """A list as JSON; text that starts like a formula with an apostrophe before it."""
    if isinstance(value, (list, tuple)):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, str) and value.startswith(FORMULA_START) and not _is_number(value):
        return f"'{value}"
    return value


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
