"""The fused path computes what the backbone's own path computes, forward and backward, and learns the same."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertModel

from mtl.inference.predictor import Predictor
from mtl.model import encoder as encoder_module
from mtl.model.encoder import Encoder
from mtl.model.fused import Spare, _Pass, fits
from mtl.model.padding import grid
from mtl.training.config import FreezePolicy, LoRA
from tests.conftest import MakePredictor
from tests.training.small import ALL, events, losses, state

TEXTS = ["the cat sat on a mat", "a", "hello world"]


@pytest.fixture
def own_path(monkeypatch: pytest.MonkeyPatch):
    """Call it to let backbones run their own code."""
    return lambda: monkeypatch.setattr(encoder_module, "fits", lambda _: False)


def gradients(encoder: Encoder, predictor: Predictor, texts: list[str], **options):
    """The states of a pass and the gradients of a sum over all of them."""
    tokens = predictor.tokenizer(texts)
    encoder.train()
    encoder.requires_grad_(True)
    encoder.zero_grad()
    found = encoder(tokens.ids, tokens.lengths, **options)
    torch.stack([(s * torch.linspace(-1, 1, s.shape[1])).pow(2).sum() for s in found]).sum().backward()
    return found, {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("texts", [TEXTS, ["cat a", "a cat"]], ids=["padded", "of one length"])
@pytest.mark.parametrize("every_layer", [True, False])
def test_states_and_gradients_are_the_backbones(make_still: MakePredictor, own_path, texts, every_layer: bool) -> None:
    predictor = make_still()
    encoder = predictor.model.encoder
    assert fits(encoder.backbone)
    ours, our_gradients = gradients(encoder, predictor, texts, every_layer=every_layer)
    own_path()
    theirs, their_gradients = gradients(encoder, predictor, texts, every_layer=every_layer)
    assert len(ours) == len(theirs) == (3 if every_layer else 1)
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)
    assert our_gradients.keys() == their_gradients.keys()
    for name, gradient in their_gradients.items():
        torch.testing.assert_close(our_gradients[name], gradient, rtol=1e-4, atol=1e-4, msg=name)


def test_bf16_is_as_close_to_float32_as_the_backbones_own(make_still: MakePredictor, own_path) -> None:
    predictor = make_still()
    tokens = predictor.tokenizer(TEXTS)
    encoder = predictor.model.encoder.train()
    exact = encoder(tokens.ids, tokens.lengths)[-1].detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = encoder(tokens.ids, tokens.lengths)[-1].detach()
        own_path()
        theirs = encoder(tokens.ids, tokens.lengths)[-1].detach()
    assert ours.dtype == torch.float32
    assert 0 < (ours - exact).abs().mean() < 1.3 * (theirs - exact).abs().mean()


def test_it_learns_what_the_own_path_learns(make_still: MakePredictor, own_path) -> None:
    ours, theirs = make_still(), make_still()
    found = events(ours, steps=30)
    own_path()
    expected = events(theirs, steps=30)
    for left, right in zip(losses(found), losses(expected), strict=True):
        assert left == pytest.approx(right, rel=1e-2, abs=1e-3)
    for name, value in state(ours).items():
        torch.testing.assert_close(value, state(theirs)[name], rtol=0.05, atol=5e-3, msg=name)


def test_gradients_add_up_over_batches_and_the_memory_comes_back_clean(make_still: MakePredictor) -> None:
    predictor = make_still()
    encoder = predictor.model.encoder.train()
    table = encoder.embeddings.word_embeddings.weight
    encoder.requires_grad_(True)

    def after(*batches: list[str]) -> torch.Tensor:
        for texts in batches:
            tokens = predictor.tokenizer(texts)
            encoder(tokens.ids, tokens.lengths, every_layer=False)[0].pow(2).sum().backward()
        found = table.grad.clone()
        encoder.take_back_gradient()
        encoder.zero_grad(set_to_none=True)
        return found

    alone = [after([text]) for text in TEXTS]
    assert encoder.fused.spare._zeros is not None
    assert not encoder.fused.spare._zeros.any()
    torch.testing.assert_close(after(TEXTS[:1], TEXTS[1:2]), alone[0] + alone[1])
    torch.testing.assert_close(after(TEXTS[2:]), alone[2])


def test_a_gradient_of_other_making_is_not_taken_back() -> None:
    spare = Spare()
    made = spare.with_rows((5, 2), torch.tensor([1, 3, 1]), torch.ones(3, 2))
    assert made.tolist() == [[0, 0], [2, 2], [0, 0], [1, 1], [0, 0]]
    spare.take_back(made.clone())
    assert spare.with_rows((5, 2), torch.tensor([0]), torch.ones(1, 2)).sum() == 2


@pytest.mark.parametrize(("p", "dtype"), [(0.1, torch.float32), (0.5, torch.bfloat16)])
def test_dropout_keeps_the_mean_and_drops_its_share(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    run = _Pass(grid(torch.tensor([2]), 2, 2), dtype, 1)
    dropout = torch.nn.Dropout(p)
    found = run._dropped(torch.ones(1001, 1001, dtype=dtype), dropout).float()
    assert (found == 0).float().mean() == pytest.approx(p, abs=2e-3)
    assert found.max() == pytest.approx(1 / (1 - p), rel=1e-2)
    again = run._dropped(torch.ones(1001, 1001, dtype=dtype), dropout).float()
    assert not torch.equal(found, again)
    torch.manual_seed(0)
    same = _Pass(grid(torch.tensor([2]), 2, 2), dtype, 1)._dropped(torch.ones(1001, 1001, dtype=dtype), dropout)
    assert torch.equal(found, same.float())
    assert run._dropped(found, dropout.eval()) is found


def test_dropout_is_on_where_a_part_trains_and_off_where_it_is_frozen(predictor: Predictor) -> None:
    tokens = predictor.tokenizer(TEXTS)
    encoder = predictor.model.encoder.eval()
    encoder.blocks[1].train()
    first, second = (encoder(tokens.ids, tokens.lengths) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[2], second[2])


def test_others_keep_their_own_path(make_predictor: MakePredictor) -> None:
    relu = BertModel(BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, hidden_act="relu"))
    assert not fits(relu)
    predictor = make_predictor()
    pytest.importorskip("peft")
    for event in events(predictor, ALL[:1], freeze=FreezePolicy(lora=LoRA()), steps=2)[:1]:
        assert "Adapters" in event.policy
    assert fits(predictor.model.encoder.backbone), "adapters are merged and gone"
