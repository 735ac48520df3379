"""What the app can do, as verbs over plain values. Limits and empty input are refused here, in a sentence.

The shipped model is shared and never changed; a tuned model belongs to the session that made it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from mtl.errors import SessionError
from mtl.inference.predictor import Predictor, load
from mtl.service import planning
from mtl.service.aftermath import Guard, MovedMap, place
from mtl.service.capsule import write_capsule
from mtl.service.corpora import Corpora
from mtl.service.equivalent import Equivalent, equivalent
from mtl.service.labelling import Labelling
from mtl.service.maps import Maps
from mtl.service.models import BASE, Models
from mtl.service.recording import EXAMPLE_RUN, from_json
from mtl.service.replay import Replay
from mtl.service.runs import Run, RunRecord, TrainingSlot
from mtl.service.sessions import Session, SessionStore, Tuned
from mtl.service.similarity import Similarity
from mtl.service.tuning import TuneData, TuneRequest, read_data, replayed, settings_of, start_run
from mtl.settings import ROOT, Settings
from mtl.training import optimisation, verdict


class Service:
    """All rooms. Every verb on behalf of a person takes that person's session key first."""

    def __init__(self, settings: Settings, *, base: Predictor | None = None) -> None:
        self.settings = settings
        self.sessions = SessionStore(ttl_s=settings.session_ttl_s, max_models=settings.max_models)
        self.models = Models(base or load(settings.checkpoint), self.sessions)
        self.corpora = Corpora(settings)
        self.similarity = Similarity(self.models, self.corpora, settings)
        self.maps = Maps(self.models, self.corpora, settings)
        self.labelling = Labelling(self.models, self.corpora, self.sessions, settings)
        self.replay = Replay(settings.samples)
        self.guard = Guard(self.corpora)
        self.slot = TrainingSlot()

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

    def tune(self, key: str, model: str, request: TuneRequest) -> Run:
        """Starts a training run on a copy of a model; the result joins this session's models.

        Raises:
            SessionError: where this session has a run that is not over, or a limit is passed.
            DataError: where the rows cannot be used.
        """
        session = self.sessions.get(key)
        with session.starting:
            return self._tune(session, model, self.models.get(key, model), request)

    def _tune(self, session: Session, model: str, base: Predictor, request: TuneRequest) -> Run:
        if session.run is not None and session.run.active:
            raise SessionError("A run of yours is not over yet; stop it or wait for its end.")
        name = f"tuned {session.n_runs + 1}"
        grace_s = self.settings.grace_s
        clock = self.sessions.clock
        session.run = start_run(
            name,
            base,
            request,
            self.settings,
            self.replay,
            self.slot,
            keep=lambda predictor, data: self._keep(session, name, model, base, predictor, request, data),
            alive=lambda: clock() - session.seen < grace_s,
        )
        session.n_runs += 1
        return session.run

    def _keep(
        self,
        session: Session,
        name: str,
        model: str,
        base: Predictor,
        predictor: Predictor,
        request: TuneRequest,
        data: TuneData,
    ) -> None:
        """Gives the session its model, once it is known what it cost the old tasks."""
        found = self.guard.aftermath(base, predictor, data)
        settings = {**settings_of(request), "started_from": model}
        predictor.meta = {**predictor.meta, "provenance": {**_origin(base), "tuned": settings}}
        if session.run is not None:
            again = equivalent(request, data, self._folder(model))
            replayed = self.replay.table(base) if data.replayed else ""
            session.tuned[name] = Tuned(session.run, settings, found, again, replayed)
        self.sessions.add_model(session, name, predictor)

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
        if self.slot.busy:
            raise SessionError("A run trains at the moment, and would be slowed; measure when it is over.")
        return planning.measure(self.models.get(key, model), request, self.settings, self.replay)

    def look(self, key: str, model: str, request: TuneRequest) -> planning.DataLook:
        """The table of a request as a run would read it."""
        return planning.look(self.models.get(key, model), request, self.settings, self.replay)

    def network(self, key: str, model: str, request: TuneRequest) -> planning.NetworkPlan:
        """What a request would let move."""
        base = self.models.get(key, model)
        again = replayed(base, request, [task for task in base.tasks if task.name in request.heads.values()])
        return planning.network(base, request.freeze, [*request.heads.values(), *(task.name for task in again)])

    def mix(self, key: str, model: str, request: TuneRequest) -> planning.Mix:
        """What the steps of a request would draw."""
        return planning.mix(self.models.get(key, model), request, self.settings, self.replay)

    def equivalent(self, key: str, model: str, request: TuneRequest) -> Equivalent:
        """A request as a recipe, a command and a script."""
        base = self.models.get(key, model)
        return equivalent(request, read_data(base, request, self.settings, self.replay), self._folder(model))

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
