"""Threads of one torch thread each: on a CPU two batches side by side go faster than one batch on two cores.

Knows no model and no text.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

Job = TypeVar("Job")
Found = TypeVar("Found")

_MAKING = threading.Lock()


def in_parallel(work: Callable[[Job], Found], jobs: Iterable[Job]) -> list[Found]:
    """`work` of each job, in their order; on as many threads as torch computes with. One job runs where it is."""
    todo = list(jobs)
    if len(todo) < 2 or torch.get_num_threads() < 2:
        return [work(job) for job in todo]
    with _MAKING:
        pool = _pool(os.getpid(), torch.get_num_threads())
    return list(pool.map(work, todo))


def give_back_memory() -> None:
    """Returns to the system what threads have freed: glibc keeps it, some kilobytes more for every text."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@lru_cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):  # another system, or another C library
        return None
    return found


@lru_cache(maxsize=1)
def _pool(process: int, n_threads: int) -> ThreadPoolExecutor:  # noqa: ARG001
    """A pool for this process (a forked one inherits no threads), with every thread started and set to one core."""
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="mtl-inference")
    here = threading.Barrier(n_threads)

    def start() -> None:
        torch.get_num_threads()  # a thread takes the default when it first asks, also after it was told otherwise
        torch.set_num_threads(1)
        here.wait()

    for started in [pool.submit(start) for _ in range(n_threads)]:
        started.result()
    torch.set_num_threads(n_threads)  # what one thread sets is the default of those that come after
    return pool
