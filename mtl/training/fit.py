"""A recipe from its files to a saved checkpoint: first its teachers, then the model. Prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl.errors import ConfigError
from mtl.inference.predictor import from_encoder, load
from mtl.model.checkpoint import read_meta
from mtl.training.events import RunEnded, RunEvent
from mtl.training.imitation import Ensemble
from mtl.training.recipe import Recipe, build_tasks, load_sources, provenance, teacher_recipes
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
    its best so far; one that is stopped while a teacher trains keeps the teachers before.

    Raises:
        ConfigError: for a recipe that cannot be trained, or a stop before the last stage.
        DataError: for data that cannot be read.
    """
    folders = []
    stages = teacher_recipes(recipe)
    for place, earlier in enumerate(stages, start=1):
        folder = output.with_name(f"{output.name}-teacher-{place}")
        done = _is_made_by(folder, earlier)
        yield Stage(folder, place, len(stages) + 1, done)
        if not done:
            for event in _run(earlier, data_root, folder, device, should_stop, (), keep_stopped=False):
                yield event
                if isinstance(event, RunEnded) and event.reason == "stopped":
                    raise ConfigError(f"stopped before {output} began; the same command goes on after whole teachers")
        folders.append(folder)
    yield Stage(output, len(stages) + 1, len(stages) + 1)
    yield from _run(recipe, data_root, output, device, should_stop, folders, keep_stopped=True)


def _run(
    recipe: Recipe,
    data_root: Path,
    output: Path,
    device: str,
    should_stop: Callable[[], bool],
    teachers: Sequence[Path],
    *,
    keep_stopped: bool,
) -> Iterator[RunEvent]:
    """Trains one model and saves it; `keep_stopped` says whether also where it was stopped."""
    tasks = build_tasks(recipe, data_root)
    sources, validation = (load_sources(recipe, tasks, data_root, split) for split in ("train", "validation"))
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
        if isinstance(event, RunEnded) and (event.reason != "stopped" or keep_stopped):
            predictor.save(output, meta={"provenance": provenance(recipe)})
        yield event


def _is_made_by(folder: Path, recipe: Recipe) -> bool:
    if not (folder / "mtl.json").is_file():
        return False
    if read_meta(folder).get("provenance") != provenance(recipe):
        raise ConfigError(f"{folder}: was made by another recipe; choose another --output or delete it")
    return True
