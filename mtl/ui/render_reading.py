"""What was read of a text or of a part of a map -> small pieces of HTML. What a person typed is escaped here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from mtl.inference.explain import Alignment, Reasons, TokenReading
from mtl.service.corpora import Corpus
from mtl.service.regions import Count, Region
from mtl.service.similarity import Duplicates, Hit, LengthCost, XRay
from mtl.tasks import Task
from mtl.types import Analysis, LabelScores
from mtl.ui.render import cut_list, entities, label_bars, numbered, track, warning


@dataclass(frozen=True)
class Answered:
    """What a model, by its name, said of a text."""

    model: str
    tasks: Sequence[Task]
    analysis: Analysis


def alignment_note(found: Alignment) -> str:
    """How much of the cosine the words explain, and which pair explains most."""
    if not found.shares.size:
        return ""
    left, right = divmod(int(found.shares.argmax()), found.shares.shape[1])
    best = f"“{escape(found.left[left])}” with “{escape(found.right[right])}”"
    return (
        f'<div class="mtl-dim">The cosine is a sum over pairs of tokens: these words carry {found.shares.sum():.2f} of '
        f"{found.score:.2f}, the largest term is {best}; the rest are the marks of beginning and end. Dark cells are "
        "words that mean alike here, in their context; hover for what each pair adds.</div>"
    )


def duplicates(found: Duplicates, corpus: Corpus) -> str:
    """Pairs, most alike first."""
    pairs, note = found.pairs, cut_list([numbered(corpus, place) for place in found.cut])
    if not pairs:
        return note + (
            '<div class="mtl-card">No two of them are that much alike. Lower the threshold to see nearer misses.</div>'
        )
    rows = "".join(
        f"<li><b>{pair.score:.3f}</b><span>{corpus.number(pair.left)}. {escape(corpus.texts[pair.left])}<br>"
        f"{corpus.number(pair.right)}. {escape(corpus.texts[pair.right])}</span></li>"
        for pair in pairs
    )
    many = f"{len(pairs)} pair{'s' * (len(pairs) != 1)}" if found.is_all else f"The {len(pairs)} closest pairs of more"
    many += ", by the rows of the table" if corpus.numbers else ""
    return f'{note}<div class="mtl-card"><div class="mtl-dim">{many}</div><ol class="mtl-hits">{rows}</ol></div>'


def length_cost(found: LengthCost, short: float, whole: float) -> str:
    """What a vector of that length keeps, and what it saves."""
    facts = (
        ("of the ten nearest sentences stay", found.kept, f"{found.kept:.0%}"),
        (
            f"agreement with the pairs' scores (in full: {found.spearman_in_full:.3f})",
            found.spearman,
            f"{found.spearman:.3f}",
        ),
    )
    bars = "".join(
        f'<div class="mtl-bar"><b>{escape(words)}</b>{track(value)}<span>{shown}</span></div>'
        for words, value, shown in facts
    )
    return (
        f'<div class="mtl-card"><div class="mtl-score">{short:.3f}</div><div class="mtl-dim">cosine of your pair with '
        f'{found.n_dims} numbers; {whole:.3f} with all of them</div><div style="margin-top:12px">{bars}</div>'
        f'<div class="mtl-dim">A million such vectors take {found.megabytes / 1000:.2f} GB. Measured on the sample '
        "sentences and pairs.</div></div>"
    )


def xray(found: XRay, tasks: Sequence[Task]) -> str:
    """Tokens with their parts, entities, labels and neighbours of one sentence."""
    reading = found.reading
    return (
        f'<div class="mtl-card"><div class="mtl-task"><h4>{len(reading.offsets)} tokens, and the part of each in the '
        f"sentence vector</h4>{_beginning(reading)}{_tokens(reading)}</div></div>"
        f'<div class="mtl-two">{entities(reading.text, reading.analysis, tasks, threshold=0, says_cut=False)}'
        f"{label_bars(reading.analysis, tasks)}</div>{neighbours(found.nearest, 'Nearest sample sentences')}"
    )


def _beginning(reading: TokenReading) -> str:
    end = reading.analysis.truncated_at
    if end is None:
        return ""
    return warning(
        f"The model reads {len(reading.offsets)} tokens at a time: what follows is of the first {end:,} of "
        f"{len(reading.text):,} characters."
    )


def neighbours(hits: Sequence[Hit], title: str) -> str:
    """Texts with their cosines."""
    rows = "".join(f"<li><b>{hit.score:.3f}</b><span>{escape(hit.text)}</span></li>" for hit in hits)
    listed = f'<div class="mtl-task"><h4>{escape(title)}</h4><ol class="mtl-hits">{rows}</ol></div>'
    return f'<div class="mtl-card">{listed}</div>'


def reasons(text: str, found: Reasons) -> str:
    """The text, its words the darker the more the label rests on them; those that speak against it in red."""
    strongest = max((abs(word.gain) for word in found.words), default=0) or 1
    pieces, place = [], 0
    for word in found.words:
        pieces.append(escape(text[place : word.start]))
        share = abs(word.gain) / max(strongest, 0.02)
        colour = "#1d64b4" if word.gain >= 0 else "#b02a37"
        pieces.append(
            f'<span class="mtl-why" style="--why:{colour};--much:{60 * share:.0f}%" '
            f'title="{word.gain:+.3f}">{escape(text[word.start : word.end])}</span>'
        )
        place = word.end
    pieces.append(escape(text[place:]))
    top = sorted(found.words, key=lambda word: -word.gain)[:3]
    said = ", ".join(f"{escape(text[w.start : w.end])} ({w.gain:+.2f})" for w in top if w.gain > 0.005)
    return (
        f'<div class="mtl-card"><div class="mtl-task"><h4>{escape(found.task)}: {escape(found.label)} '
        f'{found.score:.1%}</h4><div class="mtl-text">{"".join(pieces)}</div></div><div class="mtl-dim">'
        f"Each word was left out once: blue ones carry the label, red ones speak against it. "
        f"{'Most: ' + said if said else 'No single word decides.'}</div></div>"
    )


def compared(text: str, first: Answered, second: Answered) -> str:
    """What two models say of one text, side by side; above them what differs."""
    said = [*_label_differences(first, second), *_span_differences(text, first, second)]
    listed = "".join(f"<li>{line}</li>" for line in said)
    head = f"<ul class='mtl-differences'>{listed}</ul>" if said else "Both say the same of this text."
    sides = "".join(
        f'<div><h4 class="mtl-side">{escape(one.model)}</h4>{label_bars(one.analysis, one.tasks)}'
        f"{entities(text, one.analysis, one.tasks, threshold=0)}</div>"
        for one in (first, second)
    )
    cosine = float(first.analysis.vector @ second.analysis.vector) if _same_width(first, second) else None
    drift = "" if cosine is None else f'<div class="mtl-dim">Cosine of the two sentence vectors: {cosine:.3f}</div>'
    return f'<div class="mtl-card">{head}{drift}</div><div class="mtl-two">{sides}</div>'


def _same_width(first: Answered, second: Answered) -> bool:
    return first.analysis.vector.shape == second.analysis.vector.shape


def _label_differences(first: Answered, second: Answered) -> Iterator[str]:
    for name, value in first.analysis.predictions.items():
        other = second.analysis.predictions.get(name)
        if isinstance(value, LabelScores) and isinstance(other, LabelScores) and value.label != other.label:
            labels = f"<b>{escape(value.label)}</b> and <b>{escape(other.label)}</b>"
            yield f"{escape(name)}: {labels} ({value.scores[value.label]:.0%} and {other.scores[other.label]:.0%})"
    known = [set(one.analysis.predictions) for one in (first, second)]
    for one, names in ((first, known[0] - known[1]), (second, known[1] - known[0])):
        if names:
            yield f"only {escape(one.model)} has the head {', '.join(map(escape, sorted(names)))}"


def _span_differences(text: str, first: Answered, second: Answered) -> Iterator[str]:
    for name, value in first.analysis.predictions.items():
        other = second.analysis.predictions.get(name)
        if not isinstance(value, tuple) or not isinstance(other, tuple):
            continue
        spans = [{(s.start, s.end, s.label) for s in found} for found in (value, other)]
        for one, mine in ((first, spans[0] - spans[1]), (second, spans[1] - spans[0])):
            for start, end, label in sorted(mine):
                yield f"only {escape(one.model)}: <b>{escape(text[start:end])}</b> as {escape(label)}"


def region(found: Region) -> str:
    """What lies in a part of a map."""
    tables = [_counts(f"{name}{_right(found, name)}", counts[:5]) for name, counts in found.labels.items()]
    if found.entities:
        tables.append(_counts("entities, of all entities", found.entities[:5]))
    words = ", ".join(map(escape, found.words)) or "none that set them apart"
    typical = "".join(f"<li>{escape(text[:200])}</li>" for text in found.typical)
    looser = "tighter than" if found.spread > found.spread_of_all else "no tighter than"
    return (
        f'<div class="mtl-card"><div class="mtl-task"><h4>{found.size} sentences marked</h4>'
        f"Typical words: <b>{words}</b><br>Mean cosine to their centre {found.spread:.2f}, {looser} the whole map "
        f"({found.spread_of_all:.2f}). Nearest to it:<ul class='mtl-differences'>{typical}</ul></div>"
        f'<div class="mtl-two">{"".join(tables)}</div></div>'
    )


def _right(found: Region, task: str) -> str:
    return f", {found.accuracy[task]:.0%} right here" if task in found.accuracy else ""


def _counts(title: str, counts: Sequence[Count]) -> str:
    rows = "".join(
        f"<tr><td>{escape(count.name)}</td><td class='num'>{count.count}</td><td class='num'>{count.share:.0%}</td>"
        f"<td class='num'>{count.everywhere:.0%}</td></tr>"
        for count in counts
    )
    head = f"<th>{escape(title)}</th><th class='num'>n</th><th class='num'>here</th><th class='num'>all</th>"
    return f'<div class="mtl-scroll" tabindex="0"><table class="mtl-table"><tr>{head}</tr>{rows}</table></div>'


def _tokens(reading: TokenReading) -> str:
    """Each token as a chip, the darker the larger its part."""
    largest = float(max(reading.parts.max(initial=0), 1e-6))
    chips = []
    names = reading.tokens()
    for place, (name, part) in enumerate(zip(names, reading.parts.tolist(), strict=True)):
        shown = escape(name) if name else ("[begin]" if place == 0 else "[end]")
        much = max(0.0, part / largest)
        chips.append(
            f'<span class="mtl-token" style="--much:{60 * much:.0f}%">{shown}<i>{100 * part:.1f}&thinsp;%</i></span>'
        )
    return f'<div class="mtl-tokens">{"".join(chips)}</div>'
