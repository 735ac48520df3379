"""Any BERT-like backbone: what is padding inside never shows outside."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from mtl.errors import ConfigError
from mtl.model.encoder import Encoder
from mtl.model.multitask import MultiTaskModel
from mtl.model.pooling import Pooling
from mtl.types import Tokens

SIZE = {"vocab_size": 50, "max_position_embeddings": 40}
WIDE = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
BACKBONES = {
    "bert": lambda: BertModel(BertConfig(**SIZE, **WIDE)),
    "roberta": lambda: RobertaModel(RobertaConfig(**SIZE, **WIDE, pad_token_id=1)),
    "distilbert": lambda: DistilBertModel(DistilBertConfig(**SIZE, dim=16, n_layers=3, n_heads=2, hidden_dim=32)),
    "mpnet": lambda: MPNetModel(MPNetConfig(**SIZE, **WIDE, pad_token_id=1)),
}


@pytest.fixture(params=BACKBONES)
def backbone(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(0)
    return BACKBONES[request.param]().eval()


def test_a_text_has_the_same_states_alone_and_beside_longer_ones(backbone: PreTrainedModel) -> None:
    encoder = Encoder(backbone)
    texts = [torch.randint(5, 50, (length,)) for length in (3, 9, 1, 6)]
    lengths = torch.tensor([len(text) for text in texts])
    together = encoder(torch.cat(texts), lengths)
    assert len(together) == encoder.n_layers + 1 == 4
    for place, text in enumerate(texts):
        alone = encoder(text, lengths[place : place + 1])
        start = int(lengths[:place].sum())
        for layer, single in zip(together, alone, strict=True):
            torch.testing.assert_close(layer[start : start + len(text)], single, atol=1e-5, rtol=1e-4)


def test_states_are_those_of_the_backbone_itself(backbone: PreTrainedModel) -> None:
    ids = torch.randint(5, 50, (7,))
    states = Encoder(backbone)(ids, torch.tensor([7]))
    theirs = backbone(input_ids=ids[None], output_hidden_states=True)
    torch.testing.assert_close(states[-1], theirs.last_hidden_state[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(states[0], theirs.hidden_states[0][0], atol=1e-5, rtol=1e-4)


def test_embeddings_and_layers_are_found(backbone: PreTrainedModel) -> None:
    encoder = Encoder(backbone)
    assert encoder.width == 16
    assert len(encoder.blocks) == 3
    names = {name for name, _ in backbone.named_parameters()}
    under = {n for n in names if n.startswith("embeddings.")}
    found = {n for n, p in backbone.named_parameters() if any(p is q for q in encoder.embeddings.parameters())}
    assert found == under != set()


def tokens_of(texts: list[torch.Tensor]) -> Tokens:
    ids = torch.cat(texts)
    nothing = torch.zeros(len(ids), 2, dtype=torch.long)
    lengths = torch.tensor([len(text) for text in texts])
    return Tokens(ids, lengths, nothing, nothing[:, 0], torch.zeros(len(ids), 8), (None,) * len(texts))


@pytest.mark.parametrize("mode", ["mean", "cls", "max"])
def test_padding_and_neighbours_do_not_change_the_sentence_vector(backbone: PreTrainedModel, mode: str) -> None:
    model = MultiTaskModel(Encoder(backbone), Pooling(mode), {})
    texts = [torch.randint(5, 50, (length,)) for length in (3, 9, 1, 6)]
    together = model.encode(tokens_of(texts)).sentence
    for place, text in enumerate(texts):
        alone = model.encode(tokens_of([text])).sentence
        torch.testing.assert_close(together[place : place + 1], alone, atol=1e-5, rtol=1e-4)
    with torch.no_grad():  # what stands in the padding is never read
        backbone.get_input_embeddings().weight[backbone.config.pad_token_id or 0] += 100
    torch.testing.assert_close(model.encode(tokens_of(texts)).sentence, together, atol=1e-5, rtol=1e-4)


def test_gradients_reach_the_embeddings_and_every_layer(backbone: PreTrainedModel) -> None:
    encoder = Encoder(backbone.train())
    texts = [torch.randint(5, 50, (length,)) for length in (4, 7)]
    states = encoder(torch.cat(texts), torch.tensor([4, 7]))
    (states[-1] * torch.randn_like(states[-1])).sum().backward()
    for module in (encoder.embeddings, *encoder.blocks):
        for name, parameter in module.named_parameters():
            if not name.endswith("key.bias") and "k_lin.bias" not in name and "attn.k.bias" not in name:
                assert parameter.grad.abs().sum() > 0, name  # softmax ignores what a key's bias adds
    seen = encoder.embeddings.word_embeddings.weight.grad.abs().sum(1) > 0
    assert set(seen.nonzero().ravel().tolist()) == set(torch.cat(texts).tolist())


def test_positions_begin_where_the_backbone_was_trained_to_begin() -> None:
    torch.manual_seed(0)
    backbone = BACKBONES["roberta"]().eval()
    ids = torch.tensor([7, 9, 8, 11])
    (first, *_) = Encoder(backbone)(torch.cat([ids, ids, ids[:1]]), torch.tensor([4, 5]))
    tables = backbone.embeddings
    positions = torch.arange(2, 6)  # RoBERTa counts from the padding index + 1
    by_hand = (
        tables.word_embeddings(ids) + tables.position_embeddings(positions) + tables.token_type_embeddings.weight[0]
    )
    torch.testing.assert_close(first[:4], tables.LayerNorm(by_hand), atol=1e-5, rtol=1e-4)


def test_a_backbone_whose_layers_lie_elsewhere_is_named() -> None:
    class Odd(torch.nn.Module):
        pass

    with pytest.raises(TypeError, match="Odd keeps its layers where mtl does not look"):
        _ = Encoder(Odd()).blocks


def test_only_the_named_heads_read_the_encoding() -> None:
    backbone = BACKBONES["bert"]().eval()
    heads = {"one": torch.nn.Identity(), "two": torch.nn.Identity()}
    model = MultiTaskModel(Encoder(backbone), Pooling(), heads)
    encoding = model.encode(tokens_of([torch.tensor([6, 7])]))
    assert model.read(encoding, ["two"]) == {"two": encoding}
    with pytest.raises(KeyError):
        model.read(encoding, ["three"])


@pytest.mark.parametrize("mode", ["mean", "cls", "max"])
def test_pooling_by_hand(mode: str) -> None:
    states = torch.tensor([[1.0, 5.0], [3.0, -1.0], [-2.0, -4.0]])
    expected = {
        "mean": [[2.0, 2.0], [-2.0, -4.0]],
        "cls": [[1.0, 5.0], [-2.0, -4.0]],
        "max": [[3.0, 5.0], [-2.0, -4.0]],
    }[mode]
    torch.testing.assert_close(Pooling(mode)(states, torch.tensor([2, 1])), torch.tensor(expected))


def test_an_unknown_pooling_is_named() -> None:
    with pytest.raises(ConfigError, match="pooling is 'sum'"):
        Pooling("sum")
