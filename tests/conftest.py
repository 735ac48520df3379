"""A tiny multi-task model, built in memory: two layers of width 32 and a vocabulary of single letters."""

from __future__ import annotations

import string
from collections.abc import Callable

import hypothesis
import pytest
import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from mtl.data.tokenization import TextTokenizer
from mtl.inference.predictor import Predictor, build
from mtl.model.encoder import Encoder
from mtl.tasks import Classification, NamedEntities, Similarity, Task

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_TOKENS = 32

hypothesis.settings.register_profile("unhurried", parent=hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("unhurried")  # a busy machine is no failure


def tiny_hub_tokenizer() -> PreTrainedTokenizerFast:
    """A lower-casing WordPiece tokenizer that can spell every ASCII word."""
    letters = string.ascii_lowercase + string.digits + string.punctuation
    words = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), "the", "cat", "##ing"]
    vocabulary = {word: place for place, word in enumerate(words)}
    backend = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{name.strip('[]').lower()}_token": name for name in SPECIAL}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def tiny_bert(vocabulary: int) -> BertModel:
    torch.manual_seed(0)
    return BertModel(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
    )


TASKS: tuple[Task, ...] = (
    Classification(name="topic", labels=("food", "law", "sport")),
    NamedEntities(name="entities", labels=("PER", "LOC"), hidden=16),
    Similarity(name="similarity"),
)

MakePredictor = Callable[..., Predictor]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Before each test: numba, once UMAP has run, sets torch's threads to all cores."""
    torch.set_num_threads(1)


@pytest.fixture
def make_predictor() -> MakePredictor:
    """Builds a fresh tiny predictor: make_predictor(tasks=..., pooling=..., max_tokens=...)."""

    def make(tasks: tuple[Task, ...] = TASKS, pooling: str = "mean", max_tokens: int = MAX_TOKENS) -> Predictor:
        hub_tokenizer = tiny_hub_tokenizer()
        encoder = Encoder(tiny_bert(len(hub_tokenizer)))
        options = {"device": "cpu", "precision": "fp32"}  # the same numbers on every machine
        return build(encoder, hub_tokenizer, tasks, pooling=pooling, max_tokens=max_tokens, **options)

    return make


@pytest.fixture
def make_still(make_predictor: MakePredictor) -> MakePredictor:
    """Builds tiny predictors without dropout: what is computed in parts is then what is computed at once."""

    def make(**options: object) -> Predictor:
        predictor = make_predictor(**options)
        config = predictor.model.encoder.backbone.config
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
        for module in predictor.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if hasattr(module, "dropout_prob"):
                module.dropout_prob = 0.0
        return predictor

    return make


@pytest.fixture
def predictor(make_predictor: MakePredictor) -> Predictor:
    return make_predictor()


@pytest.fixture
def tokenizer(predictor: Predictor) -> TextTokenizer:
    return predictor.tokenizer
