"""A link that carries what stands in the fields: made by a button, opened by anybody, answered at once."""

from __future__ import annotations

import gradio as gr

from mtl.ui.bridge import MAX_CHARACTERS, link_script
from mtl.ui.context import Answer, Context


def create_link(context: Context, tabs: gr.Tabs, names: tuple[str, ...]) -> None:
    """The button below all tabs; `names` are the ids of the tabs."""
    fields = context.links.fields
    with gr.Row(elem_classes="mtl-link"):
        button = gr.Button("Copy a link to what is filled in", size="sm", elem_id="link-go", scale=0, min_width=280)
        link = gr.Textbox(show_label=False, label="Link", placeholder="The link appears here", max_lines=1,
                          elem_id="link", interactive=False, container=False)  # fmt: skip
    button.click(None, list(fields.values()), link, js=link_script(list(fields)), api_name=False)

    def fill(request: gr.Request) -> object:
        asked = dict(request.query_params)
        long = [name for name in fields if len(asked.get(name, "")) > MAX_CHARACTERS]
        if long:
            gr.Warning(f"The link carries too much for {long[0]!r}, which is left as it is.")
        known = {name: asked[name] for name in fields if name in asked and name not in long}
        if not known and asked.get("tab") not in names:
            return gr.skip()
        tab = gr.Tabs(selected=asked["tab"]) if asked.get("tab") in names else gr.skip()
        return [tab, *(gr.update(value=known[name]) if name in known else gr.skip() for name in fields)]

    step = context.ready.then(fill, None, [tabs, *fields.values()], api_name=False, show_progress="hidden")
    for answer in context.links.answers:
        step = step.then(
            _where_asked(answer, frozenset(fields)),
            answer.inputs,
            answer.outputs,
            api_name=False,
            show_progress="hidden",
        )


def _where_asked(answer: Answer, names: frozenset[str]) -> object:
    """The handler, for pages that were opened by a link alone."""

    def handler(request: gr.Request, *values: object) -> object:
        return answer.handler(*values) if names & set(dict(request.query_params)) else gr.skip()

    return handler
