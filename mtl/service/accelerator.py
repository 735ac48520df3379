"""Where training and long lists run: in this process, or on a Space with ZeroGPU in one that has a GPU for a while.

There a function is called in a forked worker: what goes in, each value that it yields and what comes out are pickled,
changes in place are lost, and only a file tells it to stop. So both take and give plain values everywhere.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from mtl.data.batches import Source
from mtl.errors import MtlError, SessionError
from mtl.inference.predictor import Predictor
from mtl.model.precision import device_of
from mtl.tasks import Task
from mtl.training.beginning import extended
from mtl.training.config import TrainConfig
from mtl.training.events import RunEvent
from mtl.training.trainer import train
from mtl.types import Analysis

logger = logging.getLogger(__name__)

STEP = 1024
"""Texts between two reports of progress."""
GPU_START_S, GPU_STEP_S, GPU_TEXTS_PER_S = 30, 0.15, 1000
"""What is asked of ZeroGPU: to begin and to validate, for a step, and texts that are read in a second."""


@dataclass(frozen=True)
class Job:
    """A training run as values that can be pickled. `predictor` is left as it is.

    tasks    the heads that it trains; those that the predictor does not have are drawn by the seed of `config`
    seconds  after which it ends as if it were stopped
    stop     a file that stops it as soon as it is there
    """

    predictor: Predictor
    tasks: tuple[Task, ...]
    sources: tuple[Source, ...]
    validation: tuple[Source, ...]
    config: TrainConfig
    seconds: float
    stop: Path | None = None

    def begun(self) -> Predictor:
        """The model that the run trains, as it is before the first step."""
        return extended(self.predictor.copy(), self.tasks, seed=self.config.seed)

    def result(self, state: Mapping[str, Tensor]) -> Predictor:
        """The model with the weights that a run ended with."""
        predictor = self.begun()
        predictor.model.load_state_dict(state)
        predictor.model.eval().requires_grad_(False)
        return predictor


def trained(job: Job, should_stop: Callable[[], bool] = lambda: False) -> Iterator[RunEvent]:
    """Trains a copy of the job's model on the best device there is; the last event has the weights, on the CPU."""
    end = time.monotonic() + job.seconds

    def over() -> bool:
        return should_stop() or (job.stop is not None and job.stop.exists()) or time.monotonic() > end

    predictor = job.begun()
    predictor.model.to(device_of("auto"))
    yield from train(predictor, job.sources, job.validation, job.config, should_stop=over)


def run_seconds(job: Job) -> int:
    """What a run takes on a GPU, at the most."""
    return int(GPU_START_S + GPU_STEP_S * (job.config.steps or 0))


def read_seconds(_: Predictor, texts: Sequence[str], __: Collection[str] | None) -> int:
    """What it takes on a GPU to read texts, at the most."""
    return int(GPU_START_S / 3 + len(texts) / GPU_TEXTS_PER_S)


def _train_there(job: Job) -> Iterator[RunEvent]:
    yield from trained(job)


def _read_there(predictor: Predictor, texts: Sequence[str], tasks: Collection[str] | None) -> Iterator[list[Analysis]]:
    predictor.model.to(device_of("auto"))
    yield from _read_here(predictor, texts, tasks)


def _read_here(predictor: Predictor, texts: Sequence[str], tasks: Collection[str] | None) -> Iterator[list[Analysis]]:
    for start in range(0, len(texts), STEP):
        yield predictor.analyze(texts[start : start + STEP], tasks)


class Accelerator:
    """`lent`: whether this is a Space with ZeroGPU, which must hear of its functions before the page is served."""

    def __init__(self, *, lent: bool) -> None:
        self.lent = lent
        self._train, self._read = _train_there, _read_here
        if lent:
            import spaces

            self._train = spaces.GPU(duration=run_seconds)(_train_there)
            self._read = spaces.GPU(duration=read_seconds)(_read_there)

    def train(self, job: Job, should_stop: Callable[[], bool]) -> Iterator[RunEvent]:
        """The events of a run, wherever it runs."""
        if not self.lent:
            yield from trained(job, should_stop)
            return
        with tempfile.TemporaryDirectory(prefix="mtl-run-") as folder:
            stop = Path(folder) / "stop"
            seconds = min(job.seconds, run_seconds(job) - GPU_START_S / 3)
            try:
                for event in self._train(replace(job, seconds=seconds, stop=stop)):
                    yield event
                    if should_stop():
                        stop.touch()
            except MtlError:
                raise
            except Exception as error:  # a quota that is used up, an error of the other process
                logger.exception("the run in the process with the GPU ended")
                raise SessionError(
                    f"The GPU did not end the run ({error}); try again later, or fewer steps."
                ) from error

    def read(
        self,
        predictor: Predictor,
        texts: Sequence[str],
        tasks: Collection[str] | None = None,
        *,
        on_progress: Callable[[float], object] = lambda _: None,
    ) -> list[Analysis]:
        """What a model says of a long list of texts."""
        found: list[Analysis] = []
        work = self._read if len(texts) > STEP else _read_here
        for part in work(predictor, texts, tasks):
            found += part
            on_progress(len(found) / len(texts))
        return found
