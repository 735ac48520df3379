"""What is asked for stays, what is not goes when there is no room."""

from __future__ import annotations

import pytest

from mtl.errors import SessionError
from mtl.service.shelf import Shelf


def test_the_value_asked_for_longest_ago_goes_first() -> None:
    shelf: Shelf[str] = Shelf(10)
    first, second = shelf.put("a", 4), shelf.put("b", 4)
    assert shelf.get(first) == "a"
    third = shelf.put("c", 4)
    assert (shelf.get(first), shelf.get(third)) == ("a", "c")
    with pytest.raises(SessionError, match="put away to make room"):
        shelf.get(second)


def test_the_newest_is_kept_whatever_it_weighs_and_what_is_dropped_is_gone() -> None:
    shelf: Shelf[str] = Shelf(10)
    ticket = shelf.put("heavy", 99)
    assert shelf.get(ticket) == "heavy"
    shelf.drop(ticket)
    shelf.drop("never there")
    with pytest.raises(SessionError, match="put away"):
        shelf.get(ticket)


def test_what_a_session_put_there_goes_with_it() -> None:
    shelf: Shelf[str] = Shelf(10)
    mine, theirs = shelf.put("a", 1, owner="me"), shelf.put("b", 1, owner="them")
    assert (shelf.owner(mine), shelf.owner("none")) == ("me", "")
    shelf.drop_all("me")
    assert shelf.get(theirs) == "b"
    with pytest.raises(SessionError, match="put away"):
        shelf.get(mine)
