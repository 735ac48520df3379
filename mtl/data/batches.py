"""Examples -> batches of tokens, close in length and bounded in tokens. Knows no model."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mtl.data.tokenization import TextTokenizer
from mtl.tasks.base import Task
from mtl.types import Example, Tokens


@dataclass(frozen=True)
class Source:
    """One data set with the weight that sampling gives it.

    among             the only labels that its gold uses, where they are fewer than the task's: scoring it
                      restricts the choice to them; empty for no such limit
    replace_mentions  the probability with which a mention is replaced by another each time it is trained on
    """

    name: str
    examples: Sequence[Example]
    weight: float = 1.0
    among: tuple[str, ...] = ()
    replace_mentions: float = 0.0


@dataclass(frozen=True)
class Batch:
    """Some examples of one source; `targets` has the tasks that any of them speaks for.

    texts are in the order of `inputs`: of pairs, all left texts and then all right ones.
    """

    source: str
    examples: tuple[Example, ...]
    texts: tuple[str, ...]
    inputs: Tokens
    targets: Mapping[str, Tensor]


@dataclass(frozen=True)
class Draw:
    """The rows of one source that make a batch, by their places in it; `number` counts its batches from 0."""

    source: str
    number: int
    rows: tuple[int, ...]


def cut(lengths: Sequence[int], order: Sequence[int], *, max_tokens: int, max_rows: int) -> list[list[int]]:
    """Cuts `order` (indices into `lengths`) into runs that hold `max_tokens` when padded to their longest."""
    runs: list[list[int]] = []
    longest = 0
    for index in order:
        longest = max(longest, lengths[index])
        if runs and len(runs[-1]) < max_rows and longest * (len(runs[-1]) + 1) <= max_tokens:
            runs[-1].append(index)
        else:
            runs.append([index])
            longest = lengths[index]
    return runs


def by_length(lengths: Sequence[int], *, max_tokens: int, max_rows: int = 512) -> list[list[int]]:
    """All rows, longest first, so that memory peaks in the first batch."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return cut(lengths, order, max_tokens=max_tokens, max_rows=max_rows)


def shuffled(
    lengths: Sequence[int], rng: np.random.Generator, *, max_tokens: int, max_rows: int, pool: int = 2048
) -> list[list[int]]:
    """All rows once, in random order, but alike in length within a batch: sorted in pools of `pool` rows."""
    order = rng.permutation(len(lengths))
    runs: list[list[int]] = []
    for start in range(0, len(order), pool):
        part = sorted((int(i) for i in order[start : start + pool]), key=lambda index: lengths[index])
        runs += cut(lengths, part, max_tokens=max_tokens, max_rows=max_rows)
    return [runs[i] for i in rng.permutation(len(runs))]


def row_lengths(rows: Sequence[Example], tokenizer: TextTokenizer) -> list[int]:
    """Tokens of each row, of both its texts where it has two."""
    counts = tokenizer.lengths([text for row in rows for text in row.texts])
    places = iter(counts)
    return [sum(next(places) for _ in row.texts) for row in rows]


def collate(source: str, rows: Sequence[Example], tasks: Sequence[Task], tokenizer: TextTokenizer) -> Batch:
    """Rows -> one batch; a target that a row lacks is encoded as missing."""
    texts = tuple(row.texts[side] for side in range(len(rows[0].texts)) for row in rows)
    tokens = tokenizer(texts)
    targets = {
        task.name: task.encode_targets([row.targets.get(task.name) for row in rows], tokens)
        for task in tasks
        if any(task.name in row.targets for row in rows)
    }
    return Batch(source, tuple(rows), texts, tokens, targets)


def divided(batch: Batch, n: int, tasks: Sequence[Task], tokenizer: TextTokenizer) -> list[Batch | None]:
    """A batch in `n` parts, as alike in length as can be; None for a part that is left without rows."""
    parts = [batch.examples[place::n] for place in range(n)]
    return [collate(batch.source, rows, tasks, tokenizer) if rows else None for rows in parts]


class Feed:
    """Draws batches of one source, pass after pass, each pass in an order of its own.

    What is drawn as number n depends on the seed and on n alone, so a run can go on at any n.
    """

    def __init__(self, source: Source, tokenizer: TextTokenizer, *, seed: int, max_tokens: int, max_rows: int) -> None:
        self.source = source
        self.lengths = row_lengths(source.examples, tokenizer)
        self.max_tokens, self.max_rows = max_tokens, max_rows
        self.key = (seed, zlib.crc32(source.name.encode()))
        self.number = 0
        self._pass, self._first, self._runs = -1, 0, list[list[int]]()

    def draw(self) -> Draw:
        """The next one."""
        while self.number >= self._first + len(self._runs):
            self._first += len(self._runs)
            self._pass += 1
            self._runs = self._runs_of(self._pass)
        rows = self._runs[self.number - self._first]
        self.number += 1
        return Draw(self.source.name, self.number - 1, tuple(rows))

    def _runs_of(self, number: int) -> list[list[int]]:
        rng = np.random.default_rng([*self.key, 0, number])
        return shuffled(self.lengths, rng, max_tokens=self.max_tokens, max_rows=self.max_rows)

    def first(self, passes: float, *, enough: int) -> int:
        """Batches in so many passes from the beginning, or `enough`: of a part of a pass, those that stay within it."""
        total, number = 0, 0
        while number < passes and total < enough:
            total += int(min(1.0, passes - number) * len(self._runs_of(number)) + 1e-9)
            number += 1
        return total

    def rng(self, draw: Draw) -> np.random.Generator:
        """What varies the rows of one draw."""
        return np.random.default_rng([*self.key, 1, draw.number])


def count_batches(source: Source, tokenizer: TextTokenizer, *, max_tokens: int, max_rows: int) -> int:
    """Batches in one pass over a source (as good as exact: the cut depends a little on the order)."""
    lengths = row_lengths(source.examples, tokenizer)
    return len(shuffled(lengths, np.random.default_rng(0), max_tokens=max_tokens, max_rows=max_rows))
