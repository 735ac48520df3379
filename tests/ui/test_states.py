"""What Gradio keeps of visitors who left is let go, and of those who are there it stays."""

from __future__ import annotations

import datetime

import gradio as gr
from gradio.state_holder import StateHolder

from mtl.ui.states import forget_idle


def test_only_what_is_idle_and_of_no_open_page_is_forgotten() -> None:
    with gr.Blocks() as demo:
        gr.Textbox("x")
        kept = gr.State(0)
    holder = StateHolder()
    holder.set_blocks(demo)
    for name in ("open page", "program that left", "busy program"):
        holder[name][kept._id] = name
    long_ago = datetime.datetime.now() - datetime.timedelta(seconds=100)
    holder.time_last_used.update({"open page": long_ago, "program that left": long_ago})
    assert forget_idle(demo, lambda page: page == "open page", after_s=60) == 1
    assert list(holder.session_data) == ["open page", "busy program"]
    assert holder["open page"][kept._id] == "open page"
    assert forget_idle(demo, lambda page: False, after_s=-1) == 2
    assert list(holder.session_data) == []
