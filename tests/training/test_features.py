"""With a frozen encoder its outputs are computed once: the same run to rounding, also from a file on disk."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mtl.data.batches import Source
from mtl.inference.predictor import Predictor
from mtl.model.encoder import Encoder
from mtl.tasks import Classification, NamedEntities, Similarity
from mtl.training import features
from mtl.training.config import FreezePolicy, Retention
from mtl.training.events import Evaluated, Noted
from mtl.training.imitation import Ensemble
from mtl.types import Example
from tests.training.small import ALL, PLACES, TOPICS, ended, events, losses, steps

FROZEN = FreezePolicy(encoder=True)
LONG = {"freeze": FROZEN, "steps": 40, "held": ALL[:2], "validate_every": 10}
MIXED = Source(
    "mixed",
    [
        Example(row.texts, {**row.targets, "topic": "food"} if i % 3 else dict(row.targets))
        for i, row in enumerate(PLACES)
    ]
    + [Example((f"nothing here {i}",), {"topic": "law"}) for i in range(4)],
)
HEADS = (
    Classification(name="topic", labels=("food", "law", "sport")),
    NamedEntities(name="entities", labels=("PER", "LOC"), hidden=16, layers="mix", context=(1,)),
    Similarity(name="similarity"),
)


def close(found, expected) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=5e-3, abs=5e-4)


@pytest.mark.parametrize("tasks", [None, HEADS], ids=["all layers", "mixed layers and neighbours"])
@pytest.mark.parametrize("sources", [ALL[:1], ALL[1:2], (*ALL, MIXED)], ids=["topic", "entities", "everything"])
def test_it_is_the_same_run_to_rounding(make_still, monkeypatch, sources, tasks) -> None:
    options = {} if tasks is None else {"tasks": tasks}
    plain, cached = make_still(**options), make_still(**options)
    cached.model.load_state_dict(plain.model.state_dict())
    expected = events(plain, sources, cache="off", **LONG)
    passes = []
    monkeypatch.setattr(features.Features, "batch", counted(features.Features.batch, passes))
    found = events(cached, sources, **LONG)
    assert len(passes) == len(steps(found)) == 40
    kinds = [type(e).__name__ for e in found if not isinstance(e, Noted)]
    assert kinds[:3] == ["RunStarted", "StepEnded", "Evaluated"], "the first step waits for nothing"
    assert sorted(kinds) == sorted(type(e).__name__ for e in expected)
    close(losses(found), losses(expected))
    assert [e.tokens for e in steps(found)] == [e.tokens for e in steps(expected)]
    assert [e.source for e in steps(found)] == [e.source for e in steps(expected)]
    close(
        [e.composite for e in found if isinstance(e, Evaluated)],
        [e.composite for e in expected if isinstance(e, Evaluated)],
    )
    for name, value in ended(found).state.items():
        torch.testing.assert_close(value, ended(expected).state[name], rtol=2e-2, atol=2e-2)


def counted(function, calls: list):
    def wrapper(*arguments):
        calls.append(1)
        return function(*arguments)

    return wrapper


def test_the_encoder_runs_once_over_each_row(predictor: Predictor, monkeypatch) -> None:
    forward, seen = Encoder.forward, []

    def counting(self: Encoder, ids, lengths, **options):
        seen.append(len(lengths))
        return forward(self, ids, lengths, **options)

    monkeypatch.setattr(Encoder, "forward", counting)
    found = events(predictor, ALL[:2], **{**LONG, "held": ()})
    assert sum(seen) == len(TOPICS) + len(PLACES)
    (note,) = [e for e in found if isinstance(e, Noted)]
    assert note.message.startswith("The frozen encoder's outputs are computed once and kept: ")


@pytest.mark.parametrize(
    "changes",
    [
        {"cache": "off"},
        {"freeze": FreezePolicy(layers=1)},
        {"steps": 3},
        {"sources": (ALL[0], replace(ALL[1], replace_mentions=0.5))},
    ],
    ids=["off", "a layer moves", "no row is drawn twice", "rows vary"],
)
def test_nothing_is_kept_where_it_would_not_be_true_or_not_pay(predictor: Predictor, changes) -> None:
    found = events(predictor, **{**LONG, "sources": ALL[:2], **changes})
    assert [e for e in found if isinstance(e, Noted)] == []


def test_large_features_lie_in_a_file_and_say_the_same(make_still, monkeypatch) -> None:
    expected = losses(events(make_still(), ALL[:2], **LONG))
    monkeypatch.setattr(features, "MEMORY_BYTES", 1000)
    made = []
    usual = features._room
    monkeypatch.setattr(features, "_room", lambda *size: made.append(usual(*size)) or made[-1])
    assert losses(events(make_still(), ALL[:2], **LONG)) == expected
    assert made[0].numel() * 2 > 1000
    assert made[0].untyped_storage().nbytes() == made[0].numel() * 2


def test_teachers_and_retention_are_as_without(make_still) -> None:
    teacher = make_still()
    torch.manual_seed(1)
    for task in teacher.tasks:
        teacher.add_task(task)
    options = {**LONG, "retention": Retention(), "sources": ALL[:1]}
    expected = events(make_still(), ensemble=Ensemble([teacher], make_still()), cache="off", **options)
    found = events(make_still(), ensemble=Ensemble([teacher], make_still()), **options)
    close(losses(found), losses(expected))
    close([{"i": e.imitation} for e in steps(found)], [{"i": e.imitation} for e in steps(expected)])
    assert all(e.retention is None for e in steps(found))


def test_a_stop_while_features_are_computed_ends_the_run(predictor: Predictor) -> None:
    found = events(predictor, ALL[:2], should_stop=lambda: True, **LONG)
    assert (ended(found).reason, ended(found).steps) == ("stopped", 0)
