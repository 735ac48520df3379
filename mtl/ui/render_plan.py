"""A run before it starts -> small pieces of HTML: the network, the data, the mix of tasks, what a step takes."""

from __future__ import annotations

from html import escape

from mtl.service.planning import DataLook, Mix, NetworkPlan, PartPlan, SeenRow, StepCost
from mtl.ui.render import track, warning

MOST_CELL = 80
"""Characters of a cell."""


def network(plan: NetworkPlan) -> str:
    """The parts from the top down; each is a button that freezes or releases it."""
    heads = [part for part in plan.parts if part.name.startswith("head ") and part.parameters]
    body = [part for part in plan.parts if not part.name.startswith("head ")]
    rows = f'<div class="mtl-heads">{"".join(map(_part, heads))}</div>'
    rows += '<div class="mtl-pool">pooling: the mean of all tokens is the sentence vector</div>'
    rows += "".join(map(_part, reversed(body)))
    share = plan.learning / max(1, plan.total)
    counts = f"{plan.learning:,} of {plan.total:,} parameters learn ({share:.1%}); new heads come on top."
    warned = "".join(warning(sentence) for sentence in plan.warnings)
    return (
        f'<div class="mtl-card"><div class="mtl-net">{rows}</div><p class="mtl-dim">{escape(plan.policy)} {counts} '
        f"Press a part to freeze or release it.</p>{warned}</div>"
    )


def _part(part: PartPlan) -> str:
    state = "learns" if part.learning else "frozen"
    said = f"{state}, rehearsed" if part.rehearsed else state
    later = f", joins after {part.joins:.0%}" if part.learning and part.joins else ""
    size = f"{part.parameters / 1e6:.2f} M" if part.parameters >= 100_000 else f"{part.parameters:,}"
    return (
        f'<button type="button" class="mtl-part mtl-{state}" data-part="{escape(part.name)}" '
        f'aria-pressed="{"true" if part.learning else "false"}"><b>{escape(part.name)}</b>'
        f"<span>{size}, {said}{later}</span></button>"
    )


def problems(said: str) -> str:
    """Why nothing can be trained yet, line by line."""
    return "".join(warning(line) for line in said.splitlines() if line.strip())


def table(found: DataLook) -> str:
    """How many rows, what each column becomes, the first rows, and how often each label occurs."""
    cut = "".join(
        warning(f"{count:,} row{'s' * (count != 1)} {words}")
        for count, words in (
            (found.cut, "longer than the model reads: the end is not learned from."),
            (found.unlabelled, "without a label: left out."),
        )
        if count
    )
    held = f", {found.held:,} put aside to score with" if found.held else "; none is put aside"
    heads = "".join(f"<th>{escape(name)}<i>{_becomes(what)}</i></th>" for name, what in found.columns.items())
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(cell(row.get(name, str())))}</td>' for name in found.columns)}</tr>"
        for row in found.raw
    )
    labels = "".join(
        f'<details class="mtl-labels"><summary>{escape(head)}: {len(counts)} labels</summary>'
        f"{', '.join(f'{escape(label)} {count:,}' for label, count in counts.items())}</details>"
        for head, counts in found.labels.items()
    )
    return (
        f'<div class="mtl-card">{cut}<b>{found.learning:,} rows to learn from{held}</b>'
        f'<div class="mtl-scroll" tabindex="0"><table class="mtl-table mtl-raw"><tr>{heads}</tr>{rows}</table></div>'
        f"{labels}</div>"
    )


def _becomes(what: str) -> str:
    return "the text" if what == "text" else f"teaches {escape(what)}" if what else "not used"


def cell(text: str) -> str:
    """A text as a cell of a table shows it."""
    return text if len(text) <= MOST_CELL else f"{text[: MOST_CELL - 1]}…"


def seen(found: DataLook) -> str:
    """The first rows token by token, with what is taught of each."""
    rows = "".join(_row(row) for row in found.first)
    return (
        '<div class="mtl-card"><div class="mtl-dim">The first rows token by token. Where entities are taught, the tag '
        "below a token is what it learns, and ignored ones (marks, the rest of a word) are left out of that."
        f"</div>{rows}</div>"
    )


def _row(row: SeenRow) -> str:
    chips = []
    tagged = any(token.tag is not None for token in row.tokens)
    for token in row.tokens:
        tag = token.tag
        kind = "mtl-ignored" if tag is None else "mtl-tagged" if tag != "O" else ""
        said = f"<i>{escape('ignored' if tag is None else tag)}</i>" if tagged else ""
        chips.append(f'<span class="mtl-token {kind * tagged}">{escape(token.text) or "[mark]"}{said}</span>')
    labels = ", ".join(f"{escape(head)}: <b>{escape(label)}</b>" for head, label in row.labels.items())
    cut = "" if row.cut_at is None else f" (read up to character {row.cut_at:,})"
    return f'<div class="mtl-seen"><div class="mtl-tokens">{"".join(chips)}</div><div>{labels}{cut}</div></div>'


def mix(found: Mix) -> str:
    """What the steps draw of each source, and how often each head sees one of its rows."""
    sources = "".join(
        f"<tr><td>{escape(one.source)}</td><td class='num'>{one.rows:,}</td><td>{track(one.share)}</td>"
        f"<td class='num'>{one.share:.0%}</td><td class='num'>{one.batches:,}</td>"
        f"<td class='num'>{one.epochs:.1f}</td></tr>"
        for one in found.sources
    )
    tasks = "".join(
        f"<tr><td>{escape(one.task)}</td><td class='num'>{one.rows:,}</td><td class='num'>{one.epochs:.1f}</td></tr>"
        for one in found.tasks
    )
    numbers = "".join(f"<th class='num'>{name}</th>" for name in ("batches", "repeats"))
    return (
        f'<div class="mtl-card"><div class="mtl-dim">{found.steps:,} steps, drawn before the first one. Repeats: how '
        'often a row is seen, on average.</div><div class="mtl-scroll" tabindex="0"><table class="mtl-table">'
        f"<tr><th>source</th><th class='num'>rows</th><th class='mtl-wide'>share</th><th></th>{numbers}</tr>{sources}"
        "</table></div><div class='mtl-scroll' tabindex='0'><table class='mtl-table'>"
        f"<tr><th>head</th><th class='num'>rows</th><th class='num'>epochs</th></tr>{tasks}</table></div></div>"
    )


def step_cost(found: StepCost, steps: int) -> str:
    """What a step and the run take."""
    held = f", {found.memory / 1e9:.1f} GB of memory" if found.memory else ""
    if found.seconds < 0.9 * found.ms * steps / 1000:
        return (
            f"A step takes {found.ms:.0f} ms{held}. The encoder is frozen, so each row goes through it once: "
            f"{found.seconds:.1f} s for the first pass; later steps take a few ms each."
        )
    return f"A step takes {found.ms:.0f} ms{held}; {steps} steps about {found.seconds:.0f} s, validations on top."
