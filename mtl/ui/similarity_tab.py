"""How alike sentences are and why: a pair, lists, a search, near-duplicates, and one sentence under the X-ray."""

from __future__ import annotations

from functools import partial

import gradio as gr
import plotly.graph_objects as go

from mtl.service.models import BASE
from mtl.service.service import Service
from mtl.ui import plots, render, render_reading
from mtl.ui.context import SHARED, Context, spoken
from mtl.ui.corpus_input import PASTED, CorpusInput, corpus_of, create_corpus_input

LEFT = "Rain will reach the coast by evening."
RIGHT = "We expect showers on the shore tonight."
LINES = """Rain will reach the coast by evening.
We expect showers on the shore tonight.
The bank raised its rates by half a point.
Borrowing becomes dearer as the central bank tightens.
Fold the egg whites into the batter.
My favourite striker missed two penalties."""
QUERY = "cheap place to sleep near the station"
CORPUS = """A budget hotel with clean rooms right beside the tracks.
Take the tram from the station to the old town.
The five-star palace by the lake has its own spa.
Breakfast is not included in the price of the room.
The station bakery opens at five in the morning.
Clean rooms and low prices, a minute from the railway."""
DUPLICATES = """The parcel has not arrived yet.
My parcel still has not arrived.
Please cancel my subscription.
I would like to cancel my subscription, please.
The app crashes when I open the camera.
How do I change the address of a delivery?"""


def create_similarity_tab(context: Context) -> None:
    """Fills the tab that is open; its examples are answered when the page is built, the costlier ones when it loads."""
    width = context.service.similarity.width("", BASE)
    with gr.Tabs():
        with gr.Tab("Pair"):
            _two_sentences(context)
        with gr.Tab("Lists"):
            _lists(context)
        with gr.Tab("Search"):
            _search(context)
        with gr.Tab("Duplicates"):
            _duplicates(context)
        with gr.Tab("X-ray"):
            _xray(context)
        with gr.Tab("Length"):
            _vector_length(context, width)


def _two_sentences(context: Context) -> None:
    service = context.service

    @spoken
    def compare(key: str, model: str, left: str, right: str) -> tuple[str, go.Figure, str]:
        found = service.similarity.explained(key, model, left, right)
        score = render.pair_score(found.comparison)
        return score, plots.alignment(found.words), render_reading.alignment_note(found.words)

    with gr.Row():
        left = gr.Textbox(LEFT, label="First sentence", lines=2, min_width=280, elem_id="pair-left")
        right = gr.Textbox(RIGHT, label="Second sentence", lines=2, min_width=280, elem_id="pair-right")
    button = gr.Button("Compare", variant="primary", elem_id="pair-go")
    number, figure, words = compare("", BASE, LEFT, RIGHT)
    score = gr.HTML(number, elem_id="pair-score")
    with gr.Accordion("Why? Word by word", open=True, elem_id="pair-why"):
        plot = gr.Plot(figure, label="Words of the one with words of the other", elem_id="pair-plot")
        note = gr.HTML(words, elem_id="pair-note")
    examples = gr.Examples(_pairs(service), [left, right], label="Try one of these")
    inputs, outputs = [*context.who, left, right], [score, plot, note]
    button.click(compare, inputs, outputs, api_name="compare", show_progress_on=[score], concurrency_limit=SHARED)
    chosen = examples.load_input_event.then
    for trigger in (left.submit, right.submit, context.model.input, chosen):
        trigger(compare, inputs, outputs, api_name=False, show_progress_on=[score], concurrency_limit=SHARED)
    context.share("left", left)
    context.share("right", right)
    context.restored(compare, inputs, outputs)


def _lists(context: Context) -> None:
    service = context.service

    @spoken
    def matrix(key: str, model: str, lines: str, across: str) -> tuple[go.Figure, str]:
        found = service.similarity.matrix(key, model, lines, across)
        return plots.heat_map(found), render.matrix_note(found)

    with gr.Row():
        lines = gr.Textbox(LINES, label="Sentences, one a line (2 to 40)", lines=6, elem_id="matrix-lines", scale=2)
        across = gr.Textbox(
            "", label="Compare with (blank: with themselves)", lines=6, elem_id="matrix-across", scale=1, min_width=280
        )
    button = gr.Button("Draw the heat map", variant="primary", elem_id="matrix-go")
    figure, cut = matrix("", BASE, LINES, "")
    note = gr.HTML(cut)
    plot = gr.Plot(figure, label="Cosine of each pair", elem_id="matrix-plot")
    inputs = [*context.who, lines, across]
    button.click(matrix, inputs, [plot, note], api_name="matrix")
    context.model.input(stale, None, note, api_name=False, queue=False)
    context.share("lines", lines)
    context.share("across", across)
    context.restored(matrix, inputs, [plot, note])


