"""Which source gives the next batch. Knows counts and weights, no data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mtl.errors import ConfigError


def shares(n_batches: Mapping[str, int], weights: Mapping[str, float], *, temperature: float) -> dict[str, float]:
    """Each source's part of all steps: its batches times its weight, to the power 1 / temperature.

    Temperature 1 is proportional; a high one is uniform (Raffel et al. 2020, section 3.5.2, without a cap).

    Raises:
        ConfigError: where every source is empty or weighs nothing.
    """
    raw = {name: (count * weights[name]) ** (1 / temperature) for name, count in n_batches.items()}
    total = sum(raw.values())
    if total <= 0:
        raise ConfigError("no source has both rows and a weight above 0; nothing can be sampled")
    return {name: value / total for name, value in raw.items()}


def plan(share: Mapping[str, float], steps: int, rng: np.random.Generator) -> list[str]:
    """A shuffled list of `steps` source names that holds each share to within one step."""
    names = list(share)
    exact = np.array([share[name] * steps for name in names])
    counts = np.floor(exact).astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: steps - counts.sum()]:
        counts[index] += 1
    return [str(name) for name in rng.permutation(np.repeat(names, counts))]
