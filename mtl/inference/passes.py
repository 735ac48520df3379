"""One pass over many texts: read them, sort them by length, encode in batches, let every head speak, in order.

Tasks that mark words read a text that is too long in overlapping pieces; everything else reads its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from mtl.data.batches import by_length
from mtl.data.tokenization import TextTokenizer
from mtl.inference.packed import PackedModel
from mtl.inference.workers import in_parallel
from mtl.model.multitask import MultiTaskModel
from mtl.model.precision import Precision, autocast
from mtl.tasks import Task
from mtl.types import Analysis, Encoding, Prediction, Span, Tokens

if TYPE_CHECKING:
    from tokenizers import Encoding as Reading

BATCH_TOKENS = 4096
"""Padded tokens of a batch on the plain path: bounds memory, however large the input."""

PACKED_TOKENS = 512
"""The same on the packed path, where a batch is quickest when a core's cache holds it."""

WINDOW = 4096
"""Texts that are read and sorted by length together: bounds memory, however long the list."""

Reader: TypeAlias = "MultiTaskModel | PackedModel"
Texts: TypeAlias = "tuple[str, ...]"
"""What a row holds: one text, or two."""


@dataclass(frozen=True)
class TokenStates:
    """The tokens of one text: characters (n, 2), words (n,) as in `Tokens`, states (n, H) of the last layer."""

    offsets: NDArray[np.int64]
    words: NDArray[np.int64]
    states: NDArray[np.float32]
    analysis: Analysis


