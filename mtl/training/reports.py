"""What the steps of a run found, read off the device when it is time, and whether something was no number."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch

from mtl.training import memory
from mtl.training.events import StepEnded
from mtl.training.stepping import Outcome

REPORT_EVERY = 10
"""Steps whose figures a GPU is asked for at once: asking for each would make every step wait for the one before."""


class Reports:
    """Outcomes that were not read yet. `problem` says what was not finite, once it was read.

    check_gradients  whether a gradient that is not finite is a problem; with scaled losses now and then one is not
    """

    def __init__(
        self, device: torch.device, *, check_gradients: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.device, self.check_gradients, self.clock = device, check_gradients, clock
        self.problem: str | None = None
        self._waiting: list[Outcome] = []
        self._since = clock()

    def add(self, outcome: Outcome) -> None:
        """One more step."""
        self._waiting.append(outcome)

    @property
    def due(self) -> bool:
        """Whether it is time to read: always on a CPU, on a GPU after some steps."""
        return self.device.type != "cuda" or len(self._waiting) >= REPORT_EVERY

    def start_clock(self) -> None:
        """What was done until now is no step."""
        self._since = self.clock()

    def read(self) -> Iterator[StepEnded]:
        """The figures of the steps since the last time; each took as long as they did on average."""
        seconds = (self.clock() - self._since) / max(1, len(self._waiting))
        held = memory.in_use(self.device)
        for outcome in self._waiting:
            event = StepEnded(
                step=outcome.step,
                source=outcome.source,
                losses={name: float(loss) for name, loss in outcome.losses.items()},
                retention=None if outcome.retention is None else float(outcome.retention),
                imitation=None if outcome.imitation is None else float(outcome.imitation),
                encoder_lr=outcome.encoder_lr,
                tokens=outcome.tokens,
                seconds=seconds,
                weights={name: float(weight) for name, weight in outcome.weights.items()},
                grad_norm=None if outcome.grad_norm is None else float(outcome.grad_norm),
                memory=held,
            )
            self.problem = self.problem or self._problem(event, outcome)
            yield event
        self._waiting.clear()
        self.start_clock()

    def _problem(self, event: StepEnded, outcome: Outcome) -> str | None:
        values = {f"loss of {name}": loss for name, loss in event.losses.items()}
        values |= {"loss of retention": event.retention or 0.0, "loss of imitation": event.imitation or 0.0}
        if self.check_gradients:
            values["gradient"] = event.grad_norm or 0.0
        for name, value in values.items():
            if not math.isfinite(value):
                return (
                    f"The {name} was {value} at step {event.step}, in a batch of {event.source!r} that begins with "
                    f"{outcome.first_text[:60]!r}; the run ended and its best weights are kept. "
                    "A lower rate may help, or precision: fp32."
                )
        return None
