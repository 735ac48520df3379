"""A person's rows and choices -> a training run on a copy of a model. Knows sessions only as two callables."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from mtl.data import tables
from mtl.data.batches import Source
from mtl.data.splits import Split, split, text_key
from mtl.errors import ConfigError, DataError, SessionError
from mtl.inference.predictor import Predictor
from mtl.service.accelerator import Accelerator, Job
from mtl.service.replay import Replay
from mtl.service.runs import Run, TrainingSlot
from mtl.settings import Settings
from mtl.tasks import TASK_TYPES, Task, from_spec
from mtl.tasks.base import choices
from mtl.training.config import Balancing, FreezePolicy, Retention, Sampling, SamplingMethod, TrainConfig
from mtl.training.events import RunEnded, RunEvent

SOURCE = "your data"
HELD_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class TuneRequest:
    """What to learn and how.

    path       a table; columns: what it calls our columns
    heads      task kind -> name of the head that its targets train, an existing one or a new one
    held       whether a fifth of the rows is put aside to score with; else all are learned from
    replay     whether old tasks are rehearsed on sample sentences; of which weight beside the rows
    sampler    as `Sampling.method`; `shares` says 1 for the rows, `replay_weight` for all replayed sentences
    """

    path: Path
    heads: dict[str, str]
    columns: dict[str, str] = field(default_factory=dict)
    held: bool = True
    freeze: FreezePolicy = field(default_factory=lambda: FreezePolicy(encoder=True))
    steps: int = 200
    head_lr: float = 5e-3
    encoder_lr: float = 1e-4
    retention: bool = True
    replay: bool = True
    replay_weight: float = 0.5
    sampler: SamplingMethod = "shares"
    temperature: float = 1.0
    balancing: Balancing = field(default_factory=Balancing)
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.replay_weight <= 100:
            raise ConfigError(f"The weight of the replayed samples is {self.replay_weight}; choose more than 0.")


@dataclass(frozen=True)
class TuneData:
    """What a request gives: the heads that its rows train, the rows, and what steps draw from and are scored on.

    replayed    heads of the model that rehearse their old answers; their sources come after that of the rows
    unlabelled  rows of the table that teach none of the heads
    """

    tasks: tuple[Task, ...]
    parts: Split
    replayed: tuple[Task, ...]
    sources: tuple[Source, ...]
    validation: tuple[Source, ...]
    unlabelled: int = 0


def settings_of(request: TuneRequest) -> dict[str, object]:
    """A request as plain values, with a digest of its rows and the versions that it ran on."""
    rows = hashlib.sha256(request.path.read_bytes()).hexdigest() if request.path.is_file() else None
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {**asdict(request), "path": request.path.name, "rows_sha256": rows, "versions": versions}


def start_run(
    name: str,
    base: Predictor,
    request: TuneRequest,
    settings: Settings,
    replay: Replay,
    slot: TrainingSlot,
    accelerator: Accelerator,
    *,
    keep: Callable[[Run, Predictor, TuneData], None],
    alive: Callable[[], bool],
) -> Run:
    """Checks everything that can be checked, then starts the run. `base` is left as it is.

    Raises:
        SessionError, DataError, ConfigError: before anything starts.
    """
    if not 1 <= request.steps <= settings.max_steps:
        raise SessionError(f"The number of steps is {request.steps}; choose 1 to {settings.max_steps}.")
    data = read_data(base, request, settings, replay)
    config = train_config(request, data)
    job = Job(base, data.tasks, data.sources, data.validation, config, settings.max_seconds)

    def work(should_stop: Callable[[], bool]) -> Iterator[RunEvent]:
        return accelerator.train(job, should_stop)

    def finished(ended: RunEnded) -> None:
        keep(run, job.result(ended.state), data)

    run = Run(name, work, slot, finished=finished, alive=alive)
    run.start()
    return run


def read_data(base: Predictor, request: TuneRequest, settings: Settings, replay: Replay) -> TuneData:
    """Reads and checks the table of a request.

    Raises:
        SessionError, DataError, ConfigError: for a table, labels or head names that cannot be used.
    """
    table = tables.read(
        request.path, columns=request.columns, limit=settings.max_rows + 1, max_bytes=settings.max_bytes
    )
    if len(table.rows) > settings.max_rows:
        raise DataError(f"{table.path.name}: has more than {settings.max_rows:,} rows, which is the limit; shorten it")
    tasks = chosen_tasks(base, table, request.heads, max_labels=settings.max_labels)
    try:
        rows = [row for row in tables.examples(table, tasks) if row.targets]
    except DataError as error:
        raise DataError(_their_words(str(error), request.columns)) from error
    longest = max(rows, key=lambda row: len(row.texts[0])).texts[0]
    if len(longest) > settings.max_characters:
        raise DataError(
            f"{table.path.name}: a text has {len(longest):,} characters; the limit is {settings.max_characters:,}"
        )
    parts = split(rows, share=HELD_SHARE) if request.held else Split(tuple(rows), ())
    again = replayed(base, request, tasks)
    mine = {text_key(row) for row in rows}
    own = Source(SOURCE, parts.train)
    old = replay.sources(base, again, weight=request.replay_weight, without=mine)
    validation = (Source(SOURCE, parts.validation),) if parts.validation else ()
    return TuneData(tuple(tasks), parts, again, (own, *old), validation, len(table.rows) - len(rows))


def _their_words(said: str, columns: Mapping[str, str]) -> str:
    """A sentence about our columns with the names that the table has for them."""
    for ours, theirs in columns.items():
        said = said.replace(f"column {ours!r}", f"column {theirs!r}")
    return said


def replayed(base: Predictor, request: TuneRequest, tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The old heads that a run would spoil: all that read one text where the encoder moves, else those it trains."""
    if not request.replay or request.freeze.everything:
        return ()
    trained = {task.name for task in tasks} - set(request.freeze.heads)
    return tuple(t for t in base.tasks if t.n_texts == 1 and (not request.freeze.encoder or t.name in trained))


