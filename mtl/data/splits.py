"""Training and validation rows that share no text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtl.errors import DataError
from mtl.types import Example


@dataclass(frozen=True)
class Split:
    """Two disjoint parts of a data set."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]


def split(rows: Sequence[Example], *, share: float = 0.2, seed: int = 0) -> Split:
    """Puts about `share` of the rows aside; rows with the same text (case and spaces apart) stay together.

    Raises:
        DataError: where fewer than two different texts leave one side empty.
    """
    keys = [text_key(row) for row in rows]
    distinct = list(dict.fromkeys(keys))
    if len(distinct) < 2:
        raise DataError(
            f"{len(distinct)} different text(s) cannot be split; at least 2 rows with different texts are needed"
        )
    order = np.random.default_rng(seed).permutation(len(distinct))
    held = {distinct[i] for i in order[: max(1, round(share * len(distinct)))]}
    return Split(
        tuple(row for row, key in zip(rows, keys, strict=True) if key not in held),
        tuple(row for row, key in zip(rows, keys, strict=True) if key in held),
    )


def text_key(row: Example) -> str:
    """The text of a row without case and runs of spaces: equal keys are the same text to a reader.

    A pair has the same key in either order.
    """
    return "\n".join(sorted(" ".join(text.lower().split()) for text in row.texts))
