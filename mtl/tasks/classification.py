"""One label for a text, read from its sentence vector."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mtl.errors import ConfigError
from mtl.metrics import accuracy, macro_f1
from mtl.model.heads import SentenceHead
from mtl.tasks.base import (
    MISSING,
    Row,
    Task,
    check_head,
    choices,
    masked_cross_entropy,
    mean_probabilities,
    of_kind,
    text_of,
)
from mtl.types import LabelScores, Prediction, Target, Tokens


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """Exactly one of `labels`. `hidden` 0 is a linear head.

    class_weights  what a row of each label weighs in the loss, in the order of `labels`; empty for 1 each. A
                   recipe may say `balanced` (rows / labels / rows of the label) or {label: weight}
    """

    kind: ClassVar[str] = "classification"
    columns: ClassVar[tuple[str, ...]] = ("label",)
    n_texts: ClassVar[int] = 1
    primary: ClassVar[str] = "accuracy"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")

    hidden: int = 0
    dropout: float = 0.1
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.labels) < 2:
            raise ConfigError(f"task {self.name!r} has {len(self.labels)} labels; it needs two or more")
        object.__setattr__(self, "class_weights", self._weights())
        check_head(self.name, hidden=self.hidden, dropout=self.dropout, label_smoothing=self.label_smoothing)

    def _weights(self) -> tuple[float, ...]:
        given: object = self.class_weights
        if isinstance(given, Mapping):
            unknown = sorted(set(map(str, given)) - set(self.labels))
            if unknown:
                raise ConfigError(
                    f"task {self.name!r}: class_weights names {choices(unknown)}; it has {choices(self.labels)}"
                )
            given = [{str(label): weight for label, weight in given.items()}.get(label, 1.0) for label in self.labels]
        if (
            not isinstance(given, (list, tuple))
            or len(given) not in (0, len(self.labels))
            or not all(isinstance(weight, (int, float)) and 0 < weight < math.inf for weight in given)
        ):
            raise ConfigError(
                f"task {self.name!r}: class_weights is {given!r}; say balanced, or {{label: weight}}, weights above 0"
            )
        return tuple(float(weight) for weight in given)

    def parse(self, row: Row) -> Target:
        label = text_of(row.get("label"))
        if label not in self.labels:
            raise row.problem("label", f"one of {choices(self.labels)}")
        return label

    @classmethod
    def labels_in(cls, rows: Sequence[Row]) -> tuple[str, ...]:
        return tuple(sorted({text_of(row.get("label")) for row in rows if row.get("label") is not None}))

    def build_head(self, width: int, n_layers: int) -> nn.Module:
        return SentenceHead(width, len(self.labels), hidden=self.hidden, dropout=self.dropout)

    def encode_targets(self, targets: Sequence[Target | None], tokens: Tokens) -> Tensor:
        """-> (B,) label indices."""
        found = [MISSING if t is None else self.labels.index(str(t)) for t in targets]
        return torch.tensor(found, device=tokens.ids.device)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        return masked_cross_entropy(
            output, targets, label_smoothing=self.label_smoothing, class_weights=self.class_weights
        )

    def soft_targets(self, outputs: Sequence[Tensor], tokens: Tokens) -> Tensor | None:
        return mean_probabilities(outputs)

    def decode(self, output: Tensor, tokens: Tokens) -> list[Prediction]:
        rows = output.float().softmax(-1).tolist()
        return [self._chosen(dict(zip(self.labels, row, strict=True))) for row in rows]

    def statistics(self, predicted: Sequence[Prediction], gold: Sequence[Target]) -> NDArray[np.float64]:
        """(rows, 2): the indices of the label chosen and of the right one."""
        chosen = [self.labels.index(p.label) for p in of_kind(predicted, LabelScores)]
        return np.column_stack([chosen, [self.labels.index(str(g)) for g in gold]]).astype(np.float64)

    def summarise(
        self, statistics: NDArray[np.float64], *, whole: NDArray[np.float64] | None = None
    ) -> dict[str, float]:
        chosen, wanted = statistics.T
        return {"accuracy": accuracy(chosen, wanted), "macro_f1": macro_f1(chosen, wanted, labels=whole)}

    def primary_value(self, statistics: NDArray[np.float64]) -> float:
        return accuracy(*statistics.T)

    def _chosen(self, scores: dict[str, float]) -> LabelScores:
        return LabelScores(max(scores, key=scores.__getitem__), scores)


def balanced(gold: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """The weight of each label with which all of them together weigh alike: rows / labels / rows of the label.

    The mean over rows is 1, as with `class_weight="balanced"` in scikit-learn; a label without rows weighs 1.
    """
    counts = Counter(gold)
    n_there = sum(1 for label in labels if counts[label])
    return {label: len(gold) / n_there / counts[label] if counts[label] else 1.0 for label in labels}


def among(prediction: LabelScores, labels: Collection[str]) -> LabelScores:
    """The same prediction with the choice restricted to `labels` and the probabilities scaled to sum to 1."""
    kept = {label: score for label, score in prediction.scores.items() if label in labels}
    total = sum(kept.values()) or 1.0
    return LabelScores(max(kept, key=kept.__getitem__), {k: v / total for k, v in kept.items()})
