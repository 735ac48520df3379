"""How alike two texts are: the cosine of their sentence vectors. The head has no parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mtl.errors import ConfigError
from mtl.metrics import pearson, spearman
from mtl.model.heads import CosineHead
from mtl.tasks.base import Row, Task, of_kind
from mtl.types import PairScore, Prediction, Target, Tokens


@dataclass(frozen=True, kw_only=True)
class Similarity(Task):
    """Pairs with a score between `low` and `high`, kept as 0 to 1.

    The loss ranks: of two pairs the one with the higher gold score shall have the higher cosine
    (CoSENT, Su 2022, https://kexue.fm/archives/8847), `scale` times the difference.
    """

    kind: ClassVar[str] = "similarity"
    columns: ClassVar[tuple[str, ...]] = ("score",)
    n_texts: ClassVar[int] = 2
    primary: ClassVar[str] = "spearman"
    metrics: ClassVar[tuple[str, ...]] = ("spearman", "pearson")

    low: float = 0.0
    high: float = 5.0
    scale: float = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low < self.high:
            raise ConfigError(f"task {self.name!r}: low is {self.low}, it must be under high, {self.high}")
        if not self.scale > 0:
            raise ConfigError(f"task {self.name!r}: scale is {self.scale}; it must be above 0")

    def parse(self, row: Row) -> Target:
        expected = f"a number from {self.low:g} to {self.high:g}"
        try:
            score = float(str(row.get("score")))
        except ValueError as error:
            raise row.problem("score", expected) from error
        if not (math.isfinite(score) and self.low <= score <= self.high):
            raise row.problem("score", expected)
        return (score - self.low) / (self.high - self.low)

    def build_head(self, width: int, n_layers: int) -> nn.Module:
        return CosineHead()

    def encode_targets(self, targets: Sequence[Target | None], tokens: Tokens) -> Tensor:
        """-> (B/2,) scores from 0 to 1, NaN where missing."""
        found = [math.nan if t is None else t for t in targets]
        return torch.tensor(found, dtype=torch.float32, device=tokens.ids.device)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        cosine = output.float() * self.scale
        wrong = cosine[:, None] - cosine[None, :]  # [i, j] is positive where i is ranked above j
        ordered = targets[:, None] < targets[None, :]  # False where a score is missing
        return torch.cat([wrong.new_zeros(1), wrong.masked_fill(~ordered, -torch.inf).flatten()]).logsumexp(0)

    def decode(self, output: Tensor, tokens: Tokens) -> list[Prediction]:
        return [PairScore(score) for score in output.float().tolist()]

    def statistics(self, predicted: Sequence[Prediction], gold: Sequence[Target]) -> NDArray[np.float64]:
        """(rows, 2): the cosine and the gold score."""
        return np.column_stack([[p.score for p in of_kind(predicted, PairScore)], [float(str(g)) for g in gold]])

    def summarise(
        self, statistics: NDArray[np.float64], *, whole: NDArray[np.float64] | None = None
    ) -> dict[str, float]:
        found, wanted = statistics.T
        return {"spearman": spearman(found, wanted), "pearson": pearson(found, wanted)}

    def primary_value(self, statistics: NDArray[np.float64]) -> float:
        return spearman(*statistics.T)
