"""A recipe from its files to a saved checkpoint: first its teachers, then the model. Prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl.errors import ConfigError
from mtl.inference.predictor import from_encoder, load
from mtl.model.checkpoint import make_writable, read_meta
from mtl.training.events import RunEnded, RunEvent
from mtl.training.imitation import Ensemble
from mtl.training.probes import check_probes, read_probes
from mtl.training.recipe import (
    Recipe,
    build_tasks,
    fingerprint,
    held_out,
    load_sources,
    provenance,
    teacher_recipes,
)
from mtl.training.trainer import train


@dataclass(frozen=True)
class Stage:
    """One model of a recipe begins, or was there already. `place` counts from 1, the model itself comes last."""

    folder: Path
    place: int
    total: int
    done_before: bool = False


def fit(
    recipe: Recipe,
    data_root: Path,
    output: Path,
    *,
    device: str = "auto",
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Stage | RunEvent]:
    """Trains by a recipe and saves into `output`; teachers go beside it, into `OUTPUT-teacher-1` and so on.

    A teacher that is there, made by the same recipe, is not trained again. A run that is stopped keeps
    its best so far; one that is stopped before its first step, or while a teacher trains, keeps the
    teachers before. What would end the work later is looked for before it begins.

    Raises:
        ConfigError: for a recipe that cannot be trained, folders that cannot be used, or a stop before the
            first step of the last stage.
        DataError: for data or probes that cannot be read.
    """
    tasks = build_tasks(recipe, data_root)
    held = held_out(recipe, tasks, data_root)
    if recipe.probes:
        check_probes(read_probes(Path(recipe.probes)), tasks)
    stages = teacher_recipes(recipe)
    output = output.resolve()
    folders = [output.with_name(f"{output.name}-teacher-{place}") for place in range(1, len(stages) + 1)]
    done = [_is_made_by(folder, earlier) for folder, earlier in zip(folders, stages, strict=True)]
    for folder in (*folders, output):
        make_writable(folder)
    for place, (folder, earlier) in enumerate(zip(folders, stages, strict=True), start=1):
        yield Stage(folder, place, len(stages) + 1, done[place - 1])
        if not done[place - 1]:
            for event in _run(earlier, data_root, folder, device, should_stop, (), held):
                yield event
                if isinstance(event, RunEnded) and event.reason == "stopped":
                    raise _stopped_before(output)
    yield Stage(output, len(stages) + 1, len(stages) + 1)
    for event in _run(recipe, data_root, output, device, should_stop, folders, held, keep_stopped=True):
        yield event
        if isinstance(event, RunEnded) and not event.steps:
            raise _stopped_before(output)


def _run(
    recipe: Recipe,
    data_root: Path,
    output: Path,
    device: str,
    should_stop: Callable[[], bool],
    teachers: Sequence[Path],
    held: Collection[str],
    *,
    keep_stopped: bool = False,
) -> Iterator[RunEvent]:
    """Trains one model and saves it; `keep_stopped` says whether also where it was stopped after some steps."""
    tasks = build_tasks(recipe, data_root)
    sources = load_sources(recipe, tasks, data_root, "train", also_held=held)
    validation = load_sources(recipe, tasks, data_root, "validation")
    config = recipe.training
    predictor = from_encoder(
        recipe.encoder,
        tasks,
        pooling=recipe.pooling,
        max_tokens=recipe.max_tokens,
        device=device,
        precision=config.precision,
        seed=config.seed,
    )
    ensemble = Ensemble([load(folder, device=device) for folder in teachers], predictor) if teachers else None
    for event in train(predictor, sources, validation, config, should_stop=should_stop, ensemble=ensemble):
        if isinstance(event, RunEnded) and (event.reason != "stopped" or (keep_stopped and event.steps)):
            predictor.save(output, meta=_origin(recipe, event))
        yield event


def _origin(recipe: Recipe, ended: RunEnded) -> dict[str, object]:
    run = {
        "reason": ended.reason,
        "steps": ended.steps,
        "best_step": ended.best_step,
        **({"averaged": list(ended.averaged)} if ended.averaged else {}),
    }
    return {"provenance": provenance(recipe), "recipe": fingerprint(recipe), "run": run}


def _stopped_before(output: Path) -> ConfigError:
    return ConfigError(f"stopped before {output} began; the same command goes on after whole teachers")


def _is_made_by(folder: Path, recipe: Recipe) -> bool:
    if not (folder / "mtl.json").is_file():
        return False
    if read_meta(folder).get("recipe") != fingerprint(recipe):
        raise ConfigError(f"{folder}: was made by another recipe; choose another --output or delete it")
    return True
