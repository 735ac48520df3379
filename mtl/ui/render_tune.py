"""A run -> small pieces of HTML: its state, and what it did. Before it starts: `render_plan`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from pydantic import TypeAdapter

from mtl.evaluation.drift import Drift
from mtl.service.aftermath import Asked
from mtl.service.runs import Run, RunRecord
from mtl.service.sessions import Tuned
from mtl.training.config import FreezePolicy
from mtl.training.events import Evaluated
from mtl.ui.render import warning
from mtl.ui.render_plan import cell

LISTED = 12
SETTING_NAMES = {
    "path": "table",
    "heads": "heads",
    "columns": "columns",
    "held": "rows put aside",
    "freeze": "what moves",
    "steps": "steps",
    "head_lr": "rate of the heads",
    "encoder_lr": "rate of the encoder",
    "retention": "vectors held",
    "replay": "samples replayed",
    "replay_weight": "weight of replayed",
    "sampler": "sampler",
    "temperature": "temperature",
    "balancing": "balancing",
    "seed": "seed",
    "started_from": "went on from",
}


def status(run: RunRecord | None) -> str:
    """Where a training run stands, in a sentence or two."""
    if run is None:
        return "No run yet. Choose what to learn and press **Train**."
    if run.state == "waiting":
        return f"**{run.name}** waits; {run.ahead} run(s) come first."
    if run.state == "failed":
        return f"**{run.name}** ended: {escape(run.error or '')}"
    started, steps = run.started, run.steps
    if started is None:
        return f"**{run.name}** prepares." if run.active else f"**{run.name}** was stopped before it began."
    learning, total = sum(started.trainable.values()), sum(started.total.values())
    head = f"{escape(started.policy)} {learning:,} of {total:,} parameters learn, on {started.device}."
    ended = run.ended
    if ended is not None:
        words = {"finished": "finished", "stopped": "was stopped", "early": "stopped early", "diverged": "had to end"}
        word = words[ended.reason]
        text = f"**{run.name}** {word} after {ended.steps} of {started.steps} steps. "
        if isinstance(run, Run):
            text += f"It has the weights of step {ended.best_step}; choose it at the top. "
        text += escape(ended.problem or "") + " " * bool(ended.problem)
        return text + head
    return f"**{run.name}**: step {len(steps)} of {started.steps}{_pace(run)}. {head}"


def _pace(run: RunRecord) -> str:
    """Speed and the time that is left, of the last steps."""
    steps, started = run.steps, run.started
    last = [step.seconds for step in steps[-20:]]
    if not last or started is None or not sum(last):
        return ""
    per_s = len(last) / sum(last)
    tokens = sum(step.tokens for step in steps[-20:]) / sum(last)
    left = (started.steps - len(steps)) / per_s
    return f", {per_s:,.1f} steps and {tokens:,.0f} tokens a second, about {left:.0f} s left without validations"


def scores(run: RunRecord | None) -> str:
    """Metrics before and after, on rows that were not trained on."""
    warned = run.started.warnings if run is not None and run.started else ()
    notes = "".join(warning(sentence) for sentence in warned)
    notes += "".join(f'<div class="mtl-dim">{escape(sentence)}</div>' for sentence in (run.notes if run else ()))
    if run is None or not run.evaluations:
        return notes
    before, now = run.evaluations[0], _best(run.evaluations)
    rows = []
    for old, new in zip(before.scores, now.scores, strict=True):
        for metric in old.metrics:
            a, b = old.metrics[metric], new.metrics[metric]
            rows.append(
                f"<tr><td>{escape(old.task)}</td><td>{escape(metric)}</td><td class='num'>{a:.3f}</td>"
                f"<td class='num'>{b:.3f}</td><td class='num'>{b - a:+.3f}</td></tr>"
            )
    numbers = "".join(f"<th class='num'>{name}</th>" for name in ("before", "best", "gain"))
    head = f"<th>head</th><th>metric</th>{numbers}"
    return (
        f'{notes}<div class="mtl-scroll" tabindex="0"><table class="mtl-table"><tr>{head}</tr>'
        f"{''.join(rows)}</table></div>"
        '<div class="mtl-dim" style="margin-top:6px">On a fifth of the rows, put aside before training; the best step '
        "is chosen by them.</div>"
    )


def _best(evaluations: Sequence[Evaluated]) -> Evaluated:
    return max(evaluations, key=lambda e: (e.composite, e.step > 0))


def asked(found: Sequence[Asked]) -> str:
    """Rows that were all learned from: what they ask for, and whether the model now says so."""
    if not found:
        return ""
    right = sum(one.right for one in found)
    order = sorted(found, key=lambda one: one.right)
    rows = "".join(
        f"<tr><td>{escape(cell(one.text))}</td><td>{escape(one.task)}</td><td>{escape(one.asked)}</td>"
        f"<td>{escape(one.before) or '—'}</td><td>{'✓' if one.right else '✗'} {escape(one.after)}</td></tr>"
        for one in order[: 4 * LISTED]
    )
    head = "".join(f"<th>{name}</th>" for name in ("text", "head", "you said", "before", "now"))
    return (
        f'<div class="mtl-card"><div class="mtl-task"><h4>{right} of {len(found)} of your corrections are answered '
        f'as you said</h4><div class="mtl-scroll" tabindex="0"><table class="mtl-table"><tr>{head}</tr>{rows}</table>'
        '</div></div><div class="mtl-dim">They were all learned from. What that cost elsewhere stands below.</div>'
        "</div>"
    )


def drift(found: Drift | None) -> str:
    """What a run cost the tasks that were there before: figures, then texts that are answered otherwise."""
    if found is None:
        return ""
    rows = "".join(
        f"<tr><td>{escape(s.task)}</td><td>{escape(s.what)}</td><td class='num'>{s.before:.3f}</td>"
        f"<td class='num'>{s.after:.3f}</td><td class='num'>{_change(s.change)}</td></tr>"
        for s in sorted(found.shifts, key=lambda shift: not shift.known)
    )
    head = "<th>task</th><th>what</th>" + "".join(f"<th class='num'>{n}</th>" for n in ("before", "after", "change"))
    listed = "".join(
        f"<li><b>{escape(flip.task)}</b><span>{escape(flip.text[:200])}<br>{escape(flip.before)} → "
        f"{escape(flip.after)}</span></li>"
        for flip in found.flips[:LISTED]
    )
    shown = f" (the first {LISTED})" if len(found.flips) > LISTED else ""
    changed = (
        f"<details class='mtl-labels'><summary>{len(found.flips)} answers changed{shown}</summary>"
        f"<ol class='mtl-hits mtl-flips'>{listed}</ol></details>"
        if found.flips
        else "<div class='mtl-dim'>No answer changed.</div>"
    )
    return (
        f'<div class="mtl-card"><div class="mtl-task"><h4>What it cost elsewhere: {_verdict(found)}</h4><div '
        f'class="mtl-dim">Sentences that were not learned from, read before and after. Mean cosine of a sentence '
        f"vector with its old one: {found.cosine:.3f}</div>"
        f'<div class="mtl-scroll" tabindex="0"><table class="mtl-table"><tr>{head}</tr>{rows}</table></div></div>'
        f"{changed}</div>"
    )


def _verdict(found: Drift) -> str:
    worst = found.worst
    if worst is None or worst.change >= -1e-9:
        return "nothing" if not found.flips else "no known answer is lost, but some answers changed"
    return f"at worst {-100 * worst.change:.1f} points ({escape(worst.task)}, {escape(worst.what)})"


def _change(value: float) -> str:
    shown = f"{value:+.3f}"
    return f'<b class="mtl-lost">{shown}</b>' if value < -0.01 else shown


def runs(found: Mapping[str, Tuned]) -> str:
    """The runs of a session whose models are here: what differed, and what came of it."""
    if not found:
        return ""
    common = [
        name
        for name in next(iter(found.values())).settings
        if name in SETTING_NAMES and len({str(t.settings.get(name)) for t in found.values()}) > 1
    ]
    rows = []
    for name, tuned in found.items():
        ended = tuned.run.ended
        before, best = (ended.before, ended.best) if ended else (None, None)
        gained = f"{before.composite:.3f} → {best.composite:.3f}" if before and best else "—"
        worst = tuned.aftermath.drift.worst
        differs = "; ".join(f"{SETTING_NAMES[field]}: {_value(field, tuned)}" for field in common) or "—"
        done = f"{ended.steps}, best {ended.best_step}" if ended else ""
        rows.append(
            f"<tr><td>{escape(name)}</td><td>{escape(differs)}</td><td class='num'>{done}</td>"
            f"<td class='num'>{gained}</td>"
            f"<td class='num'>{_change(worst.change) if worst else '—'}</td></tr>"
        )
    numbers = "".join(f"<th class='num'>{name}</th>" for name in ("steps", "score", "worst change elsewhere"))
    head = f"<th>run</th><th>what differed</th>{numbers}"
    return (
        f'<div class="mtl-card"><div class="mtl-task"><h4>Your runs</h4><div class="mtl-scroll" tabindex="0">'
        f'<table class="mtl-table"><tr>{head}</tr>{"".join(rows)}</table></div></div></div>'
    )


def _value(field: str, tuned: Tuned) -> str:
    """A setting, of a group of them those that are set; of what moves the run's own words."""
    value, started = tuned.settings[field], tuned.run.started
    if field == "freeze":
        return started.policy if started else TypeAdapter(FreezePolicy).validate_python(value).describe()
    if isinstance(value, dict):
        return ", ".join(f"{name} {own}" for name, own in value.items() if own) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
