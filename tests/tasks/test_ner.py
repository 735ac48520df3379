"""Entities from characters to tags and back, whatever the text, whoever stands beside it in the batch."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers.models import WordPiece

from mtl.data.tokenization import TextTokenizer
from mtl.inference.predictor import Predictor
from mtl.tasks import NamedEntities
from mtl.tasks.base import MISSING
from mtl.tasks.bio import bio_tags
from mtl.tasks.ner import words_of
from mtl.types import Example, Span, Tokens

LABELS = ("PER", "LOC")
TASK = NamedEntities(name="places", labels=LABELS)
WORDS = st.sampled_from(
    [
        "Ana",
        "the",
        "U.S.",
        "👍🏽",
        "👩‍👩‍👧",
        "Jose\u0301",
        "Élodie",
        "北京",
        "東京都",
        "O'Neil",
        "iPhone",
        "42",
        "e\u0301",
        "İzmir",
        "a-b",
    ]
)
SPACES = st.sampled_from([" ", "  ", "\t", "\n", "\u00a0"])
GAPS = SPACES | st.just(" \u200b")


def perfect(targets: list[tuple[Span, ...]], tokens: Tokens) -> torch.Tensor:
    """What a head that knows the answer would say: (N, L)."""
    tags = TASK.encode_targets(targets, tokens).clamp_min(0)
    return 10 * torch.nn.functional.one_hot(tags, len(bio_tags(LABELS))).float()


@st.composite
def marked_texts(draw: st.DrawFn, gaps: st.SearchStrategy[str] = GAPS) -> tuple[str, tuple[Span, ...]]:
    """A text and entities on whole words of it."""
    text, spans = "", []
    for word in draw(st.lists(WORDS, max_size=7)):
        text += draw(gaps) if text else ""
        kind = draw(st.sampled_from(["", *LABELS]))
        if kind:
            spans.append(Span(len(text), len(text) + len(word), kind))
        text += word
    return text, tuple(spans)


@pytest.fixture(scope="module")
def wide_tokenizer() -> TextTokenizer:
    """Room for every text of this file, and a vocabulary in which most words are unknown."""
    backend = Tokenizer(WordPiece({"[UNK]": 0, "a": 1, "n": 2, "##n": 3, "##a": 4}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    return TextTokenizer(backend, max_tokens=200)


@given(st.lists(marked_texts(), min_size=1, max_size=4))
def test_spans_come_back_exactly_from_any_batch(wide_tokenizer: TextTokenizer, rows) -> None:
    texts, gold = [text for text, _ in rows], [spans for _, spans in rows]
    tokens = wide_tokenizer(texts)
    if not len(tokens.ids):
        return
    found = TASK.decode(perfect(gold, tokens), tokens)
    assert [[(s.start, s.end, s.label) for s in row] for row in found] == [
        [(s.start, s.end, s.label) for s in row] for row in gold
    ]


@cache
def byte_level() -> Tokenizer:
    """As in RoBERTa, but with offsets that hold the space before each word."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator([], trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False))
    return backend


@cache
def sentence_piece() -> Tokenizer:
    """As in XLM-R: words begin with the space before them, and punctuation clings to them."""
    backend = Tokenizer(WordPiece({"[UNK]": 0, "\u2581": 1}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return backend


@pytest.mark.parametrize("make", [byte_level, sentence_piece])
@given(st.lists(marked_texts(SPACES), min_size=1, max_size=3))
def test_other_kinds_of_tokenizer_give_the_same_characters(make, rows) -> None:
    tokenizer = TextTokenizer(make(), max_tokens=400)
    texts, gold = [text for text, _ in rows], [spans for _, spans in rows]
    tokens = tokenizer(texts)
    words = words_of(tokens)
    for text, start, end in zip(words.text, words.start, words.end, strict=True):
        word = texts[text][start:end]
        assert word == word.strip() != ""
    if make is byte_level and len(tokens.ids):  # a tab is no word border for SentencePiece
        found = TASK.decode(perfect(gold, tokens), tokens)
        assert [[(s.start, s.end, s.label) for s in row] for row in found] == [
            [(s.start, s.end, s.label) for s in row] for row in gold
        ]


def test_a_blank_text_between_others_shifts_nothing(tokenizer: TextTokenizer) -> None:
    texts, gold = ["", "in Rome", " \n", "Ana", ""], [(), (Span(3, 7, "LOC"),), (), (Span(0, 3, "PER"),), ()]
    tokens = tokenizer(texts)
    found = TASK.decode(perfect(gold, tokens), tokens)
    assert [[(s.start, s.end, s.label) for s in row] for row in found] == [
        [], [(3, 7, "LOC")], [], [(0, 3, "PER")], []
    ]  # fmt: skip


def test_only_blank_texts_have_no_spans(tokenizer: TextTokenizer) -> None:
    tokens = tokenizer(["", " "])
    assert TASK.decode(torch.randn(len(tokens.ids), 5), tokens) == [(), ()]


def test_what_lies_beyond_the_cut_is_neither_learned_nor_marked(tokenizer: TextTokenizer) -> None:
    text = "a " * 40 + "Rome"
    tokens = tokenizer([text])
    encoded = TASK.encode_targets([(Span(80, 84, "LOC"),)], tokens)
    assert set(encoded.tolist()) == {MISSING, 0}
    (found,) = TASK.decode(torch.randn(len(tokens.ids), 5), tokens)
    assert all(span.end <= tokens.truncated_at[0] for span in found)


def test_a_score_is_the_mean_probability_of_its_tags(tokenizer: TextTokenizer) -> None:
    tokens = tokenizer(["a b"])
    logits = torch.full((4, 5), -20.0)
    logits[1, 1], logits[1, 0] = 2.0, 0.0  # [CLS] a b [SEP]; B-PER is tag 1
    logits[2, 2], logits[2, 0] = 1.0, 0.0  # I-PER
    (found,) = TASK.decode(logits, tokens)
    by_hand = (torch.tensor([2.0, 1.0]).sigmoid().sum() / 2).item()
    assert found == (Span(0, 3, "PER", pytest.approx(by_hand, abs=1e-5)),)


def test_a_continuation_without_a_beginning_is_never_said(tokenizer: TextTokenizer) -> None:
    tokens = tokenizer(["a b"])
    logits = torch.zeros(4, 5)
    logits[1, 2] = 9  # I-PER first: not valid, so the next best sequence is taken
    logits[2, 2] = 9
    (found,) = TASK.decode(logits, tokens)
    assert [(s.start, s.end, s.label) for s in found] == [(0, 3, "PER")]


@pytest.mark.parametrize("layers", ["last", "mix", "all"])
@pytest.mark.parametrize("word_shape", [0, 8])
def test_every_kind_of_head_answers_and_is_kept(make_predictor, tmp_path, layers: str, word_shape: int) -> None:
    import mtl

    task = NamedEntities(name="x", labels=LABELS, layers=layers, word_shape=word_shape, hidden=4)
    predictor: Predictor = make_predictor(tasks=(task,))
    again = mtl.load(predictor.save(tmp_path / "model"), device="cpu")
    assert again.tasks == (task,)
    state = again.model.heads["x"].state_dict()
    assert {name: value.shape for name, value in predictor.model.heads["x"].state_dict().items()} == {
        name: value.shape for name, value in state.items()
    }
    assert isinstance(again.analyze([Example(("Ana in Rome",)).texts[0]])[0]["x"], tuple)
