"""BERT in plain torch is the BERT of `transformers`: the same tensors, the same states, the same settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

from mtl.inference.predictor import Predictor, load
from mtl.model.bert import BertConfig, BertModel, from_state
from mtl.model.fused import fits

SIZES = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 32, "max_position_embeddings": 40, "layer_norm_eps": 1e-6}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def theirs() -> transformers.BertModel:
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(**SIZES)).eval()
    for parameter in model.parameters():  # no bias is 0 and no norm is 1
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def ours(theirs: transformers.BertModel) -> BertModel:
    return from_state(BertConfig.from_dict(theirs.config.to_diff_dict() | {"hidden_act": "gelu"}), theirs.state_dict())


def test_states_of_every_layer_are_theirs(ours: BertModel, theirs: transformers.BertModel) -> None:
    ids = torch.randint(1, 50, (4, 11))
    mask = (torch.arange(11) < torch.tensor([[11], [3], [1], [7]])).long()
    found = ours(ids, mask, output_hidden_states=True)
    wanted = theirs(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    assert len(found.hidden_states) == 4
    for layer, other in zip(found.hidden_states, wanted.hidden_states, strict=True):
        torch.testing.assert_close(layer[mask.bool()], other[mask.bool()], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours(ids, mask).last_hidden_state, found.last_hidden_state)
    assert ours(ids, mask).hidden_states is None


def test_gradients_are_theirs(ours: BertModel, theirs: transformers.BertModel) -> None:
    ids, mask = torch.randint(1, 50, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    for model in (ours, theirs):
        model(input_ids=ids, attention_mask=mask).last_hidden_state.pow(2).mean().backward()
    wanted = dict(theirs.named_parameters())
    assert {name for name, _ in ours.named_parameters()} == set(wanted)
    for name, parameter in ours.named_parameters():
        if not name.startswith("pooler."):
            torch.testing.assert_close(parameter.grad, wanted[name].grad, atol=1e-6, rtol=1e-3)


def test_dropout_is_drawn_in_training_alone(ours: BertModel) -> None:
    ids, mask = torch.randint(1, 50, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    torch.testing.assert_close(ours(ids, mask).last_hidden_state, ours(ids, mask).last_hidden_state, atol=0, rtol=0)
    ours.train()
    assert not torch.allclose(ours(ids, mask).last_hidden_state, ours(ids, mask).last_hidden_state)


def test_it_trains_by_the_fused_path_and_keeps_the_pooler_only_where_there_is_one(ours: BertModel) -> None:
    assert fits(ours)
    state = {name: tensor for name, tensor in ours.state_dict().items() if not name.startswith("pooler.")}
    assert set(from_state(ours.config, state).state_dict()) == set(state)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "roberta"},
        {"hidden_act": "relu"},
        {"is_decoder": True},
        {"position_embedding_type": "relative_key"},
        {"hidden_size": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_no_plain_bert_is_left_to_transformers(change: dict[str, object]) -> None:
    settings = {"model_type": "bert", "hidden_act": "gelu", **SIZES}
    assert BertConfig.from_dict(settings) is not None
    changed = {name: value for name, value in {**settings, **change}.items() if value is not None}
    assert BertConfig.from_dict(changed) is None


def test_settings_come_back_as_they_were() -> None:
    settings = {"model_type": "bert", "hidden_act": "gelu", **SIZES, "classifier_dropout": None, "use_cache": True}
    written = BertConfig.from_dict(settings).to_diff_dict()
    assert {name: written[name] for name in settings} == settings


def test_a_checkpoint_answers_without_transformers_and_trains_and_saves(predictor: Predictor, tmp_path: Path) -> None:
    folder = predictor.save(tmp_path / "first")
    code = (
        f"import mtl, sys; m = mtl.load({str(folder)!r}); m.analyze(['the cat']); m.save({str(tmp_path / 'second')!r});"
        "print([n for n in ('transformers', 'torch._dynamo') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    for name in ("config.json", "mtl.json"):
        first, second = (json.loads((tmp_path / place / name).read_text()) for place in ("first", "second"))
        assert first == second
    for name in ("model.safetensors", "heads.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert isinstance(load(folder).model.encoder.backbone, BertModel)
    auto = transformers.AutoModel.from_pretrained(tmp_path / "second")
    assert isinstance(auto, transformers.BertModel)
