"""The same as `bulk.run` on the workers of a Ray cluster, with Ray Data: slices of the table go in, parts come out.

The output is a folder, `part-00000.parquet` and so on; parts that are there are not computed again. File, checkpoint
and folder must be where every worker sees them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mtl.data import tables
from mtl.errors import ConfigError
from mtl.inference import bulk
from mtl.inference.export import writing
from mtl.model.checkpoint import make_writable

if TYPE_CHECKING:
    import numpy as np

PART_ROWS = 20_000
JOB = "job.json"


@dataclass(frozen=True)
class Job:
    """What every worker is told."""

    verb: bulk.Verb
    checkpoint: str
    path: str
    output: str
    rows: int
    columns: tuple[str, ...]
    part_rows: int
    threads: int

    def part(self, number: int) -> Path:
        return Path(self.output) / f"part-{number:05d}.parquet"

    @property
    def n_parts(self) -> int:
        return -(-self.rows // self.part_rows)


class Worker:
    """Loads the model once and computes the parts that it is given; Ray Data makes as many as there is room for."""

    def __init__(self, job: Job) -> None:
        import torch

        from mtl.inference.predictor import load

        torch.set_num_threads(job.threads)
        self.job = job
        self.predictor = load(job.checkpoint)

    def __call__(self, batch: Mapping[str, np.ndarray]) -> Mapping[str, list[int]]:
        return {"rows": [self._compute(int(number)) for number in batch["number"]]}

    def _compute(self, number: int) -> int:
        job = self.job
        first = number * job.part_rows
        rows = list(islice(tables.stream(job.path), first, first + job.part_rows))
        columns = bulk.columns_of(job.verb, self.predictor, bulk.Survey(job.rows, job.columns))
        with writing(job.part(number), columns) as write:
            for piece in bulk.in_pieces(iter(rows)):
                write(bulk.answers(job.verb, self.predictor, piece))
        return len(rows)


def run(
    verb: bulk.Verb,
    checkpoint: Path,
    path: Path,
    output: Path,
    *,
    advance: Callable[[int], object],
    part_rows: int = PART_ROWS,
    workers: int | None = None,
    threads: int = 1,
) -> None:
    """`bulk.run` of a table into the folder `output`; `workers` of `threads` CPUs each, as many as fit unless said.

    Takes part in the cluster that RAY_ADDRESS names, or starts one on this machine.

    Raises:
        ConfigError: where ray is missing, or the folder holds parts of something else.
        DataError: as `bulk.survey` does.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("--engine ray needs Ray Data: pip install 'ray[data]'")
    found = bulk.survey(path)
    make_writable(output)
    job = Job(
        verb=verb,
        checkpoint=str(checkpoint.resolve()),
        path=str(path.resolve()),
        output=str(output.resolve()),
        rows=found.rows,
        columns=found.columns,
        part_rows=part_rows,
        threads=threads,
    )
    _same_job(job)
    done = [number for number in range(job.n_parts) if job.part(number).is_file()]
    for number in done:
        advance(min(part_rows, job.rows - number * part_rows))
    todo = [{"number": number} for number in range(job.n_parts) if number not in set(done)]
    if todo:
        _compute(job, todo, workers, advance)


def _compute(job: Job, todo: list[dict[str, int]], workers: int | None, advance: Callable[[int], object]) -> None:
    import ray

    ours = not ray.is_initialized()
    if ours:
        ray.init(log_to_driver=False, include_dashboard=False)
    try:
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)) // job.threads)
        parts = ray.data.from_items(todo, override_num_blocks=len(todo)).map_batches(
            Worker,
            fn_constructor_args=(job,),
            batch_size=1,
            num_cpus=job.threads,
            concurrency=min(count, len(todo)),
        )
        for row in parts.iter_rows():
            advance(int(row["rows"]))
    finally:
        if ours:
            ray.shutdown()


def _same_job(job: Job) -> None:
    """Notes in the folder what its parts are of, or looks whether they are of the same."""
    size = Path(job.path).stat()
    weights = hashlib.sha256()
    for name in ("mtl.json", "model.safetensors", "heads.safetensors"):
        file = Path(job.checkpoint) / name
        weights.update(file.read_bytes() if file.is_file() else b"")
    mine = {k: v for k, v in asdict(job).items() if k in ("verb", "rows", "columns", "part_rows")}
    mine |= {"columns": list(job.columns), "bytes": size.st_size, "checkpoint": weights.hexdigest()}
    note = Path(job.output) / JOB
    if note.is_file():
        if json.loads(note.read_text(encoding="utf-8")) != mine:
            raise ConfigError(f"{job.output}: holds parts of another file, checkpoint or verb; choose another --output")
        return
    note.write_text(json.dumps(mine, indent=2) + "\n", encoding="utf-8")
