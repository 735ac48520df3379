"""Events as lines of text, as the command line prints them."""

from __future__ import annotations

from mtl.evaluation.conflict import Conflict
from mtl.training.events import ConflictMeasured, Evaluated, Noted, RunEnded, RunEvent, RunStarted, StepEnded

EVERY = 50
"""Steps between two that are printed."""


def lines(event: RunEvent) -> list[str]:
    """What an event says; nothing for most steps."""
    if isinstance(event, RunStarted):
        return _started(event)
    if isinstance(event, StepEnded):
        return [_step(event)] if event.step % EVERY == 0 or event.step == 1 else []
    if isinstance(event, Noted):
        return [event.message]
    if isinstance(event, Evaluated):
        return _scores(event)
    if isinstance(event, ConflictMeasured):
        return [_conflict(event.conflict)]
    return _ended(event)


def _started(event: RunStarted) -> list[str]:
    learning, total = sum(event.trainable.values()), sum(event.total.values())
    return [
        f"{event.policy} {learning:,} of {total:,} parameters learn, {event.steps} steps on {event.device}",
        "shares: " + ", ".join(f"{name} {share:.1%}" for name, share in event.shares.items()),
        *(f"warning: {warning}" for warning in event.warnings),
    ]


def _step(event: StepEnded) -> str:
    weighed = {name: f" x{event.weights[name]:.2f}" for name in event.losses if event.weights.get(name, 1.0) != 1}
    losses = " ".join(f"{name} {loss:.3f}{weighed.get(name, '')}" for name, loss in event.losses.items())
    kept = "" if event.retention is None else f" retention {event.retention:.3f}"
    norm = "" if event.grad_norm is None else f" gradient {event.grad_norm:.2f}"
    memory = f", {event.memory / 1e9:.1f} GB" if event.memory else ""
    speed = event.tokens / max(event.seconds, 1e-9)
    return f"step {event.step} {event.source}: {losses}{kept}{norm} ({speed:.0f} tokens/s{memory})"


def _scores(event: Evaluated) -> list[str]:
    found = [f"validation after step {event.step}: {event.composite:.4f}"]
    for score in event.scores:
        loss = "" if score.loss is None else f"; loss {score.loss:.3f}"
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in score.metrics.items())
        found.append(f"  {score.source} {score.task}: {metrics}{loss}")
    return found


def _conflict(found: Conflict) -> str:
    """The mean cosine of each pair of tasks, and the part where they pull apart most."""
    said = []
    for pair in found.pairs:
        known = [(cosine, part) for cosine, part in zip(pair.cosines, found.parts, strict=True) if cosine == cosine]
        if known:
            mean, (worst, part) = sum(c for c, _ in known) / len(known), min(known)
            said.append(f"{pair.left}/{pair.right} {mean:+.2f} (least {worst:+.2f}, {part})")
    return f"cosine of gradients: {'; '.join(said)}"


def _ended(event: RunEnded) -> list[str]:
    found = [f"{event.reason} after {event.steps} steps; best of step {event.best_step}"]
    if event.problem:
        found.append(event.problem)
    if event.averaged and event.best is not None:
        steps = ", ".join(map(str, event.averaged))
        found.append(f"kept the mean of the weights after steps {steps}: {event.best.composite:.4f}")
    return found
