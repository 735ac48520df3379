"""Other mentions of the same type in place of a row's own, so that a model reads entities off their sentence.

Mention replacement (Dai & Adel 2020, "An Analysis of Simple Data Augmentation for Named Entity Recognition",
section 3): a head cannot learn the names of a small training set by heart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from mtl.types import Example, Span


class Mentions:
    """The mentions of some rows, by task and label; those that begin with a sign, as user names do, are left alone."""

    def __init__(self, rows: Iterable[Example]) -> None:
        self.known: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            for task, spans in _annotated(row).items():
                for span in spans:
                    mention = row.texts[0][span.start : span.end]
                    if mention[:1].isalnum():
                        self.known.setdefault((task, span.label), []).append(mention)

    def replaced(self, row: Example, probability: float, rng: np.random.Generator) -> Example:
        """The row with each of its mentions replaced with `probability` by one drawn from all of the same type.

        Raises:
            ValueError: for a row with the spans of two tasks, whose characters would move apart.
        """
        annotated = _annotated(row)
        if not annotated:
            return row
        if len(annotated) > 1:
            raise ValueError(f"mentions of {', '.join(annotated)} share a text; only those of one task can be replaced")
        ((task, spans),) = annotated.items()
        text, moved, end = "", [], 0
        for span in spans:
            mention = row.texts[0][span.start : span.end]
            if mention[:1].isalnum() and rng.random() < probability:
                choices = self.known[task, span.label]
                mention = choices[rng.integers(len(choices))]
            text += row.texts[0][end : span.start]
            moved.append(replace(span, start=len(text), end=len(text) + len(mention)))
            text += mention
            end = span.end
        return Example((text + row.texts[0][end:],), {**row.targets, task: tuple(moved)})


def _annotated(row: Example) -> dict[str, tuple[Span, ...]]:
    """By task: the spans of a row that has any."""
    return {task: target for task, target in row.targets.items() if isinstance(target, tuple) and target}
