"""A request as a recipe, a command and a script that train the same model without the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import yaml
from pydantic import TypeAdapter

from mtl.data.batches import Source
from mtl.service.replay import REPLAY_FILE, source_name
from mtl.service.tuning import HELD_SHARE, SOURCE, TuneData, TuneRequest, train_config
from mtl.tasks import Task, from_spec
from mtl.training.config import TrainConfig

RECIPE_FILE = "recipe.yaml"
FOLDER = "run"
"""Where a person puts the recipe, the table and the replayed sentences: a folder in the one of mtl."""

PYTHON = """from pathlib import Path

from mtl.training.fit import fit
from mtl.training.recipe import load_recipe

for event in fit(load_recipe(Path("{recipe}")), Path("{folder}"), Path("tuned")):
    print(event)
"""


@dataclass(frozen=True)
class Equivalent:
    """`recipe` is YAML for a file in `FOLDER`, beside the table and the replayed sentences; `command` and `python` run
    in the folder of mtl. `start` is the folder of the checkpoint that they go on from."""

    recipe: str
    command: str
    python: str
    start: str


def equivalent(request: TuneRequest, data: TuneData, start: str) -> Equivalent:
    """What trains the same model; `start` is the folder of the checkpoint that the run goes on from."""
    sources: dict[str, Mapping[str, object]] = {SOURCE: _own(request, data)}
    for task, source in zip(data.replayed, data.sources[1:], strict=True):
        sources[source_name(task.name)] = _replayed(task, source)
    recipe = {
        "encoder": start,
        "keep_heads": True,
        "tasks": {task.name: _spec(task) for task in dict.fromkeys([*data.tasks, *data.replayed])},
        "sources": sources,
        "training": _changed(train_config(request, data)),
    }
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=100)
    command = f"python -m mtl train {FOLDER}/{RECIPE_FILE} --data-root {FOLDER} --output tuned"
    return Equivalent(text, command, PYTHON.format(recipe=f"{FOLDER}/{RECIPE_FILE}", folder=FOLDER), start)


def _own(request: TuneRequest, data: TuneData) -> Mapping[str, object]:
    own: dict[str, object] = {"tasks": [task.name for task in data.tasks], "train": request.path.name}
    if request.held:
        own["validation"] = HELD_SHARE
    if request.columns:
        own["columns"] = dict(request.columns)
    return own


def _replayed(task: Task, source: Source) -> Mapping[str, object]:
    column = "label" if task.kind == "classification" else "spans"
    return {
        "tasks": [task.name],
        "train": REPLAY_FILE,
        "columns": {column: task.name},
        "weight": source.weight,
    }


def _spec(task: Task) -> Mapping[str, object]:
    """The settings of a task that are not as they are by default."""
    needed = {"type": task.kind, "name": task.name, "labels": task.labels}
    mine, usual = (
        TypeAdapter(dict[str, object]).dump_python(dict(one.to_spec()), mode="json")
        for one in (task, from_spec(needed))
    )
    return {n: v for n, v in mine.items() if n in ("type", "labels") or (n != "name" and v != usual[n])}


def _changed(config: TrainConfig) -> Mapping[str, object]:
    """The fields that are not as they are by default."""
    usual, mine = (TypeAdapter(TrainConfig).dump_python(one, mode="json") for one in (TrainConfig(), config))
    return _difference(mine, usual)


def _difference(mine: Mapping[str, object], usual: Mapping[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in mine.items():
        other = usual.get(name)
        if isinstance(value, dict) and isinstance(other, dict) and name not in ("shares", "weights", "gradient"):
            inner = _difference(value, other)
            found.update({name: inner} if inner else {})
        elif value != other:
            found[name] = value
    return found
