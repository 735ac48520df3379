"""What a page says of clicks and marks is believed only where it makes sense."""

from __future__ import annotations

import json

import pytest

from mtl.ui.bridge import link_script, places_of


def test_places_of_an_event_are_of_its_kind() -> None:
    event = json.dumps({"kind": "click", "places": [3, 1.0], "at": 5})
    assert places_of(event, "click") == [3, 1]
    assert places_of(event, "select") == []


@pytest.mark.parametrize("value", [None, "", "x", "[]", "3", '{"kind": "click"}', '{"kind": "click", "places": ["a"]}'])
def test_nonsense_is_no_place(value: object) -> None:
    assert places_of(value, "click") == []


def test_names_of_fields_are_quoted_in_the_script() -> None:
    assert 'names = ["a\\"b"]' in link_script(['a"b'])
