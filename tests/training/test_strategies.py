"""Every way to hold parts of the network still: which tensors move, what is learned, what is said of it."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest
import torch

import mtl
from mtl.data.batches import Source, collate
from mtl.errors import ConfigError
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor
from mtl.training import freezing
from mtl.training.config import FreezePolicy, LoRA, TrainConfig
from mtl.training.events import Evaluated, RunStarted, StepEnded
from tests.conftest import MakePredictor
from tests.training.small import ALL, PLACES, TOPICS, State, ended, events, same, state, steps, stream

BOTH = ALL[:2]
LAYER = "encoder.backbone.encoder.layer"
PARTS = {
    "embeddings": "encoder.backbone.embeddings.",
    "layer 1": f"{LAYER}.0.",
    "layer 2": f"{LAYER}.1.",
    "head topic": "heads.topic.",
    "head entities": "heads.entities.",
}
HEADS = ("head topic", "head entities")
LAYERS = ("layer 1", "layer 2")
ENCODER = ("embeddings", *LAYERS)
TEXTS = ["soup 1", "court 2", "in Oslo 3"]


def prefixes(parts: Iterable[str]) -> tuple[str, ...]:
    return tuple(PARTS[part] for part in parts)


def moved(before: State, after: State) -> set[str]:
    """The names of the tensors that are not the same to the bit."""
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def parts_of(names: Iterable[str]) -> set[str]:
    return {part for part, prefix in PARTS.items() if any(name.startswith(prefix) for name in names)}


def furthest(before: State, after: State, part: str) -> float:
    """How far the number of a part that moved most is from where it was."""
    changes = [(after[n] - before[n]).abs().max() for n in after if n.startswith(PARTS[part])]
    return float(torch.stack(changes).max())


STRATEGIES = [
    (FreezePolicy(), (*ENCODER, *HEADS), "Nothing is frozen."),
    (FreezePolicy(embeddings=True), (*LAYERS, *HEADS), "Frozen: the embeddings."),
    (FreezePolicy(layers=1), ("layer 2", *HEADS), "Frozen: the embeddings and the first 1 layers."),
    (FreezePolicy(layers=2), HEADS, "Frozen: the embeddings and the first 2 layers."),
    (FreezePolicy(encoder=True), HEADS, "Frozen: the whole encoder."),
    (FreezePolicy(heads=("topic",)), (*ENCODER, "head entities"), "Frozen: head topic."),
    (FreezePolicy(heads=("topic", "entities")), ENCODER, "Frozen: head topic, head entities."),
    (
        FreezePolicy(embeddings=True, heads=("entities",)),
        (*LAYERS, "head topic"),
        "Frozen: the embeddings, head entities.",
    ),
    (
        FreezePolicy(gradual=0.125),
        (*ENCODER, *HEADS),
        "Nothing is frozen. Heads learn first; every 12% of the run one more layer joins, from the top.",
    ),
    (
        FreezePolicy(gradual=0.25, layers=1),
        ("layer 2", *HEADS),
        "Frozen: the embeddings and the first 1 layers. "
        "Heads learn first; every 25% of the run one more layer joins, from the top.",
    ),
    (
        FreezePolicy(layer_decay=0.5),
        (*ENCODER, *HEADS),
        "Nothing is frozen. Each layer learns at 0.5 times the rate of the one above it.",
    ),
    (
        FreezePolicy(gradient={"topic": 0.0}),
        (*ENCODER, *HEADS),
        "Nothing is frozen. Head topic does not move the encoder.",
    ),
    (
        FreezePolicy(gradient={"topic": 0.5, "entities": 0.25}),
        (*ENCODER, *HEADS),
        "Nothing is frozen. Head topic moves the encoder at 0.5 of its gradient. "
        "Head entities moves the encoder at 0.25 of its gradient.",
    ),
]
NAMES = [sentence for _, _, sentence in STRATEGIES]


@pytest.mark.parametrize(("policy", "moving", "sentence"), STRATEGIES, ids=NAMES)
def test_a_strategy_moves_its_own_tensors_and_learns_a_small_set_by_heart(
    predictor: Predictor, policy: FreezePolicy, moving, sentence: str
) -> None:
    before = state(predictor)
    rate = 5e-4 if 0.0 in policy.gradient.values() else 5e-3  # what a head cannot hold in place may move away
    events(predictor, BOTH, freeze=policy, steps=300, batch_rows=8, head_lr=2e-2, encoder_lr=rate)
    after = state(predictor)
    assert moved(before, after) == {name for name in after if name.startswith(prefixes(moving))}
    assert evaluate(predictor, "topic", TOPICS).metrics["accuracy"] == 1.0
    assert evaluate(predictor, "entities", PLACES).metrics["f1"] == 1.0


@pytest.mark.parametrize(("policy", "learning", "sentence"), STRATEGIES, ids=NAMES)
def test_a_run_says_its_strategy_and_counts_what_learns(
    predictor: Predictor, policy: FreezePolicy, learning, sentence: str
) -> None:
    by_hand = {
        part: sum(p.numel() for n, p in predictor.model.named_parameters() if n.startswith(prefix))
        for part, prefix in PARTS.items()
    }
    started = events(predictor, BOTH, freeze=policy, steps=1)[0]
    assert isinstance(started, RunStarted)
    assert policy.describe() == sentence
    assert started.policy.startswith(f"{sentence} Peak rates:")
    expected = {part: by_hand[part] if part in learning else 0 for part in PARTS}
    assert started.trainable == {**expected, "head similarity": 0}
    assert started.total == {**by_hand, "head similarity": 0}


# --- everything ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [FreezePolicy(everything=True), FreezePolicy(everything=True, gradual=0.1)])
def test_with_everything_frozen_a_run_only_validates(predictor: Predictor, policy: FreezePolicy) -> None:
    before = state(predictor)
    found = events(predictor, BOTH, BOTH, freeze=policy, steps=20)
    started, last = found[0], ended(found)
    assert started.policy == "Frozen: the whole network."
    assert set(started.trainable.values()) == {0}
    assert started.steps == 0
    assert steps(found) == []
    assert (last.reason, last.steps, last.best_step) == ("finished", 0, 0)
    (validated,) = [e for e in found if isinstance(e, Evaluated)]
    assert last.best == last.before == validated
    scores = {score.task: score.metrics for score in validated.scores}
    assert scores == {
        "topic": evaluate(predictor, "topic", TOPICS).metrics,
        "entities": evaluate(predictor, "entities", PLACES).metrics,
    }
    assert same(state(predictor), before)


# --- gradual ------------------------------------------------------------------------------------------------------


def expected_parts(policy: FreezePolicy, step: int, total: int, every: int) -> set[str]:
    """What has joined by a step, in whole numbers: a layer more after every `every` steps, from the top."""
    order = [part for part in ("layer 2", "layer 1", "embeddings") if policy.layers == 0 or part == "layer 2"]
    return set(order[: (step - 1) // every])


@pytest.mark.parametrize(
    ("policy", "total", "every"),
    [
        (FreezePolicy(gradual=0.25), 12, 3),
        (FreezePolicy(gradual=0.3), 10, 3),
        (FreezePolicy(gradual=0.5, layers=1), 8, 4),
        (FreezePolicy(gradual=0.1), 10, 1),
        (FreezePolicy(gradual=0.2), 20, 4),
    ],
)
def test_at_each_share_of_the_run_exactly_the_released_parts_move(
    predictor: Predictor, policy: FreezePolicy, total: int, every: int
) -> None:
    before = state(predictor)
    seen: list[set[str]] = []
    for event in stream(predictor, BOTH, freeze=policy, steps=total, warmup=0.0):
        if isinstance(event, StepEnded):
            now = state(predictor)
            seen.append(parts_of(moved(before, now)))
            assert seen[-1] & set(HEADS) == {f"head {next(iter(event.losses))}"}
            before = now
    found = [parts - set(HEADS) for parts in seen]
    assert found == [expected_parts(policy, step, total, every) for step in range(1, total + 1)]


def test_parts_that_have_not_joined_are_in_eval_mode(predictor: Predictor) -> None:
    encoder = predictor.model.encoder
    modules = (predictor.model.heads["topic"], encoder.blocks[1], encoder.blocks[0], encoder.embeddings)
    seen = [
        tuple(module.training for module in modules)
        for event in stream(predictor, ALL[:1], freeze=FreezePolicy(gradual=0.25), steps=4)
        if isinstance(event, StepEnded) and event.step < 4
    ]
    assert seen == [(True, False, False, False), (True, True, False, False), (True, True, True, False)]


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (FreezePolicy(gradual=0.4), r"freeze\.gradual is 0\.4; 3 parts would join until 120% of the run"),
        (FreezePolicy(gradual=0.5, embeddings=True), r"freeze\.gradual is 0\.5; 2 parts would join until 100%"),
    ],
)
def test_a_release_after_the_end_is_refused(predictor: Predictor, policy: FreezePolicy, words: str) -> None:
    before = state(predictor)
    with pytest.raises(ConfigError, match=words):
        events(predictor, BOTH, freeze=policy)
    assert same(state(predictor), before)


def test_the_largest_share_that_is_told_of_is_about_where_refusal_begins(predictor: Predictor) -> None:
    list(freezing.parts(predictor.model, FreezePolicy(gradual=0.33)))
    with pytest.raises(ConfigError, match=r"say less than 0\.33"):
        list(freezing.parts(predictor.model, FreezePolicy(gradual=0.34)))


# --- lora ---------------------------------------------------------------------------------------------------------


def plain(name: str) -> str:
    return name.replace(".base_layer", "")


@pytest.mark.parametrize("layers", [0, 1])
def test_only_adapters_and_heads_move_while_adapters_learn(predictor: Predictor, layers: int) -> None:
    pytest.importorskip("peft")
    before = state(predictor)
    adapters: dict[str, torch.Tensor] = {}
    policy = FreezePolicy(lora=LoRA(rank=4), layers=layers)
    for event in stream(predictor, BOTH, freeze=policy, steps=6):
        if not isinstance(event, StepEnded):
            continue
        now = state(predictor)
        base = {plain(name): value for name, value in now.items() if "lora_" not in name}
        assert base.keys() == before.keys()
        assert not {name for name in moved(before, base) if name.startswith("encoder.")}
        mine = {name: value for name, value in now.items() if "lora_" in name}
        assert len(mine) == 2 * 6 * (2 - layers)  # A and B on six linear layers of each layer
        assert all(name.startswith(tuple(f"{LAYER}.{place}." for place in range(layers, 2))) for name in mine)
        assert event.step < 3 or all(not torch.equal(value, adapters[name]) for name, value in mine.items())
        adapters = mine


@pytest.mark.parametrize("layers", [0, 1])
def test_merged_adapters_leave_a_plain_model_whose_linear_layers_moved(predictor: Predictor, layers: int) -> None:
    pytest.importorskip("peft")
    from peft.tuners.lora import LoraLayer

    before = state(predictor)
    policy = FreezePolicy(lora=LoRA(rank=4), layers=layers)
    last = ended(events(predictor, BOTH, BOTH, freeze=policy, steps=20))
    after = state(predictor)
    assert after.keys() == before.keys()
    assert same(dict(last.state), after)
    assert not [n for n, m in predictor.model.named_modules() if isinstance(m, LoraLayer) or "lora" in n]
    assert not hasattr(predictor.model.encoder.backbone, "peft_config")
    adapted = {
        f"{name}.weight"
        for name, module in predictor.model.named_modules()
        if isinstance(module, torch.nn.Linear) and name.startswith(tuple(f"{LAYER}.{p}." for p in range(layers, 2)))
    }
    assert len(adapted) == 6 * (2 - layers)
    assert {name for name in moved(before, after) if name.startswith("encoder.")} == adapted


def test_merging_adapters_changes_no_answer(predictor: Predictor) -> None:
    pytest.importorskip("peft")
    for event in stream(predictor, BOTH, freeze=FreezePolicy(lora=LoRA(rank=4)), steps=20, encoder_lr=1e-2):
        if isinstance(event, StepEnded) and event.step == 20:
            predictor.model.eval()
            adapted = predictor.encode(TEXTS)
    np.testing.assert_allclose(predictor.encode(TEXTS), adapted, atol=1e-5)


def test_adapters_learn_and_a_saved_model_answers_alike(predictor: Predictor, tmp_path) -> None:
    pytest.importorskip("peft")
    events(predictor, BOTH, freeze=FreezePolicy(lora=LoRA(rank=4)), steps=200, batch_rows=8, encoder_lr=1e-2)
    loaded = mtl.load(predictor.save(tmp_path / "model"), device="cpu", precision="fp32")
    for model in (predictor, loaded):
        assert evaluate(model, "topic", TOPICS).metrics["accuracy"] == 1.0
        assert evaluate(model, "entities", PLACES).metrics["f1"] == 1.0
    assert state(loaded).keys() == state(predictor).keys()
    np.testing.assert_allclose(loaded.encode(TEXTS), predictor.encode(TEXTS), atol=5e-3)
    learned = [row.texts[0] for row in PLACES]  # elsewhere a tie may fall either way
    for mine, theirs in zip(predictor.analyze(learned), loaded.analyze(learned), strict=True):
        assert mine["topic"].scores == pytest.approx(theirs["topic"].scores, abs=1e-2)
        assert [(s.start, s.end, s.label) for s in mine["entities"]] == [
            (s.start, s.end, s.label) for s in theirs["entities"]
        ]


@pytest.mark.parametrize(("layers", "rank"), [(0, 4), (1, 2)])
def test_a_run_with_adapters_says_so_and_counts_them(predictor: Predictor, layers: int, rank: int) -> None:
    pytest.importorskip("peft")
    plain_total = freezing.total_counts(predictor.model)
    started = events(predictor, BOTH, freeze=FreezePolicy(lora=LoRA(rank=rank), layers=layers), steps=1)[0]
    each = rank * (4 * (32 + 32) + 2 * (32 + 64))  # query, key, value and output; up and down
    assert [started.trainable[part] for part in ENCODER] == [0, 0 if layers else each, each]
    assert [started.trainable[head] for head in HEADS] == [plain_total[head] for head in HEADS]
    assert started.total == plain_total
    frozen = "Frozen: the embeddings and the first 1 layers." if layers else "Nothing is frozen."
    said = f"{frozen} Adapters of rank {rank} learn in place of the encoder's own weights."
    assert started.policy.startswith(said)


def test_adapters_join_gradually_from_the_top(predictor: Predictor) -> None:
    pytest.importorskip("peft")
    seen: list[set[str]] = []
    before: State = {}
    for event in stream(predictor, BOTH, freeze=FreezePolicy(lora=LoRA(rank=2), gradual=0.25), steps=8):
        if isinstance(event, RunStarted):
            before = state(predictor)
        if isinstance(event, StepEnded):
            now = state(predictor)
            seen.append(parts_of(moved(before, now)) - set(HEADS))
            before = now
    assert seen == [set()] * 2 + [{"layer 2"}] * 2 + [{"layer 1", "layer 2"}] * 4


@pytest.mark.parametrize(
    "changes",
    [
        {"freeze": FreezePolicy(lora=LoRA(), heads=("mood",))},
        {"freeze": FreezePolicy(lora=LoRA(), gradient={"mood": 0.5})},
        {"freeze": FreezePolicy(lora=LoRA(), gradual=0.9)},
        {"freeze": FreezePolicy(lora=LoRA(), layers=2)},
    ],
)
def test_a_refused_run_leaves_no_adapter_behind(predictor: Predictor, changes) -> None:
    pytest.importorskip("peft")
    before = state(predictor)
    with pytest.raises(ConfigError):
        events(predictor, BOTH, **changes)
    assert state(predictor).keys() == before.keys()


def test_adapters_without_their_package_are_refused_with_what_to_install(predictor: Predictor, monkeypatch) -> None:
    monkeypatch.setattr("mtl.training.lora.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"freeze\.lora needs peft: pip install peft"):
        events(predictor, BOTH, freeze=FreezePolicy(lora=LoRA()))


# --- rates --------------------------------------------------------------------------------------------------------


def test_encoder_and_heads_take_their_first_step_at_their_own_rates(predictor: Predictor) -> None:
    before = state(predictor)
    events(predictor, ALL[:1], steps=1, warmup=0.0, weight_decay=0.0, encoder_lr=1e-3, head_lr=3e-2)
    after = state(predictor)
    # Adam's first step moves a number by its rate, whatever its gradient
    assert [furthest(before, after, part) for part in ENCODER] == pytest.approx([1e-3] * 3, rel=1e-2)
    assert furthest(before, after, "head topic") == pytest.approx(3e-2, rel=1e-2)
    assert furthest(before, after, "head entities") == 0


@pytest.mark.parametrize("decay", [0.5, 0.1])
def test_each_layer_takes_its_first_step_at_its_share_of_the_rate_above(predictor: Predictor, decay: float) -> None:
    before = state(predictor)
    freeze = FreezePolicy(layer_decay=decay)
    events(predictor, ALL[:1], steps=1, warmup=0.0, weight_decay=0.0, encoder_lr=1e-2, head_lr=3e-2, freeze=freeze)
    after = state(predictor)
    expected = [1e-2 * decay**2, 1e-2 * decay, 1e-2]
    assert [furthest(before, after, part) for part in ENCODER] == pytest.approx(expected, rel=1e-2)
    assert furthest(before, after, "head topic") == pytest.approx(3e-2, rel=1e-2)


# --- gradient -----------------------------------------------------------------------------------------------------


def test_a_head_with_gradient_0_learns_and_leaves_the_encoder_as_it_is_to_the_bit(predictor: Predictor) -> None:
    before = state(predictor)
    events(predictor, ALL[:1], freeze=FreezePolicy(gradient={"topic": 0.0}), steps=200, batch_rows=8, head_lr=2e-2)
    after = state(predictor)
    assert moved(before, after) == {name for name in after if name.startswith("heads.topic.")}
    assert evaluate(predictor, "topic", TOPICS).metrics["accuracy"] == 1.0


@pytest.mark.parametrize("factor", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize(("task", "rows"), [("topic", TOPICS), ("entities", PLACES)])
def test_a_factor_scales_the_gradient_of_the_encoder_and_of_nothing_else(
    predictor: Predictor, task: str, rows, factor: float
) -> None:
    model = predictor.model.eval()
    chosen = predictor.task(task)
    batch = collate("", rows[:6], [chosen], predictor.tokenizer)

    def gradients(factors: dict[str, float]) -> dict[str, torch.Tensor]:
        output = model.read(model.encode(batch.inputs, [task]), [task], factors)[task]
        loss = chosen.loss(output, batch.targets[task])
        found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        return {
            name: torch.zeros_like(p) if g is None else g
            for (name, p), g in zip(model.named_parameters(), found, strict=True)
        }

    model.requires_grad_(True)
    whole, weaker = gradients({}), gradients({task: factor})
    assert any(value.abs().max() > 0 for name, value in whole.items() if name.startswith(f"{LAYER}.0"))
    for name, value in whole.items():
        wanted = value * factor if name.startswith("encoder.") else value
        torch.testing.assert_close(weaker[name], wanted, rtol=1e-4, atol=1e-8)


def test_a_factor_of_one_half_halves_the_first_gradient_of_a_run(make_still: MakePredictor) -> None:
    def norm(gradient: dict[str, float]) -> float:
        freeze = FreezePolicy(heads=("topic",), gradient=gradient)  # what is left to learn is the encoder
        return steps(events(make_still(), ALL[:1], freeze=freeze, steps=1))[0].grad_norm

    assert norm({"topic": 0.5}) == pytest.approx(norm({}) / 2, rel=1e-4)


def test_what_one_head_is_denied_another_is_not(predictor: Predictor) -> None:
    before = state(predictor)
    freeze = FreezePolicy(gradient={"topic": 0.0})
    order = [("topics",)] * 3 + [("places",)]
    for event in stream(predictor, BOTH, freeze=freeze, steps=4, order=order):
        if isinstance(event, StepEnded):
            now = state(predictor)
            encoder = parts_of(moved(before, now)) & set(ENCODER)
            assert encoder == (set(ENCODER) if event.source == "places" else set())
            before = now


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["heads", "gradient"])
def test_an_unknown_head_is_named_with_those_that_there_are(predictor: Predictor, field: str) -> None:
    policy = FreezePolicy(heads=("mood",)) if field == "heads" else FreezePolicy(gradient={"mood": 0.5})
    words = rf"freeze\.{field} names 'mood'; the model has topic, entities, similarity"
    with pytest.raises(ConfigError, match=words):
        events(predictor, BOTH, freeze=policy)


def test_more_layers_than_there_are_cannot_be_frozen(predictor: Predictor) -> None:
    with pytest.raises(ConfigError, match=r"freeze\.layers is 3; the encoder has 2 layers"):
        events(predictor, BOTH, freeze=FreezePolicy(layers=3))


def test_adapters_on_frozen_layers_alone_are_refused(predictor: Predictor) -> None:
    pytest.importorskip("peft")
    with pytest.raises(ConfigError, match=r"freeze\.lora has no layer to adapt: freeze\.layers is 2 of 2"):
        events(predictor, BOTH, freeze=FreezePolicy(layers=2, lora=LoRA()))


def test_a_run_in_which_neither_head_nor_encoder_gets_a_gradient_is_refused(predictor: Predictor) -> None:
    policy = FreezePolicy(heads=("topic",), gradient={"topic": 0.0})
    with pytest.raises(ConfigError, match="nothing would learn"):
        events(predictor, ALL[:1], freeze=policy)


@pytest.mark.parametrize("setting", [{"lora": LoRA()}, {"gradual": 0.1}])
def test_a_frozen_encoder_has_nothing_to_adapt_or_to_release(setting) -> None:
    with pytest.raises(ConfigError, match=rf"freeze\.encoder freezes what freeze\.{next(iter(setting))}"):
        FreezePolicy(encoder=True, **setting)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layers", -1),
        ("gradual", 0.0),
        ("gradual", 1.0),
        ("gradual", -0.1),
        ("gradual", math.nan),
        ("layer_decay", 0.0),
        ("layer_decay", 1.1),
        ("layer_decay", math.nan),
    ],
)
def test_a_policy_out_of_its_limits_is_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"freeze\.{field} is {value}"):
        FreezePolicy(**{field: value})


@pytest.mark.parametrize("factor", [-0.1, 1.5, math.nan])
def test_a_factor_out_of_its_limits_is_named_with_its_head(factor: float) -> None:
    with pytest.raises(ConfigError, match=rf"freeze\.gradient of 'topic' is {factor}; it must be from 0 to 1"):
        FreezePolicy(gradient={"topic": factor})


@pytest.mark.parametrize(
    ("field", "value"), [("rank", 0), ("alpha", 0), ("dropout", 1.0), ("dropout", -0.1), ("dropout", math.nan)]
)
def test_adapters_out_of_their_limits_are_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"freeze\.lora\.{field} is {value}"):
        LoRA(**{field: value})


@pytest.mark.parametrize("field", ["encoder_lr", "head_lr"])
@pytest.mark.parametrize("value", [0.0, -1e-3, math.nan])
def test_a_rate_out_of_its_limits_is_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"training\.{field} is {value}; it must be above 0"):
        TrainConfig(**{field: value})


def test_an_unlabelled_source_teaches_no_head(predictor: Predictor) -> None:
    started = events(predictor, [*ALL[:1], Source("none", [])], freeze=FreezePolicy(encoder=True), steps=1)[0]
    assert started.trainable["head entities"] == 0
    assert started.trainable["head topic"] == started.total["head topic"] > 0
