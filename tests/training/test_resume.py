"""A run that was broken off goes on as if nothing had happened, from whatever the disk holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import mtl
from mtl.errors import CheckpointError, ConfigError
from mtl.inference.predictor import Predictor
from mtl.training.config import Balancing, FreezePolicy, LoRA, Retention, TrainConfig
from mtl.training.events import Evaluated, Noted, RunEvent, StepEnded
from mtl.training.fit import Stage, fit
from mtl.training.imitation import Ensemble
from mtl.training.recipe import Recipe, SourceSpec
from mtl.training.snapshots import Snapshots
from tests.conftest import MakePredictor
from tests.training.small import ALL, ended, events, losses, same, state, steps, stream

HELD = ALL[:2]
WAYS: dict[str, dict[str, object]] = {
    "plain": {},
    "retention": {"retention": Retention()},
    "average and soup": {"ema": 0.6, "soup": True, "validate_every": 3},
    "early stopping": {"validate_every": 2, "patience": 50},
    "mentions": {"sources": (ALL[0], replace(ALL[1], replace_mentions=0.5))},
    "gradual": {"freeze": FreezePolicy(gradual=0.2, layer_decay=0.9)},
    "cached": {"freeze": FreezePolicy(encoder=True), "steps": 40, "sources": ALL[:2]},
    "initial": {"balancing": Balancing(method="initial")},
    "uncertainty": {"balancing": Balancing(method="uncertainty")},
    "dwa": {"balancing": Balancing(method="dwa", window=3)},
    "famo": {"balancing": Balancing(method="famo"), "sources": ALL[:2]},
    "fp16": {"precision": "fp16"},
}


def snapshots(folder: Path, made_by: str = "me") -> Snapshots:
    return Snapshots(folder, made_by=made_by)


def broken_after(step: int, run: Callable[[], object]) -> list[RunEvent]:
    """The events of a run up to a step; then it is dropped without a word, after its snapshot."""
    found = []
    for event in run():  # type: ignore[attr-defined]
        found.append(event)
        if isinstance(event, StepEnded) and event.step == step + 1:  # the snapshot of `step` is there by now
            break
    return found


@pytest.mark.parametrize("way", WAYS)
def test_the_rest_of_a_broken_run_is_the_same_to_the_bit(
    make_predictor: MakePredictor, tmp_path: Path, way: str
) -> None:
    changes = {"held": HELD, "snapshot_s": 0.0, **WAYS[way]}
    whole = make_predictor()
    expected = events(whole, **changes)
    broken_after(7, lambda: stream(make_predictor(), snapshots=snapshots(tmp_path), **changes))
    again = make_predictor()
    found = events(again, snapshots=snapshots(tmp_path), **changes)
    assert steps(found)[0].step == 8
    assert losses(found) == losses(expected)[7:]
    assert [e.weights for e in steps(found)] == [e.weights for e in steps(expected)][7:]
    scores = [e for e in found if isinstance(e, Evaluated)]
    assert scores == [e for e in expected if isinstance(e, Evaluated)][-len(scores) :]
    assert same(state(again), state(whole))
    assert replace(ended(found), state={}) == replace(ended(expected), state={})


def test_adapters_go_on_and_are_merged_at_the_end(make_predictor: MakePredictor, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    changes = {"held": HELD, "snapshot_s": 0.0, "freeze": FreezePolicy(lora=LoRA(rank=2))}
    whole, again = make_predictor(), make_predictor()
    expected = events(whole, **changes)
    broken_after(7, lambda: stream(make_predictor(), snapshots=snapshots(tmp_path), **changes))
    assert mtl.load(snapshots(tmp_path).newest(), device="cpu").encode(["a cat"]).shape == (1, 32)
    assert losses(events(again, snapshots=snapshots(tmp_path), **changes)) == losses(expected)[7:]
    assert same(state(again), state(whole))


def test_what_teachers_said_is_kept_too(make_predictor: MakePredictor, tmp_path: Path) -> None:
    def teachers() -> Ensemble:
        return Ensemble([make_predictor()], make_predictor())

    whole, again = make_predictor(), make_predictor()
    expected = events(whole, ALL[:2], ensemble=teachers(), snapshot_s=0.0)
    first = teachers()
    broken_after(
        7, lambda: stream(make_predictor(), ALL[:2], ensemble=first, snapshots=snapshots(tmp_path), snapshot_s=0.0)
    )
    second = teachers()
    found = events(again, ALL[:2], ensemble=second, snapshots=snapshots(tmp_path), snapshot_s=0.0)
    assert losses(found) == losses(expected)[7:]
    assert same(state(again), state(whole))
    for text, answers in first.known.items():
        for name, answer in answers.items():
            torch.testing.assert_close(second.known[text][name], answer, rtol=0, atol=0, equal_nan=True)


def test_the_snapshot_is_a_checkpoint_of_the_best_weights(predictor: Predictor, tmp_path: Path) -> None:
    changes = {"validate_every": 4, "snapshot_s": 0.0, "steps": 9}
    best = None
    for event in stream(predictor, held=HELD, snapshots=snapshots(tmp_path), **changes):
        if isinstance(event, Evaluated) and (best is None or event.composite >= best[0]):
            best = event.composite, predictor.encode(["in Rome", "soup"])
    kept = snapshots(tmp_path)
    assert [path.name for path in kept.folder.iterdir()] == ["step-00000009"]
    loaded = mtl.load(kept.newest(), device="cpu", precision="fp32")
    assert abs(loaded.encode(["in Rome", "soup"]) - best[1]).max() < 2e-3


def test_snapshots_are_as_far_apart_as_said(predictor: Predictor, tmp_path: Path) -> None:
    now = iter(range(10_000))
    kept = snapshots(tmp_path)
    written = []
    write = kept.write
    kept.write = lambda snapshot, checkpoint: written.append(snapshot.step) or write(snapshot, checkpoint)
    events(predictor, snapshots=kept, snapshot_s=15.0, steps=12, clock=lambda: float(next(now)))
    assert written
    assert len(written) < 6
    assert all(later - sooner >= 3 for sooner, later in pairwise(written))


def test_half_written_snapshots_are_passed_over(make_predictor: MakePredictor, tmp_path: Path) -> None:
    broken_after(4, lambda: stream(make_predictor(), snapshots=snapshots(tmp_path), snapshot_s=0.0))
    kept = snapshots(tmp_path)
    (kept.folder / ".part").mkdir()
    (kept.folder / ".part" / "run.json").write_text("{", encoding="utf-8")
    assert kept.load().step == 4
    assert steps(events(make_predictor(), snapshots=kept, snapshot_s=0.0))[0].step == 5


def test_another_run_is_not_gone_on_from(make_predictor: MakePredictor, tmp_path: Path) -> None:
    broken_after(4, lambda: stream(make_predictor(), snapshots=snapshots(tmp_path), snapshot_s=0.0))
    with pytest.raises(ConfigError, match="was made by another recipe or with other data"):
        events(make_predictor(), snapshots=snapshots(tmp_path, made_by="you"))


@pytest.mark.parametrize("name", ["run.json", "run.safetensors"])
def test_a_damaged_snapshot_is_named(make_predictor: MakePredictor, tmp_path: Path, name: str) -> None:
    broken_after(4, lambda: stream(make_predictor(), snapshots=snapshots(tmp_path), snapshot_s=0.0))
    path = snapshots(tmp_path).newest() / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"step-00000004: is damaged .* delete it and start again"):
        events(make_predictor(), snapshots=snapshots(tmp_path))


@pytest.fixture
def recipe(predictor: Predictor, tmp_path: Path) -> Recipe:
    rows = [f"{word} {i},{label}\n" for i in range(6) for word, label in (("soup", "food"), ("judge", "law"))]
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(rows), encoding="utf-8")
    return Recipe(
        encoder=str(predictor.save(tmp_path / "encoder")),
        max_tokens=32,
        tasks={"topic": {"type": "classification", "labels": ["food", "law"]}},
        sources={"notes": SourceSpec(tasks=("topic",), train="rows.csv", validation=0.3)},
        training=TrainConfig(steps=9, batch_rows=4, retention=None, seed=5, precision="fp32", snapshot_s=0.0),
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return mtl.load(folder, device="cpu").model.state_dict()


def test_a_recipe_goes_on_only_when_told_to_and_leaves_no_snapshot(recipe: Recipe, tmp_path: Path) -> None:
    list(fit(recipe, tmp_path, tmp_path / "whole", device="cpu"))
    broken_after(5, lambda: fit(recipe, tmp_path, tmp_path / "out", device="cpu"))
    with pytest.raises(ConfigError, match=r"interrupted after step 5; add --resume to go on, or delete"):
        list(fit(recipe, tmp_path, tmp_path / "out", device="cpu"))
    found = list(fit(recipe, tmp_path, tmp_path / "out", device="cpu", resume=True))
    assert [e.message for e in found if isinstance(e, Noted)] == ["Goes on after step 5."]
    assert same(weights(tmp_path / "out"), weights(tmp_path / "whole"))
    assert not (tmp_path / "out" / "snapshots").exists()
    kept = json.loads((tmp_path / "out" / "mtl.json").read_text(encoding="utf-8"))["provenance"]["training"]
    assert (kept["freeze"]["gradual"], kept["sampling"]["method"], kept["balancing"]["method"]) == (
        None,
        "proportional",
        "fixed",
    )


def test_a_finished_run_is_left_as_it_is(recipe: Recipe, tmp_path: Path) -> None:
    list(fit(recipe, tmp_path, tmp_path / "out", device="cpu"))
    found = list(fit(recipe, tmp_path, tmp_path / "out", device="cpu", resume=True))
    assert found == [Stage((tmp_path / "out").resolve(), 1, 1, done_before=True)]


def test_a_stopped_run_is_usable_and_goes_on_to_the_unbroken_end(recipe: Recipe, tmp_path: Path) -> None:
    list(fit(recipe, tmp_path, tmp_path / "whole", device="cpu"))
    answers = iter([False] * 4 + [True])
    found = list(fit(recipe, tmp_path, tmp_path / "out", device="cpu", should_stop=lambda: next(answers)))
    assert (ended(found).reason, ended(found).steps) == ("stopped", 4)
    assert mtl.load(tmp_path / "out", device="cpu").meta["run"]["reason"] == "stopped"
    list(fit(recipe, tmp_path, tmp_path / "out", device="cpu", resume=True))
    assert same(weights(tmp_path / "out"), weights(tmp_path / "whole"))


def test_other_rows_are_not_gone_on_with(recipe: Recipe, tmp_path: Path) -> None:
    broken_after(5, lambda: fit(recipe, tmp_path, tmp_path / "out", device="cpu"))
    with (tmp_path / "rows.csv").open("a", encoding="utf-8") as file:
        file.write("one more,law\n")
    with pytest.raises(ConfigError, match="other data"):
        list(fit(recipe, tmp_path, tmp_path / "out", device="cpu", resume=True))


def test_a_finished_model_does_not_hide_a_newer_run_that_was_broken_off(recipe: Recipe, tmp_path: Path) -> None:
    list(fit(recipe, tmp_path, tmp_path / "out", device="cpu"))
    with (tmp_path / "rows.csv").open("a", encoding="utf-8") as file:
        file.write("one more,law\n")
    with pytest.raises(ConfigError, match="out: was made by another recipe or with other data"):
        list(fit(recipe, tmp_path, tmp_path / "out", device="cpu", resume=True))
    broken_after(5, lambda: fit(recipe, tmp_path, tmp_path / "out", device="cpu"))
    found = list(fit(recipe, tmp_path, tmp_path / "out", device="cpu", resume=True))
    assert [e.message for e in found if isinstance(e, Noted)] == ["Goes on after step 5."]
    list(fit(recipe, tmp_path, tmp_path / "whole", device="cpu"))
    assert same(weights(tmp_path / "out"), weights(tmp_path / "whole"))
