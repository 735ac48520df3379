"""Many callers, one model: what arrives while a batch is computed is the next batch.

There is no timer, so a lone request never waits for company. Knows no text and no limit of a service.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from mtl.inference.predictor import Predictor
from mtl.types import Analysis

MOST_TEXTS = 256
"""Texts of one batch; what is more waits for the next one."""

LONG_LIST = 64
"""A request with more texts than this fills batches of its own: nobody else should wait for it."""


@dataclass
class _Request:
    texts: Sequence[str]
    tasks: tuple[str, ...]
    answer: Future[list[Analysis]] = field(default_factory=Future)


class MicroBatcher:
    """Stands before a predictor; `analyze` may be called by any number of threads at once."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._waiting: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._process = 0

    def analyze(self, texts: Sequence[str], tasks: Collection[str] | None = None) -> list[Analysis]:
        """What `Predictor.analyze` says, in a pass shared with other callers.

        Raises:
            ConfigError: as `Predictor.analyze` does.
        """
        chosen = tuple(task.name for task in self.predictor.chosen(tasks, 1))
        if len(texts) > LONG_LIST:
            return self.predictor.analyze(texts, chosen)
        if not texts:
            return []
        request = _Request(texts, chosen)
        with self._changed:
            self._start()
            self._waiting.append(request)
            self._changed.notify()
        return request.answer.result()

    def _start(self) -> None:
        """A thread for this process: a forked one inherits none."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._waiting.clear()
            threading.Thread(target=self._serve, name="mtl-batches", daemon=True).start()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                batch = self._next()
            self._answer(batch)

    def _next(self) -> list[_Request]:
        """The oldest request and those behind it that ask for the same tasks, as many as a batch holds."""
        first = self._waiting.popleft()
        batch, left, n_texts = [first], deque[_Request](), len(first.texts)
        for request in self._waiting:
            if request.tasks == first.tasks and n_texts + len(request.texts) <= MOST_TEXTS:
                batch.append(request)
                n_texts += len(request.texts)
            else:
                left.append(request)
        self._waiting = left
        return batch

    def _answer(self, batch: Sequence[_Request]) -> None:
        try:
            found = iter(self.predictor.analyze([text for r in batch for text in r.texts], tasks=batch[0].tasks))
        except Exception as error:  # noqa: BLE001 - it belongs to the callers, and the thread must live on
            for request in batch:
                request.answer.set_exception(error)
            return
        for request in batch:
            request.answer.set_result([next(found) for _ in request.texts])
