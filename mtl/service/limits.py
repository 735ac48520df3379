"""What the app takes at most, said in a sentence where it is passed."""

from __future__ import annotations

from collections.abc import Sequence

from mtl.errors import SessionError
from mtl.settings import Settings


def lines_of(text: str, settings: Settings) -> list[str]:
    """The lines of a pasted list that have something on them.

    Raises:
        SessionError: where there are none, too many, or too long ones.
    """
    limit = settings.max_characters * 50
    if len(text) > limit:
        raise SessionError(f"The list has {len(text):,} characters; the limit is {limit:,}. Shorten it.")
    return checked([line.strip() for line in text.splitlines() if line.strip()], settings)


def checked(
    texts: Sequence[str],
    settings: Settings,
    *,
    what: Sequence[str] | None = None,
    limit: int | None = None,
    list_name: str = "The list",
) -> list[str]:
    """The texts, where they are neither empty, nor too many, nor too long; `what` are their names.

    Raises:
        SessionError: where they are.
    """
    counted(texts, limit or settings.max_texts, list_name)
    for place, text in enumerate(texts):
        name = what[place] if what else f"Text {place + 1}"
        if not text.strip():
            raise SessionError(f"{name} is empty; write something first.")
        if len(text) > settings.max_characters:
            raise SessionError(
                f"{name} has {len(text):,} characters; the limit is {settings.max_characters:,}. Shorten it."
            )
    return list(texts)


def counted(texts: Sequence[str], limit: int, list_name: str = "The list") -> None:
    """Looks at no text, only at how many there are.

    Raises:
        SessionError: where there are none, or too many.
    """
    if not texts:
        mend = "write one sentence a line" if list_name == "The list" else "send at least one text"
        raise SessionError(f"{list_name} is empty; {mend}.")
    if len(texts) > limit:
        raise SessionError(f"{list_name} has {len(texts):,} texts; the limit is {limit:,}. Shorten it.")
