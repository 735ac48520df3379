"""Replaced mentions: another name of the same type in the same sentence, and the span where it now stands."""

from __future__ import annotations

import numpy as np
import pytest

from mtl.data.mentions import Mentions
from mtl.types import Example, Span

ROWS = [
    Example(
        ("Ann met Bob in Rome",), {"ner": (Span(0, 3, "PER"), Span(8, 11, "PER"), Span(15, 19, "LOC")), "topic": "a"}
    ),
    Example(("Bartholomew left New York",), {"ner": (Span(0, 11, "PER"), Span(17, 25, "LOC"))}),
    Example(("@bob is here",), {"ner": (Span(0, 4, "PER"),)}),
    Example(("nobody here",), {"ner": ()}),
    Example(("no gold",), {"topic": "b"}),
]
NAMES = {"PER": {"Ann", "Bob", "Bartholomew"}, "LOC": {"Rome", "New York"}}


def cut(row: Example) -> list[tuple[str, str]]:
    spans = row.targets["ner"]
    assert isinstance(spans, tuple)
    return [(row.texts[0][span.start : span.end], span.label) for span in spans]


def test_a_mention_becomes_another_of_its_type_and_its_span_moves_along() -> None:
    mentions, rng = Mentions(ROWS), np.random.default_rng(0)
    seen: set[tuple[str, str]] = set()
    for _ in range(50):
        row = mentions.replaced(ROWS[0], 1.0, rng)
        found = cut(row)
        (first, _), (second, _), (third, _) = found
        assert row.texts == (f"{first} met {second} in {third}",)
        assert all(name in NAMES[label] for name, label in found)
        assert row.targets["topic"] == "a"
        seen.update(found)
    assert seen == {(name, label) for label, names in NAMES.items() for name in names}


def test_a_probability_is_one_of_each_mention() -> None:
    row = Example(("x " * 1000,), {"ner": tuple(Span(2 * i, 2 * i + 1, "PER") for i in range(1000))})
    mentions = Mentions([row, Example(("y",), {"ner": (Span(0, 1, "PER"),)})])
    mentions.known["ner", "PER"] = ["y"]
    changed = mentions.replaced(row, 0.3, np.random.default_rng(0)).texts[0].count("y")
    assert changed == pytest.approx(300, abs=45)  # three standard deviations
    assert mentions.replaced(row, 0.0, np.random.default_rng(0)) == row


def test_user_names_stay_and_are_given_to_no_one() -> None:
    mentions = Mentions(ROWS)
    assert mentions.known["ner", "PER"] == ["Ann", "Bob", "Bartholomew"]
    assert mentions.replaced(ROWS[2], 1.0, np.random.default_rng(0)) == ROWS[2]


@pytest.mark.parametrize("row", ROWS[3:], ids=["no entity", "no gold"])
def test_a_row_without_mentions_stays(row: Example) -> None:
    assert Mentions(ROWS).replaced(row, 1.0, np.random.default_rng(0)) is row


def test_mentions_of_two_tasks_in_a_text_are_refused() -> None:
    row = Example(("Ann ran",), {"ner": (Span(0, 3, "PER"),), "slots": (Span(4, 7, "VERB"),)})
    with pytest.raises(ValueError, match="ner, slots share a text"):
        Mentions([row]).replaced(row, 1.0, np.random.default_rng(0))
