"""Where the sentences of a tab come from: samples, pasted lines, a table. Used by every tab that reads many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import gradio as gr

from mtl.errors import SessionError
from mtl.service.corpora import Corpora, Corpus
from mtl.ui.context import spoken

SAMPLES, PASTED, TABLE = "Sample sentences", "Pasted lines", "A table"

Offer: TypeAlias = Callable[[str | None], object]


@dataclass(frozen=True)
class CorpusInput:
    """The four fields, in the order in which `corpus` takes their values."""

    source: gr.Radio
    lines: gr.Textbox
    file: gr.File
    column: gr.Dropdown

    @property
    def fields(self) -> list[gr.components.Component]:
        return [self.source, self.lines, self.file, self.column]


def create_corpus_input(corpora: Corpora, name: str, *, pasted: str = "", start: str = SAMPLES) -> CorpusInput:
    """The fields; `name` begins their ids on the page, `pasted` stands in the box of lines, `start` is chosen first."""

    @spoken
    def offer_columns(file: str | None) -> object:
        return gr.update(choices=list(corpora.columns(file)) if file else [], value=None)

    def show(source: str) -> list[dict[str, object]]:
        return [gr.update(visible=source == PASTED), *[gr.update(visible=source == TABLE)] * 2]

    source = gr.Radio([SAMPLES, PASTED, TABLE], value=start, label="Sentences", elem_id=f"{name}-source", min_width=320)
    is_pasted = start == PASTED
    lines = gr.Textbox(pasted, label="Sentences, one a line", lines=6, visible=is_pasted, elem_id=f"{name}-lines")
    file = gr.File(label="CSV, TSV, JSONL or Parquet (also .gz)", visible=False, elem_id=f"{name}-file", height=120)
    column = gr.Dropdown(
        [],
        label="Column that holds the text (blank: 'text', else the longest)",
        visible=False,
        elem_id=f"{name}-column",
    )
    source.change(show, source, [lines, file, column], api_name=False, queue=False)
    file.change(offer_columns, file, column, api_name=False, show_progress="hidden")
    return CorpusInput(source, lines, file, column)


def corpus_of(corpora: Corpora, values: Sequence[object]) -> Corpus:
    """The corpus that the values of the four fields name.

    Raises:
        SessionError: where a table is wanted and none was given.
    """
    source, lines, file, column = values
    if source == SAMPLES:
        return corpora.sample
    if source == PASTED:
        return corpora.from_lines(str(lines or ""))
    if not file:
        raise SessionError("No table yet; upload a CSV, TSV, JSONL or Parquet file first.")
    return corpora.from_file(str(file), str(column) if column else None)
