"""What each step reads: batches of rows, or the outputs of a frozen encoder that are there already."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from mtl.data.batches import Batch, Draw, Feed, Source, collate
from mtl.data.mentions import Mentions
from mtl.inference.predictor import Predictor
from mtl.tasks import Task
from mtl.training.config import TrainConfig
from mtl.training.features import Features, Ready
from mtl.training.plan import Plan

Load = Batch | Ready
AHEAD = 2
"""Steps that a thread prepares in advance for a GPU; a CPU has better things to do with its cores."""


class Loader:
    """The loads of each step, in order, from any step on.

    features  of every source, where the encoder is frozen and its outputs are known
    ahead     steps to prepare in a thread, into page-locked memory
    """

    def __init__(
        self, predictor: Predictor, sources: Sequence[Source], plan: Plan, config: TrainConfig, *, ahead: int = 0
    ) -> None:
        size = {"seed": config.seed, "max_tokens": config.batch_tokens, "max_rows": config.batch_rows}
        self.plan, self.tokenizer = plan, predictor.tokenizer
        self.feeds = {s.name: Feed(s, predictor.tokenizer, **size) for s in sources if s.name in plan.sources}
        self.tasks = {name: tasks_of(feed.source, predictor.tasks) for name, feed in self.feeds.items()}
        replacing = any(source.replace_mentions for source in sources)
        self.mentions = Mentions(row for source in sources if replacing for row in source.examples)
        self.features: Mapping[str, Features] = {}
        self.ahead = ahead
        self._next = 1
        self._waiting: deque[Future[list[Load]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches") if ahead else None

    def start_after(self, step: int) -> None:
        """The next step to be read is the one after `step`."""
        drawn = [name for sources in self.plan.order[:step] for name in sources]
        for name, feed in self.feeds.items():
            feed.number = drawn.count(name)
        self._next = step + 1

    def next(self) -> list[Load]:
        """The loads of the next step."""
        if self._thread is None:
            return self._read()
        while len(self._waiting) <= self.ahead and self._next <= len(self.plan.order):
            self._waiting.append(self._thread.submit(self._pinned, self._draws()))
        return self._waiting.popleft().result()

    def close(self) -> None:
        """Ends the thread."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _read(self) -> list[Load]:
        return [self._load(draw) for draw in self._draws()]

    def _pinned(self, draws: Sequence[Draw]) -> list[Load]:
        loads = [self._load(draw) for draw in draws]
        return [replace(load, inputs=load.inputs.pinned()) if isinstance(load, Batch) else load for load in loads]

    def _draws(self) -> list[Draw]:
        self._next += 1
        return [self.feeds[name].draw() for name in self.plan.order[self._next - 2]]

    def _load(self, draw: Draw) -> Load:
        if draw.source in self.features:
            return self.features[draw.source].batch(draw)
        feed = self.feeds[draw.source]
        rows = [feed.source.examples[place] for place in draw.rows]
        if feed.source.replace_mentions:
            rng = feed.rng(draw)
            rows = [self.mentions.replaced(row, feed.source.replace_mentions, rng) for row in rows]
        return collate(draw.source, rows, self.tasks[draw.source], self.tokenizer)


def tasks_of(source: Source, tasks: Sequence[Task]) -> list[Task]:
    """The tasks that a row of the source has a target for."""
    return [task for task in tasks if any(task.name in row.targets for row in source.examples)]
