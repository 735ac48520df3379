"""What goes wrong in a run: a loss that is no number, memory that runs out, figures that come late."""

from __future__ import annotations

import math

import pytest
import torch

from mtl.data.batches import Source
from mtl.errors import ConfigError
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor
from mtl.model.encoder import Encoder
from mtl.training import memory, trainer
from mtl.training.config import Balancing, Retention
from mtl.training.events import Noted
from mtl.training.processes import Processes
from mtl.training.reports import Reports
from mtl.training.validation import Validation, probes
from mtl.types import Example
from tests.conftest import MakePredictor
from tests.training.small import (
    ALL,
    PLACES,
    TOPICS,
    ended,
    events,
    losses,
    poison,
    same,
    settings,
    state,
    steps,
    stream,
)


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_best_weights(predictor, monkeypatch) -> None:
    poison(monkeypatch, at=6)
    found = events(predictor, ALL[:1], held=ALL[:1], validate_every=2)
    end = ended(found)
    assert (end.reason, end.steps) == ("diverged", 6)
    assert end.problem.startswith("The loss of topic was nan at step 6, in a batch of 'topics' that begins with ")
    assert end.best_step in (2, 4)
    assert all(value.isfinite().all() for value in state(predictor).values())
    assert same(dict(end.state), state(predictor))


@pytest.mark.parametrize("method", ["fixed", "famo"])
def test_without_validation_the_weights_before_the_bad_step_are_kept(
    make_predictor: MakePredictor, monkeypatch, method: str
) -> None:
    good = make_predictor()
    weights = [state(good)]
    for event in stream(good, ALL[:2], balancing=Balancing(method=method), clip=1e9):
        if steps([event]):
            weights.append(state(good))
    predictor = make_predictor()
    first_bad = 2 * 3 - 1 if method == "famo" else 3  # a step of famo draws a batch for each of two tasks
    poison(monkeypatch, at=first_bad if method == "fixed" else 2 * 2 + 2 * 2 + 1)
    end = ended(events(predictor, ALL[:2], balancing=Balancing(method=method), clip=1e9))
    assert (end.reason, end.steps) == ("diverged", 3)
    assert same(state(predictor), weights[2])


def test_a_gradient_that_is_not_finite_moves_nothing_and_is_named(predictor: Predictor, monkeypatch) -> None:
    handle = predictor.model.heads["topic"].network[-1].weight.register_hook(lambda grad: grad * math.inf)
    before = state(predictor)
    end = ended(events(predictor, ALL[:1]))
    handle.remove()
    assert (end.reason, end.steps) == ("diverged", 1)
    assert "The gradient was" in end.problem
    assert same(state(predictor), before)


@pytest.mark.parametrize("method", ["cagrad", "imtl_g", "aligned_mtl", "upgrad", "pcgrad", "mgda"])
def test_gradients_that_are_not_finite_are_not_joined_but_named(predictor: Predictor, monkeypatch, method: str) -> None:
    pytest.importorskip("torchjd")
    usual = state(predictor)
    handle = predictor.model.encoder.blocks[0].attention.self.query.weight.register_hook(lambda grad: grad * math.nan)
    found = events(predictor, ALL[:2], balancing=Balancing(method=method))
    handle.remove()
    assert (ended(found).reason, ended(found).steps) == ("diverged", 1)
    assert "The gradient was" in ended(found).problem
    assert same(state(predictor), usual)


def test_a_conflict_meter_that_does_not_fit_is_left_out(predictor: Predictor, monkeypatch) -> None:
    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("mtl.evaluation.conflict.measure", too_large)
    found = events(predictor, held=ALL[:1], conflict=True, validate_every=3)
    assert [e.step for e in found if isinstance(e, Noted) and "how the tasks' gradients conflict" in e.message] == [1]
    assert ended(found).reason == "finished"


