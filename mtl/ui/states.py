"""What Gradio keeps of every visitor: half a megabyte of components and what they last showed, for an hour after the
page was closed, and as much for every call of a program. Let go here as soon as nobody will ask for it."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import gradio as gr

MOST_SESSIONS = 1000
"""Of pages and programs, that Gradio keeps at most."""


def forget_idle(demo: gr.Blocks, is_open: Callable[[str], bool], after_s: float) -> int:
    """Forgets the sessions that are not of an open page and were not used for so long; how many they were.

    Gradio has no call for it; where a version keeps them otherwise, nothing is done.
    """
    holder = demo.state_holder
    used: dict[str, datetime.datetime] = getattr(holder, "time_last_used", {})
    oldest = datetime.datetime.now() - datetime.timedelta(seconds=after_s)
    idle = [page for page, last in list(used.items()) if last < oldest and not is_open(page)]
    for page in idle:
        with holder.lock:
            holder.session_data.pop(page, None)
            used.pop(page, None)
    return len(idle)
