"""What the buttons of the fine-tune tab do: the form as a request, the run as figures and words."""

from __future__ import annotations

import importlib.util
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path

import gradio as gr

from mtl.errors import SessionError
from mtl.service import planning
from mtl.service.service import Service
from mtl.service.tuning import TuneRequest
from mtl.training.config import FreezePolicy, LoRA
from mtl.ui import plots, render, render_reading, render_tune

SAMPLE, UPLOAD, CORRECTED = "Sample: help-desk requests", "My table", "My corrections"
NOTHING = "Nothing: only measure"
HEADS_ONLY = "Heads only (fast, nothing is forgotten)"
TOP_LAYERS = "Top layers and heads"
GRADUAL = "Heads first, then layer by layer"
LORA = "Small adapters in every layer (LoRA)"
ALL = "Everything"
TARGETS = ("text", "tokens", "tags", "spans")


def presets() -> list[str]:
    """What may move, in words; adapters only where peft is installed."""
    adapters = [LORA] if importlib.util.find_spec("peft") else []
    return [NOTHING, HEADS_ONLY, TOP_LAYERS, GRADUAL, *adapters, ALL]


@dataclass(frozen=True)
class Form:
    """The fields of the tab, in the order in which handlers get their values."""

    source: str
    file: str | None
    text_column: str | None
    label_column: str | None
    label_head: str | None
    span_head: str | None
    moves: str
    top_layers: float
    frozen_heads: list[str]
    steps: float
    rate: float
    keep: bool

    @property
    def heads(self) -> dict[str, str]:
        """Head names by kind of task; none that is blank."""
        named = {"classification": (self.label_head or "").strip(), "ner": (self.span_head or "").strip()}
        return {kind: name for kind, name in named.items() if name}


FIELDS = tuple(one.name for one in fields(Form))


class FinetuneHandlers:
    """One method a button or field."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.n_layers = service.models.base.model.encoder.n_layers

    def start(self, key: str, model: str, *values: object) -> tuple[str, gr.Timer]:
        """Starts the run."""
        run = self.service.tune(key, model, self._request(key, model, values))
        return render.run_status(run), gr.Timer(active=True)

    def look(self, key: str, seen: int) -> tuple[object, ...]:
        """What is new of the run."""
        run = self.service.run(key)
        news = len(run.events) if run else 0
        active = run is not None and run.active
        drawing = plots.loss_curve(run) if news != seen else gr.skip()
        open_list = active and seen  # choices that change would close it
        picker = gr.skip() if open_list else gr.Dropdown(choices=self.service.models.names(key))
        tuned = self.service.tuned(key, run.name) if run and not active else None
        cost = render_reading.drift(tuned.drift if tuned else None)
        runs = render_tune.runs(self.service.runs(key))
        scores = render.run_scores(run)
        return render.run_status(run), drawing, scores, cost, runs, picker, gr.Timer(active=active), news

    def stop(self, key: str) -> None:
        """Ends the run before its next step."""
        self.service.stop(key)

    def take(self, key: str, model: str) -> object:
        """The chosen model as a zip."""
        return gr.update(value=str(self.service.capsule(key, model)), visible=True)

    def network(self, key: str, model: str, *values: object) -> str:
        """The drawing of what may move."""
        form = Form(*values)  # type: ignore[arg-type]
        base = self.service.models.get(key, model)
        policy = self._policy(form, base.model.encoder.n_layers)
        return render_tune.network(planning.network(base, policy, list(form.heads.values())))

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

    def data(self, key: str, model: str, *values: object) -> str:
        """The rows as the model sees them."""
        base = self.service.models.get(key, model)
        return render_tune.data(planning.look(base, self._request(key, model, values), self.service.settings))

    def measure(self, key: str, model: str, *values: object) -> str:
        """What a step takes here."""
        request = self._request(key, model, values)
        return render_tune.step_cost(self.service.measure(key, model, request), request.steps)

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
            return [*shown, "request", "things"]
        if source == UPLOAD:
            return [*shown, gr.skip(), gr.skip()]
        kinds = self._corrected_heads(key, model)
        return [*shown, *(kinds.get(kind, "") for kind in ("classification", "ner"))]

    def offer_columns(self, file: str | None) -> list[object]:
        """The columns of an uploaded table, and what they most likely are."""
        names = self.service.corpora.columns(file) if file else ()
        text = next((name for name in names if name in ("text", "tokens")), names[0] if names else None)
        others = [name for name in names if name not in TARGETS and name != text]
        label = "label" if "label" in others else next(iter(others), None)
        spans = "things" if {"spans", "tags"} & set(names) else None
        return [
            gr.update(choices=list(names), value=text),
            gr.update(choices=list(names), value=label),
            gr.update(value=label and "".join(c if c.isalnum() else "_" for c in label)),
            gr.update(value=spans),
        ]

    def _corrected_heads(self, key: str, model: str) -> dict[str, str]:
        """The heads that most corrections are of, by kind of task."""
        corrected = Counter(name for e in self.service.labelling.corrections(key) for name in e.targets)
        known = {task.name: task.kind for task in self.service.models.get(key, model).tasks}
        return {known[name]: name for name, _ in reversed(corrected.most_common()) if name in known}

    def _request(self, key: str, model: str, values: tuple[object, ...]) -> TuneRequest:
        form = Form(*values)  # type: ignore[arg-type]
        columns = {"text": form.text_column, "label": form.label_column} if form.source == UPLOAD else {}
        heads = form.heads or (self._corrected_heads(key, model) if form.source == CORRECTED else {})
        return TuneRequest(
            path=self._path(key, form, heads),
            heads=heads,
            columns={ours: theirs for ours, theirs in columns.items() if theirs and theirs != ours},
            freeze=self._policy(form, self.n_layers),
            steps=int(form.steps),
            head_lr=form.rate,
            retention=form.keep,
        )

    def _path(self, key: str, form: Form, heads: dict[str, str]) -> Path:
        if form.source == CORRECTED:
            return self.service.labelling.corrections_table(key, heads)
        if form.source == SAMPLE:
            return self.service.settings.samples / "helpdesk.marked"
        if form.file is None:
            raise SessionError("No table yet; upload one first.")
        return Path(form.file)

    @staticmethod
    def _policy(form: Form, n_layers: int) -> FreezePolicy:
        heads = tuple(form.frozen_heads)
        policies = {
            NOTHING: lambda: FreezePolicy(everything=True),
            HEADS_ONLY: lambda: FreezePolicy(encoder=True, heads=heads),
            TOP_LAYERS: lambda: FreezePolicy(embeddings=True, layers=n_layers - int(form.top_layers), heads=heads),
            GRADUAL: lambda: FreezePolicy(gradual=min(0.1, 0.9 / (n_layers + 1)), heads=heads),
            LORA: lambda: FreezePolicy(lora=LoRA(), heads=heads),
            ALL: lambda: FreezePolicy(heads=heads),
        }
        return policies[form.moves]()
