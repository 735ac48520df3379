"""A policy, name by name: what may learn, what is in eval mode, what is counted and how it is said."""

from __future__ import annotations

import pytest

from mtl.inference.predictor import Predictor
from mtl.training import freezing
from mtl.training.config import FreezePolicy

EMBEDDINGS = "encoder.backbone.embeddings."
LAYERS = ("encoder.backbone.encoder.layer.0.", "encoder.backbone.encoder.layer.1.")
HEADS = ("heads.topic.", "heads.entities.")
POLICIES = [
    (FreezePolicy(), (EMBEDDINGS, *LAYERS, *HEADS), "Nothing is frozen."),
    (FreezePolicy(embeddings=True), (*LAYERS, *HEADS), "Frozen: the embeddings."),
    (FreezePolicy(layers=1), (LAYERS[1], *HEADS), "Frozen: the embeddings and the first 1 layers."),
    (FreezePolicy(layers=2), HEADS, "Frozen: the embeddings and the first 2 layers."),
    (FreezePolicy(encoder=True), HEADS, "Frozen: the whole encoder."),
    (FreezePolicy(encoder=True, heads=("topic",)), HEADS[1:], "Frozen: the whole encoder, head topic."),
    (FreezePolicy(heads=("entities",)), (EMBEDDINGS, *LAYERS, HEADS[0]), "Frozen: head entities."),
]


@pytest.mark.parametrize(("policy", "learning", "sentence"), POLICIES)
def test_exactly_the_named_parameters_may_learn(predictor: Predictor, policy, learning, sentence: str) -> None:
    freezing.apply(predictor.model, policy)
    for name, parameter in predictor.model.named_parameters():
        assert parameter.requires_grad == name.startswith(learning), name
    assert policy.describe() == sentence


def test_the_next_policy_forgets_the_one_before(predictor: Predictor) -> None:
    freezing.apply(predictor.model, FreezePolicy(encoder=True, heads=("topic",)))
    freezing.apply(predictor.model, FreezePolicy())
    still = [name for name, parameter in predictor.model.named_parameters() if not parameter.requires_grad]
    assert still
    assert all(".pooler." in name for name in still)


@pytest.mark.parametrize(("policy", "learning", "sentence"), POLICIES)
def test_dropout_is_on_only_where_something_learns(predictor: Predictor, policy, learning, sentence: str) -> None:
    freezing.set_train_mode(predictor.model, policy)
    dropouts = {n: m for n, m in predictor.model.named_modules() if type(m).__name__ == "Dropout"}
    assert len(dropouts) > 5
    for name, module in dropouts.items():
        assert module.training == name.startswith(learning), name


def test_counts_are_of_parameters_by_part(predictor: Predictor) -> None:
    total = freezing.total_counts(predictor.model)
    assert list(total) == ["embeddings", "layer 1", "layer 2", "head topic", "head entities", "head similarity"]
    by_hand = {
        part: sum(p.numel() for n, p in predictor.model.named_parameters() if n.startswith(prefix))
        for part, prefix in zip(total, (EMBEDDINGS, *LAYERS, *HEADS, "heads.similarity."), strict=True)
    }
    assert total == by_hand
    assert total["head similarity"] == 0
