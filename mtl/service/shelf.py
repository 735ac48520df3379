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
        self._owners: dict[str, str] = {}
        self._lock = threading.Lock()

    def put(self, value: T, weight: int, *, owner: str = "") -> str:
        """A ticket that cannot be guessed; the newest value is kept whatever it weighs. `owner`: a session's key."""
        ticket = secrets.token_urlsafe(12)
        with self._lock:
            self._values[ticket] = (value, weight)
            self._owners[ticket] = owner
            while len(self._values) > 1 and sum(w for _, w in self._values.values()) > self.most:
                gone, _ = self._values.popitem(last=False)
                del self._owners[gone]
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
            self._owners.pop(ticket, None)

    def owner(self, ticket: str) -> str:
        """Whose a value is."""
        return self._owners.get(ticket, "")

    def drop_all(self, owner: str) -> None:
        """Puts away everything of a session that is over."""
        for ticket in [ticket for ticket, whose in list(self._owners.items()) if whose == owner]:
            self.drop(ticket)
