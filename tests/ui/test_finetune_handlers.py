"""Presses on the drawing and words of presets become policies; typed markup stays text."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter

from mtl.errors import SessionError
from mtl.service.aftermath import Asked
from mtl.service.planning import DataLook, Mix, NetworkPlan, PartPlan, SeenRow, SeenToken
from mtl.service.service import Service
from mtl.service.tuning import TuneRequest
from mtl.settings import Settings
from mtl.training.config import FreezePolicy
from mtl.training.plan import SourceMix, TaskMix
from mtl.ui import render_plan, render_tune
from mtl.ui.finetune_form import (
    ALL,
    BALANCINGS,
    CORRECTED,
    FIELDS,
    GRADUAL,
    HEADS_ONLY,
    LORA,
    NOTHING,
    SAMPLERS,
    TOP_LAYERS,
    UPLOAD,
    Form,
    form_of,
    policy_of,
    presets,
    request_of,
)
from mtl.ui.finetune_handlers import FinetuneHandlers


@pytest.fixture
def on(predictor) -> FinetuneHandlers:
    return FinetuneHandlers(Service(Settings(), base=predictor))


def form(moves: str, top: float = 1, frozen: tuple[str, ...] = ()) -> Form:
    return Form(label_head="topic", span_head="", moves=moves, top_layers=top, frozen_heads=list(frozen), replay=False)


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
    assert policy_of(form(moves), 2) == policy


@pytest.mark.parametrize(
    "changes",
    [
        *({"moves": moves} for moves in presets()),
        {"moves": TOP_LAYERS, "top_layers": 1, "frozen_heads": ["topic"]},
        {"source": UPLOAD, "text_column": "Feedback", "label_column": "Mood", "label_head": "mood", "span_head": None},
        {"source": CORRECTED, "label_head": "topic", "span_head": None},
        {"steps": 35, "rate": 1e-3, "encoder_rate": 2e-5, "keep": False, "replay": False, "replay_weight": 1.5},
        *({"sampler": words, "temperature": 4.0} for words in SAMPLERS),
        *({"balancing": words} for words in BALANCINGS),
        {"label_weight": 0.0, "span_weight": 2.5},
    ],
    ids=str,
)
def test_settings_come_back_as_they_were(changes) -> None:
    wanted = Form(**changes)
    name = {UPLOAD: "rows.csv", CORRECTED: "corrections.jsonl"}.get(wanted.source, "helpdesk.marked")
    request = request_of(wanted, Path("somewhere") / name, wanted.heads, 2)
    told = json.loads(TypeAdapter(TuneRequest).dump_json(request))
    found = form_of(TypeAdapter(TuneRequest).validate_python(told), 2)
    assert request_of(found, request.path, found.heads, 2) == request
    assert (found.source, found.moves, found.sampler, found.balancing) == (
        wanted.source,
        wanted.moves,
        wanted.sampler,
        wanted.balancing,
    )


def test_settings_that_the_page_cannot_show_are_refused() -> None:
    odd = TuneRequest(path=Path("rows.csv"), heads={}, freeze=FreezePolicy(layer_decay=0.9))
    with pytest.raises(SessionError, match="use their recipe"):
        form_of(odd, 2)


def test_problems_are_named_row_by_row_before_anything_starts(on: FinetuneHandlers, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("text,label\nfine,a\nragged\nalso fine,b\n", encoding="utf-8")
    values = vars(Form(source=UPLOAD, file=str(path), label_head="mood", span_head="")).values()
    table, *rest = on.preview("k", "default", *values)
    assert "row 2" in table
    assert "expected 2" in table
    columns = on.offer_columns(str(path), None, None, "request", "things")
    assert [one["choices"] for one in columns[:2]] == [[], []], "what is wrong is said once, by the preview"
    assert rest == [""] * 5
    none = vars(Form(source=UPLOAD, label_head="mood", span_head="")).values()
    assert "upload one first" in on.preview("k", "default", *none)[0]
    assert (
        "correct some texts under Classify first"
        in on.preview("k", "default", *vars(Form(source=CORRECTED)).values())[0]
    )


def test_the_preview_shows_rows_mix_and_command(on: FinetuneHandlers) -> None:
    table, rows, mix, command, recipe, python = on.preview("k", "default", *vars(Form(moves=ALL)).values())
    assert "350 rows to learn from, 87 put aside" in table
    assert "teaches request" in table
    assert "B-" in rows
    assert "replay topic" in mix
    assert command.startswith("python -m mtl train run/recipe.yaml")
    assert "keep_heads: true" in recipe
    assert "fit(" in python


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
    look = DataLook(8, 2, {bad: {bad: 3}}, 1, (row,), {bad: bad}, ({bad: bad},))
    mixed = Mix(3, (SourceMix(bad, (bad,), 1, 3, 1.0, 3.0),), (TaskMix(bad, 1, 3.0),))
    asked = (Asked(bad, bad, bad, bad, bad), Asked("x", "topic", "law", "", "food"))
    html = "".join(
        [
            render_plan.network(plan),
            render_plan.table(look),
            render_plan.seen(look),
            render_plan.mix(mixed),
            render_tune.asked(asked),
            render_plan.problems(f"2 problems:\n{bad}"),
        ]
    )
    assert "<img" not in html
    assert "10 of 10 parameters learn (100.0%)" in html
    assert "8 rows to learn from, 2 put aside" in html
    assert "[mark]<i>ignored</i>" in html
    assert "1 of 2 of your corrections are answered as you said" in html
    assert "✗ food" in html
    assert render_tune.asked(()) == ""


def test_an_uploaded_tables_settings_come_back_with_their_fields_in_sight(on: FinetuneHandlers, tmp_path: Path) -> None:
    wanted = Form(
        source=UPLOAD, text_column="Feedback", label_column="Mood", label_head="mood", span_head=None, steps=35,
        frozen_heads=["topic", "gone"],
    )  # fmt: skip
    request = request_of(wanted, Path("rows.csv"), wanted.heads, 2)
    path = tmp_path / "settings.json"
    path.write_bytes(TypeAdapter(TuneRequest).dump_json(request))
    *values, said = on.restore("k", "default", str(path))
    found = dict(zip(FIELDS, values, strict=True))
    assert found["file"]["visible"] is True
    assert (found["text_column"]["value"], found["text_column"]["choices"]) == ("Feedback", ["Feedback"])
    assert (found["steps"], found["label_head"], found["frozen_heads"]) == (35, "mood", ["topic"])
    assert "Choose your table `rows.csv` too" in said
    table = tmp_path / "rows.csv"
    table.write_text("id,Feedback,Mood\n1,nice soup,good\n2,a bill,bad\n3,more soup,good\n", encoding="utf-8")
    text, label, head, _ = on.offer_columns(str(table), "Feedback", "Mood", "mood", None)
    assert (text["choices"], "value" in text) == (["id", "Feedback", "Mood"], False), "what was chosen stays"
    assert (label["choices"], head) == (["id", "Feedback", "Mood"], "mood")
    guessed = on.offer_columns(str(table), None, None, "request", "things")
    assert (guessed[0]["value"], guessed[1]["value"], guessed[2]["value"]) == ("Feedback", "Mood", "Mood")
