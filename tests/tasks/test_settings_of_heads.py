"""Settings that no head can be built with are refused when the task is made, not hours later."""

from __future__ import annotations

import pytest

from mtl.errors import ConfigError
from mtl.tasks import from_spec


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"type": "similarity", "scale": 0}, "scale is 0; it must be above 0"),
        ({"type": "classification", "hidden": -1}, "hidden is -1; it must be a whole number"),
        ({"type": "classification", "hidden": "x"}, "hidden is 'x'; it must be a whole number"),
        ({"type": "classification", "label_smoothing": 1}, "label_smoothing is 1; it must be from 0 to under 1"),
        ({"type": "ner", "hidden": 2.5}, "hidden is 2.5; it must be a whole number"),
        ({"type": "ner", "dropout": 7}, "dropout is 7; it must be from 0 to under 1"),
        ({"type": "ner", "dropout": "much"}, "dropout|str"),
        ({"type": "ner", "context": 3}, "context is 3; say a list of dilations"),
        ({"type": "ner", "context": [1, 0]}, r"context is \[1, 0\]; say a list"),
        ({"type": "ner", "context": [1], "hidden": 0}, "context needs a hidden layer"),
        ({"type": "ner", "label_smoothing": -0.1}, "label_smoothing is -0.1"),
    ],
)
def test_a_head_that_cannot_be_built_is_refused_in_time(spec: dict, words: str) -> None:
    labels = {} if spec["type"] == "similarity" else {"labels": ["A", "B"]}
    with pytest.raises(ConfigError, match=words):
        from_spec({"name": "x", **labels, **spec})
