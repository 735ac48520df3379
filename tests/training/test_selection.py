"""Which weights a run ends with when it is stopped, when rows speak for one task only, and what is held out."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
import torch

from mtl.data.batches import Source
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor
from mtl.training.config import Retention, TrainConfig
from mtl.training.events import Evaluated, RunEnded, StepEnded
from mtl.training.recipe import load_recipe
from mtl.training.recipe_data import build_tasks, load_sources
from mtl.training.trainer import train
from mtl.types import Example, Span

ROWS = [Example((f"{word} {i}",), {"topic": n}) for i in range(6) for n, word in (("food", "soup"), ("law", "judge"))]
MIXED = [
    Example(("in Rome",), {"topic": "food", "entities": (Span(3, 7, "LOC"),)}),
    Example(("only a topic",), {"topic": "law"}),
    Example(("Ana",), {"entities": (Span(0, 3, "PER"),)}),
]


def config(**changes) -> TrainConfig:
    return TrainConfig(**{"steps": 60, "batch_rows": 8, "retention": None, "precision": "fp32", **changes})


def state(predictor: Predictor) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in predictor.model.state_dict().items()}


def test_a_stopped_run_ends_with_the_weights_of_its_best_validation(predictor: Predictor) -> None:
    asked, source = count(), [Source("s", ROWS)]
    rates = {"head_lr": 0.02, "encoder_lr": 0.02, "warmup": 0.95}
    scores, weights, ended = {}, {}, None
    for event in train(
        predictor, source, source, config(validate_every=5, **rates), should_stop=lambda: next(asked) >= 40
    ):
        if isinstance(event, Evaluated):
            scores[event.step], weights[event.step] = event.composite, state(predictor)
        ended = event
    assert isinstance(ended, RunEnded)
    assert (ended.reason, ended.steps, max(scores)) == ("stopped", 40, 40)
    best = min(step for step, score in scores.items() if score == max(scores.values()))
    assert 0 < best == ended.best_step < 40
    final = state(predictor)
    for name, value in weights[best].items():  # encoder and heads of one and the same step
        assert torch.equal(final[name], value), name
        assert torch.equal(ended.state[name], value), name
    assert any(not torch.equal(final[name], value) for name, value in weights[40].items() if "heads" in name)
    assert any(not torch.equal(final[name], value) for name, value in weights[40].items() if "encoder" in name)


def test_a_run_stopped_before_its_first_step_changes_nothing(predictor: Predictor) -> None:
    before = state(predictor)
    events = list(train(predictor, [Source("s", ROWS)], [], config(), should_stop=lambda: True))
    assert [type(e).__name__ for e in events] == ["RunStarted", "RunEnded"]
    assert (events[-1].reason, events[-1].steps, events[-1].best) == ("stopped", 0, None)
    assert all(torch.equal(value, before[name]) for name, value in predictor.model.state_dict().items())


def test_without_validation_the_last_weights_are_kept(predictor: Predictor) -> None:
    *_, ended = train(predictor, [Source("s", ROWS)], [], config(steps=4))
    assert (ended.reason, ended.best_step, ended.best) == ("finished", 4, None)
    assert all(torch.equal(value, ended.state[name]) for name, value in predictor.model.state_dict().items())


def test_after_a_run_nothing_asks_for_gradients_and_dropout_is_off(predictor: Predictor) -> None:
    list(train(predictor, [Source("s", ROWS)], [], config(steps=2)))
    assert not any(p.requires_grad for p in predictor.model.parameters())
    assert not any(module.training for module in predictor.model.modules())


def test_a_row_teaches_only_what_it_says(make_predictor) -> None:
    """A row without entities in its targets must not be read as a row without entities."""
    predictor = make_predictor()
    events = list(train(predictor, [Source("s", MIXED * 4)], [], config(steps=80, head_lr=1e-2, encoder_lr=3e-3)))
    assert {name for e in events if isinstance(e, StepEnded) for name in e.losses} == {"topic", "entities"}
    assert evaluate(predictor, "topic", MIXED).metrics["accuracy"] == 1.0
    assert evaluate(predictor, "entities", MIXED).metrics["f1"] == 1.0
    assert evaluate(predictor, "entities", MIXED).examples == 2


def test_the_seed_decides_dropout_too_whatever_was_drawn_before(make_predictor) -> None:
    def losses(drawn: int) -> list[float]:
        predictor = make_predictor()
        torch.manual_seed(drawn)
        events = train(predictor, [Source("s", ROWS)], [], config(steps=3, batch_rows=12, seed=5))
        return [e.losses["topic"] for e in events if isinstance(e, StepEnded)]

    assert losses(1) == losses(2)


def test_a_text_first_seen_late_is_held_to_its_vector_from_before_training(predictor: Predictor) -> None:
    for module in predictor.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # so that only training moves a vector
    changes = {"steps": 6, "batch_rows": 2, "encoder_lr": 0.01, "warmup": 0.0, "retention": Retention()}
    events = train(predictor, [Source("s", ROWS)], [], config(**changes))
    kept = [e.retention for e in events if isinstance(e, StepEnded)]
    assert kept[0] == pytest.approx(0, abs=1e-5)
    assert min(kept[1:]) > 1e-3  # six batches of two: every text is new to the teacher


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_text_held_out_by_one_source_is_not_trained_on_by_another(tmp_path: Path, split: str) -> None:
    files = {
        "a_train.csv": "text,label\nseen before,good\nfresh,bad\n",
        "b_train.csv": "text,label\nother,good\n",
        "b_held.csv": "text,label\n  Seen   BEFORE,good\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"""
encoder: none
tasks: {{mood: {{type: classification, labels: [good, bad]}}}}
sources:
  a: {{tasks: [mood], train: a_train.csv}}
  b: {{tasks: [mood], train: b_train.csv, {split}: b_held.csv}}
""",
        encoding="utf-8",
    )
    recipe = load_recipe(path)
    sources = load_sources(recipe, build_tasks(recipe, tmp_path), tmp_path, "train")
    assert [[row.texts[0] for row in source.examples] for source in sources] == [["fresh"], ["other"]]
