"""Labels and entities: why a label, a whole table at a time, and what a person says against them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl.data import tables
from mtl.data.tokenization import without_surrogates
from mtl.errors import DataError, SessionError
from mtl.inference import explain
from mtl.inference.explain import Reasons
from mtl.inference.export import prediction_columns, prediction_rows, write_rows
from mtl.service.corpora import Corpora, theirs
from mtl.service.downloads import place_for
from mtl.service.limits import checked
from mtl.service.models import Models
from mtl.service.sessions import SessionStore
from mtl.service.shelf import Shelf
from mtl.settings import Settings
from mtl.tasks.base import Row, choices
from mtl.types import Analysis, Example, Span, Target

MOST_CORRECTIONS = 1000
"""Texts that one session corrects."""
MOST_CHARACTERS = 20_000_000
"""Of the corrected texts of all sessions together."""
SHELF_BYTES = 300_000_000
"""Of the labelled tables that are kept for all pages together."""


@dataclass(frozen=True)
class Batch:
    """A table with the answers beside it; a row that could not be read says why in `error`.

    preview  the columns that tell most: the text, the answers, what went wrong where anything did
    """

    name: str
    columns: tuple[str, ...]
    preview: tuple[str, ...]
    rows: tuple[Mapping[str, object], ...]
    n_errors: int

    @property
    def weight(self) -> int:
        """About how many bytes it takes."""
        return sum(100 + tables.weight(cell) for row in self.rows for cell in row.values())

    def write(self, ending: str) -> Path:
        """The table as a file for download: `.csv`, `.jsonl` or `.parquet`.

        Raises:
            ConfigError, DataError: for another ending, or columns that the format cannot hold.
        """
        path = place_for(f"{self.name}-labelled{ending}")
        write_rows(path, self.rows)
        return path


class Labelling:
    """Every verb takes the session key first."""

    def __init__(self, models: Models, corpora: Corpora, sessions: SessionStore, settings: Settings) -> None:
        self.models, self.corpora, self.sessions, self.settings = models, corpora, sessions, settings
        self.shelf: Shelf[Batch] = Shelf(SHELF_BYTES)

    def analyze(self, key: str, model: str, text: str) -> Analysis:
        """Every single-text task on one text, in one pass."""
        return self.models.analyze(key, model, checked([text], self.settings, what=("The text",)))[0]

    def reasons(self, key: str, model: str, text: str, task: str, label: str | None = None) -> Reasons:
        """How much each word of a text speaks for a label, by leaving it out.

        Raises:
            SessionError: where the model has no such labels.
        """
        (text,) = checked([text], self.settings, what=("The text",))
        predictor = self.models.get(key, model)
        kinds = {one.name: one for one in predictor.tasks if one.kind == "classification"}
        if task not in kinds or (label is not None and label not in kinds[task].labels):
            raise SessionError(f"Model {model!r} has no label {label or ''!r} in a task {task!r}; choose another one.")
        return explain.reasons(predictor, text, task, label)

    def batch(
        self,
        key: str,
        model: str,
        path: str | Path,
        text_column: str | None = None,
        *,
        on_progress: Callable[[float], object] = lambda _: None,
    ) -> Batch:
        """Every single-text task on every row of a table.

        Raises:
            DataError: for a table that cannot be read, or has too many rows.
        """
        predictor = self.models.get(key, model)
        found = self.corpora.table(path, text_column, most=self.settings.max_points)
        table, text_name = found.table, found.text_name
        texts = [self._text(row) for row in table.rows]
        good = [place for place, text in enumerate(texts) if not isinstance(text, _Problem)]
        chosen = [str(texts[place]) for place in good]
        found_in = self.models.read(key, model, chosen, on_progress=on_progress)
        answers = dict(zip(good, prediction_rows(chosen, found_in), strict=True))
        names = prediction_columns(predictor.chosen(None, 1))
        ours = {*names, "error"} - {"text"}
        columns = tuple(dict.fromkeys([*(theirs(c) if c in ours else c for c in table.columns), *names, "error"]))
        rows = [
            {
                **dict.fromkeys(columns),
                **{theirs(c) if c in ours else c: _clean(value) for c, value in row.values.items()},
                **answers.get(place, {}),
                "error": _said(texts[place]),
            }
            for place, row in enumerate(table.rows)
        ]
        ours_first = (*names, "error")
        called = {name: text_name if name == "text" else name for name in columns}
        rows = [{called[name]: value for name, value in row.items()} for row in rows]
        scores = {f"{task.name}_score" for task in predictor.tasks}
        hidden = {"truncated_at", *scores} | (set() if len(good) < len(rows) else {"error"})
        preview = tuple(called[name] for name in ours_first if name not in hidden)
        columns = tuple(called[name] for name in columns)
        return Batch(Path(path).name.split(".")[0], columns, preview, tuple(rows), len(rows) - len(good))

    def _text(self, row: Row) -> str | _Problem:
        try:
            (text,) = tables.texts_of(row, 1)
        except DataError:
            return _Problem("has no text")
        if not text.strip():
            return _Problem("has no text")
        if len(text) > self.settings.max_characters:
            return _Problem(f"has {len(text):,} characters; the limit is {self.settings.max_characters:,}")
        return text

    def correct(self, key: str, model: str, text: str, targets: Mapping[str, Target]) -> int:
        """Keeps what a person says of a text, over what was said of it before; the number of texts kept.

        Raises:
            SessionError: for a task or label that the model does not have, or too many texts.
        """
        (text,) = checked([without_surrogates(text)], self.settings, what=("The text",))
        tasks = {task.name: task for task in self.models.get(key, model).tasks}
        for name, target in targets.items():
            labels = [target] if isinstance(target, str) else []
            labels += [span.label for span in target] if isinstance(target, tuple) else []
            unknown = [label for label in labels if name not in tasks or label not in tasks[name].labels]
            if unknown:
                known = choices(tasks[name].labels) if name in tasks else "no such head"
                raise SessionError(f"{unknown[0]!r} is no label of {name!r}, which knows {known}; change it first.")
        kept = self.sessions.get(key).corrections
        full = self.sessions.corrected_characters() + len(text) > MOST_CHARACTERS
        if text not in kept and (len(kept) >= min(self.settings.max_rows, MOST_CORRECTIONS) or full):
            raise SessionError(f"You have {len(kept):,} corrected texts, which is the limit; train on them first.")
        before = kept[text].targets if text in kept else {}
        kept[text] = Example((text,), {**before, **targets})
        return len(kept)

    def corrections(self, key: str) -> tuple[Example, ...]:
        """What this session has corrected, oldest first."""
        return tuple(self.sessions.get(key).corrections.values())

    def forget_corrections(self, key: str) -> None:
        """Drops them all."""
        self.sessions.get(key).corrections.clear()

    def corrections_table(self, key: str, heads: Mapping[str, str]) -> Path:
        """The corrections as a table to train on: of each kind of task the targets of one head.

        Raises:
            SessionError: where there is nothing for these heads.
        """
        rows = []
        for example in self.corrections(key):
            row: dict[str, object] = {"text": example.texts[0]}
            label, spans = (example.targets.get(heads.get(kind, "")) for kind in ("classification", "ner"))
            if isinstance(label, str):
                row["label"] = label
            if isinstance(spans, tuple):
                row["spans"] = [{"start": s.start, "end": s.end, "label": s.label} for s in spans]
            rows += [row] if len(row) > 1 else []
        if not rows:
            raise SessionError("There are no corrections for these heads yet; correct some texts under Classify first.")
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        session = self.sessions.get(key)
        path = session.corrections_file
        if path is None or not path.is_file() or path.read_text(encoding="utf-8") != text:
            path = session.corrections_file = place_for("corrections.jsonl")
            path.write_text(text, encoding="utf-8")
        return path


@dataclass(frozen=True)
class _Problem:
    """Why a row cannot be read."""

    words: str


def _clean(value: object) -> object:
    return without_surrogates(value) if isinstance(value, str) else value


def _said(text: str | _Problem) -> str | None:
    return text.words if isinstance(text, _Problem) else None


def spans_of_pieces(pieces: Sequence[tuple[str, str | None]]) -> tuple[Span, ...]:
    """A text in pieces, some of which have a label -> spans of the whole text."""
    found, place = [], 0
    for piece, label in pieces:
        if label and piece.strip():
            start = place + len(piece) - len(piece.lstrip())
            found.append(Span(start, start + len(piece.strip()), label))
        place += len(piece)
    return tuple(found)
