"""Maps: any number of points, equal points together, the same map for the same seed, neighbours kept."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from mtl.inference import projection


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def clusters() -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 32))
    return unit(np.concatenate([centre + 0.3 * rng.normal(size=(30, 32)) for centre in centres]))


def test_pca_agrees_with_scikit_learn_up_to_sign(clusters: np.ndarray) -> None:
    mine, theirs = projection.pca(clusters), PCA(2).fit_transform(clusters)
    for axis in range(2):
        sign = np.sign(mine[:, axis] @ theirs[:, axis])
        np.testing.assert_allclose(mine[:, axis] * sign, theirs[:, axis], atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 9, 20])
@pytest.mark.parametrize("n_dims", [2, 3])
def test_any_number_of_points_can_be_placed(clusters: np.ndarray, n: int, n_dims: int) -> None:
    for place in (projection.pca, projection.umap):
        points = place(clusters[:n], n_dims=n_dims)
        assert points.shape == (n, n_dims)
        assert np.isfinite(points).all()


def test_equal_rows_get_equal_points(clusters: np.ndarray) -> None:
    doubled = np.concatenate([clusters, clusters[:10]])
    points = projection.umap(doubled)
    np.testing.assert_array_equal(points[:10], points[-10:])
    same = np.repeat(clusters[:1], 30, axis=0)
    assert np.isfinite(projection.umap(same)).all()


def test_the_same_seed_gives_the_same_map(clusters: np.ndarray) -> None:
    np.testing.assert_array_equal(projection.umap(clusters, seed=3), projection.umap(clusters, seed=3))


def test_umap_keeps_neighbourhoods(clusters: np.ndarray) -> None:
    assert trustworthiness(clusters, projection.umap(clusters), metric="cosine") > 0.85


def test_neighbours_are_exact_and_begin_with_the_point_itself(clusters: np.ndarray) -> None:
    near = projection.neighbours(clusters, k=5, block=40)
    cosine = clusters @ clusters.T
    np.testing.assert_array_equal(near.indices[:, 0], np.arange(len(clusters)))
    np.fill_diagonal(cosine, 2)
    expected = np.sort(cosine, axis=1)[:, ::-1][:, 1:5]
    np.testing.assert_allclose(1 - near.distances[:, 1:], expected, atol=1e-5)


def test_trustworthiness_is_scikit_learns(clusters: np.ndarray) -> None:
    for points in (projection.pca(clusters), projection.umap(clusters), np.random.default_rng(0).normal(size=(150, 2))):
        points = points.astype(np.float32)
        wanted = trustworthiness(clusters, points, n_neighbors=15, metric="cosine")
        assert projection.trustworthiness(clusters, points) == pytest.approx(wanted, abs=1e-6)
    some = projection.trustworthiness(clusters, projection.pca(clusters), sample=75)
    assert some == pytest.approx(projection.trustworthiness(clusters, projection.pca(clusters)), abs=0.02)
    assert projection.trustworthiness(clusters[:9], clusters[:9, :2]) == 1.0


def test_a_new_point_lies_among_its_neighbours_and_a_known_one_on_itself(clusters: np.ndarray) -> None:
    points = projection.umap(clusters)
    np.testing.assert_allclose(projection.transform(clusters[[7, 90]], clusters, points), points[[7, 90]], atol=1e-5)
    centres = unit(np.stack([clusters[30 * i : 30 * i + 30].mean(0) for i in range(5)]))
    placed = projection.transform(centres, clusters, points)
    for group, point in enumerate(placed):
        nearest = np.linalg.norm(points - point, axis=1).argsort()[:5]
        assert set(nearest // 30) == {group}
    assert projection.transform(clusters[:1], clusters[:2], points[:2]).shape == (1, 2)


def test_approximate_neighbours_are_nearly_the_exact_ones(clusters: np.ndarray, monkeypatch) -> None:
    exact = projection.neighbours(clusters, k=10)
    monkeypatch.setattr(projection, "EXACT_UP_TO", 100)
    near = projection.neighbours(clusters, k=10)
    assert near.indices.shape == (150, 10)
    shared = [len(set(a) & set(b)) for a, b in zip(near.indices, exact.indices, strict=True)]
    assert np.mean(shared) > 9
    np.testing.assert_array_equal(near.indices[:, 0], np.arange(150))


def test_a_cache_of_compiled_code_that_cannot_be_written_is_copied(tmp_path: Path, monkeypatch) -> None:
    from numba.core import config

    (tmp_path / "umap").mkdir()
    (tmp_path / "umap" / "layouts.nbi").write_bytes(b"compiled")
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    projection._writable_cache.cache_clear()
    projection._writable_cache()
    assert str(tmp_path) == config.CACHE_DIR, "one that can be written stays"
    monkeypatch.setattr(os, "access", lambda *_: False)
    projection._writable_cache.cache_clear()
    projection._writable_cache()
    copy = Path(config.CACHE_DIR)
    assert copy != tmp_path
    assert (copy / "umap" / "layouts.nbi").read_bytes() == b"compiled"
    projection._writable_cache.cache_clear()
