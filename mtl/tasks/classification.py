"""One label for a text, read from its sentence vector."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    """Exactly one of `labels`. `hidden` 0 is a linear head."""

    kind: ClassVar[str] = "classification"
    columns: ClassVar[tuple[str, ...]] = ("label",)
    n_texts: ClassVar[int] = 1
    primary: ClassVar[str] = "accuracy"

    hidden: int = 0
    dropout: float = 0.1
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.labels) < 2:
            raise ConfigError(f"task {self.name!r} has {len(self.labels)} labels; it needs two or more")
        check_head(self.name, hidden=self.hidden, dropout=self.dropout, label_smoothing=self.label_smoothing)

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
        return masked_cross_entropy(output, targets, label_smoothing=self.label_smoothing)

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


def among(prediction: LabelScores, labels: Collection[str]) -> LabelScores:
    """The same prediction with the choice restricted to `labels` and the probabilities scaled to sum to 1."""
    kept = {label: score for label, score in prediction.scores.items() if label in labels}
    total = sum(kept.values()) or 1.0
    return LabelScores(max(kept, key=kept.__getitem__), {k: v / total for k, v in kept.items()})
