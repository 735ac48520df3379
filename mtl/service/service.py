"""What the app can do, as verbs over plain values. Limits and empty input are refused here, in a sentence.

The shipped model is shared and never changed; a tuned model belongs to the session that made it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl.data import tables
from mtl.data.tokenization import without_surrogates
from mtl.errors import DataError, SessionError
from mtl.inference import projection
from mtl.inference.batching import MicroBatcher
from mtl.inference.predictor import Predictor, load
from mtl.service.recording import EXAMPLE_RUN, from_json
from mtl.service.runs import Run, RunRecord, TrainingSlot
from mtl.service.sessions import Session, SessionStore
from mtl.service.tuning import TuneRequest, start_run
from mtl.settings import Settings
from mtl.tasks.base import text_of
from mtl.training import verdict
from mtl.types import Analysis, LabelScores

BASE = "default"


@dataclass(frozen=True)
class Hit:
    """A text of a searched list: its place in the list and its cosine to the query."""

    place: int
    text: str
    score: float


@dataclass(frozen=True)
class Comparison:
    """The cosine of two texts, -1 to 1; `cut` has the places of those that were longer than the model reads."""

    score: float
    cut: tuple[int, ...]


@dataclass(frozen=True)
class Ranking:
    """The best of a searched list, best first; `cut` has the places of the texts that were cut (0 is the query)."""

    hits: tuple[Hit, ...]
    cut: tuple[int, ...]


@dataclass(frozen=True)
class Matrix:
    """Cosines (n, n) of every text with every text; `cut` has the places of the texts that were cut."""

    texts: tuple[str, ...]
    scores: NDArray[np.float32]
    cut: tuple[int, ...]


@dataclass(frozen=True)
class Vectors:
    """Sentence vectors (n, H) and the places of the texts that were cut."""

    rows: NDArray[np.float32]
    cut: tuple[int, ...]


@dataclass(frozen=True)
class Corpus:
    """Texts for a map with columns to colour by (one value a text); rows without a text were left out."""

    texts: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    left_out: int = 0


@dataclass(frozen=True)
class MapPoints:
    """A corpus on the plane: what was read of each text by which model, and where it lies (n, 2).

    trust  how far neighbours on the map are neighbours, 0 to 1; None where that was not measured
    """

    corpus: Corpus
    analyses: tuple[Analysis, ...]
    points: NDArray[np.float32]
    method: str
    model: str = BASE
    trust: float | None = None


@dataclass(frozen=True)
class Placed:
    """A text that was put on a map: where (2,), and the text of the map that is nearest by cosine."""

    text: str
    point: NDArray[np.float32]
    nearest: str


class Service:
    """All verbs. Every verb on behalf of a person takes that person's session key first."""

    def __init__(self, settings: Settings, *, base: Predictor | None = None) -> None:
        self.settings = settings
        self.base = base or load(settings.checkpoint)
        self.batcher = MicroBatcher(self.base)
        self.sessions = SessionStore(ttl_s=settings.session_ttl_s, max_models=settings.max_models)
        self.slot = TrainingSlot()
        self._reading, self._refining = threading.Lock(), threading.Lock()

    def warm_up(self) -> threading.Thread:
        """Draws the sample map in the background, which has UMAP compiled, so that no click waits for that."""
        thread = threading.Thread(target=lambda: self.refine(self._samples()), name="warm-up", daemon=True)
        thread.start()
        return thread

    def models(self, key: str) -> list[str]:
        """The names that `model` may take: the shipped one, then this session's own."""
        return [BASE, *self.sessions.get(key).models]

    def predictor(self, key: str, model: str) -> Predictor:
        """A model by its name.

        Raises:
            SessionError: where this session has none of that name.
        """
        if model == BASE:
            return self.base
        found = self.sessions.get(key).models.get(model)
        if found is None:
            raise SessionError(f"Model {model!r} is not here any more; choose another one at the top.")
        return found

    def compare(self, key: str, model: str, left: str, right: str) -> Comparison:
        """How alike two texts are."""
        texts = self._checked([left, right], what=("The first sentence", "The second sentence"))
        found = self._vectors(key, model, texts)
        return Comparison(float(found.rows[0] @ found.rows[1]), found.cut)

    def matrix(self, key: str, model: str, lines: str, *, limit: int = 40) -> Matrix:
        """Every line with every line."""
        texts = self._lines(lines)
        if not 2 <= len(texts) <= limit:
            raise SessionError(f"The list has {len(texts)} sentences; a heat map takes 2 to {limit}, one a line.")
        found = self._vectors(key, model, texts)
        return Matrix(tuple(texts), found.rows @ found.rows.T, found.cut)

    def search(self, key: str, model: str, query: str, lines: str, *, top_k: int = 10) -> Ranking:
        """The lines that are closest to a query, best first."""
        query = self._checked([query], what=("The query",))[0]
        texts = self._lines(lines)
        found = self._vectors(key, model, [query, *texts])
        scores = found.rows[1:] @ found.rows[0]
        best = np.argsort(-scores, kind="stable")[:top_k]
        hits = tuple(Hit(int(place), texts[place], float(scores[place])) for place in best)
        return Ranking(hits, found.cut)

    def _vectors(self, key: str, model: str, texts: Sequence[str]) -> Vectors:
        found = self._analyzed(key, model, texts, ())
        cut = tuple(place for place, analysis in enumerate(found) if analysis.truncated_at is not None)
        return Vectors(np.stack([analysis.vector for analysis in found]), cut)

    def analyze(self, key: str, model: str, text: str) -> Analysis:
        """Every single-text task on one text, in one pass."""
        return self._analyzed(key, model, self._checked([text], what=("The text",)))[0]

    def _analyzed(
        self, key: str, model: str, texts: Sequence[str], tasks: Sequence[str] | None = None
    ) -> list[Analysis]:
        """One pass, on the shared model together with whoever else asks at this moment."""
        predictor = self.predictor(key, model)
        return (self.batcher if predictor is self.base else predictor).analyze(texts, tasks)

    def corpus_from_lines(self, lines: str) -> Corpus:
        """A corpus of pasted lines."""
        return Corpus(tuple(self._lines(lines)), {})

    def corpus_from_file(self, path: str | Path, text_column: str | None = None) -> Corpus:
        """A corpus of a table: its column `text` (or the one that is named), the others to colour by."""
        table = tables.read(path, limit=self.settings.max_points + 1, max_bytes=self.settings.max_bytes)
        if text_column or not {"text", "tokens"} & set(table.columns):
            table = tables.renamed_columns(table, {"text": text_column or _longest_column(table)})
        if len(table.rows) > self.settings.max_points:
            raise DataError(
                f"{table.path.name}: has more than {self.settings.max_points:,} rows, which is all that a map takes; "
                "shorten it"
            )
        return self._corpus(table)

    def columns(self, path: str | Path) -> tuple[str, ...]:
        """What the columns of a table are called, read off its first row."""
        return tables.read(path, limit=1, max_bytes=self.settings.max_bytes).columns

    def _corpus(self, table: tables.Table) -> Corpus:
        kept = tuple(row for row in table.rows if row.get("text") is not None or row.get("tokens") is not None)
        if not kept:
            raise DataError(f"{table.path.name}: no row has a text in the chosen column")
        left_out = len(table.rows) - len(kept)
        table = tables.Table(table.path, table.columns, kept)
        rows = tables.examples(table, [])
        others = [c for c in table.columns if c not in ("text", "tokens", "tags", "spans")]
        columns = {
            c: tuple("" if row.get(c) is None else without_surrogates(text_of(row.get(c))) for row in table.rows)
            for c in others
        }
        texts = self._checked([row.texts[0] for row in rows], limit=self.settings.max_points)
        return Corpus(tuple(texts), columns, left_out)

    @cached_property
    def sample_corpus(self) -> Corpus:
        """The sentences that ship with the app."""
        return self._corpus(tables.read(self.settings.samples / "sentences.csv", limit=self.settings.max_points))

    def read_corpus(self, key: str, model: str, corpus: Corpus) -> MapPoints:
        """Encodes a corpus once and places it by PCA; each task's answer becomes a column."""
        predictor = self.predictor(key, model)
        if corpus is self.sample_corpus and predictor is self.base:
            return self._samples()
        return self._read(predictor, corpus, model)

    def refine(self, points: MapPoints) -> MapPoints:
        """The same corpus placed by UMAP."""
        if points is not self._samples():
            return self._umap(points)
        with self._refining:
            return self._sample_umap

    def _umap(self, points: MapPoints) -> MapPoints:
        vectors = np.stack([analysis.vector for analysis in points.analyses])
        method = "UMAP" if projection.suits_umap(vectors) else "PCA"
        placed = projection.umap(vectors)
        trust = projection.trustworthiness(vectors, placed)
        return replace(points, points=placed, method=method, trust=trust)

    def place(self, key: str, model: str, points: MapPoints | None, text: str) -> Placed:
        """Puts one more text on a map.

        Raises:
            SessionError: where there is no map, or another model drew it.
        """
        if points is None:
            raise SessionError("There is no map yet; draw one first.")
        if points.model != model:
            raise SessionError(f"This map was drawn with model {points.model!r}; draw it again first.")
        (found,) = self._analyzed(key, model, self._checked([text], what=("The sentence",)), ())
        vectors = np.stack([analysis.vector for analysis in points.analyses])
        point = projection.transform(found.vector[None], vectors, points.points)[0]
        return Placed(text, point, points.corpus.texts[int(np.argmax(vectors @ found.vector))])

    def tune(self, key: str, model: str, request: TuneRequest) -> Run:
        """Starts a training run on a copy of a model; the result joins this session's models.

        Raises:
            SessionError: where this session has a run that is not over, or a limit is passed.
            DataError: where the rows cannot be used.
        """
        session = self.sessions.get(key)
        with session.starting:
            return self._tune(session, self.predictor(key, model), request)

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
            keep=lambda predictor: self.sessions.add_model(session, name, predictor),
            alive=lambda: clock() - session.seen < grace_s,
        )
        session.n_runs += 1
        return session.run

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

    def _samples(self) -> MapPoints:
        """The sample map, made once, also when several ask at the same time."""
        with self._reading:
            return self._sample_map

    @cached_property
    def _sample_map(self) -> MapPoints:
        return self._read(self.base, self.sample_corpus, BASE)

    @cached_property
    def _sample_umap(self) -> MapPoints:
        return self._umap(self._sample_map)

    def _read(self, predictor: Predictor, corpus: Corpus, model: str) -> MapPoints:
        found = predictor.analyze(corpus.texts)
        columns: dict[str, tuple[str, ...]] = {}
        for task in predictor.tasks:
            if task.kind == "classification":
                values = [analysis[task.name] for analysis in found]
                columns[f"predicted {task.name}"] = tuple(v.label for v in values if isinstance(v, LabelScores))
        vectors = np.stack([analysis.vector for analysis in found])
        shown = Corpus(corpus.texts, {**columns, **corpus.columns}, corpus.left_out)
        return MapPoints(shown, tuple(found), projection.pca(vectors), "PCA", model)

    def _lines(self, text: str) -> list[str]:
        limit = self.settings.max_characters * 50
        if len(text) > limit:
            raise SessionError(f"The list has {len(text):,} characters; the limit is {limit:,}. Shorten it.")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return self._checked(lines)

    def _checked(
        self, texts: Sequence[str], *, what: Sequence[str] | None = None, limit: int | None = None
    ) -> list[str]:
        """The texts, where they are neither empty, nor too many, nor too long."""
        limit = limit or self.settings.max_texts
        if not texts:
            raise SessionError("The list is empty; write one sentence a line.")
        if len(texts) > limit:
            raise SessionError(f"The list has {len(texts):,} texts; the limit is {limit:,}. Shorten it.")
        for place, text in enumerate(texts):
            name = what[place] if what else f"Text {place + 1}"
            if not text.strip():
                raise SessionError(f"{name} is empty; write something first.")
            if len(text) > self.settings.max_characters:
                raise SessionError(
                    f"{name} has {len(text):,} characters; the limit is {self.settings.max_characters:,}. Shorten it."
                )
        return list(texts)


def _longest_column(table: tables.Table) -> str:
    """The column with the longest cells: most likely the text."""
    sample = table.rows[:50]
    return max(table.columns, key=lambda c: sum(len(str(row.values.get(c) or "")) for row in sample))
