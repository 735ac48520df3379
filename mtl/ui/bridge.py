"""What happens on a figure, brought to Python: the one place with scripts of our own.

`gr.Plot` tells of no click. A small hidden `gr.HTML` listens to the figure's events and hands them on as its value.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import gradio as gr

_LISTEN = """
const figure = FIGURE, self = element;
const own = () => document.querySelector(`#${figure} .js-plotly-plot`);
const places = event => (event?.points ?? []).map(point => point.customdata).filter(place => place !== undefined);
const tell = (kind, event) => {
  const found = places(event).map(place => Array.isArray(place) ? place[0] : place);
  if (!found.length && kind !== "release") return;
  props.value = JSON.stringify({kind, places: found, at: Date.now()});
  trigger("change");
};
setInterval(() => {
  const plot = own();
  if (!plot || plot.mtlHeard || !plot.on) return;
  plot.mtlHeard = true;
  plot.on("plotly_click", event => tell("click", event));
  plot.on("plotly_selected", event => tell("select", event));
  plot.on("plotly_deselect", () => tell("release"));
}, 250);
"""

MAX_CHARACTERS = 4000
"""Of a field in a link: browsers and proxies cut longer addresses."""

COPY_LINK = """
(...values) => {
  const names = NAMES;
  const query = new URLSearchParams();
  names.forEach((name, place) => {
    const value = values[place];
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  });
  const tab = document.querySelector("button[role=tab][aria-selected=true]");
  if (tab) query.set("tab", tab.textContent.trim());
  const long = names.find((name, place) => String(values[place] ?? "").length > LIMIT);
  if (long) return `What you filled in (“${long}”) is too long for a link; send it as a file.`;
  const link = `${location.origin}${location.pathname}?${query}`;
  navigator.clipboard?.writeText(link).catch(() => {});
  return link;
}
"""


def figure_events(plot_id: str) -> gr.HTML:
    """A hidden field whose value is what was last clicked or marked on the figure with that id."""
    return gr.HTML(
        "",
        js_on_load=_LISTEN.replace("FIGURE", json.dumps(plot_id)),
        elem_id=f"{plot_id}-events",
        visible="hidden",
    )


def is_release(value: object) -> bool:
    """Whether marked points were let go."""
    return '"kind":"release"' in str(value or "").replace(" ", "")


def places_of(value: object, kind: str) -> list[int]:
    """The points that an event of that kind names; none for anything else."""
    try:
        event = json.loads(str(value or "{}"))
        return [int(place) for place in event["places"]] if event.get("kind") == kind else []
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def link_script(names: Sequence[str]) -> str:
    """A script that makes a link of the values of the fields with these names, and copies it."""
    return COPY_LINK.replace("NAMES", json.dumps(list(names))).replace("LIMIT", str(MAX_CHARACTERS))
