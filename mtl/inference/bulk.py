"""A file of texts -> a file of vectors or answers, of any length in flat memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from mtl.data import tables
from mtl.data.readers import Problems
from mtl.errors import DataError
from mtl.inference.export import prediction_columns, prediction_rows, writing
from mtl.inference.passes import WINDOW
from mtl.inference.predictor import Predictor
from mtl.inference.workers import give_back_memory
from mtl.tasks.base import Row

Verb = Literal["embed", "predict"]


@dataclass(frozen=True)
class Survey:
    """What a table holds: how many rows, and its columns in the order in which they come up."""

    rows: int
    columns: tuple[str, ...]


def survey(path: Path) -> Survey:
    """Reads a table once, before a long computation, and checks that every row has a text.

    Raises:
        DataError: the first ten bad rows, or a file that cannot be read or has none.
    """
    columns: dict[str, None] = {}
    problems = Problems(path.name)
    count = 0
    for row in tables.stream(path):
        count += 1
        columns.update(dict.fromkeys(row.values))
        try:
            tables.texts_of(row, 1)
        except DataError as error:
            problems.add(str(error))
    problems.raise_any()
    if not count:
        raise DataError(f"{path.name}: has no rows")
    return Survey(count, tuple(columns))


def run(
    verb: Verb, predictor: Predictor, path: Path, output: Path, found: Survey, *, advance: Callable[[int], object]
) -> None:
    """`embed` writes text and vector of each row, `predict` adds the answers of every single-text task to it.

    `advance` is told how many rows were done.

    Raises:
        ConfigError, DataError: where `output` cannot be written, or `path` not be read.
    """
    with writing(output, columns_of(verb, predictor, found)) as write:
        for rows in in_pieces(tables.stream(path)):
            write(answers(verb, predictor, rows))
            give_back_memory()
            advance(len(rows))


def columns_of(verb: Verb, predictor: Predictor, found: Survey) -> tuple[str, ...]:
    """The columns of what `answers` gives."""
    if verb == "embed":
        return ("text", "vector")
    return tuple(dict.fromkeys([*found.columns, *prediction_columns(predictor.chosen(None, 1))]))


def answers(verb: Verb, predictor: Predictor, rows: Sequence[Row]) -> Sequence[Mapping[str, object]]:
    """What is written of some rows."""
    texts = [tables.texts_of(row, 1)[0] for row in rows]
    if verb == "embed":
        return [{"text": t, "vector": v.tolist()} for t, v in zip(texts, predictor.encode(texts), strict=True)]
    said = prediction_rows(texts, predictor.analyze(texts))
    return [{**row.values, **answer} for row, answer in zip(rows, said, strict=True)]


def in_pieces(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Rows in lists that are read and sorted by length together."""
    while piece := list(islice(rows, WINDOW)):
        yield piece
