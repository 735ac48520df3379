"""Scores come from the same calls that a user makes."""

from __future__ import annotations

import pytest

from mtl.errors import ConfigError, DataError
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor
from mtl.metrics import span_f1
from mtl.types import Example

TEXTS = ["the cat", "U.S. law", "Rome, Oslo", "a b c d"]


def test_entity_scores_are_of_the_spans_that_analyze_gives(predictor: Predictor) -> None:
    spans = [a["entities"] for a in predictor.analyze(TEXTS)]
    gold = [row[:1] for row in spans]
    rows = [Example((text,), {"entities": row}) for text, row in zip(TEXTS, gold, strict=True)]
    result = evaluate(predictor, "entities", rows)
    expected = span_f1(spans, gold)
    assert result.metrics == {"precision": expected.precision, "recall": expected.recall, "f1": expected.f1}
    assert result.examples == 4
    assert any(spans), "the untrained head must mark something, or this proves nothing"


def test_labels_can_be_restricted(predictor: Predictor) -> None:
    chosen = [a["topic"].label for a in predictor.analyze(TEXTS)]
    others = [label for label in ("food", "law", "sport") if label not in chosen] or ["food"]
    rows = [Example((text,), {"topic": others[0]}) for text in TEXTS]
    assert evaluate(predictor, "topic", rows, labels=others[:1]).metrics["accuracy"] == 1.0
    with pytest.raises(ConfigError, match="cannot be restricted to art"):
        evaluate(predictor, "topic", rows, labels=["art"])


def test_pairs_are_evaluated_as_pairs(predictor: Predictor) -> None:
    scores = [a["similarity"].score for a in predictor.analyze_pairs(TEXTS, TEXTS[::-1])]
    rows = [
        Example((left, right), {"similarity": score})
        for left, right, score in zip(TEXTS, TEXTS[::-1], scores, strict=True)
    ]
    assert evaluate(predictor, "similarity", rows).metrics["spearman"] == pytest.approx(1)


def test_rows_without_a_target_do_not_count_and_none_at_all_is_an_error(predictor: Predictor) -> None:
    rows = [Example(("cat",), {"topic": "law"}), Example(("dog",), {})]
    assert evaluate(predictor, "topic", rows).examples == 1
    with pytest.raises(DataError, match="no row has a target"):
        evaluate(predictor, "topic", rows[1:])
