"""The values that travel between the parts. Knows no task, no model and no file.

Shapes, defined here once and used in every docstring:

    B  texts in a batch (a batch of pairs holds all left texts, then all right texts)
    N  valid tokens of a batch, laid end to end without padding
    T  tokens of the longest text of a batch
    H  width of the encoder
    F  word-shape features of a token
    L  labels of a head

Character positions count the code points of the caller's own text; ends are exclusive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, device


N_SHAPES = 8
"""F: how many casing features a token has."""


@dataclass(frozen=True)
class Span:
    """A labelled stretch of a text: characters `start` to `end`, end exclusive."""

    start: int
    end: int
    label: str
    score: float = 1.0


@dataclass(frozen=True)
class LabelScores:
    """The label chosen for a text and the probability of every label."""

    label: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class PairScore:
    """How alike two texts are: the cosine of their sentence vectors, -1 to 1."""

    score: float


Spans: TypeAlias = tuple[Span, ...]
Prediction: TypeAlias = LabelScores | Spans | PairScore
"""What a head says of one text (or of one pair)."""

Target: TypeAlias = str | Spans | float
"""What the data says of one text (or of one pair)."""


@dataclass(frozen=True)
class Example:
    """One row: its text (or its two texts) and the targets it has, by task name.

    A missing target is absent from `targets`; an empty tuple of spans says that there is no entity.
    """

    texts: tuple[str, ...]
    targets: Mapping[str, Target] = field(default_factory=dict)


@dataclass(frozen=True)
class Tokens:
    """The valid tokens of B texts, laid end to end.

    ids         (N,) token ids, special tokens included
    lengths     (B,) tokens of each text
    offsets     (N, 2) characters of the caller's text; start == end for special tokens
    words       (N,) index of the pre-token within its text, -1 for special tokens
    word_shape  (N, F) casing features of the pre-token, taken from the caller's text
    truncated_at  for each text the character up to which it was read, None if to its end
    longest     T, where it is known: a device need not be asked for it
    """

    ids: Tensor
    lengths: Tensor
    offsets: Tensor
    words: Tensor
    word_shape: Tensor
    truncated_at: tuple[int | None, ...]
    longest: int | None = None

    def to(self, where: device | str) -> Tokens:
        """What a model reads of these tokens on another device; what only the tasks read stays where it is."""
        return replace(
            self,
            ids=self.ids.to(where, non_blocking=True),
            lengths=self.lengths.to(where, non_blocking=True),
            word_shape=self.word_shape.to(where, non_blocking=True),
        )

    def pinned(self) -> Tokens:
        """The same in page-locked memory, from which a copy to a GPU does not wait."""
        return replace(
            self, ids=self.ids.pin_memory(), lengths=self.lengths.pin_memory(), word_shape=self.word_shape.pin_memory()
        )


@dataclass(frozen=True)
class Encoding:
    """What one encoder pass says of a batch, read by every head.

    layers      (N, H) for the embeddings and each layer, in order, or only for the last, the encoder's output
    sentence    (B, H) pooled and not yet of unit length
    word_shape  (N, F) the casing features of the tokens
    lengths     (B,)
    longest     T, where it is known
    """

    layers: tuple[Tensor, ...]
    sentence: Tensor
    word_shape: Tensor
    lengths: Tensor
    longest: int | None = None


@dataclass(frozen=True)
class Analysis:
    """Everything one pass says of one text: `analysis["topic"].label`.

    vector        (H,) float32 of unit length
    n_tokens      tokens read, special tokens included
    truncated_at  character up to which the text was read, None if to its end
    """

    predictions: Mapping[str, Prediction]
    vector: np.ndarray
    n_tokens: int
    truncated_at: int | None

    def __getitem__(self, task: str) -> Prediction:
        return self.predictions[task]
