"""A recipe from its files to a saved checkpoint: first its teachers, then the model. Prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mtl.data.batches import Source
from mtl.errors import ConfigError
from mtl.inference.predictor import load
from mtl.model.checkpoint import make_writable, read_meta
from mtl.tasks import Task
from mtl.training.beginning import beginning
from mtl.training.events import RunEnded, RunEvent
from mtl.training.imitation import Ensemble, check_encoders
from mtl.training.probes import check_probes, read_probes
from mtl.training.processes import Processes
from mtl.training.recipe import Recipe, fingerprint, provenance, teacher_recipes
from mtl.training.recipe_data import build_tasks, held_out, load_sources, rows_digest
from mtl.training.snapshots import Snapshots
from mtl.training.trainer import train


@dataclass(frozen=True)
class Stage:
    """One model of a recipe begins, or was there already. `place` counts from 1, the model itself comes last."""

    folder: Path
    place: int
    total: int
    done_before: bool = False


@dataclass(frozen=True)
class Way:
    """What every stage has in common: where the data is, on what it runs, and when it stops."""

    data_root: Path
    device: str
    should_stop: Callable[[], bool]
    resume: bool
    processes: Processes
    held: Collection[str] = field(default=())


@dataclass(frozen=True)
class Data:
    """What one stage reads; `digest` is equal for equal rows."""

    tasks: Sequence[Task]
    sources: Sequence[Source]
    validation: Sequence[Source]
    digest: str


def _read(recipe: Recipe, way: Way) -> Data:
    tasks = build_tasks(recipe, way.data_root)
    sources = load_sources(recipe, tasks, way.data_root, "train", also_held=way.held)
    validation = load_sources(recipe, tasks, way.data_root, "validation")
    return Data(tasks, sources, validation, rows_digest([*sources, *validation]))


def fit(
    recipe: Recipe,
    data_root: Path,
    output: Path,
    *,
    device: str = "auto",
    should_stop: Callable[[], bool] = lambda: False,
    resume: bool = False,
    processes: Processes | None = None,
) -> Iterator[Stage | RunEvent]:
    """Trains by a recipe and saves into `output`; teachers go beside it, into `OUTPUT-teacher-1` and so on.

    A teacher that is there, made by the same recipe from the same rows, is not trained again. A run that is
    stopped keeps its best so far; one that is stopped before its first step, or while a teacher trains, keeps the
    teachers before. What would end the work later is looked for before it begins.

    Snapshots are left in `output/snapshots` until a run is finished; with `resume` it goes on from the last one,
    and a run that is finished is left as it is. A run that diverged keeps its best weights; a teacher's are not used.

    Raises:
        ConfigError: for a recipe that cannot be trained, folders that cannot be used or hold what another recipe or
            other rows made, a run that was interrupted where `resume` is not said, a teacher that diverged, or a
            stop before the first step of the last stage.
        DataError: for data or probes that cannot be read.
    """
    tasks = build_tasks(recipe, data_root)
    way = Way(data_root, device, should_stop, resume, processes or Processes(), held_out(recipe, tasks, data_root))
    if recipe.probes:
        check_probes(read_probes(Path(recipe.probes)), tasks)
    stages = teacher_recipes(recipe)
    check_encoders(recipe.encoder, [stage.encoder for stage in stages])
    output = output.resolve()
    folders = [output.with_name(f"{output.name}-teacher-{place}") for place in range(1, len(stages) + 1)]
    done = [_is_done(folder, earlier, way) for folder, earlier in zip(folders, stages, strict=True)]
    finished = resume and _is_done(output, recipe, way)
    way.processes.wait()
    for folder in (*folders, output) if way.processes.is_main else ():
        make_writable(folder)
    way.processes.wait()
    for place, (folder, earlier) in enumerate(zip(folders, stages, strict=True), start=1):
        yield Stage(folder, place, len(stages) + 1, done[place - 1])
        if not done[place - 1]:
            for event in _run(earlier, folder, way, ()):
                yield event
                if isinstance(event, RunEnded) and event.reason in ("stopped", "diverged"):
                    raise ConfigError(event.problem) if event.problem else _stopped_before(output)
    yield Stage(output, len(stages) + 1, len(stages) + 1, finished)
    if finished:
        return
    for event in _run(recipe, output, way, folders, keep_stopped=True):
        yield event
        if isinstance(event, RunEnded) and event.reason == "stopped" and not event.steps:
            raise _stopped_before(output)


def _run(
    recipe: Recipe, output: Path, way: Way, teachers: Sequence[Path], *, keep_stopped: bool = False
) -> Iterator[RunEvent]:
    """Trains one model and saves it; `keep_stopped` says whether also where it was stopped after some steps."""
    data, config = _read(recipe, way), recipe.training
    snapshots = Snapshots(output, made_by=f"{fingerprint(recipe)} {data.digest}")
    _check_resume(snapshots, resume=way.resume)
    predictor = beginning(recipe, data.tasks, device=way.device)
    ensemble = Ensemble([load(folder, device=way.device) for folder in teachers], predictor) if teachers else None
    for event in train(
        predictor,
        data.sources,
        data.validation,
        config,
        should_stop=way.should_stop,
        ensemble=ensemble,
        snapshots=snapshots,
        processes=way.processes,
    ):
        stopped = isinstance(event, RunEnded) and event.reason == "stopped"
        if isinstance(event, RunEnded) and way.processes.is_main:
            if event.reason in ("finished", "early") or (keep_stopped and event.steps):
                predictor.save(output, meta={**_origin(recipe, event), "rows": data.digest})
            if not stopped:
                snapshots.clear()
        yield event
    way.processes.wait()


def _check_resume(snapshots: Snapshots, *, resume: bool) -> None:
    newest = snapshots.newest()
    if newest is not None and not resume:
        raise ConfigError(
            f"{newest.parent}: a run was interrupted after step {int(newest.name[5:])}; add --resume to go on, "
            "or delete that folder to start again"
        )


def _is_done(folder: Path, recipe: Recipe, way: Way) -> bool:
    """Whether a folder holds what this recipe makes of these rows, and no run into it is on its way.

    Raises:
        ConfigError: where something else made it.
    """
    if not (folder / "mtl.json").is_file() or Snapshots(folder, made_by="").newest() is not None:
        return False
    meta = read_meta(folder)
    run = meta.get("run")
    if isinstance(run, dict) and run.get("reason") == "stopped":
        return False
    if (meta.get("recipe"), meta.get("rows")) != (fingerprint(recipe), _read(recipe, way).digest):
        raise ConfigError(
            f"{folder}: was made by another recipe or with other data; choose another --output or delete it"
        )
    return True


def _origin(recipe: Recipe, ended: RunEnded) -> dict[str, object]:
    run = {
        "reason": ended.reason,
        "steps": ended.steps,
        "best_step": ended.best_step,
        **({"averaged": list(ended.averaged)} if ended.averaged else {}),
    }
    return {"provenance": provenance(recipe), "recipe": fingerprint(recipe), "run": run}


def _stopped_before(output: Path) -> ConfigError:
    return ConfigError(f"stopped before {output} began; the same command with --resume goes on")
