"""The loop: what learns and what does not, the same seed the same run, the best weights at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

import mtl
from mtl.data.batches import Source
from mtl.errors import ConfigError
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor
from mtl.tasks import Classification, NamedEntities
from mtl.training.config import FreezePolicy, Retention, TrainConfig
from mtl.training.events import Evaluated, RunEnded, RunEvent, RunStarted, StepEnded
from mtl.training.retention import Teacher
from mtl.training.trainer import train
from mtl.types import Example, Span
from tests.training.small import ALL, PAIRS, PLACES, TOPICS


def config(**changes) -> TrainConfig:
    return TrainConfig(
        **{
            "steps": 6,
            "batch_rows": 8,
            "batch_tokens": 128,
            "retention": None,
            "precision": "fp32",
            "conflict": False,
            **changes,
        }
    )


def run(
    predictor: Predictor, sources: Sequence[Source] = ALL, validation=(), stop=lambda: False, **changes
) -> list[RunEvent]:
    return list(train(predictor, sources, validation, config(**changes), should_stop=stop))


def state(predictor: Predictor) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in predictor.model.state_dict().items()}


HEADS = ("heads.topic", "heads.entities")
LAYER = "encoder.backbone.encoder.layer"
EMBEDDINGS = "encoder.backbone.embeddings"


@pytest.mark.parametrize(
    ("policy", "moving"),
    [
        (FreezePolicy(), (EMBEDDINGS, f"{LAYER}.0", f"{LAYER}.1", *HEADS)),
        (FreezePolicy(embeddings=True), (f"{LAYER}.0", f"{LAYER}.1", *HEADS)),
        (FreezePolicy(layers=1), (f"{LAYER}.1", *HEADS)),
        (FreezePolicy(encoder=True), HEADS),
        (FreezePolicy(encoder=True, heads=("topic",)), ("heads.entities",)),
        (FreezePolicy(heads=("topic", "entities")), (EMBEDDINGS, f"{LAYER}.0", f"{LAYER}.1")),
    ],
)
def test_a_policy_moves_its_parameters_and_no_other(predictor: Predictor, policy: FreezePolicy, moving) -> None:
    before = state(predictor)
    events = run(predictor, freeze=policy, steps=12, encoder_lr=1e-3)
    for name, value in state(predictor).items():
        moved = not torch.equal(value, before[name])
        assert moved == name.startswith(moving), name  # a backbone's pooler never moves: nothing reads it
    started = events[0]
    assert isinstance(started, RunStarted)
    learning = sum(p.numel() for n, p in predictor.model.named_parameters() if n.startswith(moving))
    assert sum(started.trainable.values()) == learning
    assert started.policy.startswith(policy.describe())


def test_frozen_modules_are_in_eval_mode_while_the_rest_trains(predictor: Predictor) -> None:
    seen: list[tuple[bool, bool, bool]] = []
    encoder = predictor.model.encoder
    modules = (encoder.blocks[0], encoder.blocks[1], predictor.model.heads["topic"])
    modules[2].register_forward_hook(lambda *_: seen.append(tuple(m.training for m in modules)))
    run(predictor, steps=1, freeze=FreezePolicy(layers=1))
    assert seen == [(False, True, True)]
    assert not predictor.model.training


def test_the_same_seed_gives_the_same_losses(make_predictor) -> None:
    def losses(seed: int) -> list[dict[str, float]]:
        return [dict(e.losses) for e in run(make_predictor(), seed=seed) if isinstance(e, StepEnded)]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_it_learns_a_small_set_by_heart_and_keeps_it_when_saved(make_predictor, tmp_path) -> None:
    predictor = make_predictor()
    run(predictor, sources=ALL[:2], steps=150, encoder_lr=3e-3, head_lr=1e-2)
    folder = predictor.save(tmp_path / "model")
    for model in (predictor, mtl.load(folder, device="cpu")):
        assert evaluate(model, "topic", TOPICS).metrics["accuracy"] == 1.0
        assert evaluate(model, "entities", PLACES).metrics["f1"] == 1.0


def test_pairs_are_learned(make_predictor) -> None:
    predictor = make_predictor()
    before = evaluate(predictor, "similarity", PAIRS).metrics["spearman"]
    run(predictor, sources=ALL[2:], steps=60, encoder_lr=3e-3)
    assert evaluate(predictor, "similarity", PAIRS).metrics["spearman"] > max(0.8, before)


def test_one_source_may_feed_two_tasks(make_predictor) -> None:
    tasks = (
        Classification(name="kind", labels=("city", "none")),
        NamedEntities(name="place", labels=("LOC",), hidden=8),
    )
    rows = [Example((f"in Rome {i}",), {"kind": "city", "place": (Span(3, 7, "LOC"),)}) for i in range(6)]
    rows += [Example((f"so what {i}",), {"kind": "none", "place": ()}) for i in range(6)]
    predictor = make_predictor(tasks=tasks)
    events = run(predictor, sources=[Source("both", rows)], steps=60, head_lr=1e-2, encoder_lr=3e-3)
    assert all(set(e.losses) == {"kind", "place"} for e in events if isinstance(e, StepEnded))
    assert evaluate(predictor, "kind", rows).metrics["accuracy"] == 1.0
    assert evaluate(predictor, "place", rows).metrics["f1"] == 1.0


def test_rows_without_a_target_are_passed_over(make_predictor) -> None:
    unlabelled = [Example((f"nothing {i}",), {}) for i in range(100)]
    events = run(make_predictor(), sources=[Source("s", [*unlabelled, *TOPICS[:6]])], steps=5, batch_rows=2)
    assert [set(e.losses) for e in events if isinstance(e, StepEnded)] == [{"topic"}] * 5


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_mentions_are_replaced_by_those_of_every_source(make_predictor, probability: float) -> None:
    one, two = (
        Source(name, [Example((text,), {"entities": (Span(0, 4, "LOC"),)})], replace_mentions=probability)
        for name, text in (("one", "Rome is big"), ("two", "Oslo was far"))
    )
    predictor = make_predictor()
    teacher = Teacher(predictor.copy())  # it remembers every text that was trained on
    list(train(predictor, (one, two), (), config(steps=40, retention=Retention()), teacher=teacher))
    own = {"Rome is big", "Oslo was far"}
    assert set(teacher.known) == (own | {"Oslo is big", "Rome was far"} if probability else own)


def test_a_file_sorted_by_label_is_still_scored_on_every_label(make_predictor) -> None:
    rows = sorted(TOPICS, key=lambda row: str(row.targets["topic"]))
    predictor = make_predictor()
    events = run(predictor, validation=[Source("s", rows)], validation_rows=8, steps=1)
    found = next(e for e in events if isinstance(e, Evaluated)).scores[0].metrics["accuracy"]
    assert 0 < found < 1  # an untrained head says one label of the two


def test_the_end_has_the_weights_of_the_best_validation(make_predictor) -> None:
    predictor = make_predictor()
    validation = [Source("topics", TOPICS), Source("places", PLACES)]
    events = run(
        predictor, sources=ALL[:2], validation=validation, steps=40, validate_every=4, head_lr=0.3, encoder_lr=0.05
    )
    ended = events[-1]
    assert isinstance(ended, RunEnded)
    found = [e for e in events if isinstance(e, Evaluated)]
    assert found[0].step == 0
    assert ended.best == max(found, key=lambda e: e.composite)
    assert ended.best_step == ended.best.step < 40  # such rates ruin the model again
    for score in ended.best.scores:
        rows = TOPICS if score.task == "topic" else PLACES
        assert evaluate(predictor, score.task, rows).metrics == score.metrics
    assert all(torch.equal(value, predictor.model.state_dict()[name]) for name, value in ended.state.items())


def test_a_stop_is_seen_before_the_next_step_and_validates_once_more(predictor: Predictor) -> None:
    answers = iter([False, False, False, True])
    events = run(predictor, validation=ALL[:1], steps=50, stop=lambda: next(answers))
    ended = events[-1]
    assert (ended.reason, ended.steps) == ("stopped", 3)
    assert [e.step for e in events if isinstance(e, Evaluated)] == [0, 3]


def test_patience_ends_a_run_that_gets_no_better(predictor: Predictor) -> None:
    events = run(predictor, validation=ALL[:1], steps=50, validate_every=2, patience=3, head_lr=1e-9, encoder_lr=1e-9)
    assert (events[-1].reason, events[-1].steps) == ("early", 6)


def test_retention_holds_the_vectors(make_predictor) -> None:
    texts = [row.texts[0] for row in TOPICS]

    def moved(retention: Retention | None) -> float:
        predictor = make_predictor()
        before = predictor.encode(texts)
        run(predictor, sources=ALL[:1], steps=40, encoder_lr=3e-3, retention=retention)
        return float(1 - (before * predictor.encode(texts)).sum(1).mean())

    free, held = moved(None), moved(Retention(cosine=20, geometry=0.5))
    assert held < free / 2


def test_retention_is_off_where_the_encoder_cannot_move(predictor: Predictor) -> None:
    events = run(predictor, freeze=FreezePolicy(encoder=True), retention=Retention())
    assert all(e.retention is None for e in events if isinstance(e, StepEnded))


def test_bf16_learns_too(make_predictor) -> None:
    predictor = make_predictor()
    run(predictor, sources=ALL[:1], steps=100, encoder_lr=3e-3, head_lr=1e-2, precision="bf16")
    assert evaluate(predictor, "topic", TOPICS).metrics["accuracy"] == 1.0
    assert {p.dtype for p in predictor.model.parameters()} == {torch.float32}


def test_heads_that_will_drift_are_named(predictor: Predictor) -> None:
    started = run(predictor, sources=ALL[:1], freeze=FreezePolicy(heads=("topic",)))[0]
    (warning,) = started.warnings
    assert warning.startswith("Head entities is neither"), "the encoder learns to suit the frozen topic head"
    assert run(predictor, sources=ALL[:1], freeze=FreezePolicy(encoder=True))[0].warnings == ()


@pytest.mark.parametrize(
    ("sources", "changes", "words"),
    [
        (
            ALL[:1],
            {"freeze": FreezePolicy(encoder=True, heads=("topic",))},
            "nothing would learn: Frozen: the whole encoder",
        ),
        (ALL, {"freeze": FreezePolicy(layers=3)}, "freeze.layers is 3; the encoder has 2"),
        (ALL, {"freeze": FreezePolicy(heads=("mood",))}, "freeze.heads names 'mood'"),
        ([Source("s", [Example(("a",), {})])], {}, "no row has a target"),
    ],
)
def test_a_run_that_cannot_learn_ends_before_it_begins(predictor: Predictor, sources, changes, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run(predictor, sources=sources, **changes)


def test_a_composite_can_be_one_score(predictor: Predictor) -> None:
    events = run(predictor, validation=ALL[:2], select_by="entities.recall")
    first = next(e for e in events if isinstance(e, Evaluated))
    assert first.composite == next(s.metrics["recall"] for s in first.scores if s.task == "entities")
    with pytest.raises(ConfigError, match=r"select_by is 'topic\.f1'; the scores are topic\.accuracy"):
        run(predictor, validation=ALL[:1], select_by="topic.f1")


def test_sources_are_drawn_by_their_shares(predictor: Predictor) -> None:
    sources = [Source("topics", TOPICS, 3.0), Source("places", PLACES)]
    events = run(predictor, sources=sources, steps=20, batch_rows=4)
    drawn = [e.source for e in events if isinstance(e, StepEnded)]
    started = events[0]
    assert abs(drawn.count("topics") - 20 * 6 * 3 / (6 * 3 + 3)) < 1
    assert started.shares["topics"] == drawn.count("topics") / 20
    assert started.epochs["topics"] == pytest.approx(drawn.count("topics") / 6)


def test_rates_rise_and_fall(predictor: Predictor) -> None:
    rates = [e.encoder_lr for e in run(predictor, steps=20, warmup=0.2, encoder_lr=1e-3) if isinstance(e, StepEnded)]
    assert np.argmax(rates) == 3
    assert max(rates) == pytest.approx(1e-3)
    assert rates[0] == pytest.approx(2.5e-4)
    assert rates[4:] == sorted(rates[4:], reverse=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("steps", 0), ("warmup", 1.0), ("encoder_lr", -1), ("select_by", "best")],
)
def test_a_setting_out_of_its_limits_is_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"training.{field} is"):
        TrainConfig(**{field: value})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_trains_and_answers_on_a_gpu(make_predictor) -> None:
    predictor = make_predictor()
    predictor.model.to("cuda")
    run(predictor, sources=ALL, steps=120, encoder_lr=3e-3, head_lr=1e-2, retention=Retention(), precision="auto")
    assert evaluate(predictor, "topic", TOPICS).metrics["accuracy"] == 1.0
    assert evaluate(predictor, "entities", PLACES).metrics["f1"] == 1.0