@dataclass(frozen=True)
class Pass:
    """The tasks that are asked of a model in one go; `model` is plain or packed."""

    model: Reader
    tokenizer: TextTokenizer
    tasks: tuple[Task, ...]
    precision: Precision

    def __call__(self, rows: Iterable[Texts]) -> Iterator[Analysis]:
        """What is said of each row, in their order."""
        source = iter(rows)
        while window := list(islice(source, WINDOW)):
            yield from self._window(window)

    def token_states(self, texts: Sequence[str]) -> list[TokenStates]:
        """What is said of each text as far as one reading goes, and the states that it was said of; one batch."""
        tokens = self.tokenizer(texts)
        encoding, found = self._encoded(tokens, self.tasks, len(texts))
        ends = tokens.lengths.cumsum(0).tolist()
        states = encoding.layers[-1].float().cpu().numpy()
        pieces = [slice(end - length, end) for end, length in zip(ends, tokens.lengths.tolist(), strict=True)]
        offsets, words = tokens.offsets.numpy(), tokens.words.numpy()
        return [
            TokenStates(offsets[piece], words[piece], states[piece], analysis)
            for piece, analysis in zip(pieces, found, strict=True)
        ]

    @property
    def reads_words(self) -> bool:
        return any(task.reads_words for task in self.tasks)

    def _window(self, rows: Sequence[Texts]) -> list[Analysis]:
        sides = len(rows[0])
        texts = [text for row in rows for text in row]
        readings = self.tokenizer.read(texts, spans=self.reads_words)
        lengths = [max(map(len, readings[i : i + sides])) for i in range(0, len(texts), sides)]

        def work(places: Sequence[int]) -> list[Analysis]:
            chosen = [place * sides + side for side in range(sides) for place in places]
            tokens = self.tokenizer.tokens(
                [texts[i] for i in chosen], [readings[i] for i in chosen], spans=self.reads_words
            )
            return self._batch(tokens, self.tasks, len(places))

        found = self._in_batches(work, lengths, sides)
        return self._with_the_rest(texts, readings, found) if self.reads_words and sides == 1 else found

    def _with_the_rest(
        self, texts: Sequence[str], readings: Sequence[Reading], found: list[Analysis]
    ) -> list[Analysis]:
        """Adds what the tasks that mark words find beyond the first `max_tokens` of long texts."""
        tasks = [task for task in self.tasks if task.reads_words]
        pieces = [(place, piece) for place, first in enumerate(readings) for piece in first.overflowing]

        def work(chosen: Sequence[int]) -> list[Analysis]:
            mine = [pieces[i] for i in chosen]
            tokens = self.tokenizer.tokens([texts[place] for place, _ in mine], [piece for _, piece in mine])
            return self._batch(tokens, tasks, len(mine))

        more = self._in_batches(work, [len(piece) for _, piece in pieces], 1)
        by_text: dict[int, list[tuple[int, Analysis]]] = {}
        for (place, piece), analysis in zip(pieces, more, strict=True):
            by_text.setdefault(place, []).append((_border(piece), analysis))
        for place, rest in by_text.items():
            found[place] = _stitched(found[place], sorted(rest, key=lambda one: one[0]), tasks)
        return found

    def _in_batches(
        self, work: Callable[[Sequence[int]], list[Analysis]], lengths: Sequence[int], sides: int
    ) -> list[Analysis]:
        """`work` of batches of places alike in length, sorted back."""
        is_packed = isinstance(self.model, PackedModel)
        batches = by_length(lengths, max_tokens=max(1, (PACKED_TOKENS if is_packed else BATCH_TOKENS) // sides))
        answers = in_parallel(work, batches) if is_packed else [work(batch) for batch in batches]
        found = {
            p: one for batch, many in zip(batches, answers, strict=True) for p, one in zip(batch, many, strict=True)
        }
        return [found[place] for place in range(len(lengths))]

    def _batch(self, tokens: Tokens, tasks: Sequence[Task], n_rows: int) -> list[Analysis]:
        return self._encoded(tokens, tasks, n_rows)[1]

    @torch.inference_mode()
    def _encoded(self, tokens: Tokens, tasks: Sequence[Task], n_rows: int) -> tuple[Encoding, list[Analysis]]:
        names = [task.name for task in tasks]
        device = torch.device("cpu") if isinstance(self.model, PackedModel) else self.model.device
        with nullcontext() if isinstance(self.model, PackedModel) else autocast(device, self.precision):
            encoding = self.model.encode(tokens.to(device), names)
            outputs = self.model.read(encoding, names)
        decoded = {task.name: task.decode(outputs[task.name], tokens) for task in tasks}
        return encoding, _assemble(tokens, encoding, decoded, n_rows)


def _assemble(
    tokens: Tokens, encoding: Encoding, decoded: Mapping[str, Sequence[Prediction]], n_rows: int
) -> list[Analysis]:
    vectors = functional.normalize(encoding.sentence.float(), dim=-1).cpu().numpy()
    lengths = tokens.lengths.tolist()
    results = []
    for row in range(n_rows):
        mine = range(row, len(lengths), n_rows)  # of a pair: its left text, then its right one
        cuts = [tokens.truncated_at[i] for i in mine if tokens.truncated_at[i] is not None]
        results.append(
            Analysis(
                predictions={name: values[row] for name, values in decoded.items()},
                vector=vectors[row] if n_rows == len(lengths) else vectors[list(mine)],
                n_tokens=sum(lengths[i] for i in mine),
                truncated_at=cuts[0] if cuts else None,
            )
        )
    return results


def _border(piece: Reading) -> int:
    """The character from which on a piece of a long text speaks for it: halfway into what the piece before read."""
    starts = [start for start, end in piece.offsets if end > start]
    return starts[min(len(starts) - 1, TextTokenizer.overlap(len(piece.ids)) // 2)] if starts else 0


def _stitched(first: Analysis, rest: Sequence[tuple[int, Analysis]], tasks: Sequence[Task]) -> Analysis:
    """The spans of all pieces of a text, each character spoken for by one of them."""
    predictions = dict(first.predictions)
    borders = [0, *(border for border, _ in rest)]
    for task in tasks:
        kept: list[Span] = []
        for place, piece in enumerate([first, *(analysis for _, analysis in rest)]):
            end = borders[place + 1] if place + 1 < len(borders) else None
            for span in spans_of(piece, task.name):
                begins_here = borders[place] <= span.start and (end is None or span.start < end)
                if begins_here and (not kept or kept[-1].end <= span.start):
                    kept.append(span)
        predictions[task.name] = tuple(kept)
    return replace(first, predictions=predictions)


def spans_of(analysis: Analysis, task: str) -> tuple[Span, ...]:
    """The spans that a task marked; none where its answer is of another kind."""
    found = analysis.predictions[task]
    return found if isinstance(found, tuple) else ()
