"""How much memory training takes."""

from __future__ import annotations

import ctypes
import gc
from functools import lru_cache
from pathlib import Path

import torch

STATM = Path("/proc/self/statm")
M_ARENA_MAX = -8
"""As `malloc.h` of glibc numbers it."""


def in_use(device: torch.device) -> int:
    """Bytes: on a GPU the most that tensors took so far, on Linux what the process holds now, elsewhere 0."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if not _is_linux():
        return 0
    return int(STATM.read_text().split()[1]) * _page_bytes()


@lru_cache
def _is_linux() -> bool:
    return STATM.is_file()


@lru_cache
def _page_bytes() -> int:
    import resource

    return resource.getpagesize()


def few_arenas(most: int = 4) -> None:
    """Has glibc keep few heaps, before threads are made: each of forty threads would keep what it once freed."""
    if _is_linux() and hasattr(ctypes.CDLL(None), "mallopt"):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, most)


def give_back() -> None:
    """Hands memory that was freed back to the system: glibc keeps what a thread freed, a gigabyte after some runs."""
    if _is_linux() and hasattr(ctypes.CDLL(None), "malloc_trim"):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
