"""Entities: labelled spans of characters, tagged on the tokenizer's own pre-tokens.

One projection serves training, evaluation and use: the first token of each pre-token carries the tag.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mtl.errors import ConfigError
from mtl.metrics import span_counts, span_scores
from mtl.model.heads import LayerChoice, TokenHead
from mtl.tasks.base import MISSING, Row, Task, check_head, choices, masked_cross_entropy, mean_probabilities, of_kind
from mtl.tasks.bio import bio_tags, is_tag, located, project, spans_of_tokens, starts_of_tokens, viterbi
from mtl.types import N_SHAPES, Prediction, Span, Target, Tokens


@dataclass(frozen=True)
class Words:
    """The pre-tokens of a batch, flat: their first token, their text and their characters."""

    first: NDArray[np.int64]
    text: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class NamedEntities(Task):
    """Spans labelled with one of `labels`, none overlapping another. The head's settings are `TokenHead`'s."""

    kind: ClassVar[str] = "ner"
    columns: ClassVar[tuple[str, ...]] = ("spans", "tags")
    n_texts: ClassVar[int] = 1
    primary: ClassVar[str] = "f1"
    metrics: ClassVar[tuple[str, ...]] = ("precision", "recall", "f1")
    reads_words: ClassVar[bool] = True

    layers: LayerChoice = "all"
    word_shape: int = N_SHAPES
    hidden: int = 256
    context: tuple[int, ...] = ()
    dropout: float = 0.1
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers not in get_args(LayerChoice):
            raise ConfigError(f"task {self.name!r}: layers is {self.layers!r}; say {', '.join(get_args(LayerChoice))}")
        if self.word_shape not in (0, N_SHAPES):
            raise ConfigError(f"task {self.name!r}: word_shape is {self.word_shape}; say {N_SHAPES}, or 0 for none")
        if not self.labels:
            raise ConfigError(f"task {self.name!r} has no labels; name its entity types")
        object.__setattr__(self, "context", self._dilations())
        check_head(self.name, hidden=self.hidden, dropout=self.dropout, label_smoothing=self.label_smoothing)

    def _dilations(self) -> tuple[int, ...]:
        given: object = self.context
        found = tuple(given) if isinstance(given, (list, tuple)) else None
        if found is None or not all(type(d) is int and d > 0 for d in found):
            raise ConfigError(f"task {self.name!r}: context is {given!r}; say a list of dilations such as [1, 2, 4]")
        if found and not self.hidden:
            raise ConfigError(f"task {self.name!r}: context needs a hidden layer; say hidden: 256")
        return found

    def parse(self, row: Row) -> Target:
        spans = spans_in(row)
        column = "tags" if row.get("tags") is not None else "spans"
        unknown = sorted({span.label for span in spans} - set(self.labels))
        if unknown:
            raise row.problem(column, f"entity types among {choices(self.labels)}, not {choices(unknown)}")
        return spans

    @classmethod
    def labels_in(cls, rows: Sequence[Row]) -> tuple[str, ...]:
        found = {
            span.label
            for row in rows
            if any(row.get(column) is not None for column in cls.columns)
            for span in spans_in(row)
        }
        return tuple(sorted(found))

    def build_head(self, width: int, n_layers: int) -> nn.Module:
        return TokenHead(
            width,
            len(bio_tags(self.labels)),
            n_layers=n_layers,
            layers=self.layers,
            n_shapes=self.word_shape,
            hidden=self.hidden,
            context=self.context,
            dropout=self.dropout,
        )

    def encode_targets(self, targets: Sequence[Target | None], tokens: Tokens) -> Tensor:
        """-> (N,) tag indices on the first token of each pre-token, MISSING elsewhere."""
        found = np.full(len(tokens.ids), MISSING, dtype=np.int64)
        words = words_of(tokens)
        for text, spans in enumerate(targets):
            if isinstance(spans, tuple):
                mine = words.text == text
                found[words.first[mine]] = project(spans, words.start[mine], words.end[mine], self.labels)
        return torch.from_numpy(found).to(tokens.ids.device)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        return masked_cross_entropy(output, targets, label_smoothing=self.label_smoothing)

    def soft_targets(self, outputs: Sequence[Tensor], tokens: Tokens) -> Tensor | None:
        first = torch.from_numpy(words_of(tokens).first).to(outputs[0].device)
        soft = torch.full_like(outputs[0], torch.nan, dtype=torch.float32)
        soft[first] = mean_probabilities(outputs)[first]
        return soft

    def decode(self, output: Tensor, tokens: Tokens) -> list[Prediction]:
        words = words_of(tokens)
        scores = output.float().log_softmax(-1).cpu().numpy()[words.first]
        n_words = np.bincount(words.text, minlength=len(tokens.lengths))
        if not n_words.any():
            return [()] * len(n_words)
        valid = np.arange(n_words.max()) < n_words[:, None]
        padded = np.zeros((*valid.shape, scores.shape[1]), dtype=np.float32)
        padded[valid] = scores
        tags = viterbi(padded)[valid]
        return [
            self._spans(tags[mine], np.exp(scores[mine]), words.start[mine], words.end[mine])
            for mine in np.split(np.arange(len(tags)), np.cumsum(n_words)[:-1])
        ]

    def _spans(
        self,
        tags: NDArray[np.int64],
        probabilities: NDArray[np.float32],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
    ) -> tuple[Span, ...]:
        """Valid BIO indices of one text -> spans; a span's score is the mean probability of its tags."""
        spans = []
        begins = np.flatnonzero(tags % 2 == 1)
        for first in begins:
            last = first
            while last + 1 < len(tags) and tags[last + 1] == tags[first] + 1:
                last += 1
            inside = np.arange(first, last + 1)
            score = float(probabilities[inside, tags[inside]].mean())
            spans.append(Span(int(starts[first]), int(ends[last]), self.labels[tags[first] // 2], score))
        return tuple(spans)

    def statistics(self, predicted: Sequence[Prediction], gold: Sequence[Target]) -> NDArray[np.float64]:
        """(rows, 3): the spans found, wanted, and found right."""
        return span_counts(of_kind(predicted, tuple), [g for g in gold if isinstance(g, tuple)])

    def summarise(
        self, statistics: NDArray[np.float64], *, whole: NDArray[np.float64] | None = None
    ) -> dict[str, float]:
        scores = span_scores(statistics)
        return {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}


def _whole(value: object) -> int:
    """A whole number, also as 3.0; ValueError for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer():
        return int(value)
    raise ValueError(f"{value!r} is no whole number")


def words_of(tokens: Tokens) -> Words:
    """The pre-tokens of a batch, in order."""
    word = tokens.words.cpu().numpy()
    offsets = tokens.offsets.cpu().numpy()
    lengths = tokens.lengths.cpu().numpy()
    text = np.repeat(np.arange(len(lengths)), lengths)
    changes = np.ones(len(word) + 1, dtype=bool)
    changes[1:-1] = (word[1:] != word[:-1]) | (text[1:] != text[:-1])
    first = np.flatnonzero(changes[:-1] & (word >= 0))
    last = np.flatnonzero(changes[1:] & (word >= 0))
    return Words(first, text[first], offsets[first, 0], offsets[last, 1])


def spans_in(row: Row) -> tuple[Span, ...]:
    """The spans of a row that holds `tags` (with `tokens`) or `spans` (with `text`), whatever their labels.

    Raises:
        DataError: naming row, column, value and what was expected.
    """
    return _from_tags(row) if row.get("tags") is not None else _from_spans(row)


def _from_tags(row: Row) -> tuple[Span, ...]:
    tokens, tags = as_list(row.get("tokens")), as_list(row.get("tags"))
    if tokens is None or tags is None or len(tokens) != len(tags):
        n_tokens = len(tokens) if tokens else 0
        raise row.problem("tags", f"a list of one tag for each of the {n_tokens} tokens")
    names = [str(tag) for tag in tags]
    wrong = [name for name in names if not is_tag(name)]
    if wrong:
        raise row.problem("tags", f"tags of IOB1, IOB2 or BIOES (O, B-X, I-X, E-X, S-X), not {wrong[0]!r}")
    words = [str(token) for token in tokens]
    if any(not word.strip() and name != "O" for word, name in zip(words, names, strict=True)):
        raise row.problem("tokens", "characters in every token that is tagged as part of an entity")
    text = row.get("text")
    starts = starts_of_tokens(words) if text is None else located(words, str(text))
    if starts is None:
        raise row.problem("text", "a text that holds the tokens in their order, or no text beside tokens and tags")
    return spans_of_tokens(words, names, starts)


def _from_spans(row: Row) -> tuple[Span, ...]:
    expected = 'a list such as [{"start": 0, "end": 5, "label": "PER"}]'
    text, cells = str(row.get("text") or ""), as_list(row.get("spans"))
    if cells is None:
        raise row.problem("spans", expected)
    spans: list[Span] = []
    for cell in cells:
        try:
            span = Span(_whole(cell["start"]), _whole(cell["end"]), str(cell["label"]))  # type: ignore[index]
        except (TypeError, KeyError, IndexError, ValueError) as error:
            raise row.problem("spans", expected) from error
        if not 0 <= span.start < span.end <= len(text):
            raise row.problem("spans", f"0 <= start < end <= {len(text)}, the length of the text")
        spans.append(span)
    spans.sort(key=lambda span: span.start)
    for left, right in pairwise(spans):
        if right.start < left.end:
            place = f"{left.start}-{left.end} and {right.start}-{right.end}"
            raise row.problem("spans", f"spans that do not overlap, unlike {place}")
    return tuple(spans)


def as_list(cell: object) -> list[object] | None:
    """A cell that holds a list, also as JSON text or as words between spaces; None where it does not."""
    if isinstance(cell, str):
        if not cell.lstrip().startswith("["):
            return list(cell.split())
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            return None
    if isinstance(cell, np.ndarray):
        return list(cell.tolist())
    return list(cell) if isinstance(cell, (list, tuple)) else None
