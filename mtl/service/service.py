"""What the app can do, as verbs over plain values. Limits and empty input are refused here, in a sentence.

The shipped model is shared and never changed; a tuned model belongs to the session that made it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mtl.errors import BusyError, SessionError
from mtl.inference.predictor import Predictor, load
from mtl.service import planning
from mtl.service.accelerator import Accelerator
from mtl.service.aftermath import Guard, MovedMap, place
from mtl.service.capsule import write_capsule
from mtl.service.corpora import Corpora
from mtl.service.desk import Desk
from mtl.service.equivalent import Equivalent, equivalent
from mtl.service.labelling import Labelling
from mtl.service.maps import Maps
from mtl.service.models import BASE, Models
from mtl.service.readiness import Readiness
from mtl.service.recording import EXAMPLE_RUN, from_json
from mtl.service.replay import Replay, as_table
from mtl.service.runs import Run, RunRecord, TrainingSlot
from mtl.service.serving import Serving
from mtl.service.sessions import Session, SessionStore, Tuned
from mtl.service.similarity import Similarity
from mtl.service.tuning import TuneData, TuneRequest, policy, read_data, replayed, settings_of, start_run
from mtl.settings import ROOT, Settings, on_zero_gpu
from mtl.training import memory, optimisation, verdict

logger = logging.getLogger(__name__)

SWEEP_S = 5.0
"""So often sessions that are over are looked for."""


@dataclass(frozen=True)
class Preview:
    """What is known of a run before it starts."""

    data: planning.DataLook
    mix: planning.Mix
    again: Equivalent


@dataclass(frozen=True)
class Held:
    """REST requests at work or waiting, runs, sessions, tuned models and the bytes of their weights."""

    requests: int
    runs: int
    sessions: int
    models: int
    model_bytes: int


class Service:
    """All rooms. Every verb on behalf of a person takes that person's session key first."""

    def __init__(self, settings: Settings, *, base: Predictor | None = None) -> None:
        self.settings = settings
        lent = on_zero_gpu()
        base = base or load(settings.checkpoint, device="cpu" if lent else "auto")
        self.sessions = SessionStore(
            ttl_s=settings.session_ttl_s,
            grace_s=settings.grace_s,
            max_models=settings.max_models,
            max_bytes=settings.max_model_bytes,
            weigh=lambda model: model.own_bytes(base),
        )
        self.accelerator = Accelerator(lent=lent)
        self.models = Models(base, self.sessions, self.accelerator)
        self.readiness = Readiness(self.models)
        self.serving = Serving(self.models, settings)
        self.desk = Desk(settings.max_waiting)
        self.corpora = Corpora(settings)
        self.similarity = Similarity(self.models, self.corpora, settings)
        self.maps = Maps(self.models, self.corpora, settings)
        self.labelling = Labelling(self.models, self.corpora, self.sessions, settings)
        self.replay = Replay(settings.samples)
        self.sessions.freed = self._drop_shelves
        self.guard = Guard(self.corpora)
        self.slot = TrainingSlot()

    def _drop_shelves(self, key: str) -> None:
        """What a session that is over had drawn or labelled holds its texts."""
        self.maps.shelf.drop_all(key)
        self.labelling.shelf.drop_all(key)

    def warm_up(self) -> threading.Thread:
        """Does in the background what a first click would wait for: the sample map, which has UMAP compiled, the
        optimiser, which torch loads at its first use, and the answers that are replayed."""

        def work() -> None:
            optimisation.warm_up()
            self.replay.rows(self.models.base)
            self.guard.known(self.models.base)
            self.maps.refine(self.maps.samples())

        thread = threading.Thread(target=work, name="warm-up", daemon=True)
        thread.start()
        return thread

    def held(self) -> Held:
        """What there is now."""
        return Held(
            self.desk.taken,
            self.slot.length,
            len(self.sessions.all()),
            self.sessions.n_models(),
            self.sessions.n_bytes(),
        )

    def watch(self, *also: Callable[[], object]) -> threading.Thread:
        """Frees in the background what belongs to pages that left; `also` are called as often."""

        def work() -> None:
            freed = 0
            while not self.readiness.closing:
                time.sleep(SWEEP_S)
                try:
                    self.sessions.sweep()
                    for one in also:
                        one()
                except Exception:
                    logger.exception("what was left behind could not be freed; it is tried again")
                if self.sessions.n_freed > freed:
                    freed = self.sessions.n_freed
                    memory.give_back()

        thread = threading.Thread(target=work, name="sessions", daemon=True)
        thread.start()
        return thread

    def close(self, within_s: float) -> bool:
        """Takes nothing new, ends runs (their models live in this process, and end with it) and waits for the requests
        that were begun; True where all of them are answered."""
        self.readiness.closing = True
        self.desk.close()
        end = time.monotonic() + within_s
        for session in self.sessions.all():
            if session.run is not None:
                session.run.stop()
        while self.desk.taken and time.monotonic() < end:
            time.sleep(0.02)
        return not self.desk.taken

    def tune(self, key: str, model: str, request: TuneRequest) -> Run:
        """Starts a training run on a copy of a model; the result joins this session's models.

        Raises:
            SessionError: where this session has a run that is not over, or a limit is passed.
            DataError: where the rows cannot be used.
        """
        if self.readiness.closing:
            raise BusyError("The service is about to stop; reload the page in a minute and start the run again.")
        session = self.sessions.get(key)
        with session.starting:
            return self._tune(session, model, self.models.get(key, model), request)

    def _tune(self, session: Session, model: str, base: Predictor, request: TuneRequest) -> Run:
        if session.run is not None and session.run.active:
            raise SessionError("A run of yours is not over yet; stop it or wait for its end.")
        name = f"tuned {session.n_runs + 1}"
        grace_s = self.settings.grace_s
        clock = self.sessions.clock
        told = {**settings_of(request), "started_from": model}

        def keep(run: Run, predictor: Predictor, data: TuneData) -> None:
            """The session has its model first, and then what it cost the old tasks."""
            predictor.share_encoder(base)  # where it was frozen: a model more is then a head more
            predictor.meta = {**predictor.meta, "provenance": {**_origin(base), "tuned": told}}
            if not self.sessions.add_model(session, name, predictor):
                return
            again = equivalent(request, data, self._folder(model))
            found = self.guard.aftermath(base, predictor, data)
            rows = None if request.held else request.path
            session.tuned[name] = Tuned(run, told, found, again, as_table(data.sources[1:]), rows)

        session.run = start_run(
            name,
            base,
            request,
            self.settings,
            self.replay,
            self.slot,
            self.accelerator,
            keep=keep,
            alive=lambda: clock() - session.seen < grace_s,
        )
        session.n_runs += 1
        return session.run

    def _folder(self, model: str) -> str:
        """Where a person finds the checkpoint of a model: in the project, or in the capsule that was taken along."""
        if model != BASE:
            return f"{model.replace(' ', '-')}/model"
        folder = self.settings.checkpoint
        return folder.relative_to(ROOT).as_posix() if folder.is_relative_to(ROOT) else folder.name

    def tuned(self, key: str, name: str) -> Tuned | None:
        """How a model of this session came about; None for the shipped one."""
        return self.sessions.get(key).tuned.get(name)

    def runs(self, key: str) -> Mapping[str, Tuned]:
        """How each tuned model that this session still has came about."""
        session = self.sessions.get(key)
        return {name: tuned for name, tuned in session.tuned.items() if name in session.models}

    def measure(self, key: str, model: str, request: TuneRequest) -> planning.StepCost:
        """What a step of a request takes, by two of them.

        Raises:
            SessionError: where a run trains now: the two would slow each other.
        """
        base = self.models.get(key, model)
        data = read_data(base, request, self.settings, self.replay)
        with self.slot.borrowed():
            return planning.measure(base, request, data)

    def preview(self, key: str, model: str, request: TuneRequest) -> Preview:
        """A request before it runs: its table, what its steps would draw, and what trains the same without the page.

        Raises:
            SessionError, DataError, ConfigError: for what a run would refuse.
        """
        base = self.models.get(key, model)
        data = read_data(base, request, self.settings, self.replay)
        return Preview(
            planning.look(base, request, data),
            planning.mix(base, request, data),
            equivalent(request, data, self._folder(model)),
        )

    def network(self, key: str, model: str, request: TuneRequest) -> planning.NetworkPlan:
        """What a request would let move."""
        base, heads = self.models.get(key, model), list(request.heads.values())
        again = replayed(base, request, [task for task in base.tasks if task.name in heads])
        return planning.network(base, policy(request, heads, again), heads, [task.name for task in again])

    def moved(self, key: str, name: str) -> MovedMap:
        """Where sentences lie before and after the run that made a model.

        Raises:
            SessionError: where this session has no such model, or its run moved no sentence.
        """
        tuned = self.tuned(key, name)
        if tuned is None:
            raise SessionError("Train a model first, or choose one that you tuned at the top.")
        if tuned.aftermath.moved is None:
            raise SessionError("The encoder was frozen: no sentence moved. Let layers learn, and look again.")
        return place(tuned.aftermath.moved)

    def capsule(self, key: str, name: str) -> Path:
        """A tuned model as a zip to take away.

        Raises:
            SessionError: where this session has no such model.
        """
        tuned = self.tuned(key, name)
        if tuned is None:
            raise SessionError("Only a model that you tuned can be taken away; train one and choose it at the top.")
        return write_capsule(name, self.models.get(key, name), tuned)

    def run(self, key: str) -> RunRecord | None:
        """This session's latest run, also after a reload of the page; before its first one, the recorded example."""
        return self.sessions.get(key).run or self.example_run

    def stop(self, key: str) -> None:
        """Ends this session's run before its next step, if there is one."""
        run = self.sessions.get(key).run
        if run is not None:
            run.stop()

    @cached_property
    def example_run(self) -> RunRecord | None:
        """A run on the sample data that ships with the app, for those who have not trained yet."""
        path = self.settings.samples / EXAMPLE_RUN
        return from_json(path.read_text(encoding="utf-8")) if path.is_file() else None

    @cached_property
    def sharing(self) -> verdict.SharingReport | None:
        """What a comparison of the shipped recipe with its rivals found; None where there is none."""
        path = self.settings.comparison
        return verdict.read(path) if path.is_file() else None


def _origin(base: Predictor) -> Mapping[str, object]:
    """Of the model that a run went on from: what its licence and its encoder are."""
    found = base.meta.get("provenance")
    kept = found if isinstance(found, dict) else {}
    return {name: kept[name] for name in ("encoder", "licence", "language") if name in kept}
