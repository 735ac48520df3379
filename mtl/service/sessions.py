"""Who is here and what is theirs: tuned models and a training run, counted, aged out, never shared."""

from __future__ import annotations

import logging
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

logger = logging.getLogger(__name__)

Clock = Callable[[], float]

MOST_OF_A_KEY = 64
"""Characters."""
MOST_PAGES = 100
"""Of one session; beyond, the one that came first is not counted any more."""
MOST_SESSIONS = 10_000
"""Beyond, the one unseen for longest goes, those with a run or a model last."""
SWEEP_S = 1.0
"""A visit looks for sessions that are over no more often."""


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

    pages        those that are open now; `left`: when the last of them was closed, None while one is open or came back
    corrections  what the person said of texts that the model got wrong, by text
    tuned        how each of `models` came about
    """

    key: str
    seen: float
    pages: dict[str, None] = field(default_factory=dict)
    left: float | None = None
    models: dict[str, Predictor] = field(default_factory=dict)
    run: Run | None = None
    n_runs: int = 0
    tuned: dict[str, Tuned] = field(default_factory=dict)
    corrections: dict[str, Example] = field(default_factory=dict)
    corrections_file: Path | None = None
    starting: threading.Lock = field(default_factory=threading.Lock)


class SessionStore:
    """Sessions by their random key. Thread-safe; the clock is injected.

    ttl_s      one that is not heard of for so long is freed
    grace_s    one whose pages were all closed is kept for so long
    max_models, max_bytes  tuned models of all sessions, and bytes of their weights
    n_freed    sessions that were freed so far; freed: called with the key of each
    """

    def __init__(
        self,
        *,
        ttl_s: float,
        grace_s: float,
        max_models: int,
        max_bytes: int,
        weigh: Callable[[Predictor], int],
        clock: Clock = time.monotonic,
    ) -> None:
        self.ttl_s, self.grace_s, self.clock = ttl_s, grace_s, clock
        self.max_models, self.max_bytes, self.weigh = max_models, max_bytes, weigh
        self.n_freed = 0
        self.freed: Callable[[str], object] = lambda _: None
        self._swept = float("-inf")
        self._sessions: dict[str, Session] = {}
        self._keys: dict[str, str] = {}
        self._lock = threading.RLock()

    def new_key(self) -> str:
        """A key that cannot be guessed."""
        return secrets.token_urlsafe(16)

    def get(self, key: str) -> Session:
        """The session of a key, made at its first use; counts as a sign of life.

        Raises:
            SessionError: for an empty or oversized key.
        """
        if not key or len(key) > MOST_OF_A_KEY:
            raise SessionError("This page has no session; reload it.")
        with self._lock:
            now = self.clock()
            if now - self._swept >= SWEEP_S or key not in self._sessions:
                self.sweep()
            if key not in self._sessions and len(self._sessions) >= MOST_SESSIONS:
                self._free(min(self._sessions.values(), key=lambda s: (bool(s.models or s.run), s.seen)))
            session = self._sessions.setdefault(key, Session(key, now))
            if self._over(session, now):
                self._free(session)
                session = self._sessions.setdefault(key, Session(key, now))
            session.seen = now
            return session

    def arrived(self, key: str, page: str) -> None:
        """A page of a session was opened, or came back."""
        with self._lock:
            session = self.get(key)
            session.pages[page] = None
            session.left = None
            self._keys[page] = key
            if len(session.pages) > MOST_PAGES:
                self._keys.pop(next(iter(session.pages)), None)
                del session.pages[next(iter(session.pages))]

    def gone(self, page: str) -> None:
        """A page was closed; if it was the last of its session, the grace begins."""
        with self._lock:
            session = self._sessions.get(self._keys.pop(page, ""))
            if session is not None:
                session.pages.pop(page, None)
                session.left = None if session.pages else self.clock()

    def is_open(self, page: str) -> bool:
        """Whether a page was opened and not closed since."""
        return page in self._keys

    def sweep(self) -> None:
        """Frees the sessions that are over: their runs stop, their models go."""
        with self._lock:
            now = self._swept = self.clock()
            for session in [session for session in self._sessions.values() if self._over(session, now)]:
                self._free(session)

    def _free(self, session: Session) -> None:
        del self._sessions[session.key]
        self.n_freed += 1
        for page in session.pages:
            self._keys.pop(page, None)
        if session.run is not None and session.run.active:
            session.run.stop()
            logger.info("a run is stopped: nobody came back to it")
        self.freed(session.key)

    def _over(self, session: Session, now: float) -> bool:
        silent = now - session.seen
        return silent > self.ttl_s or (session.left is not None and min(silent, now - session.left) > self.grace_s)

    def all(self) -> list[Session]:
        """Those that there are now."""
        with self._lock:
            return list(self._sessions.values())

    def corrected_characters(self) -> int:
        """Of all texts that sessions have corrected."""
        return sum(len(text) for session in self.all() for text in list(session.corrections))

    def n_models(self) -> int:
        """Tuned models of all sessions."""
        return sum(len(session.models) for session in self.all())

    def n_bytes(self) -> int:
        """Of their weights."""
        return sum(self.weigh(model) for session in self.all() for model in list(session.models.values()))

    def add_model(self, session: Session, name: str, predictor: Predictor) -> bool:
        """Gives a session a model; beyond the limits the session unseen for longest loses its oldest, until it fits.
        False where the session was freed meanwhile."""
        with self._lock:
            if self._sessions.get(session.key) is not session:
                return False
            weight = self.weigh(predictor)
            while (n := self.n_models()) and (n >= self.max_models or self.n_bytes() + weight > self.max_bytes):
                stalest = min((s for s in self._sessions.values() if s.models), key=lambda s: s.seen)
                oldest = next(iter(stalest.models))
                del stalest.models[oldest]
                stalest.tuned.pop(oldest, None)
            session.models[name] = predictor
            return True
