"""Predictions -> small pieces of HTML. Everything that a person typed is escaped here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from mtl.service.corpora import Corpus
from mtl.service.similarity import Comparison, Matrix, Ranking
from mtl.tasks import Task
from mtl.training.compare import FREE, SHARED, SINGLE
from mtl.training.verdict import Difference, SharingReport
from mtl.types import Analysis, LabelScores, Span
from mtl.ui.theme import TAG_COLOURS

WORDS = {"better": "better", "same": "not told apart", "worse": "worse"}


def pair_score(found: Comparison) -> str:
    """A cosine as a number and a bar; what is below 0 shows an empty bar."""
    names = [("The first sentence", "The second sentence")[place] for place in found.cut]
    return (
        f'{cut_list(names)}<div class="mtl-card"><div class="mtl-score">{found.score:.3f}</div>'
        f'<div class="mtl-dim">cosine of the two sentence vectors: 1 same direction, 0 unrelated</div>'
        f'<div style="margin-top:10px">{track(found.score)}</div></div>'
    )


def hits(found: Ranking, corpus: Corpus) -> str:
    """Ranked results; of a table each with its row."""
    names = ["The query" if place == 0 else numbered(corpus, place - 1) for place in found.cut]
    rows = "".join(
        f"<li><b>{hit.score:.3f}</b><span>{escape(hit.text)}{_row_of(corpus, hit.place)}</span></li>"
        for hit in found.hits
    )
    return f'{cut_list(names)}<div class="mtl-card"><ol class="mtl-hits">{rows}</ol></div>'


def numbered(corpus: Corpus, place: int) -> str:
    """What to call a text of a corpus: a row of a table, a sentence of a list."""
    return f"{'Row' if corpus.numbers else 'Sentence'} {corpus.number(place):,}"


def _row_of(corpus: Corpus, place: int) -> str:
    return f' <span class="mtl-dim">(row {corpus.number(place):,})</span>' if corpus.numbers else ""


def corpus_note(corpus: Corpus) -> str:
    """What of a table is not among the texts, or nothing."""
    said = []
    if corpus.drawn_from is not None:
        said.append(f"These are {len(corpus.texts):,} rows drawn from {corpus.drawn_from:,}.")
    if corpus.left_out:
        said.append(f"{corpus.left_out:,} rows without a text were left out.")
    return warning(" ".join(said)) if said else ""


def matrix_note(found: Matrix) -> str:
    """What was cut of a list, or nothing."""
    return cut_list([f"Sentence {place + 1}" for place in found.cut])


def label_bars(analysis: Analysis, tasks: Sequence[Task]) -> str:
    """One group of bars for each classification task, best label first."""
    groups = []
    for task in tasks:
        value = analysis.predictions.get(task.name)
        if isinstance(value, LabelScores):
            ranked = sorted(value.scores.items(), key=lambda item: -item[1])[:10]
            bars = "".join(
                f'<div class="mtl-bar"><b>{escape(label).replace("/", "/<wbr>")}</b>'
                f"{track(score)}<span>{score:.1%}</span></div>"
                for label, score in ranked
            )
            groups.append(f'<div class="mtl-task"><h4>{escape(task.name)}</h4>{bars}</div>')
    return f'<div class="mtl-card">{"".join(groups) or "This model has no classification head."}</div>'


def entities(
    text: str,
    analysis: Analysis,
    tasks: Sequence[Task],
    *,
    threshold: float,
    kinds: Collection[str] | None = None,
    says_cut: bool = True,
) -> str:
    """The text once for each entity task, its spans marked; what only entities were looked for in is dim.

    `kinds` are the labels to show, None all of them; `says_cut` False where the page says elsewhere what was cut.
    """
    groups = []
    for task in tasks:
        value = analysis.predictions.get(task.name)
        if isinstance(value, tuple):
            wanted = [span for span in value if kinds is None or span.label in kinds]
            shown = [span for span in wanted if span.score >= threshold]
            hidden = [
                f"{count} {why}"
                for count, why in (
                    (len(wanted) - len(shown), "below the threshold"),
                    (len(value) - len(wanted), "of kinds that are not shown"),
                )
                if count
            ]
            note = f'<div class="mtl-dim">{", ".join(hidden)}</div>' if hidden else ""
            marked = _marked(text, shown, task.labels, analysis.truncated_at)
            groups.append(
                f'<div class="mtl-task"><h4>{escape(task.name)}</h4><div class="mtl-text">{marked}</div>{note}</div>'
            )
    body = "".join(groups) or "This model has no entity head."
    note = cut_note(text, analysis) if says_cut else ""
    return f'<div class="mtl-card">{note}{body}</div>'


def warning(sentence: str) -> str:
    """A sentence that must not be overlooked."""
    return f'<div class="mtl-warn">{escape(sentence)}</div>'


def in_plain_words(found: SharingReport) -> str:
    """The answer for somebody who has never heard of sharing: what was compared, and what came of it, task by task."""
    whole = [gap for gap in found.differences if gap.source is None]
    names = list(dict.fromkeys(gap.task for gap in whole))
    alone = {gap.task: gap for gap in whole if gap.against == SINGLE}
    kept = {gap.task: gap for gap in whole if gap.against == FREE}
    cost = {cost.arm: cost for cost in found.costs}
    times = cost[SINGLE].parameters / cost[SHARED].parameters
    lines = [f"<li><b>{escape(name)}</b>: {_alone(alone[name])}</li>" for name in names if name in alone]
    spoiled = [_spoiled(gap) for gap in kept.values() if gap.verdict == "better"]
    return (
        f'<div class="mtl-card"><p>One way to do {len(names)} jobs is to train {len(names)} models, a specialist for '
        "each. The other is one model whose large lower part is shared and which has a small part of its own for each "
        "job. That is cheaper, but does each job suffer from the others? We trained both ways on the same rows for "
        f"the same time, {_seeds_in_words(found)}, and tested on texts that neither had seen.</p>"
        f"<ul class='mtl-differences'>{''.join(lines)}</ul><p>What is saved: the specialists are {times:.1f} times as "
        f"large together, and take {found.one_pass.ratio:.1f} times as long to answer everything. "
        f"{' '.join(spoiled)}</p></div>"
    )


def _alone(gap: Difference) -> str:
    points = abs(100 * gap.interval.value)
    if gap.verdict == "same":
        return f"the shared model and the specialist cannot be told apart ({100 * gap.interval.value:+.1f} points)"
    word = "better" if gap.verdict == "better" else "worse"
    return f"the shared model is {points:.1f} points {word} than the specialist"


def _spoiled(gap: Difference) -> str:
    return (
        f"While it learns, the shared model is held near what it knew; without that, {escape(gap.task)} would be "
        f"{100 * gap.interval.value:.1f} points lower."
    )


def _seeds_in_words(found: SharingReport) -> str:
    n = len(found.seeds)
    return f"{n} times with different luck of the draw" if n > 1 else "once"


def verdicts(found: SharingReport) -> str:
    """What the shared model gains or loses against each rival, task by task, and what it saves."""
    rows = []
    for gap in found.differences:
        if gap.source is None:
            limits = f"{gap.interval.low:+.3f} to {gap.interval.high:+.3f}"
            rows.append(
                f"<tr><td>{escape(gap.task)}</td><td>{escape(gap.against)}</td><td><b>{WORDS[gap.verdict]}</b></td>"
                f"<td class='num'>{gap.interval.value:+.3f}<div class='mtl-dim'>{limits}</div></td></tr>"
            )
    head = "<th>task</th><th>against</th><th>verdict</th><th class='num'>gain, 95 % limits</th>"
    cost = {cost.arm: cost for cost in found.costs}
    specialists = cost[SINGLE].parameters / cost[SHARED].parameters
    rows_used = "all rows" if found.cap is None else f"at most {found.cap:,} training rows a task"
    return (
        f'<div class="mtl-scroll" tabindex="0"><table class="mtl-table"><tr>{head}</tr>{"".join(rows)}</table></div>'
        f'<div class="mtl-dim" style="margin-top:6px">{_seeds(found)}, '
        f"{rows_used}, equal budget ({cost[SHARED].steps:,.0f} steps of the shared model); scores on test sets. "
        f"Specialists together hold {specialists:.1f} times the parameters and take "
        f"{found.one_pass.ratio:.1f} times as long for the same answers ({found.one_pass.passes} passes instead of "
        f"one; {escape(found.machine)}).</div>"
    )


def _seeds(found: SharingReport) -> str:
    n = len(found.seeds)
    return f"{n} seeds" if n > 1 else "1 seed (limits of other test rows, not of another training run)"


def cut_list(names: Sequence[str]) -> str:
    """Says which texts were longer than the model reads."""
    if not names:
        return ""
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return warning(f"Longer than the model reads: {shown}. Only the beginning counts.")


def track(share: float) -> str:
    """A bar that is full to that share."""
    return f'<div class="mtl-track"><div class="mtl-fill" style="width:{max(0.0, min(1.0, share)):.1%}"></div></div>'


def _marked(text: str, spans: Sequence[Span], labels: Sequence[str], truncated_at: int | None) -> str:
    """The text with its spans; what labels and vector do not know of, from `truncated_at` on, is dim."""
    read = len(text) if truncated_at is None else truncated_at
    pieces, place = [], 0
    for span in spans:
        colour = TAG_COLOURS[labels.index(span.label) % len(TAG_COLOURS)]
        pieces.append(_dim_from(read, text, place, span.start))
        pieces.append(
            f'<mark style="--tag:{colour}">{escape(text[span.start : span.end])}'
            f"<i>{escape(span.label)} {span.score:.2f}</i></mark>"
        )
        place = span.end
    return "".join([*pieces, _dim_from(read, text, place, len(text))])


def _dim_from(read: int, text: str, start: int, end: int) -> str:
    border = min(max(read, start), end)
    rest = f'<span class="mtl-cut">{escape(text[border:end])}</span>' if border < end else ""
    return escape(text[start:border]) + rest


def cut_note(text: str, analysis: Analysis) -> str:
    """How much of a text was read, where that is not all of it."""
    if analysis.truncated_at is None:
        return ""
    return warning(
        f"The model reads {analysis.n_tokens} tokens at a time: labels and the vector are of the first "
        f"{analysis.truncated_at:,} of {len(text):,} characters. The rest, dimmed, was read for entities alone."
    )
