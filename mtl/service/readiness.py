"""Whether the model answers now: known from the last answers, or else by asking it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from mtl.service.models import BASE, Models

FRESH_S = 10.0
"""An answer that is no older shows that the model answers."""
PROBE = "Is the model there?"


class Readiness:
    """Asks at most once at a time, however many want to know. Thread-safe; the clock is injected."""

    def __init__(self, models: Models, clock: Callable[[], float] = time.monotonic) -> None:
        self.models, self.clock = models, clock
        self._lock = threading.Lock()
        self._asked: Future[None] | None = None
        self.closing = False

    @property
    def fresh(self) -> bool:
        """Whether an answer was given a moment ago."""
        return self.clock() - self.models.answered_at < FRESH_S

    def probe(self) -> Future[None]:
        """Asks the model, together with whoever asks at this moment; the result is None or what went wrong."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = Future()
                threading.Thread(target=self._ask, args=(self._asked,), name="readiness", daemon=True).start()
            return self._asked

    def _ask(self, asked: Future[None]) -> None:
        try:
            self.models.analyze("", BASE, [PROBE])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            asked.set_exception(error)
        else:
            asked.set_result(None)
