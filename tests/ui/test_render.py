"""What is shown: every character of the text once, markup escaped, what was cut dimmed."""

from __future__ import annotations

import re

import numpy as np

from mtl.service.corpora import Corpus
from mtl.service.similarity import Comparison, Hit, Ranking
from mtl.tasks import Classification, NamedEntities
from mtl.types import Analysis, LabelScores, Span
from mtl.ui import render

ENTITIES = NamedEntities(name="entities", labels=("PER", "LOC"))
MOOD = Classification(name="mood", labels=("good", "bad"))


def analysis(spans: tuple[Span, ...] = (), truncated_at: int | None = None) -> Analysis:
    scores = LabelScores("bad", {"good": 0.25, "bad": 0.75})
    return Analysis({"entities": spans, "mood": scores}, np.zeros(2, np.float32), 9, truncated_at)


def shown_text(html: str) -> str:
    """The text without tags and without the labels inside the marks."""
    inner = re.search(r'<div class="mtl-text">(.*)</div></div></div>', html, re.S)[1]
    return re.sub(r"<[^>]+>", "", re.sub(r"<i>.*?</i>", "", inner))


def test_every_character_stands_once_and_marks_hold_the_spans() -> None:
    text = "Ana 👍🏽 saw Rome."
    html = render.entities(
        text, analysis((Span(0, 3, "PER", 0.9), Span(11, 15, "LOC", 0.8))), [ENTITIES], threshold=0.5
    )
    assert shown_text(html) == text
    assert re.findall(r'<mark style="[^"]*">(.*?)<i>(.*?)</i></mark>', html) == [
        ("Ana", "PER 0.90"),
        ("Rome", "LOC 0.80"),
    ]


def test_spans_below_the_threshold_are_counted_not_marked() -> None:
    html = render.entities("Ana saw Rome.", analysis((Span(0, 3, "PER", 0.4),)), [ENTITIES], threshold=0.5)
    assert "<mark" not in html
    assert "1 below the threshold" in html


def test_what_was_cut_is_dim_and_said_and_its_entities_are_marked() -> None:
    html = render.entities("read this not that", analysis(truncated_at=9), [ENTITIES], threshold=0.5)
    assert 'read this<span class="mtl-cut"> not that</span>' in html
    assert "the first 9 of 18 characters" in html
    beyond = (Span(7, 12, "PER", 0.9), Span(14, 18, "LOC", 0.9))
    html = render.entities("read this not that", analysis(beyond, truncated_at=9), [ENTITIES], threshold=0.5)
    assert shown_text(html) == "read this not that"
    assert re.findall(r"<mark[^>]*>(.*?)<i>", html) == ["is no", "that"]
    assert re.findall(r'<span class="mtl-cut">(.*?)</span>', html) == ["t "]


def test_markup_is_escaped_everywhere() -> None:
    evil = "<script>alert(1)</script>"
    spans = (Span(0, len(evil), "PER", 0.9),)
    pages = [
        render.entities(evil, analysis(spans), [ENTITIES], threshold=0),
        render.hits(Ranking((Hit(0, evil, 0.5),), ()), Corpus((evil,), {})),
        render.warning(evil),
        render.label_bars(
            Analysis({"m": LabelScores(evil, {evil: 1.0})}, np.zeros(2), 1, None),
            [Classification(name="m", labels=(evil, "b"))],
        ),
    ]
    for page in pages:
        assert "<script" not in page
        assert "&lt;script&gt;" in page


def test_bars_are_sorted_and_as_wide_as_their_score() -> None:
    html = render.label_bars(analysis(), [MOOD, ENTITIES])
    assert re.findall(r"<b>(.*?)</b>.*?width:([\d.]+)%", html) == [("bad", "75.0"), ("good", "25.0")]


def test_a_negative_cosine_has_an_empty_bar() -> None:
    html = render.pair_score(Comparison(-0.2, ()))
    assert "-0.200" in html
    assert "width:0.0%" in html
    assert "Longer than" not in html


def test_sentences_that_were_cut_are_named() -> None:
    assert "Longer than the model reads: The second sentence." in render.pair_score(Comparison(0.5, (1,)))
    many = render.hits(Ranking((Hit(0, "x", 0.5),), tuple(range(8))), Corpus(("x",) * 8, {}))
    assert "The query, Sentence 1, Sentence 2, Sentence 3, Sentence 4 and 3 more" in many


def test_hits_of_a_table_say_their_row() -> None:
    corpus = Corpus(("a", "b"), {}, numbers=(7, 4975))
    html = render.hits(Ranking((Hit(1, "b", 0.5),), (2,)), corpus)
    assert "(row 4,975)" in html
    assert "Row 4,975" in html
    assert "row" not in render.hits(Ranking((Hit(1, "b", 0.5),), ()), Corpus(("a", "b"), {}))
