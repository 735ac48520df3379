"""The verbs that programs call: lists of texts in, vectors, labels and entities out. Knows neither HTTP nor pages."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl.data.tokenization import without_surrogates
from mtl.errors import NotFoundError, SessionError
from mtl.service.limits import checked, counted
from mtl.service.models import BASE, Models
from mtl.settings import Settings
from mtl.tasks import Task
from mtl.types import Analysis, Span

MOST_PAIRS = 250_000
"""Cosines of one answer."""


@dataclass(frozen=True)
class Read:
    """Texts as they were read (lone surrogates replaced, offsets unchanged), each with what was found in it."""

    texts: tuple[str, ...]
    found: tuple[Analysis, ...]

    @property
    def n_tokens(self) -> int:
        return sum(one.n_tokens for one in self.found)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(N, H) float32, of unit length."""
        return np.stack([one.vector for one in self.found])


@dataclass(frozen=True)
class Cosines:
    """Every text of a list with every one of another: `scores` (len(left), len(right)) float32."""

    left: Read
    right: Read
    scores: NDArray[np.float32]


class Serving:
    """Answers of the shipped model; whoever asks at the same moment shares a pass."""

    def __init__(self, models: Models, settings: Settings) -> None:
        self.models, self.settings = models, settings

    @property
    def tasks(self) -> tuple[Task, ...]:
        return self.models.base.tasks

    @property
    def width(self) -> int:
        """H: numbers of a sentence vector."""
        return self.models.base.model.encoder.width

    def known(self, model: str) -> None:
        """Refuses a model that programs cannot ask.

        Raises:
            NotFoundError: for all but the shipped one.
        """
        if model != BASE:
            raise NotFoundError(f"There is no model {model[:80]!r}; ask {BASE!r}.")

    def counted(self, **lists: Sequence[str]) -> None:
        """Refuses lists, by their names, that are empty or too long, at once.

        Raises:
            SessionError: for one of them.
        """
        for name, texts in lists.items():
            counted(texts, self.settings.max_texts, name)

    def embed(self, texts: Sequence[str], *, dimensions: int | None = None, name: str = "input") -> Read:
        """Sentence vectors, or their first so many numbers at unit length again.

        Raises:
            SessionError: for texts or dimensions beyond the limits; `name` is what the list is called.
        """
        if dimensions is not None and not 1 <= dimensions <= self.width:
            raise SessionError(f"dimensions is {dimensions}; the vectors have {self.width} numbers.")
        (taken,) = self._taken(**{name: texts})
        read = self._read(taken, ())
        if dimensions is None:
            return read
        found = tuple(
            Analysis(one.predictions, _unit(one.vector[:dimensions]), one.n_tokens, one.truncated_at)
            for one in read.found
        )
        return Read(read.texts, found)

    def analyze(self, texts: Sequence[str], tasks: Collection[str] | None = None, *, name: str = "texts") -> Read:
        """All tasks that read one text, or those that are named, in one pass.

        Raises:
            SessionError: for texts beyond the limits.
            ConfigError: for a task that there is not, or that compares two texts.
        """
        (taken,) = self._taken(**{name: texts})
        return self._read(taken, None if tasks is None else tuple(dict.fromkeys(tasks)))

    def of_kind(self, kind: str, tasks: Collection[str] | None) -> list[str]:
        """The names of all tasks of a kind, or those of them that are asked for.

        Raises:
            SessionError: where one that is asked for is of another kind.
        """
        mine = [task.name for task in self.tasks if task.kind == kind]
        strange = [name for name in tasks or () if name not in mine]
        if strange:
            raise SessionError(f"{strange[0][:80]!r} is no task of this kind; there is {', '.join(mine) or 'none'}.")
        return mine if tasks is None else list(tasks)

    def similarity(self, left: Sequence[str], right: Sequence[str]) -> Cosines:
        """The cosine of each left text with each right one.

        Raises:
            SessionError: for texts, or pairs of them, beyond the limits.
        """
        if len(left) * len(right) > MOST_PAIRS:
            raise SessionError(
                f"left with right makes {len(left) * len(right):,} pairs; the limit is {MOST_PAIRS:,}. Ask in parts."
            )
        mine, theirs = self._taken(left=left, right=right)
        both = self._read([*mine, *theirs], ())
        n = len(left)
        one, other = Read(both.texts[:n], both.found[:n]), Read(both.texts[n:], both.found[n:])
        scores: NDArray[np.float32] = np.clip(one.vectors @ other.vectors.T, -1, 1)
        return Cosines(one, other, scores)

    def _taken(self, **lists: Sequence[str]) -> list[list[str]]:
        """Lists within the limits of one request, without lone surrogates."""
        self.counted(**lists)
        clean = {name: [without_surrogates(text) for text in texts] for name, texts in lists.items()}
        total, limit = sum(sum(map(len, texts)) for texts in clean.values()), self.settings.max_request_characters
        if total > limit:
            verb = "have" if len(lists) > 1 else "has"
            named = " and ".join(lists)
            raise SessionError(f"{named} {verb} {total:,} characters together; the limit is {limit:,}. Ask in parts.")
        names = {name: [f"{name}[{place}]" for place in range(len(texts))] for name, texts in clean.items()}
        return [checked(texts, self.settings, what=names[name], list_name=name) for name, texts in clean.items()]

    def _read(self, texts: Sequence[str], tasks: Collection[str] | None) -> Read:
        return Read(tuple(texts), tuple(self.models.analyze("", BASE, texts, tasks)))


def entities_of(text: str, spans: Sequence[Span]) -> list[dict[str, object]]:
    """Spans as the field writes them: `text[start:end]` is the word."""
    return [
        {
            "entity_group": span.label,
            "score": span.score,
            "word": text[span.start : span.end],
            "start": span.start,
            "end": span.end,
        }
        for span in spans
    ]


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector
