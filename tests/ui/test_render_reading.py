"""What was read, as HTML: values as they are, typed markup as text."""

from __future__ import annotations

import re

import numpy as np

from mtl.inference.explain import Alignment, Reasons, TokenReading, WordReason
from mtl.service.corpora import Corpus
from mtl.service.maps import Found, MapPoints, Placed
from mtl.service.regions import Count, Region
from mtl.service.similarity import Duplicates, Hit, LengthCost, Pair, XRay
from mtl.tasks import Classification, NamedEntities
from mtl.types import Analysis, LabelScores, Span
from mtl.ui import render_map, render_reading
from mtl.ui.render_reading import Answered

TASKS = (Classification(name="topic", labels=("food", "law")), NamedEntities(name="entities", labels=("LOC",)))
BAD = "<img src=x onerror=alert(1)>"
BADS = (Count(BAD, 1, 1, 1),)


def analysis(label: str = "food", spans: tuple[Span, ...] = (), *, cut: int | None = None) -> Analysis:
    vector = np.array([1, 0], np.float32)
    return Analysis({"topic": LabelScores(label, {label: 0.8}), "entities": spans}, vector, 4, cut)


def test_typed_markup_stays_text_everywhere() -> None:
    reading = TokenReading(
        BAD, np.array([[0, 0], [0, 4]]), np.array([-1, 0]), np.ones((2, 2), np.float32), "mean", analysis()
    )
    found = [
        render_reading.xray(XRay(reading, (Hit(0, BAD, 0.5),)), TASKS),
        render_reading.duplicates(Duplicates((Pair(0, 1, 0.9),), (1,)), Corpus((BAD, BAD), {})),
        render_reading.neighbours([Hit(0, BAD, 0.5)], BAD),
        render_reading.reasons(BAD, Reasons("topic", BAD, 0.5, (WordReason(1, 4, 0.2),))),
        render_reading.compared(BAD, Answered(BAD, TASKS, analysis()), Answered("b", TASKS, analysis("law"))),
        render_reading.region(
            Region(1, {BAD: (Count(BAD, 1, 1, 1),)}, (Count(BAD, 1, 1, 1),), 1, 1, (BAD,), (BAD,), {})
        ),
        render_reading.alignment_note(Alignment((BAD,), (BAD,), np.ones((1, 1)), np.ones((1, 1)), 1)),
    ]
    assert [html for html in found if "<img" in html] == []
    assert "\\<img" in render_map.place_note(Placed(BAD, np.zeros(2), BAD))


def test_parts_of_tokens_are_shown_in_percent() -> None:
    states = np.array([[1, 0], [3, 0]], np.float32)
    reading = TokenReading("cat", np.array([[0, 0], [0, 3]]), np.array([-1, 0]), states, "mean", analysis())
    html = render_reading.xray(XRay(reading, ()), TASKS)
    assert re.findall(r"(\[begin\]|cat)<i>([\d.]+)", html) == [("[begin]", "25.0"), ("cat", "75.0")]


def test_reasons_colour_what_speaks_for_and_against() -> None:
    words = (WordReason(0, 3, 0.4), WordReason(4, 7, -0.2))
    html = render_reading.reasons("yes but", Reasons("topic", "food", 0.9, words))
    shades = re.findall(r"--why:(#\w+);--much:(\d+)%[^>]*>(\w+)<", html)
    assert shades == [("#1d64b4", "60", "yes"), ("#b02a37", "30", "but")]
    assert "yes (+0.40)" in html
    assert "No single word decides" in render_reading.reasons("x", Reasons("t", "l", 0.9, ()))


def test_two_models_are_told_apart_by_labels_spans_and_heads() -> None:
    text = "soup in Rome"
    first = Answered("default", TASKS, analysis("food", (Span(8, 12, "LOC"),)))
    other = analysis("law")
    second = Answered(
        "tuned 1", TASKS, Analysis({**other.predictions, "mood": LabelScores("x", {"x": 1})}, other.vector, 4, None)
    )
    html = render_reading.compared(text, first, second)
    assert "topic: <b>food</b> and <b>law</b> (80% and 80%)" in html
    assert "only default: <b>Rome</b> as LOC" in html
    assert "only tuned 1 has the head mood" in html
    assert "Cosine of the two sentence vectors: 1.000" in html
    assert "Both say the same" in render_reading.compared(text, first, first)


def test_a_region_shows_shares_and_accuracy() -> None:
    found = Region(
        7, {"topic": (Count("food", 6, 6 / 7, 0.25),)}, (), 0.8, 0.4, ("a soup",), ("soup", "bread"), {"topic": 0.5}
    )
    html = render_reading.region(found)
    assert "7 sentences marked" in html
    assert "topic, 50% right here" in html
    assert "<td>food</td><td class='num'>6</td><td class='num'>86%</td><td class='num'>25%</td>" in html
    assert "soup, bread" in html
    assert "0.80, tighter than the whole map (0.40)" in html


def test_a_length_says_what_it_keeps_and_takes() -> None:
    html = render_reading.length_cost(LengthCost(96, 0.43, 0.467, 0.485, 384.0), 0.703, 0.578)
    for words in ("0.703", "96 numbers; 0.578 with all", "43%", "0.467", "0.485", "0.38 GB"):
        assert words in html


def test_the_map_note_says_all_that_is_missing() -> None:
    corpus = Corpus(("a", "b"), {}, left_out=3, drawn_from=9000, drawn_by="kind")
    points = MapPoints(corpus, (analysis(), analysis(cut=4)), np.zeros((2, 2), np.float32), "UMAP", trust=0.97)
    note = render_map.map_note(points)
    for words in (
        "2 sentences placed by **UMAP**",
        "Trustworthiness 0.97: neighbours here are nearly always",
        "a sample of 9,000 rows, in proportion to kind",
        "1 of them are longer",
        "3 rows without a text",
    ):
        assert words in note
    assert "2 sentences hold “a”" in render_map.search_note(Found((0, 1), by_meaning=False), "a")
    assert "No sentence holds “a”; the 1 that mean" in render_map.search_note(Found((0,), by_meaning=True), "a")
