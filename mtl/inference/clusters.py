"""Groups of points and what to call them. Knows no picture.

HDBSCAN (Campello, Moulavi & Sander, 2013) finds the groups; class-based TF-IDF (Grootendorst, 2022, "BERTopic") their
words: frequent within, rare elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

OUTSIDE = "(no cluster)"
MOST_IN_ONE = 0.5
"""Where one group would hold a larger share of the points, the finest groups are taken instead."""
MOST_WORDS = 20_000
"""Words that are counted, the most frequent of all groups."""


def clusters(points: NDArray[np.float32], *, smallest: int | None = None) -> NDArray[np.int64]:
    """(n, n_dims) -> (n,) the group of each point, largest first, -1 outside of all.

    smallest  points that make a group; None: a hundredth of all, 5 to 100
    """
    smallest = smallest or min(100, max(5, len(points) // 100))
    if len(points) < 2 * smallest:
        return np.full(len(points), -1, dtype=np.int64)
    from sklearn.cluster import HDBSCAN

    settings = {"min_cluster_size": smallest, "min_samples": min(5, smallest), "copy": True}
    found = HDBSCAN(**settings).fit_predict(points)
    if np.bincount(found[found >= 0], minlength=1).max() > MOST_IN_ONE * len(points):
        found = HDBSCAN(**settings, cluster_selection_method="leaf").fit_predict(points)
    sizes = np.bincount(found[found >= 0], minlength=1)
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.where(found >= 0, rank[found], -1).astype(np.int64)


def typical_words(groups: Sequence[Sequence[str]], *, n_words: int = 3) -> list[tuple[str, ...]]:
    """For each group of texts the words that set it apart from the others, best first."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

    pattern = r"(?u)\b[^\W\d_][\w'’-]{2,}\b"
    idle = [*ENGLISH_STOP_WORDS, "http", "https", "www", "com"]
    counter = CountVectorizer(stop_words=idle, token_pattern=pattern, max_features=MOST_WORDS)
    try:
        counts = counter.fit_transform(" ".join(texts) for texts in groups)
    except ValueError:  # no word but stop words
        return [()] * len(groups)
    within = counts.toarray().astype(np.float64)
    lengths = within.sum(1, keepdims=True)
    weight = within / np.maximum(lengths, 1) * np.log1p(lengths.mean() / within.sum(0))
    names = counter.get_feature_names_out()
    best = np.argsort(-weight, axis=1, kind="stable")[:, :n_words]
    return [tuple(str(names[place]) for place in row if weight[group, place] > 0) for group, row in enumerate(best)]


def named(labels: NDArray[np.int64], texts: Sequence[str]) -> tuple[str, ...]:
    """A name for the group of each text: its number and typical words."""
    groups = [
        [texts[place] for place in np.flatnonzero(labels == group).tolist()] for group in range(int(labels.max()) + 1)
    ]
    words = typical_words(groups) if groups else []
    names = [f"{group + 1}: {', '.join(typical) or 'no typical words'}" for group, typical in enumerate(words)]
    return tuple(names[label] if label >= 0 else OUTSIDE for label in labels.tolist())
