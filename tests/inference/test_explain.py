"""Parts add up to the whole: tokens to the sentence vector, pairs of words to the cosine, words to a label."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mtl.errors import ConfigError
from mtl.inference.explain import MOST_WORDS, align, read_tokens, reasons
from mtl.inference.predictor import Predictor
from tests.conftest import MakePredictor


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_parts_of_tokens_add_up_to_the_sentence_vector(make_predictor: MakePredictor, pooling: str) -> None:
    predictor = make_predictor(pooling=pooling)
    text = "The cat is in Rome"
    (reading,) = read_tokens(predictor, [text])
    whole = reading.summands.sum(0)
    np.testing.assert_allclose(whole / np.linalg.norm(whole), predictor.encode([text])[0], atol=1e-5)
    np.testing.assert_allclose(reading.analysis.vector, predictor.encode([text])[0], atol=1e-5)
    assert reading.parts.sum() == pytest.approx(1, abs=1e-5)
    if pooling == "cls":
        assert reading.parts.tolist() == pytest.approx([1, *[0] * (len(reading.parts) - 1)], abs=1e-6)


def test_tokens_are_the_texts_own_characters_and_words_are_whole(predictor: Predictor) -> None:
    (reading,) = read_tokens(predictor, ["The CAT, 👍🏽 cating"])
    tokens = reading.tokens()
    assert tokens[0] == tokens[-1] == ""
    assert tokens[1:4] == ["The", "CAT", ","]
    assert [reading.text[s:e] for s, e in reading.word_offsets.tolist()][:3] == ["The", "CAT", ","]
    assert [reading.text[s:e] for s, e in reading.word_offsets.tolist()][-1] == "cating"
    assert reading.by_word(np.ones(len(tokens), dtype=np.float32)).sum() == (reading.words >= 0).sum()


def test_readings_of_two_texts_are_those_of_each_alone(predictor: Predictor) -> None:
    texts = ["the cat", "a long text about the law of cats in rome"]
    for together, text in zip(read_tokens(predictor, texts), texts, strict=True):
        (alone,) = read_tokens(predictor, [text])
        np.testing.assert_allclose(together.states, alone.states, atol=1e-5)
        assert together.offsets.tolist() == alone.offsets.tolist()


def test_the_cosine_is_the_sum_over_all_pairs_of_tokens(predictor: Predictor) -> None:
    left, right = read_tokens(predictor, ["the cat sat", "law in rome"])
    found = align(left, right)
    assert found.left == ("the", "cat", "sat")
    assert found.right == ("law", "in", "rome")
    assert found.score == pytest.approx(float(predictor.similarity(["the cat sat"], ["law in rome"])[0, 0]), abs=1e-5)
    norms = [np.linalg.norm(one.summands.sum(0)) for one in (left, right)]
    marks = [one.summands[one.words < 0].sum(0) for one in (left, right)]
    words = [one.summands.sum(0) - own for one, own in zip((left, right), marks, strict=True)]
    rest = (marks[0] @ (words[1] + marks[1]) + words[0] @ marks[1]) / (norms[0] * norms[1])
    assert found.shares.sum() + rest == pytest.approx(found.score, abs=1e-5)
    np.testing.assert_allclose(np.diag(align(left, left).cosines), 1, atol=1e-5)


def test_a_text_without_words_aligns_with_nothing(predictor: Predictor) -> None:
    left, right = read_tokens(predictor, ["", "the cat"])
    assert align(left, right).cosines.shape == (0, 2)


def test_a_label_rests_on_the_word_that_makes_it(predictor: Predictor) -> None:
    """The head is set to answer by the vector of one text: the word that makes it has the largest gain."""
    head = predictor.model.heads["topic"]
    text = "the law of the cat"
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        last = [module for module in head.modules() if isinstance(module, torch.nn.Linear)][-1]
        with_law, without = predictor.encode([text, "the of the cat"])
        last.weight[1] = torch.from_numpy(20 * (with_law - without))
    found = reasons(predictor, text, "topic", "law")
    assert [text[w.start : w.end] for w in found.words] == ["the", "law", "of", "the", "cat"]
    assert max(found.words, key=lambda word: word.gain).start == text.index("law")
    assert found.score == pytest.approx(predictor.analyze([text])[0]["topic"].scores["law"], abs=1e-5)
    shorter = predictor.analyze(["the  of the cat"])[0]["topic"].scores["law"]
    assert found.words[1].gain == pytest.approx(found.score - shorter, abs=1e-4)


def test_reasons_are_of_the_chosen_label_and_of_so_many_words(predictor: Predictor) -> None:
    text = "cat " * (MOST_WORDS + 5)
    found = reasons(predictor, text, "topic")
    assert found.label == predictor.analyze([text])[0]["topic"].label
    assert len(found.words) == MOST_WORDS
    assert reasons(predictor, "!!!", "topic").words == ()
    with pytest.raises(ConfigError, match="no task 'nope'"):
        reasons(predictor, "a", "nope")
    with pytest.raises(ValueError, match="gives no labels"):
        reasons(predictor, "a", "entities")
