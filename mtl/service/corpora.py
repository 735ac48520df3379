"""Where texts come from: the samples, pasted lines, a table of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mtl.data import tables
from mtl.data.tokenization import without_surrogates
from mtl.errors import DataError
from mtl.service.limits import checked, lines_of
from mtl.settings import Settings
from mtl.tasks.base import text_of

MOST_STRATA = 50
"""A column with more values than this says nothing about how a sample should be drawn."""


GUESSED_FROM = 200
"""Rows that tell what the columns of a table hold."""

DRAWN_FROM = 10
"""A sample is drawn of tables with up to so many times the rows that are shown."""

OURS = ("x", "y", "z", "vector", "cluster", "neighbours kept", "truncated_at")
OUR_BEGINNINGS = ("predicted ", "confidence ")
"""Columns that a map adds to those of a table."""


@dataclass(frozen=True)
class Corpus:
    """Texts with columns to colour by (one value a text).

    left_out   rows without a text
    numbers    the row of each text in its table, from 1; () for a list, whose places they are
    text_name  what the table calls its column of texts
    drawn_from rows of a larger table of which these are a sample, `drawn_by` in proportion to the values of a column
    """

    texts: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    left_out: int = 0
    numbers: tuple[int, ...] = ()
    text_name: str = "text"
    drawn_from: int | None = None
    drawn_by: str | None = None

    def number(self, place: int) -> int:
        """The row of a text in its table, or its place in the list, from 1."""
        return self.numbers[place] if self.numbers else place + 1


@dataclass(frozen=True)
class TextTable:
    """A table whose column of texts is called `text` here and `text_name` by its owner."""

    table: tables.Table
    text_name: str


@dataclass(frozen=True)
class Guess:
    """The columns of a table, and those that most likely hold texts and labels."""

    columns: tuple[str, ...]
    text: str
    label: str | None


@dataclass(frozen=True)
class Pairs:
    """Pairs of sentences and how alike people found them."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    scores: tuple[float, ...]


