"""Sentence vectors -> points of a map: PCA at once, UMAP after it. Knows no text and no picture.

UMAP (McInnes, Healy & Melville 2018, https://arxiv.org/abs/1802.03426) is compiled at its first use in a
process, which takes seconds: make that use in the background. It does not bear two callers: a lock guards it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MIN_POINTS_FOR_UMAP = 8
"""With fewer different points a neighbourhood graph says nothing; PCA is shown instead."""

EXACT_UP_TO = 50_000
"""Points whose neighbours are found by comparing each with each, which takes seconds for so many."""

_LOCK = threading.Lock()


@dataclass(frozen=True)
class Neighbours:
    """The k nearest points of each point by cosine, itself first: indices and distances (n, k)."""

    indices: NDArray[np.int64]
    distances: Floats


def pca(vectors: Floats, *, n_dims: int = 2) -> Floats:
    """(n, H) -> (n, n_dims) by the directions of largest variance; zeros where there are too few."""
    centred = vectors - vectors.mean(0, keepdims=True)
    rows = _sample(centred).astype(np.float64)
    _, directions = np.linalg.eigh(rows.T @ rows)  # of growing variance
    found = centred @ directions[:, ::-1][:, :n_dims].astype(np.float32)
    found[:, np.abs(found).max(0, initial=0) < 1e-6] = 0  # directions in which nothing lies
    points = np.zeros((len(vectors), n_dims), dtype=np.float32)
    points[:, : found.shape[1]] = found
    return points


def umap(vectors: Floats, *, n_dims: int = 2, n_neighbors: int = 15, min_dist: float = 0.1, seed: int = 0) -> Floats:
    """(n, H) of unit length -> (n, n_dims). Equal rows get equal points; the same seed the same map.

    Neighbours are found exactly and the start is PCA's, so fewer rounds than umap-learn's 500 suffice.
    """
    distinct, place = np.unique(vectors, axis=0, return_inverse=True)
    if not suits_umap(distinct):
        return pca(vectors, n_dims=n_dims)
    near = neighbours(distinct, k=min(n_neighbors, len(distinct) - 1))
    start = pca(distinct, n_dims=n_dims)
    start = 10 * start / np.abs(start).max()
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap-learn warns of choices that are made on purpose here
        _writable_cache()
        from umap import UMAP

        reducer = UMAP(
            n_components=n_dims,
            n_neighbors=near.indices.shape[1],
            min_dist=min_dist,
            metric="cosine",
            init=start,
            n_epochs=_epochs(len(distinct)),
            random_state=seed,
            n_jobs=1,
            precomputed_knn=(near.indices, near.distances),
            force_approximation_algorithm=True,
        )
        points = reducer.fit_transform(distinct)
    return np.asarray(points, dtype=np.float32)[place.ravel()]


@lru_cache(maxsize=1)
def _writable_cache() -> None:
    """numba refuses a cache of compiled code that it cannot write, in a container whose files are read-only for
    example: a copy serves as well."""
    from numba.core import config

    folder = Path(config.CACHE_DIR or ".")
    if config.CACHE_DIR and folder.is_dir() and not os.access(folder, os.W_OK):
        config.CACHE_DIR = tempfile.mkdtemp(prefix="mtl-numba-")
        shutil.copytree(folder, config.CACHE_DIR, dirs_exist_ok=True)


def umap_by_default(vectors: Floats) -> Floats:
    """What umap-learn makes of the same vectors as it comes: what `umap` is measured against."""
    from umap import UMAP

    return np.asarray(UMAP(metric="cosine").fit_transform(vectors), dtype=np.float32)


def _epochs(n: int) -> int:
    """Rounds with which a map of n points is as trustworthy as umap-learn's own, to half a point."""
    return 300 if n <= 4000 else 220 if n <= 12_000 else 120


def suits_umap(vectors: Floats) -> bool:
    """Whether there are enough different points; `umap` places fewer by PCA."""
    return len(np.unique(vectors, axis=0)) >= MIN_POINTS_FOR_UMAP


def transform(new: Floats, vectors: Floats, points: Floats, *, k: int = 15) -> Floats:
    """Places (m, H) on the map (n, n_dims) of (n, H): among their k nearest, the nearer the closer.

    What is on the map already gets its own point. (umap-learn begins its `transform` so, and then moves on.)
    """
    near = torch.from_numpy(np.ascontiguousarray(new @ vectors.T)).topk(min(k, len(vectors)), dim=1)
    distance = (1 - near.values).clamp_min(0).numpy()
    beyond = distance - distance[:, :1]
    weight = np.exp(-beyond / np.maximum(beyond.mean(1, keepdims=True), 1e-9))
    weight[distance[:, 0] < 1e-6, 1:] = 0
    placed: Floats = (weight[..., None] * points[near.indices.numpy()]).sum(1) / weight.sum(1, keepdims=True)
    return placed.astype(np.float32)


def trustworthiness(vectors: Floats, points: Floats, *, k: int = 15, sample: int = 1000, seed: int = 0) -> float:
    """How far the k neighbours of a point on the map are its neighbours by cosine too, 0 to 1 (Venna & Kaski 2001).

    Over all points, or over `sample` of them where there are more; 1 for maps too small to have k neighbours.
    """
    n = len(vectors)
    if n < 2 * k:
        return 1.0
    rows = np.random.default_rng(seed).permutation(n)[:sample]
    cosine = torch.from_numpy(vectors[rows] @ vectors.T)
    place = torch.from_numpy(rows)[:, None]
    cosine.scatter_(1, place, 2.0)
    shown = torch.from_numpy(np.ascontiguousarray(points))
    on_map = torch.cdist(shown[rows], shown).scatter_(1, place, float("inf")).topk(k, dim=1, largest=False).indices
    ranks = torch.stack([(cosine > cosine.gather(1, one[:, None])).sum(1) for one in on_map.T])  # 1 for the nearest
    intruded = float((ranks - k).clamp_min(0).sum())
    return 1 - intruded * 2 / (len(rows) * k * (2 * n - 3 * k - 1))


def neighbours(vectors: Floats, *, k: int, block: int = 1024) -> Neighbours:
    """The neighbours of (n, H) unit vectors: exact, in blocks of rows; approximate for more than `EXACT_UP_TO`."""
    if len(vectors) > EXACT_UP_TO:
        return _approximate(vectors, k)
    everything = torch.from_numpy(np.ascontiguousarray(vectors))
    indices, distances = [], []
    for start in range(0, len(vectors), block):
        cosine = everything[start : start + block] @ everything.T
        cosine[torch.arange(len(cosine)), torch.arange(start, start + len(cosine))] = 2.0  # itself first
        best = cosine.topk(k, dim=1)
        indices.append(best.indices)
        distances.append((1 - best.values).clamp_min(0))
    return Neighbours(torch.cat(indices).numpy(), torch.cat(distances).numpy())


def _approximate(vectors: Floats, k: int) -> Neighbours:
    """By nearest-neighbour descent (Dong et al. 2011), which umap-learn brings along."""
    from pynndescent import NNDescent

    indices, distances = NNDescent(vectors, n_neighbors=k, metric="cosine", random_state=0).neighbor_graph
    return Neighbours(indices.astype(np.int64), np.maximum(distances, 0).astype(np.float32))


def _sample(rows: Floats, limit: int = 5000) -> Floats:
    """At most `limit` rows, evenly spread: enough to find the directions."""
    return rows[:: max(1, len(rows) // limit)]
