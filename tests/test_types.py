"""The values that travel: they cannot be changed, and moving them to a device loses nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from mtl.data.tokenization import TextTokenizer
from mtl.types import Analysis, Example, PairScore, Span, Tokens


def test_an_analysis_is_asked_by_the_name_of_the_task() -> None:
    found = Analysis({"pairs": PairScore(0.5)}, np.zeros(2, np.float32), 4, None)
    assert found["pairs"] == PairScore(0.5)
    with pytest.raises(KeyError):
        found["mood"]


def test_values_cannot_be_changed() -> None:
    for value, name in ((Span(0, 1, "X"), "start"), (Example(("a",)), "texts"), (PairScore(1.0), "score")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, None)


def test_what_a_model_reads_of_tokens_moves_to_its_device_and_the_rest_stays(tokenizer: TextTokenizer) -> None:
    tokens = tokenizer(["the cat", "a " * 50])
    moved = tokens.to("meta")
    for field in dataclasses.fields(Tokens):
        before, after = getattr(tokens, field.name), getattr(moved, field.name)
        if field.name in ("ids", "lengths", "word_shape"):
            assert (after.device.type, after.shape, after.dtype) == ("meta", before.shape, before.dtype)
        else:
            assert after is before
    assert tokens.longest == max(tokens.lengths.tolist())
    assert torch.equal(tokens.to("cpu").ids, tokens.ids)
