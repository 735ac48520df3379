"""A training run as JSON, without weights. `python -m mtl.service.recording` records the example that the app shows."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Optional

from pydantic import TypeAdapter

from mtl.service.runs import RunRecord
from mtl.training.events import ConflictMeasured, Evaluated, Noted, RunEnded, RunEvent, RunStarted, StepEnded

EXAMPLE_RUN = "helpdesk_run.json"
_KINDS: dict[str, type[RunEvent]] = {
    kind.__name__: kind for kind in (RunStarted, Noted, StepEnded, Evaluated, ConflictMeasured, RunEnded)
}
_EVALUATED: TypeAdapter[Evaluated | None] = TypeAdapter(Optional[Evaluated])


def to_json(record: RunRecord) -> str:
    """The name and the events of a run, one event a line."""
    lines = [json.dumps({"name": record.name})]
    for event in record.events:
        kept = {f.name: getattr(event, f.name) for f in fields(event) if f.name != "state"}
        values = TypeAdapter(dict[str, object]).dump_python(kept, mode="json")
        lines.append(json.dumps({"event": type(event).__name__, **values}))
    return "\n".join(lines) + "\n"


def from_json(text: str) -> RunRecord:
    """What `to_json` wrote; the weights of the end are gone."""
    head, *lines = (json.loads(line) for line in text.splitlines())
    events: list[RunEvent] = []
    for values in lines:
        kind = _KINDS[values.pop("event")]
        if kind is RunEnded:
            before, best = (_EVALUATED.validate_python(values[name]) for name in ("before", "best"))
            ended = RunEnded(values["reason"], values["steps"], before, best, values["best_step"], state={})
            events.append(replace(ended, averaged=tuple(values.get("averaged", ())), problem=values.get("problem")))
        else:
            events.append(TypeAdapter(kind).validate_python(values))
    return RunRecord(head["name"], "ended", events)


def _record() -> None:
    from mtl.service.models import BASE
    from mtl.service.service import Service
    from mtl.service.tuning import TuneRequest
    from mtl.settings import Settings

    service = Service(Settings())
    samples: Path = service.settings.samples
    request = TuneRequest(path=samples / "helpdesk.marked", heads={"classification": "request", "ner": "things"})
    run = service.tune("recording", BASE, request)
    run.join()
    run.name = "A recorded run on the sample"
    (samples / EXAMPLE_RUN).write_text(to_json(run), encoding="utf-8")


if __name__ == "__main__":
    _record()
