"""Whatever text comes, offsets are those of the text that was sent, and nothing raises but a sentence."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtl.errors import MtlError, SessionError
from mtl.service.desk import Desk
from mtl.service.service import Service
from mtl.settings import ROOT, Settings

WORDS = st.sampled_from(
    [
        "Ana",
        "the cat",
        "🏳️‍🌈",
        "e\u0301",
        "ﬁ",
        "İstanbul",
        "\u202eRome",
        "\ud800",
        "日本",
        "a" * 40,
        "\x00",
        "\u200d",
        "<b>",
    ]
)
TEXTS = st.one_of(
    st.text(max_size=80),
    st.text(st.characters(exclude_categories=()), max_size=30),  # lone surrogates too
    st.lists(st.one_of(WORDS, st.text(max_size=5)), max_size=12).map(" ".join),
)


@pytest.fixture(scope="module")
def shipped() -> Service:
    return Service(Settings())


@pytest.fixture
def tiny(predictor) -> Service:
    return Service(Settings(max_characters=200), base=predictor)


def holds(service: Service, text: str) -> None:
    try:
        read = service.serving.analyze([text, "Ana"])
    except SessionError:
        assert not text.strip() or len(text) > service.settings.max_characters
        return
    (one, _), clean = read.found, read.texts[0]
    assert len(clean) == len(text), "offsets of what was read are offsets of what was sent"
    assert all(ours == theirs or "\ud800" <= theirs <= "\udfff" for ours, theirs in zip(clean, text, strict=True))
    end = len(text) if one.truncated_at is None else one.truncated_at
    assert 0 < end <= len(text)
    assert np.linalg.norm(one.vector) == pytest.approx(1, abs=1e-3)
    for task in service.serving.tasks:
        if not task.reads_words:
            continue
        last = 0
        for span in one.predictions[task.name]:
            assert last <= span.start < span.end <= len(text)
            assert text[span.start : span.end] == text[span.start : span.end].strip()
            assert 0 <= span.score <= 1
            last = span.end


ANYTHING = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)


@ANYTHING
@given(text=TEXTS)
def test_any_text_is_read_or_refused_in_a_sentence(tiny: Service, text: str) -> None:
    holds(tiny, text)


@pytest.mark.long
@settings(max_examples=6000)
@given(text=TEXTS)
def test_the_shipped_model_reads_any_text(shipped: Service, text: str) -> None:
    holds(shipped, text)


def test_many_at_once_get_their_own_answers(tiny: Service) -> None:
    texts = [f"text number {i}" for i in range(40)]
    wanted = tiny.models.base.encode(texts)
    desk = Desk(40)
    found = [desk.take(lambda text=text: tiny.serving.embed([text]).vectors[0]) for text in texts]
    np.testing.assert_allclose([one.result(60) for one in found], wanted, atol=1e-5)
    assert not [t for t in threading.enumerate() if t.name == "readiness"]


@pytest.mark.parametrize("kind", ["classification", "ner"])
def test_a_kind_of_task_is_all_of_it_or_some(tiny: Service, kind: str) -> None:
    (name,) = tiny.serving.of_kind(kind, None)
    assert tiny.serving.of_kind(kind, [name]) == [name]
    assert tiny.serving.of_kind(kind, []) == []
    with pytest.raises(MtlError, match="no task of this kind"):
        tiny.serving.of_kind(kind, [name, "similarity"])


def test_the_shipped_checkpoint_is_what_is_served(shipped: Service) -> None:
    assert shipped.settings.checkpoint == ROOT / "checkpoints" / "default"
    assert shipped.serving.width == 384
