"""Heads: shapes, what they read, and what they start from."""

from __future__ import annotations

import pytest
import torch

from mtl.model.heads import CosineHead, SentenceHead, TokenHead
from mtl.types import Encoding

N, B, H, F = 7, 4, 6, 8


@pytest.fixture
def encoding() -> Encoding:
    torch.manual_seed(0)
    layers = tuple(torch.randn(N, H) for _ in range(3))
    return Encoding(layers, torch.randn(B, H), torch.rand(N, F), torch.tensor([3, 2, 1, 1]))


@pytest.mark.parametrize("hidden", [0, 5])
def test_sentence_head_gives_logits_a_text(encoding: Encoding, hidden: int) -> None:
    assert SentenceHead(H, 3, hidden=hidden)(encoding).shape == (B, 3)


@pytest.mark.parametrize("layers", ["last", "mix", "all"])
@pytest.mark.parametrize("n_shapes", [0, F])
def test_token_head_gives_logits_a_token(encoding: Encoding, layers: str, n_shapes: int) -> None:
    head = TokenHead(H, 5, n_layers=2, layers=layers, n_shapes=n_shapes, hidden=4)
    assert head(encoding).shape == (N, 5)


def test_a_mix_starts_as_the_mean_of_the_layers(encoding: Encoding) -> None:
    mix = TokenHead(H, 2, n_layers=2, layers="mix", hidden=0, dropout=0.0)
    mean = torch.stack(encoding.layers).mean(0)
    torch.testing.assert_close(mix(encoding), mix.network(mean))


def test_the_last_layer_alone_ignores_the_others(encoding: Encoding) -> None:
    head = TokenHead(H, 2, n_layers=2, layers="last", hidden=0).eval()
    changed = Encoding(
        (encoding.layers[0] + 9, *encoding.layers[1:]), encoding.sentence, encoding.word_shape, encoding.lengths
    )
    torch.testing.assert_close(head(encoding), head(changed))


def test_casing_changes_the_answer(encoding: Encoding) -> None:
    head = TokenHead(H, 2, n_layers=2, n_shapes=F, hidden=0).eval()
    changed = Encoding(encoding.layers, encoding.sentence, 1 - encoding.word_shape, encoding.lengths)
    assert not torch.allclose(head(encoding), head(changed))


def test_cosine_head_compares_left_and_right_halves(encoding: Encoding) -> None:
    left, right = encoding.sentence[:2], encoding.sentence[2:]
    expected = torch.nn.functional.cosine_similarity(left, right)
    torch.testing.assert_close(CosineHead()(encoding), expected)
    assert list(CosineHead().parameters()) == []
