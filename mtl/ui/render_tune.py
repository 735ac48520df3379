"""A run before it starts -> small pieces of HTML: the network with what may move, and the data as the model sees it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from mtl.service.planning import DataLook, NetworkPlan, PartPlan, SeenRow, StepCost
from mtl.service.sessions import Tuned
from mtl.ui.render import warning


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
    later = f", joins after {part.joins:.0%}" if part.learning and part.joins else ""
    size = f"{part.parameters / 1e6:.2f} M" if part.parameters >= 100_000 else f"{part.parameters:,}"
    return (
        f'<button type="button" class="mtl-part mtl-{state}" data-part="{escape(part.name)}" '
        f'aria-pressed="{"true" if part.learning else "false"}"><b>{escape(part.name)}</b>'
        f"<span>{size}, {state}{later}</span></button>"
    )


def data(found: DataLook) -> str:
    """Counts, and the first rows token by token."""
    tables = "".join(
        f"<tr><td>{escape(head)}</td><td>{escape(label)}</td><td class='num'>{count:,}</td></tr>"
        for head, labels in found.labels.items()
        for label, count in labels.items()
    )
    cut = warning(f"{found.cut:,} rows are longer than the model reads; their end is not learned from.")
    rows = "".join(_row(row) for row in found.first)
    counts = (
        f"<h4>{found.learning:,} rows to learn from, {found.held:,} put aside</h4><div class='mtl-scroll' tabindex='0'>"
        f"<table class='mtl-table'><tr><th>head</th><th>label</th><th class='num'>n</th></tr>{tables}</table></div>"
    )
    return (
        f'<div class="mtl-card">{cut if found.cut else ""}<div class="mtl-task">{counts}</div>'
        f'<div class="mtl-task"><h4>The first rows as the model sees them</h4>{rows}</div></div>'
    )


def _row(row: SeenRow) -> str:
    chips = []
    for token in row.tokens:
        tag = token.tag
        kind = "mtl-ignored" if tag is None else "mtl-tagged" if tag != "O" else ""
        said = "ignored" if tag is None else tag
        chips.append(f'<span class="mtl-token {kind}">{escape(token.text) or "[mark]"}<i>{escape(said)}</i></span>')
    labels = ", ".join(f"{escape(head)}: <b>{escape(label)}</b>" for head, label in row.labels.items())
    cut = "" if row.cut_at is None else f" (read up to character {row.cut_at:,})"
    return f'<div class="mtl-seen"><div class="mtl-tokens">{"".join(chips)}</div><div>{labels}{cut}</div></div>'


def runs(found: Mapping[str, Tuned]) -> str:
    """The runs of a session whose models are here: what differed, and what came of it."""
    if not found:
        return ""
    common = [
        name
        for name in next(iter(found.values())).settings
        if name not in ("versions", "rows_sha256") and len({str(t.settings.get(name)) for t in found.values()}) > 1
    ]
    rows = []
    for name, tuned in found.items():
        ended = tuned.run.ended
        before, best = (ended.before, ended.best) if ended else (None, None)
        scores = f"{before.composite:.3f} → {best.composite:.3f}" if before and best else ""
        worst = min((shift.after - shift.before for shift in tuned.drift.shifts), default=0.0)
        differs = "; ".join(f"{field}: {_value(tuned.settings[field])}" for field in common) or "—"
        rows.append(
            f"<tr><td>{escape(name)}</td><td>{escape(differs)}</td><td class='num'>{scores}</td>"
            f"<td class='num'>{worst:+.3f}</td></tr>"
        )
    head = "<th>run</th><th>what differed</th><th class='num'>score</th><th class='num'>worst change elsewhere</th>"
    return (
        f'<div class="mtl-card"><div class="mtl-task"><h4>Your runs</h4><div class="mtl-scroll" tabindex="0">'
        f'<table class="mtl-table"><tr>{head}</tr>{"".join(rows)}</table></div></div></div>'
    )


def _value(value: object) -> str:
    """A setting, of a group of them those that are set."""
    if isinstance(value, dict):
        return (
            ", ".join(f"{name} {own}" for name, own in value.items() if own not in (False, None, 0, 1.0, (), {}))
            or "none"
        )
    return str(value)


def step_cost(found: StepCost, steps: int) -> str:
    """What a step and the run take."""
    held = f", {found.memory / 1e9:.1f} GB of memory" if found.memory else ""
    seconds = found.ms * steps / 1000
    return f"A step takes {found.ms:.0f} ms{held}; {steps} steps about {seconds:.0f} s, validations on top."