def policy(request: TuneRequest, trained: Collection[str], again: Sequence[Task]) -> FreezePolicy:
    """What may move: heads that are only replayed stay as they are, and the encoder learns to suit them. (At the rate
    of a fresh head they would be spoiled by rehearsing.)"""
    still = [task.name for task in again if task.name not in trained]
    return replace(request.freeze, heads=tuple(dict.fromkeys([*request.freeze.heads, *still])))


def train_config(request: TuneRequest, data: TuneData) -> TrainConfig:
    """A request in the words of the engine: small batches, at least four validations, at most 300 rows in each.

    Raises:
        ConfigError: for a way to balance losses that what is frozen rules out.
    """
    moves = not (request.freeze.encoder or request.freeze.everything)
    if request.balancing.needs_every_loss and not moves:
        raise ConfigError(
            f"Balancing by {request.balancing.method} joins gradients on the encoder, which is frozen; take fixed "
            "weights, or let layers learn."
        )
    return TrainConfig(
        steps=request.steps,
        freeze=policy(request, {task.name for task in data.tasks}, data.replayed),
        head_lr=request.head_lr,
        encoder_lr=request.encoder_lr,
        batch_rows=16,
        batch_tokens=1024,
        sampling=_sampling(request, data.sources),
        balancing=request.balancing,
        retention=Retention() if request.retention and moves else None,
        validate_every=max(1, min(request.steps // 4, 25)),
        validation_rows=300,
        conflict=moves,
        seed=request.seed,
    )


def _sampling(request: TuneRequest, sources: Sequence[Source]) -> Sampling:
    if len(sources) == 1:
        return Sampling()
    if request.sampler == "shares":
        return Sampling(method="shares", shares={source.name: source.weight for source in sources})
    temperature = request.temperature if request.sampler == "temperature" else 1.0
    return Sampling(method=request.sampler, temperature=temperature)


def chosen_tasks(base: Predictor, table: tables.Table, heads: dict[str, str], *, max_labels: int = 200) -> list[Task]:
    """The heads to train: an existing one where the name and the labels fit, else a new one for the data.

    Raises:
        DataError: where the table lacks the targets, or has labels that the named head does not know.
        SessionError: where no head is named, or the name belongs to a head of another kind.
    """
    if not heads:
        raise SessionError("No head is chosen; name at least one to train.")
    if len(set(heads.values())) < len(heads):
        raise SessionError("Both heads have one name; give each its own.")
    if "text" in heads.values():
        raise SessionError("A head cannot be called 'text', which is the column of the sentences; choose another name.")
    existing = {task.name: task for task in base.tasks}
    tasks = []
    for kind, name in heads.items():
        labels = TASK_TYPES[kind].labels_in(table.rows)
        known = existing.get(name)
        nothing_marked = known is not None and any(row.get(c) is not None for row in table.rows for c in known.columns)
        if not labels and not nothing_marked:
            needed = " or ".join(repr(column) for column in TASK_TYPES[kind].columns)
            raise DataError(
                f"{table.path.name}: head {name!r} needs a column {needed} with something in it; "
                f"the file has {', '.join(table.columns)}"
            )
        if len(labels) > max_labels:
            raise DataError(
                f"{table.path.name}: {len(labels):,} different labels for head {name!r}, the limit is {max_labels}; "
                "is it the right column?"
            )
        if known is None:
            tasks.append(from_spec({"type": kind, "name": name, "labels": labels}))
            continue
        if known.kind != kind:
            raise SessionError(f"Head {name!r} is of kind {known.kind}; choose another name for a {kind} head.")
        unknown = sorted(set(labels) - set(known.labels))
        if unknown:
            raise DataError(
                f"{table.path.name}: head {name!r} knows {choices(known.labels)}, the data also has "
                f"{choices(unknown)}; give a new name to train a new head"
            )
        tasks.append(known)
    return tasks
