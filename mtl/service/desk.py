"""Where programs' requests are worked on: so many at once, the others wait, and who comes beyond that is sent away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mtl.errors import BusyError

T = TypeVar("T")

WORKERS = 32
"""Requests that are worked on at once. They wait for the same two or four cores, most of them in one shared batch."""


class Desk:
    """Takes work up to a number of pieces; a piece that its caller gave up counts until it is done. Thread-safe."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._pool = ThreadPoolExecutor(min(WORKERS, most), thread_name_prefix="mtl-request")
        self._lock = threading.Lock()
        self._taken = 0
        self._closed = False

    @property
    def taken(self) -> int:
        """Pieces that are worked on or wait."""
        return self._taken

    def take(self, work: Callable[[], T]) -> Future[T]:
        """Does work in another thread.

        Raises:
            BusyError: where it is full, or closed.
        """
        with self._lock:
            if self._closed:
                raise BusyError("The service is about to stop; ask again, another one takes its place.")
            if self._taken >= self.most:
                raise BusyError(f"{self._taken} requests are worked on, which is the limit; ask again in a moment.")
            self._taken += 1
        try:
            promised = self._pool.submit(work)
        except RuntimeError:
            self._leave()
            raise
        promised.add_done_callback(self._leave)
        return promised

    def close(self) -> None:
        """Takes no more work; what was taken is done."""
        with self._lock:
            self._closed = True

    def _leave(self, _: object = None) -> None:
        with self._lock:
            self._taken -= 1
