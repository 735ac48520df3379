"""Who is here and what is theirs: tuned models and a training run, counted, aged out, never shared."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mtl.errors import SessionError
from mtl.types import Example

if TYPE_CHECKING:
    from pathlib import Path

    from mtl.inference.predictor import Predictor
    from mtl.service.aftermath import Aftermath
    from mtl.service.equivalent import Equivalent
    from mtl.service.runs import Run

Clock = Callable[[], float]


@dataclass(frozen=True)
class Tuned:
    """How a tuned model came about, how it can be made again, and what it cost the tasks that were there before.

    replayed  the sentences that were replayed, as a table; rows: the table of the page's own making, where it was one
    """

    run: Run
    settings: Mapping[str, object]
    aftermath: Aftermath
    equivalent: Equivalent
    replayed: str
    rows: Path | None = None


@dataclass
class Session:
    """What belongs to one browser. `seen` is the time of its last sign of life, in seconds.

    corrections  what the person said of texts that the model got wrong, by text
    tuned        how each of `models` came about
    """

    key: str
    seen: float
    models: dict[str, Predictor] = field(default_factory=dict)
    run: Run | None = None
    n_runs: int = 0
    tuned: dict[str, Tuned] = field(default_factory=dict)
    corrections: dict[str, Example] = field(default_factory=dict)
    corrections_file: Path | None = None
    starting: threading.Lock = field(default_factory=threading.Lock)


class SessionStore:
    """Sessions by their random key. Thread-safe; the clock is injected."""

    def __init__(self, *, ttl_s: float, max_models: int, clock: Clock = time.monotonic) -> None:
        self.ttl_s, self.max_models, self.clock = ttl_s, max_models, clock
        self._sessions: dict[str, Session] = {}
        self._lock = threading.RLock()

    def new_key(self) -> str:
        """A key that cannot be guessed."""
        return secrets.token_urlsafe(16)

    def get(self, key: str) -> Session:
        """The session of a key, made at its first use; counts as a sign of life.

        Raises:
            SessionError: for an empty or oversized key.
        """
        if not key or len(key) > 64:
            raise SessionError("This page has no session; reload it.")
        with self._lock:
            self._sweep()
            session = self._sessions.setdefault(key, Session(key, self.clock()))
            session.seen = self.clock()
            return session

    def corrected_characters(self) -> int:
        """Of all texts that sessions have corrected."""
        with self._lock:
            return sum(len(text) for session in self._sessions.values() for text in session.corrections)

    def add_model(self, session: Session, name: str, predictor: Predictor) -> None:
        """Gives a session a model; beyond `max_models` in all, the session unseen for longest loses its oldest."""
        with self._lock:
            while sum(len(other.models) for other in self._sessions.values()) >= self.max_models:
                stalest = min((s for s in self._sessions.values() if s.models), key=lambda s: s.seen)
                oldest = next(iter(stalest.models))
                del stalest.models[oldest]
                stalest.tuned.pop(oldest, None)
            session.models[name] = predictor

    def _sweep(self) -> None:
        now = self.clock()
        for key in [key for key, session in self._sessions.items() if now - session.seen > self.ttl_s]:
            session = self._sessions.pop(key)
            if session.run is not None:
                session.run.stop()
