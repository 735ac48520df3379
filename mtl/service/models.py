"""Which models a person may ask: the shipped one, shared and never changed, and those that this session has tuned."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from mtl.errors import NotFoundError
from mtl.inference.batching import MicroBatcher
from mtl.inference.predictor import Predictor
from mtl.service.accelerator import STEP, Accelerator
from mtl.service.sessions import SessionStore
from mtl.types import Analysis

BASE = "default"


class Models:
    """Models by session key and name. `answered_at`: when a text was last read, by `time.monotonic`."""

    def __init__(self, base: Predictor, sessions: SessionStore, accelerator: Accelerator | None = None) -> None:
        self.base = base
        self.accelerator = accelerator or Accelerator(lent=False)
        self.batcher = MicroBatcher(base)
        self.sessions = sessions
        self.answered_at = float("-inf")

    def names(self, key: str) -> list[str]:
        """The names that `model` may take: the shipped one, then this session's own."""
        return [BASE, *self.sessions.get(key).models]

    def get(self, key: str, model: str) -> Predictor:
        """A model by its name.

        Raises:
            NotFoundError: where this session has none of that name.
        """
        session = self.sessions.get(key) if key or model != BASE else None  # a sign of life, also of mere readers
        if session is None or model == BASE:
            return self.base
        found = session.models.get(model)
        if found is None:
            raise NotFoundError(f"Model {model!r} is not here any more; choose another one at the top.")
        return found

    def analyze(
        self, key: str, model: str, texts: Sequence[str], tasks: Collection[str] | None = None
    ) -> list[Analysis]:
        """One pass, on the shared model together with whoever else asks at this moment."""
        predictor = self.get(key, model)
        found = (self.batcher if predictor is self.base else predictor).analyze(texts, tasks)
        self.answered_at = time.monotonic()
        return found

    def read(
        self,
        key: str,
        model: str,
        texts: Sequence[str],
        tasks: Collection[str] | None = None,
        *,
        on_progress: Callable[[float], object] = lambda _: None,
    ) -> list[Analysis]:
        """`analyze` of a list that may be long; `on_progress` hears which share is done."""
        if len(texts) > STEP:
            return self.accelerator.read(self.get(key, model), texts, tasks, on_progress=on_progress)
        found = self.analyze(key, model, texts, tasks)
        on_progress(1.0)
        return found
