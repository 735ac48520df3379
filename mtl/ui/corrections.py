"""What a person says against the model, in place: a label from a list, entities by marking words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import gradio as gr

from mtl.errors import SessionError
from mtl.service.labelling import spans_of_pieces
from mtl.service.service import Service
from mtl.types import Analysis, LabelScores, Span
from mtl.ui.context import Context, spoken
from mtl.ui.theme import TAG_COLOURS

Event = Callable[..., object]


class Corrections:
    """One method a button or field."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def begin(self, is_open: bool, key: str, model: str, text: str, task: str | None) -> tuple[object, ...]:
        """Fills in what the model says, to be changed; nothing while the panel is closed."""
        if not is_open or not text.strip():
            return gr.skip(), gr.skip(), gr.skip()
        tasks = self.service.models.get(key, model).tasks
        found = self.service.labelling.analyze(key, model, text)
        names = [one.name for one in tasks if one.kind == "classification"]
        chosen = task if task in names else next(iter(names), None)
        mine = self._said(key, text)
        spans = next((mine[t.name] for t in tasks if t.reads_words and t.name in mine), None)
        pieces = pieces_of(text, first_spans(found) if spans is None else spans)  # type: ignore[arg-type]
        labels = self._labels(key, model, text, chosen, found)
        return gr.update(choices=names, value=chosen), labels, gr.update(value=pieces)

    def offer_labels(self, key: str, model: str, text: str, task: str | None) -> object:
        """The labels of a task that was chosen."""
        return self._labels(key, model, text, task, self.service.labelling.analyze(key, model, text))

    def keep(
        self,
        key: str,
        model: str,
        text: str,
        task: str | None,
        label: str | None,
        pieces: list[dict[str, object]] | None,
    ) -> str:
        """Adds a text with what was chosen and marked otherwise than the model says.

        Raises:
            SessionError: where that is nothing, or the text is not the one that was answered.
        """
        found = self.service.labelling.analyze(key, model, text)
        said, before = found.predictions.get(task or ""), self._said(key, text)
        as_said = isinstance(said, LabelScores) and said.label == label and task not in before
        targets: dict[str, object] = {} if not task or not label or as_said else {task: label}
        heads = [one.name for one in self.service.models.get(key, model).tasks if one.reads_words]
        if pieces and heads:
            parts = [(str(one.get("token", "")), str(one["class_or_confidence"] or "") or None) for one in pieces]
            if "".join(piece for piece, _ in parts) != text:
                raise SessionError("The text has changed since; press Analyze first.")
            marked = spans_of_pieces(parts)
            old = [(span.start, span.end, span.label) for span in first_spans(found)]
            if old != [(span.start, span.end, span.label) for span in marked] or heads[0] in before:
                targets[heads[0]] = marked
        if not targets:
            raise SessionError("That is what the model says already; choose another label or mark other words first.")
        return counted(self.service.labelling.correct(key, model, text, targets))  # type: ignore[arg-type]

    def forget(self, key: str) -> str:
        """Drops them all."""
        self.service.labelling.forget_corrections(key)
        return counted(0)

    def count(self, key: str) -> str:
        """How many there are."""
        return counted(len(self.service.labelling.corrections(key)))

    def _labels(self, key: str, model: str, text: str, task: str | None, found: Analysis) -> object:
        """Chosen is what the person said before, else what the model says."""
        known = next((one.labels for one in self.service.models.get(key, model).tasks if one.name == task), ())
        said = found.predictions.get(task or "")
        label = self._said(key, text).get(task or "") or (said.label if isinstance(said, LabelScores) else None)
        return gr.update(choices=list(known), value=label)

    def _said(self, key: str, text: str) -> dict[str, object]:
        found = (e.targets for e in self.service.labelling.corrections(key) if e.texts[0] == text)
        return dict(next(found, {}))


def create_corrections(context: Context, text: gr.Textbox, again: Sequence[Event]) -> None:
    """The closed panel below an answer; what is added is offered by the fine-tune tab. `again` are the events that
    answer anew."""
    on = Corrections(context.service)
    is_open = gr.State(False)
    with gr.Accordion("Is something wrong? Correct it", open=False, elem_id="correct") as panel:
        gr.Markdown("Choose the right label; mark words to name them, press a name to change it. Then add the text.")
        with gr.Row():
            task = gr.Dropdown([], label="Task", elem_id="correct-task")
            label = gr.Dropdown([], label="Right label", elem_id="correct-label")
        spans = gr.HighlightedText(
            label="Entities",
            interactive=True,
            color_map=_colours(context),
            combine_adjacent=True,
            elem_id="correct-spans",
        )
        with gr.Row():
            add = gr.Button("Add to my corrections", variant="primary", elem_id="correct-go")
            drop = gr.Button("Forget them all", elem_id="correct-forget")
        note = gr.Markdown(counted(0), elem_id="correct-note")
    fill = [*context.who, text, task]
    quiet = {"api_name": False, "show_progress": "hidden"}
    panel.expand(lambda: True, None, is_open, queue=False, **quiet).then(
        spoken(on.begin), [is_open, *fill], [task, label, spans], **quiet
    )
    panel.collapse(lambda: False, None, is_open, queue=False, **quiet)
    for trigger in again:
        trigger(spoken(on.begin), [is_open, *fill], [task, label, spans], **quiet)
    task.input(spoken(on.offer_labels), fill, label, **quiet)
    context.ready.then(on.count, context.session, note, **quiet)
    add.click(spoken(on.keep), [*context.who, text, task, label, spans], note, api_name="correct")
    drop.click(on.forget, context.session, note, api_name=False)


def _colours(context: Context) -> dict[str, str]:
    return {
        name: TAG_COLOURS[place % len(TAG_COLOURS)]
        for one in context.service.models.base.tasks
        if one.reads_words
        for place, name in enumerate(one.labels)
    }


def counted(count: int) -> str:
    """How many texts are corrected, and what to do with them."""
    if not count:
        return "No texts corrected yet."
    many = f"{count} text{'s' * (count != 1)}"
    return f"{many} corrected. Under **Fine-tune** choose *My corrections* to train on them."


def first_spans(found: Analysis) -> tuple[Span, ...]:
    """What the first task that marks words says."""
    return next((value for value in found.predictions.values() if isinstance(value, tuple)), ())


def pieces_of(text: str, spans: Sequence[Span]) -> list[tuple[str, str | None]]:
    """The text in pieces, as `gr.HighlightedText` takes it."""
    pieces: list[tuple[str, str | None]] = []
    place = 0
    for span in spans:
        pieces += [(text[place : span.start], None), (text[span.start : span.end], span.label)]
        place = span.end
    return [piece for piece in [*pieces, (text[place:], None)] if piece[0]]
