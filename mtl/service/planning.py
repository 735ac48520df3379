"""A run looked at before it starts: what would move, what the rows hold and the model sees, what a step takes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from mtl.data import tables
from mtl.errors import SessionError
from mtl.inference.predictor import Predictor
from mtl.service.tuning import TuneData, TuneRequest, train_config
from mtl.tasks import Task
from mtl.tasks.base import MISSING, text_of
from mtl.tasks.bio import bio_tags
from mtl.training import freezing, memory
from mtl.training.beginning import extended
from mtl.training.config import FreezePolicy
from mtl.training.events import StepEnded
from mtl.training.plan import SourceMix, TaskMix, source_mix, step_plan, task_mix
from mtl.training.trainer import train
from mtl.types import Example

SHOWN_ROWS = 4
MEASURED_STEPS = 2


@dataclass(frozen=True)
class PartPlan:
    """A part of the network, its parameters, and how many of them would learn; `joins` after that share of the run.

    rehearsed  a head that stays as it is, and that the encoder is kept fit for
    """

    name: str
    parameters: int
    learning: int
    joins: float
    rehearsed: bool = False


@dataclass(frozen=True)
class NetworkPlan:
    """What a policy means for a model: its parts from the bottom up, and heads that would drift."""

    policy: str
    parts: tuple[PartPlan, ...]
    warnings: tuple[str, ...]

    @property
    def learning(self) -> int:
        return sum(part.learning for part in self.parts)

    @property
    def total(self) -> int:
        return sum(part.parameters for part in self.parts)


@dataclass(frozen=True)
class SeenToken:
    """A token of a row: its characters ("" for marks), and the tag it is taught; None where it is ignored."""

    text: str
    tag: str | None


@dataclass(frozen=True)
class SeenRow:
    """A row as the model sees it: its tokens, its labels by head, and the character up to which it is read."""

    tokens: tuple[SeenToken, ...]
    labels: Mapping[str, str]
    cut_at: int | None


@dataclass(frozen=True)
class DataLook:
    """What a table would give: rows to learn from and rows put aside, labels of each head, rows that are cut.

    columns  what becomes of each column of the table: `text`, the name of the head it teaches, or "" for nothing
    raw      the first rows as the file has them, by column
    unlabelled  rows that teach none of the heads
    """

    learning: int
    held: int
    labels: Mapping[str, Mapping[str, int]]
    cut: int
    first: tuple[SeenRow, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    raw: tuple[Mapping[str, str], ...] = ()
    unlabelled: int = 0


@dataclass(frozen=True)
class Mix:
    """What the steps of a run draw: of each source, and for each head that learns."""

    steps: int
    sources: tuple[SourceMix, ...]
    tasks: tuple[TaskMix, ...]


@dataclass(frozen=True)
class StepCost:
    """What a step takes, from measured ones: milliseconds, and bytes that the process holds (0: not known).

    seconds  of all steps; with a frozen encoder each row goes through it once, and later steps take next to nothing
    """

    ms: float
    memory: int
    seconds: float


def network(base: Predictor, policy: FreezePolicy, heads: Sequence[str], rehearsed: Sequence[str] = ()) -> NetworkPlan:
    """What of a model would learn if `heads` are trained and those that are `rehearsed` stay; new heads come on top.

    Raises:
        ConfigError: for a policy that does not fit the model.
    """
    model, trained = base.model, set(heads)
    sizes = freezing.total_counts(model)
    found = []
    for part in freezing.parts(model, policy):
        learns = not part.frozen and (not part.name.startswith("head ") or part.name[5:] in trained)
        learning = sizes[part.name] if learns else 0
        if learns and policy.lora is not None and not part.name.startswith("head "):
            linears = [module for module in part.module.modules() if isinstance(module, nn.Linear)]
            learning = sum(policy.lora.rank * (one.in_features + one.out_features) for one in linears)
        rests = part.name[5:] in rehearsed and not learns
        found.append(PartPlan(part.name, sizes[part.name], learning, part.joins, rehearsed=rests))
    moves = any(part.learning for part in found if not part.name.startswith("head "))
    told = trained | set(rehearsed)
    silent = [p.name[5:] for p in found if p.name.startswith("head ") and p.parameters and p.name[5:] not in told]
    return NetworkPlan(policy.describe(), tuple(found), freezing.drifts(silent) if moves else ())


def look(base: Predictor, request: TuneRequest, data: TuneData) -> DataLook:
    """The table of a request, as a run would read it."""
    rows = [*data.parts.train, *data.parts.validation]
    tokens = base.tokenizer.lengths([row.texts[0] for row in rows])
    most = base.tokenizer.max_tokens
    labels = {task.name: _labels(task, rows) for task in data.tasks}
    first = tuple(_seen(base, data.tasks, row) for row in data.parts.train[:SHOWN_ROWS])
    cut = sum(n >= most and _seen(base, (), row).cut_at is not None for n, row in zip(tokens, rows, strict=True))
    columns, raw = _raw(request, data.tasks)
    n = (len(data.parts.train), len(data.parts.validation))
    return DataLook(*n, labels, cut, first, columns, raw, unlabelled=data.unlabelled)


def mix(base: Predictor, request: TuneRequest, data: TuneData) -> Mix:
    """What a run would draw, before any step.

    Raises:
        ConfigError: for settings that a run would refuse.
    """
    plan = step_plan(data.sources, base.tokenizer, train_config(request, data))
    tasks = dict.fromkeys([*data.tasks, *data.replayed])
    return Mix(
        len(plan.order),
        tuple(source_mix(source, plan) for source in data.sources),
        tuple(task_mix(task, data.sources, plan) for task in tasks),
    )


def measure(base: Predictor, request: TuneRequest, data: TuneData) -> StepCost:
    """Takes a step to warm up and two more, on a copy that nothing keeps.

    Raises:
        SessionError, ConfigError: where nothing would learn, or for settings that a run would refuse.
    """
    if request.freeze.everything:
        raise SessionError("Nothing would learn, so there is no step to measure; let something move.")
    predictor = extended(base.copy(), data.tasks, seed=request.seed)
    config = replace(train_config(request, data), steps=MEASURED_STEPS + 1, cache="off", conflict=False)
    events = train(predictor, data.sources, [], config)
    steps = [event for event in events if isinstance(event, StepEnded)][1:]
    milliseconds = 1000 * sum(step.seconds for step in steps) / max(1, len(steps))
    mixed = mix(base, request, data).sources
    through = sum(one.batches / max(1.0, one.epochs) if request.freeze.encoder else one.batches for one in mixed)
    return StepCost(milliseconds, memory.in_use(predictor.model.device), milliseconds * through / 1000)


def _raw(request: TuneRequest, tasks: Sequence[Task]) -> tuple[Mapping[str, str], tuple[Mapping[str, str], ...]]:
    """The columns of the table as the file has them with what becomes of each, and its first rows."""
    table = tables.read(request.path, limit=SHOWN_ROWS)
    ours = {theirs: mine for mine, theirs in request.columns.items()}
    ours = {name: ours.get(name, "" if name in request.columns else name) for name in table.columns}
    teaches = {column: task.name for task in tasks for column in task.columns if column in ours.values()}
    texts = [name for name in ("text", "tokens") if name in ours.values()][:1]
    columns = {theirs: "text" if mine in texts else teaches.get(mine, "") for theirs, mine in ours.items()}
    text = next((theirs for theirs, what in columns.items() if what == "text"), "")
    return columns, tuple(
        {name: _cell(row.values.get(name), str(row.values.get(text))) for name in table.columns} for row in table.rows
    )


def _cell(value: object, text: str) -> str:
    """A value as a person reads it; spans by their words."""
    if value is None or value == []:
        return ""
    if isinstance(value, (str, int, float)):
        return text_of(value)
    spans = value if isinstance(value, list) else []
    if spans and all(isinstance(s, dict) and isinstance(s.get("start"), int) and "end" in s for s in spans):
        return ", ".join(f"{text[s['start'] : s['end']]} ({s.get('label')})" for s in spans)
    return json.dumps(value, default=str)


def _labels(task: Task, rows: Sequence[Example]) -> Mapping[str, int]:
    counts: Counter[str] = Counter()
    for row in rows:
        target = row.targets.get(task.name)
        if isinstance(target, str):
            counts[target] += 1
        elif isinstance(target, tuple):
            counts.update(span.label for span in target)
    return dict(counts.most_common())


def _seen(base: Predictor, tasks: Sequence[Task], row: Example) -> SeenRow:
    tokens = base.tokenizer([row.texts[0]])
    tags: list[str | None] = [None] * len(tokens.ids)
    labels = {}
    for task in tasks:
        target = row.targets.get(task.name)
        if task.reads_words and target is not None:
            names = bio_tags(task.labels)
            encoded = task.encode_targets([target], tokens).tolist()
            tags = [None if tag == MISSING else names[tag] for tag in encoded]
        elif isinstance(target, str):
            labels[task.name] = target
    pieces = [row.texts[0][start:end] for start, end in tokens.offsets.tolist()]
    seen = tuple(SeenToken(piece, tag) for piece, tag in zip(pieces, tags, strict=True))
    return SeenRow(seen, labels, tokens.truncated_at[0])