def test_the_probes_of_the_conflict_meter_are_no_larger_than_a_batch(predictor: Predictor) -> None:
    found = probes(predictor, ALL, 0, max_tokens=24)
    for batch in found.values():
        assert 2 <= len(batch.examples) <= max(2, 24 // 5)


def short_of_memory(monkeypatch: pytest.MonkeyPatch, *, rows: int, error: Exception) -> None:
    """More than so many texts do not fit, but for validation."""
    forward = Encoder.forward

    def limited(self: Encoder, ids, lengths, **options):
        if self.blocks[0].training and len(lengths) > rows:
            raise error
        return forward(self, ids, lengths, **options)

    monkeypatch.setattr(Encoder, "forward", limited)


@pytest.mark.parametrize("method", ["fixed", "uncertainty", "famo"])
@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")],
    ids=["gpu", "cpu"],
)
def test_out_of_memory_halves_the_batch_and_changes_little(make_still, monkeypatch, error, method: str) -> None:
    changes = {"sources": ALL[:2], "batch_rows": 8, "balancing": Balancing(method=method), "steps": 8}
    expected = events(make_still(), **changes)
    short_of_memory(monkeypatch, rows=3, error=error)
    found = events(make_still(), **changes)
    notes = [e for e in found if isinstance(e, Noted)]
    assert [(n.step, "in 4 parts" in n.message) for n in notes] == [(1, True)]
    for ours, theirs in zip(losses(found), losses(expected), strict=True):
        assert ours == pytest.approx(theirs, rel=2e-3, abs=2e-4)


def test_memory_that_does_not_suffice_for_one_row_is_the_users_to_mend(predictor: Predictor, monkeypatch) -> None:
    short_of_memory(monkeypatch, rows=0, error=torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(ConfigError, match="step 1: memory does not suffice for one row; lower max_tokens"):
        events(predictor)


def test_another_error_is_not_taken_for_a_lack_of_memory(predictor: Predictor, monkeypatch) -> None:
    short_of_memory(monkeypatch, rows=0, error=RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        events(predictor)


def test_figures_that_are_read_late_are_the_same(make_predictor: MakePredictor, monkeypatch) -> None:
    expected = events(make_predictor(), held=ALL[:1], validate_every=5)
    monkeypatch.setattr(Reports, "due", property(lambda reports: len(reports._waiting) >= 3))  # as on a GPU
    found = events(make_predictor(), held=ALL[:1], validate_every=5)
    assert losses(found) == losses(expected)
    assert [e.grad_norm for e in steps(found)] == [e.grad_norm for e in steps(expected)]
    assert [type(e).__name__ for e in found] == [type(e).__name__ for e in expected]
    assert same(dict(ended(found).state), dict(ended(expected).state))


def test_batches_prepared_in_a_thread_are_the_same(make_predictor: MakePredictor, monkeypatch) -> None:
    expected = events(make_predictor(), retention=Retention())
    usual = trainer.Loader
    made = []

    def ahead(*arguments, **options):
        made.append(usual(*arguments, **{**options, "ahead": 2}))
        monkeypatch.setattr(made[-1], "_pinned", lambda draws: [made[-1]._load(draw) for draw in draws])
        return made[-1]

    monkeypatch.setattr(trainer, "Loader", ahead)
    found = events(make_predictor(), retention=Retention())
    assert losses(found) == losses(expected)
    assert made[0]._thread._shutdown


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_learns_and_keeps_weights_in_float32(make_predictor: MakePredictor, precision: str) -> None:
    predictor = make_predictor()
    found = events(predictor, ALL[:2], steps=150, precision=precision)
    assert evaluate(predictor, "topic", TOPICS).metrics["accuracy"] == 1.0
    assert evaluate(predictor, "entities", PLACES).metrics["f1"] == 1.0
    assert {p.dtype for p in predictor.model.parameters()} == {torch.float32}
    assert ended(found).reason == "finished"


def test_each_step_says_what_it_took(predictor: Predictor) -> None:
    for event in steps(events(predictor, ALL[:2], steps=3)):
        assert event.grad_norm > 0
        assert event.seconds > 0
        assert event.tokens > 0
        assert event.memory > 50e6 or not memory._is_linux()


def test_losses_and_probes_are_taken_from_all_over_a_file_that_is_sorted(predictor: Predictor) -> None:
    rows = [Example((f"soup {i}",), {"topic": "food" if i < 500 else "law"}) for i in range(1000)]
    (batch,) = probes(predictor, [Source("s", rows)], seed=0, max_tokens=800).values()
    assert set(batch.targets["topic"].tolist()) == {0, 1}
    known = settings(validation_rows=1000)
    whole, *half = (
        Validation(predictor, [Source("s", part)], known, Processes()).run(0).scores[0].loss
        for part in (rows, rows[:500], rows[500:])
    )
    assert whole == pytest.approx(sum(half) / 2, abs=abs(half[0] - half[1]) / 100)
    assert abs(half[0] - half[1]) > 0.01
