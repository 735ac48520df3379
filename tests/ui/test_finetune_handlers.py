"""Presses on the drawing and words of presets become policies; typed markup stays text."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mtl.service.planning import DataLook, NetworkPlan, PartPlan, SeenRow, SeenToken
from mtl.service.service import Service
from mtl.settings import Settings
from mtl.training.config import FreezePolicy
from mtl.ui import render_tune
from mtl.ui.finetune_handlers import (
    ALL,
    GRADUAL,
    HEADS_ONLY,
    LORA,
    NOTHING,
    TOP_LAYERS,
    FinetuneHandlers,
    Form,
    presets,
)


@pytest.fixture
def on(predictor) -> FinetuneHandlers:
    return FinetuneHandlers(Service(Settings(), base=predictor))


def form(moves: str, top: float = 1, frozen: tuple[str, ...] = ()) -> Form:
    return Form("", None, None, None, "topic", "", moves, top, list(frozen), 10, 1e-3, True)


@pytest.mark.parametrize(
    ("moves", "policy"),
    [
        (NOTHING, FreezePolicy(everything=True)),
        (HEADS_ONLY, FreezePolicy(encoder=True)),
        (TOP_LAYERS, FreezePolicy(embeddings=True, layers=1)),
        (GRADUAL, FreezePolicy(gradual=0.1)),
        (ALL, FreezePolicy()),
    ],
)
def test_words_become_policies(moves: str, policy: FreezePolicy) -> None:
    assert FinetuneHandlers._policy(form(moves), 2) == policy


@pytest.mark.parametrize("moves", [m for m in presets() if m != LORA])
def test_every_preset_draws_the_network(on: FinetuneHandlers, moves: str) -> None:
    values = form(moves, frozen=("entities",))
    html = on.network("k", "default", *vars(values).values())
    assert html.count('data-part="layer') == 2
    assert ('mtl-learns" data-part="layer 2"' in html) == (moves in (TOP_LAYERS, GRADUAL, ALL))
    assert ('mtl-learns" data-part="layer 1"' in html) == (moves in (GRADUAL, ALL))
    assert ('mtl-learns" data-part="head topic"' in html) == (moves != NOTHING)
    assert 'mtl-frozen" data-part="head entities"' in html


@pytest.mark.parametrize(
    ("part", "before", "after"),
    [
        ("layer 2", (HEADS_ONLY, 1), (TOP_LAYERS, 1)),
        ("layer 1", (HEADS_ONLY, 1), (TOP_LAYERS, 2)),
        ("layer 2", (TOP_LAYERS, 2), (HEADS_ONLY, 1)),
        ("layer 1", (TOP_LAYERS, 2), (TOP_LAYERS, 1)),
        ("embeddings", (TOP_LAYERS, 1), (ALL, 2)),
        ("embeddings", (ALL, 2), (TOP_LAYERS, 2)),
        ("layer 1", (ALL, 2), (TOP_LAYERS, 1)),
        ("layer 2", (NOTHING, 1), (TOP_LAYERS, 1)),
    ],
)
def test_a_press_freezes_all_below_or_releases_all_above(on: FinetuneHandlers, part: str, before, after) -> None:
    assert on.press(*before, [], SimpleNamespace(part=part))[:2] == after


def test_a_press_on_a_head_freezes_and_releases_it(on: FinetuneHandlers) -> None:
    event = SimpleNamespace(part="head topic")
    assert on.press(ALL, 1, [], event)[2] == ["topic"]
    assert on.press(ALL, 1, ["topic"], event)[2] == []


def test_what_a_person_typed_is_text_in_the_drawing_and_the_rows() -> None:
    bad = "<img src=x>"
    plan = NetworkPlan("Nothing is frozen.", (PartPlan(f"head {bad}", 10, 10, 0.0),), (bad,))
    row = SeenRow((SeenToken("", None), SeenToken(bad, bad)), {bad: bad}, 4)
    html = render_tune.network(plan) + render_tune.data(DataLook(8, 2, {bad: {bad: 3}}, 1, (row,)))
    assert "<img" not in html
    assert "10 of 10 parameters learn (100.0%)" in html
    assert "8 rows to learn from, 2 put aside" in html
    assert "[mark]<i>ignored</i>" in html
