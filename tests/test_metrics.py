"""The metrics agree with the field's libraries."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score
from sklearn.metrics import f1_score as label_f1

from mtl import metrics
from mtl.tasks.bio import spans_of_tokens

SEEDS = range(5)


@pytest.mark.parametrize("seed", SEEDS)
def test_label_scores_agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gold, found = (rng.choice(list("abcd"), 60).tolist() for _ in range(2))
    found = [label if label != "d" else "e" for label in found]  # labels that only one side has
    assert metrics.accuracy(found, gold) == pytest.approx(accuracy_score(gold, found))
    assert metrics.macro_f1(found, gold) == pytest.approx(label_f1(gold, found, average="macro", zero_division=0))


@pytest.mark.parametrize("seed", SEEDS)
def test_correlations_agree_with_scipy_also_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gold, found = rng.integers(0, 6, 50).astype(float), rng.integers(0, 9, 50) / 3
    assert metrics.spearman(found, gold) == pytest.approx(stats.spearmanr(found, gold).statistic)
    assert metrics.pearson(found, gold) == pytest.approx(stats.pearsonr(found, gold).statistic)


def test_a_constant_side_has_no_correlation() -> None:
    assert metrics.spearman([1.0, 1.0], [0.0, 1.0]) == 0.0
    assert metrics.pearson([1.0, 2.0], [3.0, 3.0]) == 0.0


@pytest.mark.parametrize("seed", SEEDS)
def test_span_scores_agree_with_strict_seqeval(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tags = ["O", "B-X", "I-X", "B-Y", "I-Y"]

    def sequences() -> list[list[str]]:
        found = []
        for _ in range(20):
            row = rng.choice(tags, rng.integers(1, 12)).tolist()
            for place, tag in enumerate(row):  # IOB2 begins each entity with B
                if tag[0] == "I" and (place == 0 or row[place - 1][1:] != tag[1:]):
                    row[place] = f"B{tag[1:]}"
            found.append(row)
        return found

    gold = sequences()
    found = [[tag if rng.random() < 0.8 else "O" for tag in row] for row in gold]
    found = [row if all(map(_valid, ["O", *row], row)) else ["O"] * len(row) for row in found]
    spans = [[spans_of_tokens([f"w{i}" for i in range(len(row))], row) for row in side] for side in (found, gold)]
    mine = metrics.span_f1(*spans)
    for value, theirs in ((mine.precision, precision_score), (mine.recall, recall_score), (mine.f1, f1_score)):
        assert value == pytest.approx(theirs(gold, found, mode="strict", scheme=IOB2, zero_division=0))


def _valid(before: str, tag: str) -> bool:
    return tag[0] != "I" or (before != "O" and before[1:] == tag[1:])


@pytest.mark.parametrize("call", [metrics.accuracy, metrics.macro_f1, metrics.spearman, metrics.span_f1])
def test_lists_of_different_length_or_empty_ones_are_refused(call) -> None:
    for left, right in (([1], [1, 2]), ([], [])):
        with pytest.raises(ValueError, match="two lists of one length"):
            call(left, right)
