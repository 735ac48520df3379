"""20,000 requests and 50 fine-tuning runs, half of them abandoned: `python tests/bench/soak.py [REQUESTS RUNS]`.

Every run has a session of its own; half are watched to their end, half are left after some steps. Memory is read after
the warm-up (the first fifth of everything) and at the end, when all grace is over. Writes assets/results/soak.json.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from visitors import Tally, event, machine, memory, program, started, tune, write

GRACE_S = 10
"""Shorter than the two minutes of the app, or fifty would take hours."""
MANY = 5000
"""Steps that no machine trains within the grace."""
MOVES = ("Heads only (fast, the encoder stays as it is)", "Top layers and heads", "Everything")


async def held(client: httpx.AsyncClient, name: str) -> float:
    lines = (await client.get("/api/metrics")).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


async def ask(url: str, n: int, tally: Tally, at_once: int = 16) -> None:
    left = iter(range(n))

    async def one(number: int) -> None:
        rng = random.Random(number)
        async with httpx.AsyncClient(base_url=url, timeout=120) as client:
            for _ in left:
                await program(client, rng, tally)

    await asyncio.gather(*(one(number) for number in range(at_once)))


async def run(client: httpx.AsyncClient, number: int, problems: list[str]) -> None:
    """A session that trains, and is watched to the end or left."""
    key = f"session-{number}"
    try:
        is_watched = number % 2 == 0
        said = await tune(client, key, moves=MOVES[number % 3], steps=40 if is_watched else MANY)
        if "data" not in said:
            problems.append(said[-200:])
        if not is_watched:
            return  # nobody asks for it any more, and it would take longer than the grace
        while await held(client, "mtl_runs"):
            await event(client, "read", [key, "default", "somebody watches", 0.5, []])
            await asyncio.sleep(0.5)
    except (httpx.HTTPError, RuntimeError) as error:
        problems.append(f"{number}: {error}")


async def quiet(client: httpx.AsyncClient) -> None:
    """Waits until nothing trains and every session is freed."""
    while await held(client, "mtl_runs") or await held(client, "mtl_sessions"):
        await asyncio.sleep(1)
    await asyncio.sleep(2)


async def part(
    url: str, n_requests: int, runs: range, tally: Tally, problems: list[str], look: Callable[[], None]
) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=300) as client:

        async def train() -> None:
            for number in runs:
                await run(client, number, problems)
                look()

        await asyncio.gather(ask(url, n_requests, tally), train())
        await quiet(client)


def main(n_requests: int, n_runs: int) -> dict[str, object]:
    tally, problems = Tally(), []
    few, first = n_requests // 5, max(6, n_runs // 5 // 6 * 6 + 6)  # each kind of run, watched and abandoned
    settings = {"MTL_SESSION_TTL_S": str(GRACE_S), "MTL_GRACE_S": str(GRACE_S), "MTL_MAX_STEPS": str(MANY)}
    with tempfile.TemporaryDirectory() as folder, started(Path(folder) / "log", **settings) as (url, process):
        time.sleep(20)
        begun, seen = time.monotonic(), [memory(process)]

        def look() -> None:
            seen.append(memory(process))

        asyncio.run(part(url, few, range(first), tally, problems, look))
        warm = memory(process)
        asyncio.run(part(url, n_requests - few, range(first, n_runs), tally, problems, look))
        end = memory(process)
        seconds = time.monotonic() - begun
        log = (Path(folder) / "log").read_text(encoding="utf-8")
    return {
        "machine": machine(),
        "requests": tally.n,
        "runs": n_runs,
        "abandoned": n_runs // 2,
        "stopped_as_nobody_came_back": log.count("a run is stopped: nobody came back to it"),
        "seconds": round(seconds),
        "memory_after_warm_up_mb": round(warm / 1e6),
        "memory_at_end_mb": round(end / 1e6),
        "ratio": round(end / warm, 3),
        "memory_after_each_run_mb": [round(one / 1e6) for one in seen],
        "failures": dict(tally.failures),
        "later": tally.later,
        "problems": problems,
        "faults_in_log": log.count("Traceback"),
    }


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    write("soak.json", main(*(numbers or (20_000, 50))))
