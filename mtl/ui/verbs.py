"""What programs call through Gradio: plain values in and out, for `gradio_client` and as the tools of an MCP server."""

from __future__ import annotations

from typing import Any

import gradio as gr

from mtl.service.service import Service
from mtl.service.serving import entities_of
from mtl.types import Analysis, LabelScores
from mtl.ui.context import SHARED, spoken

Entities = list[dict[str, Any]]


def create_verbs(service: Service) -> None:
    """Names the verbs; none of them has a place on the page."""
    serving = service.serving

    def embed(texts: list[str]) -> list[list[float]]:
        """Sentence vectors of unit length: the dot product of two of them says how alike two sentences are.

        Args:
            texts: English sentences or short paragraphs.
        """
        return [one.vector.tolist() for one in serving.embed(texts, name="texts").found]

    def similarity(left: list[str], right: list[str]) -> list[list[float]]:
        """How alike sentences are, from -1 to 1: row i, column j compares left[i] with right[j].

        Args:
            left: English sentences.
            right: English sentences to compare them with.
        """
        found: list[list[float]] = serving.similarity(left, right).scores.tolist()
        return found

    def analyze(texts: list[str]) -> list[dict[str, Any]]:
        """Everything the model says of each text, from one pass: labels with probabilities, and entities.

        Args:
            texts: English sentences or short paragraphs.
        """
        read = serving.analyze(texts)
        return [
            {**_labels(one), **_entities(text, one), "truncated_at": one.truncated_at}
            for text, one in zip(read.texts, read.found, strict=True)
        ]

    def classify(texts: list[str]) -> list[dict[str, Any]]:
        """The labels of each text, by task, with the probability of every label.

        Args:
            texts: English sentences or short paragraphs.
        """
        return [_labels(one) for one in serving.analyze(texts, serving.of_kind("classification", None)).found]

    def entities(texts: list[str]) -> list[Entities]:
        """People, places, organisations and so on in each text, as text[start:end] in Unicode code points.

        Args:
            texts: English sentences or short paragraphs.
        """
        read = serving.analyze(texts, serving.of_kind("ner", None))
        found = [_entities(text, one) for text, one in zip(read.texts, read.found, strict=True)]
        return [[entity for of_task in by_task.values() for entity in of_task] for by_task in found]

    def tasks() -> list[dict[str, Any]]:
        """What the model was trained for: the name, kind and labels of each task."""
        return [{"name": task.name, "kind": task.kind, "labels": list(task.labels)} for task in serving.tasks]

    for verb in (embed, similarity, analyze, classify, entities, tasks):
        gr.api(spoken(verb), api_name=verb.__name__, concurrency_limit=SHARED)


def _labels(one: Analysis) -> dict[str, Any]:
    return {
        name: {"label": said.label, "scores": dict(said.scores)}
        for name, said in one.predictions.items()
        if isinstance(said, LabelScores)
    }


def _entities(text: str, one: Analysis) -> dict[str, Entities]:
    return {name: entities_of(text, said) for name, said in one.predictions.items() if isinstance(said, tuple)}