class Corpora:
    """Reads corpora within the limits of the app."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def from_lines(self, lines: str) -> Corpus:
        """A corpus of pasted lines."""
        return Corpus(tuple(lines_of(lines, self.settings)), {})

    def from_file(self, path: str | Path, text_column: str | None = None) -> Corpus:
        """A corpus of a table: its column `text` (or the one that is named), the others to colour by.

        Of a table with more than `max_points` rows a sample that keeps the proportions of a column.
        """
        found = self.table(path, text_column)
        table, name = found.table, found.text_name
        n_rows, most = len(table.rows), self.settings.max_points
        if n_rows <= most:
            return self._corpus(table, name)
        column = _strata_column(table)
        strata = ["" if column is None else text_of(row.values.get(column)) for row in table.rows]
        kept = tuple(table.rows[place] for place in stratified(strata, most))
        drawn = self._corpus(tables.Table(table.path, table.columns, kept), name)
        return replace(drawn, drawn_from=n_rows, drawn_by=column)

    def table(self, path: str | Path, text_column: str | None = None, *, most: int | None = None) -> TextTable:
        """A whole table; the column that holds the text, named or guessed, is `text`.

        Raises:
            DataError: where it cannot be read, has no such column, or more than `most` rows.
        """
        most = most or DRAWN_FROM * self.settings.max_points
        table = tables.read(path, limit=most + 1, max_bytes=self.settings.max_bytes)
        if len(table.rows) > most:
            raise DataError(
                f"{table.path.name}: has more than {most:,} rows, which is all that is read here; "
                "`python -m mtl` takes a table of any length"
            )
        if text_column and text_column != "text" and "text" in table.columns:
            table = tables.renamed_columns(table, {theirs("text"): "text"})
        if not text_column and {"text", "tokens"} & set(table.columns):
            return TextTable(table, "text")
        name = text_column or _longest_column(table)
        return TextTable(tables.renamed_columns(table, {"text": name}), name)

    def guess(self, path: str | Path) -> Guess:
        """The columns of a table, and by its first rows which of them most likely hold texts and labels."""
        table = tables.read(path, limit=GUESSED_FROM, max_bytes=self.settings.max_bytes)
        text = next((name for name in ("text", "tokens") if name in table.columns), None) or _longest_column(table)
        others = tuple(name for name in table.columns if name not in (text, "text", "tokens", "tags", "spans"))
        label = "label" if "label" in others else _strata_column(replace(table, columns=others))
        return Guess(table.columns, text, label or next(iter(others), None))

    def columns(self, path: str | Path) -> tuple[str, ...]:
        """What the columns of a table are called, read off its first row."""
        return tables.read(path, limit=1, max_bytes=self.settings.max_bytes).columns

    def _corpus(self, table: tables.Table, text_name: str = "text", *, ours: bool = False) -> Corpus:
        """The texts and columns of a table; those that are `ours` need not be within a visitor's limits."""
        kept = tuple(row for row in table.rows if row.get("text") is not None or row.get("tokens") is not None)
        if not kept:
            raise DataError(f"{table.path.name}: no row has a text in the chosen column")
        left_out = len(table.rows) - len(kept)
        table = tables.Table(table.path, table.columns, kept)
        rows = tables.examples(table, [])
        others = [c for c in table.columns if c not in ("text", "tokens", "tags", "spans")]
        columns = {
            theirs(c) if c in OURS or c.startswith(OUR_BEGINNINGS) else c: tuple(
                "" if row.get(c) is None else without_surrogates(text_of(row.get(c))) for row in table.rows
            )
            for c in others
        }
        texts = [row.texts[0] for row in rows]
        if not ours:
            texts = checked(texts, self.settings, limit=self.settings.max_points)
        numbers = () if ours else tuple(row.number for row in table.rows)
        return Corpus(tuple(texts), columns, left_out, numbers, text_name)

    @cached_property
    def sample(self) -> Corpus:
        """The sentences that ship with the app."""
        return self._corpus(tables.read(self.settings.samples / "sentences.csv"), ours=True)

    @cached_property
    def sample_pairs(self) -> Pairs:
        """The pairs that ship with the app."""
        rows = tables.read(self.settings.samples / "pairs.csv").rows
        left, right = (tuple(text_of(row.get(name)) for row in rows) for name in ("sentence1", "sentence2"))
        return Pairs(left, right, tuple(float(text_of(row.get("score"))) for row in rows))


def theirs(name: str) -> str:
    """What a column of a person's table is called beside one of ours of the same name."""
    return f"{name} (yours)"


def stratified(strata: Sequence[str], n: int, *, seed: int = 0) -> list[int]:
    """n places out of as many as there are strata, in their order: of each stratum a share in proportion, to one."""
    numbers: dict[str, int] = {}
    group = np.array([numbers.setdefault(stratum, len(numbers)) for stratum in strata])
    exact = np.bincount(group) * (n / len(strata))
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1  # largest remainders
    random = np.random.default_rng(seed)
    drawn = [random.choice(np.flatnonzero(group == g), count, replace=False) for g, count in enumerate(counts)]
    return [int(place) for place in np.sort(np.concatenate(drawn))]


def _strata_column(table: tables.Table) -> str | None:
    """The first column with a few values that repeat: most likely a label."""
    for column in table.columns:
        values = {text_of(row.values.get(column)) for row in table.rows}
        most = min(MOST_STRATA, len(table.rows) - 1)
        if column not in ("text", "tokens", "tags", "spans") and 2 <= len(values) <= most:
            return column
    return None


def _longest_column(table: tables.Table) -> str:
    """The column with the longest cells: most likely the text."""
    sample = table.rows[:50]
    return max(table.columns, key=lambda c: sum(len(str(row.values.get(c) or "")) for row in sample))
