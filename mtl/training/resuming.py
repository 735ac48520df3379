"""The state of a run as tensors and plain values, and back: what a snapshot holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Optional

import torch
from pydantic import TypeAdapter
from torch import Tensor

from mtl.training import lora
from mtl.training.events import Evaluated
from mtl.training.snapshots import Snapshot

if TYPE_CHECKING:
    from mtl.training.trainer import _Run

_EVALUATED: TypeAdapter[Evaluated | None] = TypeAdapter(Optional[Evaluated])


def snapshot(run: _Run) -> Snapshot:
    """All that the next step of a run depends on."""
    stepper, best = run.stepper, run.best
    tensors = {f"model.{name}": value for name, value in run.weights().items()}
    tensors |= {f"optimiser.{name}": value for name, value in stepper.optimiser.state().items()}
    tensors |= {f"balance.{name}": value for name, value in stepper.balance.state().items()}
    if stepper.average is not None:
        tensors |= {f"average.{place}": value for place, value in enumerate(stepper.average.values)}
    places = [None, *range(len(best.ingredients))]
    for place, state in zip(places, [best.state or {}, *(kept for _, kept in best.ingredients)], strict=True):
        tensors |= {f"best.{name}" if place is None else f"soup.{place}.{name}": v for name, v in state.items()}
    values: dict[str, object] = {
        "parts": stepper.parts,
        "validated_at": run.validated_at,
        "since": best.since,
        "before": _EVALUATED.dump_python(best.before, mode="json"),
        "best": _EVALUATED.dump_python(best.best, mode="json"),
        "soup": [_EVALUATED.dump_python(found, mode="json") for found, _ in best.ingredients],
    }
    for name, memory in (("teacher", run.teacher), ("ensemble", run.ensemble)):
        if memory is not None and memory.known:
            remembered, texts = memory.state()
            values[name] = texts
            tensors |= {f"{name}.{key}": value for key, value in remembered.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if run.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(run.device)
    return Snapshot(run.step, {name: value.detach().cpu().clone() for name, value in tensors.items()}, values)


def restore(run: _Run, kept: Snapshot) -> None:
    """Puts a run that is about to begin where the snapshot was taken."""
    stepper, best, values = run.stepper, run.best, kept.values
    run.model.load_state_dict(_under(kept, "model"))
    stepper.optimiser.load(_under(kept, "optimiser"))
    stepper.balance.load(_under(kept, "balance"))
    if stepper.average is not None:
        average = _under(kept, "average")
        stepper.average.values = [average[str(i)].to(run.device) for i in range(len(average))]
    best.state = _under(kept, "best") or None
    best.before, best.best = (_EVALUATED.validate_python(values[name]) for name in ("before", "best"))
    best.since = int(str(values["since"]))
    found = [_EVALUATED.validate_python(value) for value in values["soup"]]  # type: ignore[attr-defined]
    best.ingredients = [(one, _under(kept, f"soup.{i}")) for i, one in enumerate(found) if one is not None]
    stepper.parts = int(str(values["parts"]))
    run.validated_at = None if values["validated_at"] is None else int(str(values["validated_at"]))
    run.step = kept.step
    for name, memory in (("teacher", run.teacher), ("ensemble", run.ensemble)):
        if memory is not None and name in values:
            memory.load(_under(kept, name), values[name])  # type: ignore[arg-type]
    torch.set_rng_state(kept.tensors["random.cpu"])
    if "random.cuda" in kept.tensors and run.device.type == "cuda":
        torch.cuda.set_rng_state(kept.tensors["random.cuda"], run.device)


def write_best(run: _Run, folder: Path) -> None:
    """The best weights so far as a checkpoint, which loads like any other."""
    copy = run.predictor.copy()
    if run.best.state is not None:
        copy.model.load_state_dict(run.best.state)
    if run.config.freeze.lora is not None:
        lora.merge(copy.model)
    copy.save(folder)


def _under(kept: Snapshot, prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, without it."""
    start = f"{prefix}."
    return {name[len(start) :]: value for name, value in kept.tensors.items() if name.startswith(start)}
