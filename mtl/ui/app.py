"""The page as a table of contents: a model picker on top, four tabs below."""

from __future__ import annotations

import gradio as gr

from mtl.service.models import BASE
from mtl.service.service import Service
from mtl.service.sessions import MOST_OF_A_KEY
from mtl.ui.analyze_tab import create_analyze_tab
from mtl.ui.context import Context, Links
from mtl.ui.finetune_tab import create_finetune_tab
from mtl.ui.links import create_link
from mtl.ui.map_tab import create_map_tab
from mtl.ui.sharing import create_sharing_panel
from mtl.ui.similarity_tab import create_similarity_tab
from mtl.ui.storage import narrow_gradio
from mtl.ui.verbs import create_verbs

TABS = (
    ("Similarity", create_similarity_tab),
    ("Map", create_map_tab),
    ("Classify & entities", create_analyze_tab),
    ("Fine-tune", create_finetune_tab),
)


PING_S = 30
"""So often an open page says that it is; browsers let those in the background do so once a minute."""


def build_ui(service: Service) -> gr.Blocks:
    """The whole page; examples are answered while it is built."""
    narrow_gradio()
    with gr.Blocks(
        title="mtl: one sentence encoder, many tasks", analytics_enabled=False, delete_cache=(3600, 3600)
    ) as demo:
        session = gr.BrowserState("", storage_key="mtl-session")
        gr.Markdown(
            "# mtl\nOne sentence encoder, many tasks, one pass: compare, map, label, mark entities, fine-tune. "
            "The shipped model reads English.",
            elem_classes="mtl-head",
        )
        model = gr.Dropdown([BASE], value=BASE, label="Model", elem_id="model", filterable=False)

        def welcome(key: str, request: gr.Request) -> str:
            """Gives a browser that comes for the first time its key, and knows the page by its number."""
            key = key if 0 < len(key or "") <= MOST_OF_A_KEY else service.sessions.new_key()
            service.sessions.arrived(key, str(request.session_hash))
            return key

        def leave(request: gr.Request) -> None:
            """A page was closed: its session has a while to come back."""
            service.sessions.gone(str(request.session_hash))

        def ping(key: str, request: gr.Request) -> None:
            """A page is still open, also where its connection broke in between."""
            if key:
                service.sessions.arrived(key, str(request.session_hash))

        gr.Timer(PING_S).tick(ping, session, None, api_name=False, queue=False, show_progress="hidden")
        ready = demo.load(welcome, session, session, api_name=False, queue=False)
        demo.unload(leave)
        context = Context(service, session, model, ready, Links())
        with gr.Tabs() as tabs:
            for name, create in TABS:
                with gr.Tab(name, id=name):
                    create(context)
        create_link(context, tabs, tuple(name for name, _ in TABS))
        if service.sharing is not None:
            create_sharing_panel(service.sharing)
        for event in demo.fns.values():  # they answer with pieces of the page: to be called, but not offered as tools
            if event.api_visibility == "public":
                event.api_visibility = "undocumented"
        create_verbs(service)
    demo.queue(default_concurrency_limit=4, max_size=64)
    return demo
