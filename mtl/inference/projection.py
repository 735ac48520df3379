"""Sentence vectors -> points of a map: PCA at once, UMAP after it. Knows no text and no picture.

UMAP (McInnes, Healy & Melville 2018, https://arxiv.org/abs/1802.03426) is compiled at its first use in a
process, which takes seconds: make that use in the background. It does not bear two callers: a lock guards it.
"""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MIN_POINTS_FOR_UMAP = 8
"""With fewer different points a neighbourhood graph says nothing; PCA is shown instead."""

_LOCK = threading.Lock()


@dataclass(frozen=True)
class Neighbours:
    """The k nearest points of each point by cosine, itself first: indices and distances (n, k)."""

    indices: NDArray[np.int64]
    distances: Floats


def pca(vectors: Floats, *, n_dims: int = 2) -> Floats:
    """(n, H) -> (n, n_dims) by the directions of largest variance; zeros where there are too few."""
    centred = vectors - vectors.mean(0, keepdims=True)
    _, _, directions = np.linalg.svd(_sample(centred), full_matrices=False)
    points = np.zeros((len(vectors), n_dims), dtype=np.float32)
    found = centred @ directions[:n_dims].T
    points[:, : found.shape[1]] = found
    return points


def umap(vectors: Floats, *, n_dims: int = 2, n_neighbors: int = 15, min_dist: float = 0.1, seed: int = 0) -> Floats:
    """(n, H) of unit length -> (n, n_dims). Equal rows get equal points; the same seed the same map.

    Neighbours are found exactly and the start is PCA's, so 100 rounds suffice.
    """
    distinct, place = np.unique(vectors, axis=0, return_inverse=True)
    if not suits_umap(distinct):
        return pca(vectors, n_dims=n_dims)
    near = neighbours(distinct, k=min(n_neighbors, len(distinct) - 1))
    start = pca(distinct, n_dims=n_dims)
    start = 10 * start / np.abs(start).max()
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap-learn warns of choices that are made on purpose here
        from umap import UMAP

        reducer = UMAP(
            n_components=n_dims,
            n_neighbors=near.indices.shape[1],
            min_dist=min_dist,
            metric="cosine",
            init=start,
            n_epochs=100,
            random_state=seed,
            n_jobs=1,
            precomputed_knn=(near.indices, near.distances),
            force_approximation_algorithm=True,
        )
        points = reducer.fit_transform(distinct)
    return np.asarray(points, dtype=np.float32)[place.ravel()]


def suits_umap(vectors: Floats) -> bool:
    """Whether there are enough different points; `umap` places fewer by PCA."""
    return len(np.unique(vectors, axis=0)) >= MIN_POINTS_FOR_UMAP


def neighbours(vectors: Floats, *, k: int, block: int = 1024) -> Neighbours:
    """Exact neighbours of (n, H) unit vectors, in blocks of rows."""
    everything = torch.from_numpy(np.ascontiguousarray(vectors))
    indices, distances = [], []
    for start in range(0, len(vectors), block):
        cosine = everything[start : start + block] @ everything.T
        cosine[torch.arange(len(cosine)), torch.arange(start, start + len(cosine))] = 2.0  # itself first
        best = cosine.topk(k, dim=1)
        indices.append(best.indices)
        distances.append((1 - best.values).clamp_min(0))
    return Neighbours(torch.cat(indices).numpy(), torch.cat(distances).numpy())


def _sample(rows: Floats, limit: int = 5000) -> Floats:
    """At most `limit` rows, evenly spread: enough to find the directions."""
    return rows[:: max(1, len(rows) // limit)]
