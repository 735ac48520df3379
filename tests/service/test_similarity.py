"""Lists, near-duplicates, shorter vectors and the X-ray."""

from __future__ import annotations

import numpy as np
import pytest

from mtl.errors import SessionError
from mtl.service import similarity
from mtl.service.corpora import Corpus
from mtl.service.models import BASE
from mtl.service.service import Service
from mtl.settings import Settings


@pytest.fixture
def service(predictor) -> Service:
    return Service(Settings(max_characters=1000), base=predictor)


def test_two_lists_are_compared_each_with_each(service: Service) -> None:
    found = service.similarity.matrix("k", BASE, "one\ntwo", "three\nfour\nfive")
    assert (found.texts, found.across) == (("one", "two"), ("three", "four", "five"))
    wanted = service.models.base.similarity(["one", "two"], ["three", "four", "five"])
    np.testing.assert_allclose(found.scores, wanted, atol=1e-5)
    assert service.similarity.matrix("k", BASE, "one", "two").scores.shape == (1, 1)
    with pytest.raises(SessionError, match="The list has 1 sentences"):
        service.similarity.matrix("k", BASE, "one")
    with pytest.raises(SessionError, match="The second list has 41 sentences; a heat map takes 1 to 40"):
        service.similarity.matrix("k", BASE, "one", "x\n" * 41)


def test_near_duplicates_are_found_across_blocks_once_and_best_first(service: Service, monkeypatch) -> None:
    monkeypatch.setattr(similarity, "BLOCK", 2)
    texts = ("the cat", "the law of rome", "the cat", "x9z", "the cat.", "the law of rome")
    pairs = service.similarity.duplicates("k", BASE, Corpus(texts, {}), threshold=0.999)
    assert {(pair.left, pair.right) for pair in pairs.pairs} == {(0, 2), (1, 5)}
    every = service.similarity.duplicates("k", BASE, Corpus(texts, {}), threshold=-1).pairs
    assert len(every) == 15
    assert [pair.score for pair in every] == sorted((pair.score for pair in every), reverse=True)
    assert len(service.similarity.duplicates("k", BASE, Corpus(texts, {}), threshold=-1, limit=4).pairs) == 4
    assert service.similarity.duplicates("k", BASE, Corpus(("a " * 99, "b"), {})).cut == (0,)


def test_shorter_vectors_are_first_numbers_of_unit_length(service: Service) -> None:
    rows = service.models.base.encode(["the cat", "a law"])[:, :8]
    cosine = float(rows[0] @ rows[1] / np.linalg.norm(rows[0]) / np.linalg.norm(rows[1]))
    assert service.similarity.compare("k", BASE, "the cat", "a law", n_dims=8).score == pytest.approx(cosine, abs=1e-5)


def test_the_cost_of_a_length_is_nothing_at_full_length(service: Service) -> None:
    width = service.similarity.width("k", BASE)
    whole = service.similarity.cost("k", BASE, width)
    assert (whole.kept, whole.spearman) == (1.0, whole.spearman_in_full)
    assert whole.megabytes == width * 4
    short = service.similarity.cost("k", BASE, 4)
    assert 0 < short.kept < 1
    assert short.megabytes == 16


def test_an_alignment_shows_the_first_words(service: Service, monkeypatch) -> None:
    said = service.similarity.explained("k", BASE, "the cat", "the law")
    assert said.comparison.score == pytest.approx(
        service.similarity.compare("k", BASE, "the cat", "the law").score, abs=1e-5
    )
    found = said.words
    assert (found.left, found.right) == (("the", "cat"), ("the", "law"))
    monkeypatch.setattr(similarity, "MOST_WORDS", 2)
    cut = service.similarity.explained("k", BASE, "a", "the law of rome").words
    assert (cut.left, cut.right, cut.cosines.shape) == (("a",), ("the", "law"), (1, 2))


def test_the_x_ray_is_of_the_text_and_names_its_nearest_samples(service: Service) -> None:
    sample = service.corpora.sample.texts[7]
    found = service.similarity.xray("k", BASE, sample)
    assert found.reading.text == sample
    assert found.nearest[0].text == sample
    assert found.nearest[0].score == pytest.approx(1, abs=1e-4)
    assert len(found.nearest) == 5
