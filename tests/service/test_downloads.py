"""Files for download are apart from each other and do not stay for ever."""

from __future__ import annotations

import os
import time

import pytest

from mtl.service import downloads
from mtl.service.downloads import place_for


def test_two_files_of_one_name_do_not_meet() -> None:
    first, second = place_for("map.csv"), place_for("map.csv")
    first.write_text("a")
    second.write_text("b")
    assert (first.name, first.read_text(), second.read_text()) == ("map.csv", "a", "b")


def test_what_is_old_or_too_much_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = place_for("a.csv"), place_for("b.csv")
    old.write_text("x" * 100)
    new.write_text("y" * 100)
    long_ago = time.time() - downloads.KEPT_S - 60
    os.utime(old.parent, (long_ago, long_ago))
    place_for("c.csv")
    assert (old.exists(), new.exists()) == (False, True)
    monkeypatch.setattr(downloads, "MOST_BYTES", 50)
    place_for("d.csv")
    assert not new.exists()
