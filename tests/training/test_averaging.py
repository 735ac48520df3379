"""The average of the weights, rates that fall with depth, and one teacher for several runs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from mtl.data.batches import Source
from mtl.errors import ConfigError
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor
from mtl.training.averaging import Average, soup
from mtl.training.config import FreezePolicy, Retention, TrainConfig
from mtl.training.events import Evaluated, RunEnded, RunEvent, StepEnded
from mtl.training.retention import Teacher
from mtl.training.trainer import train
from mtl.types import Example, Span

State = dict[str, torch.Tensor]
TOPICS = [Example((f"{word} {i}",), {"topic": n}) for i in range(4) for n, word in (("food", "soup"), ("law", "judge"))]
PLACES = [
    Example((f"in {city} {i}",), {"entities": (Span(3, 7, "LOC"),)}) for i in range(3) for city in ("Rome", "Oslo")
]
PAIRS = [Example((a, b), {"similarity": float(a[0] == b[0])}) for a in ("aa", "ab", "ba") for b in ("ac", "bb", "bc")]
ALL = (Source("topics", TOPICS), Source("places", PLACES), Source("pairs", PAIRS))
DECAY = 0.6  # above it from step 13 on, where (1 + step) / (10 + step) would be more


def run(
    predictor: Predictor,
    validation: Sequence[Source] = (),
    *,
    sources: Sequence[Source] = ALL,
    teacher: Teacher | None = None,
    **changes: object,
) -> list[RunEvent]:
    settings = {"steps": 18, "batch_rows": 4, "retention": None, "precision": "fp32", "encoder_lr": 5e-3, **changes}
    return list(train(predictor, sources, validation, TrainConfig(**settings), teacher=teacher))


def state(predictor: Predictor) -> State:
    return {name: value.clone() for name, value in predictor.model.state_dict().items()}


def losses(events: Sequence[RunEvent]) -> list[dict[str, float]]:
    return [dict(e.losses) for e in events if isinstance(e, StepEnded)]


def by_hand(predictor: Predictor, **changes: object) -> tuple[list[State], list[State]]:
    """The weights after each step of a run that averages nothing, and the averages that follow from them."""
    raw, averages = [state(predictor)], [state(predictor)]
    settings = {"steps": 18, "batch_rows": 4, "retention": None, "precision": "fp32", "encoder_lr": 5e-3, **changes}
    for event in train(predictor, ALL, (), TrainConfig(**settings)):
        if isinstance(event, StepEnded):
            raw.append(state(predictor))
            kept = min(DECAY, (1 + event.step) / (10 + event.step))
            averages.append({n: kept * old + (1 - kept) * raw[-1][n] for n, old in averages[-1].items()})
    return raw, averages


def close(left: State, right: State) -> bool:
    return all(torch.allclose(value, right[name], atol=1e-6) for name, value in left.items())


def test_the_average_follows_its_recurrence_and_forgets_the_start_early() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    average = Average([weight], 0.5)
    found = []
    for step, value in enumerate((3.0, -1.0, 2.0), start=1):
        weight.data.fill_(value)
        average.update(step)
        found.append(average.values[0].item())
    first = 2 / 11 * 1 + 9 / 11 * 3
    second = 3 / 12 * first + 9 / 12 * -1
    assert found == pytest.approx([first, second, 4 / 13 * second + 9 / 13 * 2])
    average.update(1000)
    assert average.values[0].item() == pytest.approx(0.5 * found[-1] + 0.5 * 2)


def test_the_average_is_in_place_only_inside_also_after_an_error() -> None:
    weight = torch.nn.Parameter(torch.tensor([0.1, 0.7]))
    average = Average([weight], 0.9)
    weight.data.add_(1.3)
    raw = weight.detach().clone()

    def use() -> None:
        with average.applied():
            assert weight.tolist() == pytest.approx([0.1, 0.7])
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        use()
    assert torch.equal(weight, raw)
    assert average.values[0].tolist() == pytest.approx([0.1, 0.7])


def test_the_average_is_validated_and_the_raw_weights_train_on(make_predictor) -> None:
    raw, averages = by_hand(make_predictor())
    plain = run(make_predictor())
    events = run(make_predictor(), ALL, ema=DECAY, validate_every=3)
    assert losses(events) == losses(plain)
    found = [e for e in events if isinstance(e, Evaluated)]
    assert [e.step for e in found] == [0, 3, 6, 9, 12, 15, 18]
    rows = {"topics": TOPICS, "places": PLACES, "pairs": PAIRS}
    judge, apart = make_predictor(), []
    for event in found:
        judge.model.load_state_dict(averages[event.step])
        for score in event.scores:
            expected = evaluate(judge, score.task, rows[score.source]).metrics
            assert score.metrics == pytest.approx(expected, abs=1e-4), (event.step, score.task)
        judge.model.load_state_dict(raw[event.step])
        (seen,) = (s.metrics["pearson"] for s in event.scores if s.task == "similarity")
        apart.append(abs(evaluate(judge, "similarity", PAIRS).metrics["pearson"] - seen))
    assert apart[0] == pytest.approx(0, abs=1e-5), "the same weights, read in other batches"
    assert min(apart[1:4]) > 0.002, "the raw weights score alike, so that this proves nothing"


def test_a_run_ends_with_the_average_of_its_best_step(make_predictor) -> None:
    ruinous = {"steps": 40, "encoder_lr": 0.02, "warmup": 0.9}  # learns at first, then forgets again
    raw, averages = by_hand(make_predictor(), **ruinous)
    predictor = make_predictor()
    ended = run(predictor, ALL, ema=DECAY, validate_every=2, select_by="similarity.pearson", **ruinous)[-1]
    assert isinstance(ended, RunEnded)
    assert 0 < ended.best_step < 40
    assert close(ended.state, averages[ended.best_step])
    assert not close(ended.state, raw[ended.best_step])
    assert not close(ended.state, averages[-1])
    assert all(torch.equal(value, ended.state[name]) for name, value in state(predictor).items())


def test_without_validation_a_run_ends_with_its_last_average(make_predictor) -> None:
    policy = FreezePolicy(layers=1)
    raw, averages = by_hand(make_predictor(), freeze=policy)
    predictor = make_predictor()
    ended = run(predictor, ema=DECAY, freeze=policy)[-1]
    assert ended.best_step == 18
    assert close(ended.state, averages[-1])
    assert not close(ended.state, raw[-1])
    assert all(torch.equal(value, ended.state[name]) for name, value in state(predictor).items())
    frozen = [name for name in raw[0] if "embeddings" in name or "layer.0" in name]
    assert all(torch.equal(ended.state[name], raw[0][name]) for name in frozen)


@pytest.mark.parametrize("seed", range(4))
def test_a_soup_is_the_mean_of_its_ingredients_and_scores_no_less(make_predictor, seed: int) -> None:
    plain, mixed = make_predictor(), make_predictor()
    settings = {"seed": seed, "validate_every": 3, "steps": 12, "encoder_lr": 2e-2}
    raw: dict[int, State] = {}
    for event in train(plain, ALL, ALL, TrainConfig(batch_rows=4, retention=None, precision="fp32", **settings)):
        if isinstance(event, Evaluated):
            raw[event.step] = state(plain)
    alone = {e.step: e.composite for e in run(make_predictor(), ALL, **settings) if isinstance(e, Evaluated)}
    ended = run(mixed, ALL, soup=True, **settings)[-1]
    assert isinstance(ended, RunEnded)
    assert ended.best is not None
    scores = []
    for source, name in zip(ALL, ("topic", "entities", "similarity"), strict=True):
        scores.append(evaluate(mixed, name, source.examples).metrics[mixed.task(name).primary])
    assert sum(scores) / 3 == pytest.approx(ended.best.composite)
    steps = ended.averaged or (ended.best_step,)
    for name, value in state(mixed).items():
        expected = torch.stack([raw[step][name].double() for step in steps]).mean(0)
        torch.testing.assert_close(value.double(), expected, atol=1e-5, rtol=1e-4)
    if ended.averaged:
        assert max(alone, key=alone.__getitem__) in ended.averaged
        assert ended.best.composite > max(alone.values())
    else:
        assert ended.best.composite == max(alone.values())


def test_what_joins_a_soup_is_what_makes_it_better() -> None:
    def scored(state: State, step: int = 9) -> Evaluated:
        return Evaluated(step, (), 1 - abs(float(state["w"]) - 2.0))  # 2 would be perfect

    weights = {1: 1.5, 2: 2.5, 3: 9.0, 4: 2.25}
    states = {step: {"w": torch.tensor(weight), "n": torch.tensor(step)} for step, weight in weights.items()}
    ingredients = [(scored(state, step), state) for step, state in states.items()]
    best, mixed, steps = soup(ingredients[3][0], states[4], ingredients, scored)
    assert steps == (1, 2, 4), "2.25 alone, with 1.5, with 2.5, not with 9"
    assert float(mixed["w"]) == pytest.approx(6.25 / 3)
    assert int(mixed["n"]) == 4, "whole numbers are not averaged"
    assert (best.step, best.composite) == (4, pytest.approx(1 - 0.25 / 3))


def test_a_soup_of_worse_weights_is_left_alone() -> None:
    def scored(state: State) -> Evaluated:
        return Evaluated(9, (), -abs(float(state["w"])))

    came, moved = {"w": torch.tensor(0.0)}, {"w": torch.tensor(1.0)}
    best = Evaluated(0, (), 0.0)
    assert soup(best, came, [(Evaluated(3, (), -1.0), moved)], scored) == (best, came, ())
    assert soup(best, came, [], scored) == (best, came, ())
    alone = Evaluated(3, (), -1.0)
    ingredients = [(alone, moved), (Evaluated(6, (), -5.0), {"w": torch.tensor(5.0)})]
    assert soup(alone, moved, ingredients, scored) == (alone, moved, ())


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_each_layer_learns_at_its_power_of_the_rate_and_heads_at_their_own(predictor: Predictor, decay: float) -> None:
    before = state(predictor)
    freeze = FreezePolicy(layer_decay=decay)
    rates = {"encoder_lr": 1e-3, "head_lr": 4e-3, "freeze": freeze, "weight_decay": 0.0, "warmup": 0.0}
    events = run(predictor, sources=ALL[:1], steps=1, **rates)
    moved = {name: (value - before[name]).abs().max().item() for name, value in state(predictor).items()}
    expected = {
        "encoder.backbone.embeddings": 1e-3 * decay**2,
        "encoder.backbone.encoder.layer.0": 1e-3 * decay,
        "encoder.backbone.encoder.layer.1": 1e-3,
        "heads.topic": 4e-3,
    }  # the first step of Adam moves a weight by its rate
    for part, rate in expected.items():
        assert max(m for name, m in moved.items() if name.startswith(part)) == pytest.approx(rate, rel=0.01), part
    assert [e.encoder_lr for e in events if isinstance(e, StepEnded)] == [1e-3]


def test_a_shared_teacher_is_asked_and_changes_nothing(make_predictor) -> None:
    def told(teacher: Teacher | None) -> list[tuple[dict[str, float], float | None]]:
        events = run(make_predictor(), teacher=teacher, retention=Retention())
        return [(dict(e.losses), e.retention) for e in events if isinstance(e, StepEnded)]

    own, teacher = told(None), Teacher(make_predictor())
    assert told(teacher) == own
    assert set(teacher.known) == {text for source in ALL for row in source.examples for text in row.texts}
    for parameter in teacher.predictor.model.parameters():
        parameter.data.zero_()
    assert told(teacher) == own, "a second run shall read what the teacher remembers"
    foreign = make_predictor(pooling="cls")
    assert told(Teacher(foreign))[0][1] != pytest.approx(own[0][1], rel=0.1), "or the teacher handed in is not used"


@pytest.mark.parametrize("changes", [{"retention": None}, {"freeze": FreezePolicy(encoder=True)}])
def test_a_teacher_is_not_asked_where_nothing_is_to_be_kept(predictor: Predictor, changes) -> None:
    teacher = Teacher(predictor.copy())
    run(predictor, teacher=teacher, steps=4, **{"retention": Retention(), **changes})
    assert teacher.known == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [("ema", 0.0), ("ema", 1.0), ("ema", 1.5)],
)
def test_a_value_out_of_its_limits_is_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"training.{field} is {value}; it must be "):
        TrainConfig(**{field: value})
