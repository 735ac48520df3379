"""64 visitors for two minutes beside a fine-tuning run: `python tests/bench/load.py [SECONDS]`.

40 programs that ask again at once (REST), 24 pages whose persons think a moment, one run that trains all the while, and
a load balancer that asks for health ten times a second. Then how many requests a second one core serves, without the
run. Client and app share this machine. Writes assets/results/load.json.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

import httpx
from visitors import Tally, event, health, machine, ms, page, program, started, tune, write

PROGRAMS, PAGES = 40, 24
THINKS_S = (0.2, 1.0)


async def crowd(url: str, seconds: float, tally: Tally, n_programs: int = PROGRAMS, n_pages: int = PAGES) -> None:
    """Visitors until the time is over; what they began they finish."""
    end = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=None)

    async def one(number: int, is_program: bool) -> None:
        rng = random.Random(number)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
            while time.monotonic() < end:
                try:
                    if is_program:
                        await program(client, rng, tally)
                    else:
                        await page(client, rng, tally, f"visitor-{number}")
                        await asyncio.sleep(rng.uniform(*THINKS_S))
                except httpx.HTTPError as error:
                    tally.failures[f"program: {type(error).__name__} {str(error)[:200]}"] += 1

    await asyncio.gather(*(one(n, n < n_programs) for n in range(n_programs + n_pages)))


async def training(url: str, over: asyncio.Event) -> tuple[int, list[str]]:
    """Keeps a run going: the next begins when one ends; how many there were, and what went wrong."""
    problems: list[str] = []
    n_runs = 0
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        while not over.is_set():
            n_runs += 1
            try:
                await tune(client, "trainer", moves="Everything", steps=500)
                while not over.is_set():
                    await asyncio.sleep(1)
                    metrics = (await client.get("/api/metrics")).text
                    await event(client, "read", ["trainer", "default", "a sign of life", 0.5, []])
                    if "mtl_runs 0.0" in metrics:
                        break
            except (httpx.HTTPError, RuntimeError) as error:
                problems.append(str(error)[:300])
                await asyncio.sleep(1)
        await event(client, "stop", ["trainer"])
    return n_runs, problems


async def beside_a_run(url: str, seconds: float) -> dict[str, object]:
    tally, over = Tally(), asyncio.Event()
    watched = asyncio.create_task(training(url, over))
    await asyncio.sleep(3)
    with health(url) as asked:
        await crowd(url, seconds, tally)
    over.set()
    n_runs, problems = await watched
    spent = [seconds for found in tally.seconds.values() for seconds in found]
    return {
        "clients": PROGRAMS + PAGES,
        "seconds": seconds,
        "per_second": round(tally.n / seconds, 1),
        "later_share": round(tally.later / tally.n, 5),
        "p95_ms": ms(spent, 0.95),
        **tally.told(),
        "health": asked.told(),
        "training_runs": n_runs,
        "training_problems": problems,
    }


def main(seconds: float) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder, started(Path(folder) / "log") as (url, _):
        time.sleep(20)  # the warm-up is over
        loaded = asyncio.run(beside_a_run(url, seconds))
        time.sleep(3)
        alone = Tally()
        asyncio.run(crowd(url, seconds / 4, alone, PROGRAMS, 0))
    spent = [one for found in alone.seconds.values() for one in found]
    rest = {"clients": PROGRAMS, "per_second": round(alone.n / (seconds / 4), 1), "p95_ms": ms(spent, 0.95)}
    return {"machine": machine(), "beside_a_run": loaded, "programs_alone": {**rest, **alone.told()}}


if __name__ == "__main__":
    write("load.json", main(float(sys.argv[1]) if len(sys.argv) > 1 else 120))
