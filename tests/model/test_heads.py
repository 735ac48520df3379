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


@pytest.mark.parametrize("context", [(1,), (1, 2)])
def test_neighbours_within_reach_change_a_token_and_others_do_not(context: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    head = TokenHead(H, 3, n_layers=0, hidden=4, context=context).eval()
    states = torch.randn(12, H)
    lengths = torch.tensor([9, 3])

    def read(states: torch.Tensor) -> torch.Tensor:
        return head(Encoding((states,), torch.zeros(2, H), torch.zeros(12, 0), lengths))

    changed = states.clone()
    changed[8] += 1  # the last token of the first text
    moved = (read(states) - read(changed)).abs().amax(-1) > 1e-6
    reach = sum(context)
    assert moved.tolist() == [9 - reach - 1 <= place <= 8 for place in range(12)]


def test_a_text_reads_the_same_alone_and_among_longer_ones() -> None:
    torch.manual_seed(0)
    head = TokenHead(H, 3, n_layers=0, n_shapes=F, hidden=4, context=(1, 2, 4)).eval()
    states, shapes = torch.randn(12, H), torch.rand(12, F)
    together = head(Encoding((states,), torch.zeros(2, H), shapes, torch.tensor([4, 8])))
    alone = head(Encoding((states[:4],), torch.zeros(1, H), shapes[:4], torch.tensor([4])))
    torch.testing.assert_close(together[:4], alone)


def test_cosine_head_compares_left_and_right_halves(encoding: Encoding) -> None:
    left, right = encoding.sentence[:2], encoding.sentence[2:]
    expected = torch.nn.functional.cosine_similarity(left, right)
    torch.testing.assert_close(CosineHead()(encoding), expected)
    assert list(CosineHead().parameters()) == []
