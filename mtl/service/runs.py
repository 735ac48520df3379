"""A training run in a thread of its own: it gathers events, pages read them. One runs, the others wait."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from mtl.errors import BusyError, MtlError
from mtl.training import memory
from mtl.training.events import Evaluated, Noted, RunEnded, RunEvent, RunStarted, StepEnded

logger = logging.getLogger(__name__)

RunState = Literal["waiting", "running", "ended", "failed"]
Work = Callable[[Callable[[], bool]], Iterator[RunEvent]]


class TrainingSlot:
    """Lets one run train at a time, first come, first served."""

    def __init__(self, capacity: int = 8) -> None:
        self.capacity = capacity
        self._turn = threading.Condition()
        self._line: list[object] = []

    def join(self, run: Run) -> None:
        """Takes a place at the end of the line.

        Raises:
            BusyError: where the line is full.
        """
        with self._turn:
            if len(self._line) >= self.capacity:
                said = f"{len(self._line)} runs wait already; try again in a few minutes."
                raise BusyError(said, retry_after_s=120)
            self._line.append(run)

    def wait(self, run: Run) -> None:
        """Returns when it is this run's turn, or when nobody wants it any more."""
        with self._turn:
            while self._line[0] is not run and run.wanted:
                self._turn.wait(timeout=1.0)

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """The slot for a moment, where nobody has it or waits for it; who comes meanwhile waits.

        Raises:
            BusyError: where somebody has it.
        """
        with self._turn:
            if self._line:
                raise BusyError("A run trains at the moment, and would be slowed; measure when it is over.")
            self._line.append(self._line)
        try:
            yield
        finally:
            self.leave(self._line)

    def leave(self, run: object) -> None:
        """Gives the place back."""
        with self._turn:
            self._line[:] = [one for one in self._line if one is not run]
            self._turn.notify_all()

    def wake(self) -> None:
        """Lets those who wait look again."""
        with self._turn:
            self._turn.notify_all()

    @property
    def length(self) -> int:
        """Runs that train or wait."""
        with self._turn:
            return len(self._line)

    def ahead(self, run: Run) -> int:
        """How many runs come before this one."""
        with self._turn:
            return next((place for place, one in enumerate(self._line) if one is run), 0)


class RunRecord:
    """What is known of a run: `events` only grows, so a page that comes back reads it from the start."""

    def __init__(self, name: str, state: RunState, events: Sequence[RunEvent] = ()) -> None:
        self.name = name
        self.state: RunState = state
        self.events: list[RunEvent] = list(events)
        self.error: str | None = None

    @property
    def active(self) -> bool:
        """Whether it waits or trains."""
        return self.state in ("waiting", "running")

    @property
    def started(self) -> RunStarted | None:
        return next((e for e in self.events if isinstance(e, RunStarted)), None)

    @property
    def steps(self) -> list[StepEnded]:
        return [e for e in self.events if isinstance(e, StepEnded)]

    @property
    def evaluations(self) -> list[Evaluated]:
        return [e for e in self.events if isinstance(e, Evaluated)]

    @property
    def notes(self) -> list[str]:
        """What the run had to say beside figures."""
        return [e.message for e in self.events if isinstance(e, Noted)]

    @property
    def ended(self) -> RunEnded | None:
        return next((e for e in reversed(self.events) if isinstance(e, RunEnded)), None)

    @property
    def ahead(self) -> int:
        """Runs that come first while it waits."""
        return 0


class Run(RunRecord):
    """A run that this process trains.

    work      takes a question, "shall I stop?", and yields events
    finished  called with `RunEnded`, before the state becomes `ended`
    alive     asked before each step; a run that nobody watches any more stops
    """

    def __init__(
        self,
        name: str,
        work: Work,
        slot: TrainingSlot,
        *,
        finished: Callable[[RunEnded], None],
        alive: Callable[[], bool],
    ) -> None:
        super().__init__(name, "waiting")
        self._work: Work | None = work
        self._finished: Callable[[RunEnded], None] | None = finished
        self._slot, self._alive = slot, alive
        self._stop = threading.Event()
        context = contextvars.copy_context()  # whose request it is: a Space with ZeroGPU asks
        self._thread = threading.Thread(target=context.run, args=(self._run,), name=f"training {name}", daemon=True)

    @property
    def stopped(self) -> bool:
        """Whether somebody asked it to stop."""
        return self._stop.is_set()

    @property
    def wanted(self) -> bool:
        """Whether it was not stopped and somebody still looks."""
        return not self.stopped and self._alive()

    @property
    def ahead(self) -> int:
        return self._slot.ahead(self)

    def start(self) -> None:
        """Begins, or takes its place in the line."""
        self._slot.join(self)
        self._thread.start()

    def stop(self) -> None:
        """Asks it to end before its next step; the best model so far is kept."""
        self._stop.set()
        self._slot.wake()

    def join(self, timeout_s: float | None = None) -> None:
        """Waits for its end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._slot.wait(self)
            if self.wanted:
                self.state = "running"
                self._train()
            self.state = "ended"
        except MtlError as error:
            self.error, self.state = str(error), "failed"
        except BaseException:
            self.error, self.state = "The run failed by a fault of the program; the log has the details.", "failed"
            logger.exception("training run %s failed", self.name)
            raise
        finally:
            self._work = self._finished = None  # they hold the model, which the session may drop
            memory.give_back()
            self._slot.leave(self)

    def _train(self) -> None:
        if self._work is None or self._finished is None:
            return
        for event in self._work(lambda: not self.wanted):
            if isinstance(event, RunEnded):
                self._finished(event)
                event = replace(
                    event, state={}
                )  # the session has the model; a second copy would stay as long as the run
            self.events.append(event)