def _search(context: Context) -> None:
    service = context.service

    @spoken
    def search(
        key: str,
        model: str,
        query: str,
        top_k: float,
        *corpus: object,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio looks for it here
    ) -> str:
        texts = corpus_of(service.corpora, corpus)
        tell = partial(progress, desc="Reading")
        found = service.similarity.search(key, model, query, texts, top_k=int(top_k), on_progress=tell)
        return render.corpus_note(texts) + render.hits(found, texts)

    query = gr.Textbox(QUERY, label="Query", elem_id="search-query")
    where = create_corpus_input(service.corpora, "search", pasted=CORPUS, start=PASTED)
    top_k = gr.Slider(1, 50, value=5, step=1, label="Results")
    button = gr.Button("Search", variant="primary", elem_id="search-go")
    results = gr.HTML(search("", BASE, QUERY, 5, PASTED, CORPUS, None, None), elem_id="search-results")
    inputs = [*context.who, query, top_k, *where.fields]
    button.click(search, inputs, results, api_name="search")
    query.submit(search, inputs, results, api_name=False)
    context.model.input(stale, None, results, api_name=False, queue=False)
    context.share("query", query)
    context.share("among", where.lines)
    context.restored(search, inputs, results)


def _duplicates(context: Context) -> None:
    service = context.service

    @spoken
    def duplicates(
        key: str,
        model: str,
        threshold: float,
        *corpus: object,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio looks for it here
    ) -> str:
        texts = corpus_of(service.corpora, corpus)
        tell = partial(progress, desc="Reading")
        found = service.similarity.duplicates(key, model, texts, threshold=threshold, on_progress=tell)
        return render.corpus_note(texts) + render_reading.duplicates(found, texts)

    where: CorpusInput = create_corpus_input(service.corpora, "duplicates", pasted=DUPLICATES, start=PASTED)
    threshold = gr.Slider(0.5, 1, value=0.75, step=0.01, label="Least cosine of a pair", elem_id="duplicates-threshold")
    button = gr.Button("Find near-duplicates", variant="primary", elem_id="duplicates-go")
    results = gr.HTML(duplicates("", BASE, 0.75, PASTED, DUPLICATES, None, None), elem_id="duplicates-results")
    inputs = [*context.who, threshold, *where.fields]
    button.click(duplicates, inputs, results, api_name="duplicates")
    threshold.release(duplicates, inputs, results, api_name=False)
    context.model.input(stale, None, results, api_name=False, queue=False)


def _xray(context: Context) -> None:
    service = context.service

    @spoken
    def xray(key: str, model: str, text: str) -> str:
        tasks = service.models.get(key, model).tasks
        return render_reading.xray(service.similarity.xray(key, model, text), tasks)

    example = "Clara Jansen opened a wonderful new library in Leipzig."
    text = gr.Textbox(example, label="Sentence", lines=2, elem_id="xray-text")
    button = gr.Button("X-ray", variant="primary", elem_id="xray-go")
    results = gr.HTML(elem_id="xray-results")
    inputs = [*context.who, text]
    context.ready.then(xray, inputs, results, api_name=False, show_progress="hidden")
    button.click(xray, inputs, results, api_name="xray")
    text.submit(xray, inputs, results, api_name=False)
    context.model.input(stale, None, results, api_name=False, queue=False)
    context.share("xray", text)
    context.restored(xray, inputs, results)


def _vector_length(context: Context, width: int) -> None:
    service = context.service

    @spoken
    def cost(key: str, model: str, n_dims: float, left: str, right: str) -> str:
        found = service.similarity.cost(key, model, int(n_dims))
        pair = [service.similarity.compare(key, model, left, right, n_dims=n).score for n in (int(n_dims), None)]
        return render_reading.length_cost(found, pair[0], pair[1])

    gr.Markdown(
        "A shorter vector takes less room and searches faster. This model was not trained for it: see what it costs."
    )
    n_dims = gr.Slider(8, width, value=min(96, width), step=8, label="Keep the first … numbers", elem_id="length")
    with gr.Row():
        left = gr.Textbox(LEFT, label="First sentence", min_width=280)
        right = gr.Textbox(RIGHT, label="Second sentence", min_width=280)
    results = gr.HTML(elem_id="length-results")
    inputs = [*context.who, n_dims, left, right]
    context.ready.then(cost, inputs, results, api_name=False, show_progress="hidden")
    n_dims.change(cost, inputs, results, api_name="vector_length", show_progress="hidden", trigger_mode="always_last")
    for trigger in (left.submit, right.submit):
        trigger(cost, inputs, results, api_name=False)
    context.model.input(stale, None, results, api_name=False, queue=False)


def stale() -> str:
    """What stands in place of an answer that another model gave."""
    return '<div class="mtl-card">You chose another model; ask again for its answer.</div>'


def _pairs(service: Service) -> list[list[str]]:
    """A few of the sample pairs."""
    pairs = service.corpora.sample_pairs
    both = [[left, right] for left, right in zip(pairs.left, pairs.right, strict=True)]
    return both[:: max(1, len(both) // 5)][:5]
