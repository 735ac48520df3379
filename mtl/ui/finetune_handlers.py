"""What the buttons of the fine-tune tab do: the form as a request, the run as figures and words."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import gradio as gr

from mtl.errors import MtlError, SessionError
from mtl.service.capsule import read_request
from mtl.service.service import Service
from mtl.service.tuning import TuneRequest
from mtl.ui import plots_tune, render_plan, render_tune
from mtl.ui.finetune_form import (
    ALL,
    CORRECTED,
    FIELDS,
    HEADS_ONLY,
    NOTHING,
    SAMPLE,
    SAMPLE_FILE,
    TOP_LAYERS,
    UPLOAD,
    Form,
    form_of,
    request_of,
)

N_PLOTS, N_AFTER = 4, 6
"""Outputs of `look`: live figures, and what stands below them."""
CORRECTED_STEPS = 40
"""For a handful of corrections: more would spoil the head for all other texts."""
FIRST_STEP_S = 5.0
"""So long a click on Train waits for the first step; a run that takes longer to begin is shown by the clock."""


class FinetuneHandlers:
    """One method a button or field."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.n_layers = service.models.base.model.encoder.n_layers

    def start(self, key: str, model: str, *values: object) -> Iterator[tuple[object, ...]]:
        """Starts the run, and shows its first step as soon as it is taken; what follows is `look`'s."""
        run = self.service.tune(key, model, self._request(key, model, values))
        yield render_tune.status(run), *[gr.skip()] * (N_PLOTS + N_AFTER), gr.skip(), gr.skip()
        end = time.monotonic() + FIRST_STEP_S
        while run.active and not run.ahead and not run.steps and time.monotonic() < end:
            time.sleep(0.02)
        yield self.look(key, "")

    def look(self, key: str, seen: str) -> tuple[object, ...]:
        """What is new of the run; `seen` is what this returned last."""
        run = self.service.run(key)
        news = f"{run.name} {len(run.events)} {run.state}" if run else "none"
        active = run is not None and run.active
        if news == seen:
            return render_tune.status(run), *[gr.skip()] * (N_PLOTS + N_AFTER), gr.Timer(active=active), news
        picker = gr.skip() if active and seen else gr.Dropdown(choices=self.service.models.names(key))
        tuned = self.service.tuned(key, run.name) if run and not active else None
        after = tuned.aftermath if tuned else None
        runs = self.service.runs(key)
        return (
            render_tune.status(run),
            *(_shown(figure) for figure in plots_tune.live(run)),
            _shown(render_tune.scores(run)),
            _shown(render_tune.asked(after.asked if after else ())),
            _shown(render_tune.drift(after.drift if after else None)),
            _shown(render_tune.runs(runs)),
            _shown(plots_tune.runs(runs)),
            picker,
            gr.Timer(active=active),
            news,
        )

    def stop(self, key: str) -> None:
        """Ends the run before its next step."""
        self.service.stop(key)

    def take(self, key: str, model: str) -> object:
        """The chosen model as a zip, or where it is the shipped one that of the last run."""
        name = self._of_run(key, model)
        label = f"{name}: weights, settings, curves, how to load it"
        return gr.update(value=str(self.service.capsule(key, name)), label=label, visible=True)

    def moved(self, key: str, model: str) -> object:
        """The sentences before and after the run that made the chosen model, or else the last one."""
        name = self._of_run(key, model)
        return gr.update(value=plots_tune.moved(self.service.moved(key, name)), visible=True)

    def _of_run(self, key: str, model: str) -> str:
        run = self.service.run(key)
        return model if self.service.tuned(key, model) or run is None else run.name

    def network(self, key: str, model: str, *values: object) -> str:
        """The drawing of what may move."""
        form = Form(*values)  # type: ignore[arg-type]
        n_layers = self.service.models.get(key, model).model.encoder.n_layers
        request = request_of(form, Path(), form.heads, n_layers)
        return render_plan.network(self.service.network(key, model, request))

    def press(self, moves: str, top_layers: float, frozen: list[str], event: gr.EventData) -> tuple[object, ...]:
        """A part of the drawing was pressed: it is frozen or released, and what must follow it."""
        part = str(event.part)
        if part.startswith("head "):
            name = part[5:]
            return moves, top_layers, [n for n in frozen if n != name] if name in frozen else [*frozen, name]
        top = {HEADS_ONLY: 0, NOTHING: 0, TOP_LAYERS: int(top_layers), ALL: self.n_layers + 1}.get(moves, self.n_layers)
        place = self.n_layers + 1 if part == "embeddings" else self.n_layers + 1 - int(part.split()[-1])
        top = place - 1 if top >= place else place
        moves = HEADS_ONLY if top == 0 else ALL if top > self.n_layers else TOP_LAYERS
        return moves, min(max(top, 1), self.n_layers), frozen

    def preview(self, key: str, model: str, *values: object) -> tuple[str, ...]:
        """The table with its problems, the first rows as the model sees them, the mix, and the equal command."""
        try:
            found = self.service.preview(key, model, self._request(key, model, values))
        except MtlError as error:
            return render_plan.problems(str(error)), "", "", "", "", ""
        drawn = (render_plan.table(found.data), render_plan.seen(found.data), render_plan.mix(found.mix))
        return *drawn, found.again.command, found.again.recipe, found.again.python

    def measure(self, key: str, model: str, *values: object) -> str:
        """What a step takes here."""
        request = self._request(key, model, values)
        return render_plan.step_cost(self.service.measure(key, model, request), request.steps)

    def offer_heads(self, key: str, model: str) -> tuple[object, ...]:
        """The heads of the chosen model."""
        tasks = self.service.models.get(key, model).tasks
        kinds = [[t.name for t in tasks if t.kind == kind] for kind in ("classification", "ner")]
        with_weights = [t.name for t in tasks if t.n_texts == 1]
        return gr.update(choices=kinds[0]), gr.update(choices=kinds[1]), gr.update(choices=with_weights, value=[])

    def show_source(self, key: str, model: str, source: str) -> list[object]:
        """The fields of a source, and the heads that suit it."""
        shown: list[object] = [gr.update(visible=source == UPLOAD)] * 3
        if source == SAMPLE:
            return [*shown, "request", "things", Form.steps]
        if source == UPLOAD:
            return [*shown, gr.skip(), gr.skip(), Form.steps]
        kinds = self._corrected_heads(key, model)
        return [*shown, *(kinds.get(kind, "") for kind in ("classification", "ner")), CORRECTED_STEPS]

    def offer_columns(self, file: str | None, *chosen: str | None) -> list[object]:
        """The columns of an uploaded table, and what they most likely are; what was `chosen` (columns of text and
        label, heads of labels and entities) and suits the table stays."""
        try:
            found = self.service.corpora.guess(file) if file else None
        except MtlError:  # the preview says what is wrong with the table
            found = None
        if found is None:
            return [*(gr.update(choices=[], value=None) for _ in range(2)), gr.skip(), gr.skip()]
        names = list(found.columns)
        text, label, label_head, span_head = chosen
        if text in names and label in names:
            return [gr.update(choices=names), gr.update(choices=names), label_head, span_head]
        return [
            gr.update(choices=names, value=found.text),
            gr.update(choices=names, value=found.label),
            gr.update(value=found.label and "".join(c if c.isalnum() else "_" for c in found.label)),
            gr.update(value="things" if {"spans", "tags"} & set(names) else None),
        ]

    def restore(self, key: str, model: str, file: str | None) -> list[object]:
        """The settings of a capsule, field by field; then what is to be said."""
        if file is None:
            return [gr.skip()] * (len(FIELDS) + 1)
        request = read_request(file)
        form = form_of(request, self.n_layers)
        values: dict[str, object] = asdict(form)
        own = form.source == UPLOAD
        known = {task.name for task in self.service.models.get(key, model).tasks}
        values["frozen_heads"] = [name for name in form.frozen_heads if name in known]
        values["file"] = gr.update(visible=own)
        for name, value in (("text_column", form.text_column), ("label_column", form.label_column)):
            values[name] = gr.update(visible=own, choices=[value] if value else [], value=value)
        values["top_layers"] = gr.update(value=form.top_layers, visible=form.moves == TOP_LAYERS)
        values["encoder_rate"] = gr.update(value=form.encoder_rate, visible=form.moves != HEADS_ONLY)
        said = "The settings are in the fields above."
        if own:
            said += f" Choose your table `{request.path.name}` too: the zip does not hold it."
        return [*(values[name] for name in FIELDS), said]

    def _corrected_heads(self, key: str, model: str) -> dict[str, str]:
        """The heads that most corrections are of, by kind of task."""
        corrected = Counter(name for e in self.service.labelling.corrections(key) for name in e.targets)
        known = {task.name: task.kind for task in self.service.models.get(key, model).tasks}
        return {known[name]: name for name, _ in reversed(corrected.most_common()) if name in known}

    def _request(self, key: str, model: str, values: tuple[object, ...]) -> TuneRequest:
        form = Form(*values)  # type: ignore[arg-type]
        heads = form.heads or (self._corrected_heads(key, model) if form.source == CORRECTED else {})
        return request_of(form, self._path(key, form, heads), heads, self.n_layers)

    def _path(self, key: str, form: Form, heads: dict[str, str]) -> Path:
        if form.source == CORRECTED:
            return self.service.labelling.corrections_table(key, heads)
        if form.source == SAMPLE:
            return self.service.settings.samples / SAMPLE_FILE
        if form.file is None:
            raise SessionError("No table yet; upload one first.")
        return Path(form.file)


def _shown(value: object) -> object:
    """A figure or a text where there is something to show, else nothing in its place."""
    return gr.update(value=value, visible=True) if value else gr.update(visible=False)
