"""A small problem of three tasks that the tests of the engine train on, and short ways to run it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest
import torch

from mtl.data.batches import Source
from mtl.inference.predictor import Predictor
from mtl.model.encoder import Encoder
from mtl.training.config import TrainConfig
from mtl.training.events import RunEnded, RunEvent, StepEnded
from mtl.training.trainer import train
from mtl.types import Example, Span

State = dict[str, torch.Tensor]

FOODS, LAWS = ("soup", "bread", "apple"), ("court", "judge", "trial")
TOPICS = [
    Example((f"{w} {i}",), {"topic": n}) for i in range(4) for n, ws in (("food", FOODS), ("law", LAWS)) for w in ws
]
PLACES = [
    Example((f"in {city} {i}",), {"entities": (Span(3, 3 + len(city), "LOC"),)})
    for i in range(4)
    for city in ("Rome", "Oslo", "Bonn")
]
PAIRS = [Example((a, b), {"similarity": float(a[0] == b[0])}) for a in ("aa", "ab", "ba") for b in ("ac", "bb", "bc")]
ALL = (Source("topics", TOPICS), Source("places", PLACES), Source("pairs", PAIRS))


def settings(**changes: object) -> TrainConfig:
    """Small batches in float32, without what a test does not ask for."""
    usual = {"steps": 12, "batch_rows": 4, "retention": None, "precision": "fp32", "conflict": False}
    return TrainConfig(**{**usual, "encoder_lr": 3e-3, "head_lr": 1e-2, **changes})  # type: ignore[arg-type]


def events(predictor: Predictor, sources: Sequence[Source] = ALL, held: Sequence[Source] = (), **changes) -> list:
    """Every event of a run; `snapshots`, `should_stop` and the like go to `train`, all else to its settings."""
    return list(stream(predictor, sources, held, **changes))


def stream(
    predictor: Predictor, sources: Sequence[Source] = ALL, held: Sequence[Source] = (), **changes
) -> Iterator[RunEvent]:
    names = ("should_stop", "teacher", "ensemble", "order", "snapshots", "processes", "clock")
    options = {name: changes.pop(name) for name in names if name in changes}
    return train(predictor, sources, held, settings(**changes), **options)


def state(predictor: Predictor) -> State:
    return {name: value.clone() for name, value in predictor.model.state_dict().items()}


def same(left: State, right: State) -> bool:
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


def steps(found: Sequence[RunEvent]) -> list[StepEnded]:
    return [e for e in found if isinstance(e, StepEnded)]


def losses(found: Sequence[RunEvent]) -> list[dict[str, float]]:
    return [dict(e.losses) for e in steps(found)]


def ended(found: Sequence[RunEvent]) -> RunEnded:
    last = found[-1]
    assert isinstance(last, RunEnded)
    return last


def poison(monkeypatch: pytest.MonkeyPatch, *, at: int) -> None:
    """The encoder's answer is no number from its n-th training pass on."""
    forward, passes = Encoder.forward, [0]

    def poisoned(self: Encoder, *arguments, **options):
        found = forward(self, *arguments, **options)
        passes[0] += self.blocks[0].training
        return tuple(layer * math.nan for layer in found) if self.blocks[0].training and passes[0] >= at else found

    monkeypatch.setattr(Encoder, "forward", poisoned)
