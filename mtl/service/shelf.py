"""Large values that pages refer to by a ticket: however many visitors there are, memory for them is bounded."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from mtl.errors import SessionError

T = TypeVar("T")


class Shelf(Generic[T]):
    """Keeps values up to a total weight; beyond it those that were asked for longest ago go. Thread-safe."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._values: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, value: T, weight: int) -> str:
        """A ticket that cannot be guessed; the newest value is kept whatever it weighs."""
        ticket = secrets.token_urlsafe(12)
        with self._lock:
            self._values[ticket] = (value, weight)
            while len(self._values) > 1 and sum(w for _, w in self._values.values()) > self.most:
                self._values.popitem(last=False)
        return ticket

    def get(self, ticket: str) -> T:
        """The value of a ticket.

        Raises:
            SessionError: where it is not here any more, or never was.
        """
        with self._lock:
            if ticket not in self._values:
                raise SessionError("What was here was put away to make room; make it again.")
            self._values.move_to_end(ticket)
            return self._values[ticket][0]

    def drop(self, ticket: str) -> None:
        """Puts a value away that nobody needs any more."""
        with self._lock:
            self._values.pop(ticket, None)
