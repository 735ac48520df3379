"""A loss that keeps sentence vectors where they were, so that tuning does not ruin similarity.

Distillation from the model before training (as in Li & Hoiem 2016, "Learning without Forgetting"), on
the texts of the batch; their old vectors are computed once and kept in half precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mtl.inference.predictor import Predictor
from mtl.training.config import Retention


class Teacher:
    """Remembers the vectors that `predictor` gave before training. Keep its weights apart from the student's."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.known: dict[str, Tensor] = {}

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """(B, H) float32 of unit length."""
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            found = torch.from_numpy(self.predictor.encode(new)).half()
            self.known.update(zip(new, found, strict=True))
        return functional.normalize(torch.stack([self.known[text] for text in texts]).float(), dim=-1)

    def state(self) -> tuple[dict[str, Tensor], list[str]]:
        """What it remembers: vectors (n, H), and their texts."""
        return {"vectors": torch.stack(list(self.known.values()))}, list(self.known)

    def load(self, state: Mapping[str, Tensor], texts: Sequence[str]) -> None:
        """What `state` gave."""
        self.known = dict(zip(texts, state["vectors"], strict=True))


def retention_loss(sentence: Tensor, old: Tensor, weights: Retention) -> Tensor:
    """(B, H) of the student, of any length, and (B, H) of the teacher, of unit length -> scalar."""
    new = functional.normalize(sentence.float(), dim=-1)
    moved = (1 - (new * old).sum(-1)).mean()
    bent = functional.mse_loss(new @ new.T, old @ old.T)
    return weights.cosine * moved + weights.geometry * bent
