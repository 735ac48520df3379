"""The recipe of a run trains the same model by the command line, without the page."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from mtl.inference.predictor import load
from mtl.service.equivalent import RECIPE_FILE, equivalent
from mtl.service.models import BASE
from mtl.service.replay import REPLAY_FILE, Replay
from mtl.service.service import Service
from mtl.service.tuning import TuneRequest, read_data, train_config
from mtl.settings import Settings
from mtl.training.config import Balancing, FreezePolicy
from mtl.training.events import RunEnded, StepEnded
from mtl.training.fit import fit
from mtl.training.recipe import load_recipe


@pytest.fixture
def base_folder(predictor, tmp_path: Path) -> Path:
    return predictor.save(tmp_path / "base", meta={"test": {"old": {}}})


def service_texts() -> tuple[str, ...]:
    return tuple(text for text in Replay(Settings().samples).texts if '"' not in text)


REQUESTS = {
    "a new head on a frozen encoder": {"heads": {"classification": "mood"}},
    "an old head and entities, everything moves, replayed": {
        "heads": {"classification": "topic", "ner": "entities"},
        "freeze": FreezePolicy(layers=1),
        "sampler": "temperature",
        "temperature": 2.0,
        "balancing": Balancing(weights={"topic": 0.5}),
    },
    "every row is learned from": {"heads": {"classification": "mood"}, "held": False, "columns": {"label": "kind"}},
}


@pytest.mark.parametrize("options", REQUESTS.values(), ids=REQUESTS)
def test_the_recipe_trains_the_same_model(base_folder: Path, tmp_path: Path, options) -> None:
    base = load(base_folder, precision="fp32", device="cpu", packed=False)
    column = options.get("columns", {}).get("label", "label")
    rows = [
        f'{{"text": "the cat {i} is in Rome", "{column}": "{"law" if i % 2 else "food"}", '
        f'"spans": [{{"start": {len(str(i)) + 15}, "end": {len(str(i)) + 19}, "label": "LOC"}}]}}'
        for i in range(15)
    ]
    known = service_texts()[0]  # a sentence that is replayed otherwise
    rows.append(f'{{"text": "{known}", "{column}": "food", "spans": []}}')
    (tmp_path / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    service = Service(Settings(), base=base)
    request = TuneRequest(path=tmp_path / "rows.jsonl", steps=8, **options)
    run = service.tune("k", BASE, request)
    run.join(60)
    assert run.state == "ended", run.error
    tuned = service.models.get("k", "tuned 1")
    again = service.tuned("k", "tuned 1").equivalent
    recipe = again.recipe.replace(f"encoder: {service._folder(BASE)}", f"encoder: {base_folder}")
    (tmp_path / RECIPE_FILE).write_text(recipe, encoding="utf-8")
    (tmp_path / REPLAY_FILE).write_text(service.tuned("k", "tuned 1").replayed, encoding="utf-8")
    wanted = load_recipe(tmp_path / RECIPE_FILE)
    data = read_data(base, request, service.settings, service.replay)
    assert wanted.training == train_config(request, data)
    events = list(fit(wanted, tmp_path, tmp_path / "out", device="cpu"))
    losses = [event.losses for event in events if isinstance(event, StepEnded)]
    assert len(losses) == 8
    for mine, theirs in zip(losses, (step.losses for step in run.steps), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)
    (ended,) = (event for event in events if isinstance(event, RunEnded))
    for name, value in tuned.model.state_dict().items():
        torch.testing.assert_close(ended.state[name], value.cpu(), rtol=1e-3, atol=1e-4)
    made = load(tmp_path / "out")
    assert [task.name for task in made.tasks] == [task.name for task in tuned.tasks]
    assert "test" not in made.meta, "figures of another model"
    assert made.meta["provenance"]["training"]["steps"] == 8


def test_a_recipe_says_what_differs_and_nothing_else(predictor, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\na,x\nb,y\nc,x\n", encoding="utf-8")
    request = TuneRequest(path=tmp_path / "rows.csv", heads={"classification": "mood"})
    settings = Settings()
    found = equivalent(
        request, read_data(predictor, request, settings, Replay(settings.samples)), "checkpoints/default"
    )
    recipe = yaml.safe_load(found.recipe)
    assert recipe["tasks"] == {"mood": {"type": "classification", "labels": ["x", "y"]}}
    assert recipe["sources"] == {"your data": {"tasks": ["mood"], "train": "rows.csv", "validation": 0.2}}
    assert recipe["training"]["freeze"] == {"encoder": True}
    assert "weight_decay" not in recipe["training"]
    assert found.command == "python -m mtl train run/recipe.yaml --data-root run --output tuned"
    compile(found.python, "script", "exec")
