"""Files -> rows -> examples. Reads CSV, TSV, JSONL, Parquet, CoNLL columns and marked text, each also .gz.

Knows tasks only by their contract: which columns hold a target and how a row is parsed. Bad rows are
collected: the first ten come back in one `DataError`, each with row, column, value and what was expected.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

from mtl.data.readers import READERS, Problems
from mtl.data.tokenization import without_surrogates
from mtl.errors import ConfigError, DataError
from mtl.tasks.base import Row, Task, text_of
from mtl.tasks.ner import as_list
from mtl.types import Example, Target

NESTED = 10


@dataclass(frozen=True)
class Table:
    """The rows of a file and the columns that it has."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def read(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    max_bytes: int | None = None,
) -> Table:
    """Reads a table by its ending. `columns` says what the file calls our columns: {"label": "intent"}.

    `limit` rows are read; a file that is more than `max_bytes` when unpacked is refused.

    Raises:
        DataError: for a missing file, an unknown ending, bytes that are not UTF-8, ragged or broken rows,
            a column that is not there, or a file without rows.
    """
    path = Path(path)
    problems = Problems(path.name, trusted=max_bytes is None)
    rows = list(islice(_rows(path, problems, max_bytes), limit))
    problems.raise_any()
    if not rows or not any(row.values for row in rows):
        raise DataError(f"{path.name}: has no rows")
    table = Table(path, tuple(dict.fromkeys(name for row in rows for name in row.values)), tuple(rows))
    return renamed_columns(table, columns or {})


def stream(path: str | Path) -> Iterator[Row]:
    """The rows of a table, one after the other, in flat memory.

    Raises:
        DataError: as `read` does, when the first row is asked for; for bad rows after the last one.
    """
    path = Path(path)
    problems = Problems(path.name)
    yield from _rows(path, problems, None)
    problems.raise_any()


def _rows(path: Path, problems: Problems, max_bytes: int | None) -> Iterator[Row]:
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if suffix not in READERS:
        raise DataError(f"{path.name}: unknown ending {suffix!r}; use one of {', '.join(READERS)}, each also .gz")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:
            file = cast(BinaryIO, opened)
            if max_bytes is not None:
                file = io.BytesIO(file.read(max_bytes + 1))
                if len(file.getvalue()) > max_bytes:
                    raise DataError(f"{path.name}: is larger than {max_bytes // 1_000_000} MB when unpacked; split it")
            yield from _bounded(READERS[suffix](file, problems), path.name, max_bytes)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path.name}: cannot be unpacked ({error}); the file may be cut short, copy it again"
        ) from error


def weight(cell: object) -> int:
    """About how many bytes a cell takes: what is nested takes many times those that it is written in."""
    if isinstance(cell, str):
        return len(cell)
    return NESTED * len(repr(cell)) if isinstance(cell, (list, dict)) else 8


def _bounded(rows: Iterator[Row], name: str, most: int | None) -> Iterator[Row]:
    """Rows as they come; a file may hold one large cell and refer to it a thousand times."""
    total = 0
    for row in rows:
        if most is not None:
            total += sum(map(weight, row.values.values()))
            if total > most:
                raise DataError(f"{name}: is larger than {most // 1_000_000} MB when unpacked; split it")
        yield row


def renamed_columns(table: Table, columns: Mapping[str, str]) -> Table:
    """The same table with its columns under our names: {ours: theirs}.

    Raises:
        DataError: where the table has no such column.
    """
    absent = [theirs for theirs in columns.values() if theirs not in table.columns]
    if absent:
        raise DataError(f"{table.path.name}: has no column {absent[0]!r}; it has {', '.join(table.columns)}")
    ours = {theirs: mine for mine, theirs in columns.items()}
    if len(ours) < len(columns):
        raise DataError(
            f"{table.path.name}: one column cannot be {' and '.join(columns)}; choose another for one of them"
        )
    rows = tuple(
        Row(row.number, {ours.get(k, k): v for k, v in row.values.items() if k in ours or k not in columns})
        for row in table.rows
    )
    return Table(table.path, tuple(ours.get(name, name) for name in table.columns), rows)


def examples(
    table: Table, tasks: Sequence[Task], *, rename: Mapping[str, str] | None = None, labelled: bool = True
) -> list[Example]:
    """Rows -> examples with the targets that each row has for `tasks` (all of one text or all of two).

    `rename` maps labels of the data to labels of the task. With `labelled`, a table without any column
    for one of the tasks is an error; a row without a target never is.

    Raises:
        DataError: the first ten bad rows, or missing columns.
    """
    if len({task.n_texts for task in tasks}) > 1:
        raise ConfigError(f"{table.path.name}: tasks of one text and tasks of two cannot share a table")
    for task in tasks if labelled else ():
        if not set(task.columns) & set(table.columns):
            needed = " or ".join(repr(column) for column in task.columns)
            raise DataError(
                f"{table.path.name}: task {task.name!r} needs a column {needed}; "
                f"the file has {', '.join(table.columns)}"
            )
    problems = Problems(table.path.name)
    found: list[Example] = []
    for row in table.rows:
        known = _renamed_labels(row, rename or {})
        targets: dict[str, Target] = {}
        try:
            texts = texts_of(known, tasks[0].n_texts if tasks else 1)
            for task in tasks:
                if task.has_target(known):
                    targets[task.name] = task.parse(known)
        except DataError as error:
            problems.add(str(error))
            continue
        found.append(Example(texts, targets))
    problems.raise_any()
    return found


def texts_of(row: Row, n_texts: int) -> tuple[str, ...]:
    """The text of a row (`text`, or `tokens` joined by spaces), or its `sentence1` and `sentence2`.

    Raises:
        DataError: where there is none.
    """
    if n_texts == 1 and row.get("text") is None:
        tokens = as_list(row.get("tokens"))
        if not tokens:
            raise row.problem("text", "a text (or a list of words in 'tokens')")
        return (without_surrogates(" ".join(str(token) for token in tokens)),)
    names = ("text",) if n_texts == 1 else ("sentence1", "sentence2")
    for name in names:
        if row.get(name) is None or not isinstance(row.get(name), (str, int, float)):
            raise row.problem(name, "a text")
    return tuple(without_surrogates(str(row.values[name])) for name in names)


def _renamed_labels(row: Row, rename: Mapping[str, str]) -> Row:
    """The row with its labels renamed; a cell that cannot be read stays as it is, for `parse` to refuse."""
    if not rename:
        return row
    values = dict(row.values)
    if row.get("label") is not None:
        label = text_of(values["label"])
        values["label"] = rename.get(label, label)
    tags = as_list(row.get("tags"))
    if tags is not None:
        values["tags"] = [f"{t[:2]}{rename.get(t[2:], t[2:])}" if "-" in t else t for t in map(str, tags)]
    spans = as_list(row.get("spans"))
    if spans is not None and all(isinstance(span, dict) and isinstance(span.get("label"), str) for span in spans):
        values["spans"] = [{**span, "label": rename.get(span["label"], span["label"])} for span in spans]  # type: ignore[dict-item, index]
    return Row(row.number, values)
