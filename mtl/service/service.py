"""What the app can do, as verbs over plain values. Limits and empty input are refused here, in a sentence.

The shipped model is shared and never changed; a tuned model belongs to the session that made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from mtl.errors import SessionError
from mtl.evaluation.drift import drift
from mtl.inference.predictor import Predictor, load
from mtl.service import planning
from mtl.service.capsule import write_capsule
from mtl.service.corpora import Corpora
from mtl.service.labelling import Labelling
from mtl.service.maps import Maps
from mtl.service.models import Models
from mtl.service.recording import EXAMPLE_RUN, from_json
from mtl.service.runs import Run, RunRecord, TrainingSlot
from mtl.service.sessions import Session, SessionStore, Tuned
from mtl.service.similarity import Similarity
from mtl.service.tuning import TuneRequest, settings_of, start_run
from mtl.settings import Settings
from mtl.training import verdict


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
        self.slot = TrainingSlot()

    def tune(self, key: str, model: str, request: TuneRequest) -> Run:
        """Starts a training run on a copy of a model; the result joins this session's models.

        Raises:
            SessionError: where this session has a run that is not over, or a limit is passed.
            DataError: where the rows cannot be used.
        """
        session = self.sessions.get(key)
        with session.starting:
            return self._tune(session, self.models.get(key, model), request)

    def _tune(self, session: Session, base: Predictor, request: TuneRequest) -> Run:
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
            self.slot,
            keep=lambda predictor: self._keep(session, name, base, predictor, request),
            alive=lambda: clock() - session.seen < grace_s,
        )
        session.n_runs += 1
        return session.run

    def _keep(self, session: Session, name: str, base: Predictor, predictor: Predictor, request: TuneRequest) -> None:
        """Gives the session its model, once it is known what it cost the old tasks."""
        pairs = self.corpora.sample_pairs
        judged = list(zip(pairs.left, pairs.right, pairs.scores, strict=True))
        found = drift(base, predictor, self.corpora.sample.texts, judged)
        if session.run is not None:
            session.tuned[name] = Tuned(session.run, settings_of(request), found)
        self.sessions.add_model(session, name, predictor)

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
        return planning.measure(self.models.get(key, model), request, self.settings)

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
