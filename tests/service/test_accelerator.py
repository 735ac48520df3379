"""What a Space with ZeroGPU needs: everything that goes to another process or comes back survives pickling, and a run
there ends with the same weights as one here. A stand-in lends a process of its own in place of the GPU's."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import get_args

import numpy as np
import pytest
import torch

from mtl.inference.predictor import Predictor
from mtl.service import accelerator
from mtl.service.accelerator import Accelerator, Job, read_seconds, run_seconds, trained
from mtl.service.models import BASE
from mtl.service.service import Service
from mtl.service.tuning import TuneRequest, read_data, train_config
from mtl.settings import ROOT, Settings
from mtl.training.config import FreezePolicy
from mtl.training.events import RunEnded, RunEvent, StepEnded

CHILD = """
import importlib, pickle, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
module, name, arguments = pickle.load(sys.stdin.buffer)
out = sys.stdout.buffer
for value in getattr(importlib.import_module(module), name)(*arguments):
    pickle.dump(value, out)
    out.flush()
"""


def elsewhere(function: Callable[..., Iterator[object]], *arguments: object) -> Iterator[object]:
    """What a generator function yields in a spawned process; both ways everything is pickled."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(ROOT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    pickle.dump((function.__module__, function.__name__, arguments), process.stdin)
    process.stdin.close()
    try:
        while True:
            try:
                yield pickle.load(process.stdout)
            except EOFError:
                break
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A stand-in for `spaces`; the seconds that were asked of it."""
    asked: list[int] = []

    def gpu(duration: Callable[..., int]) -> Callable[..., object]:
        def decorated(function: Callable[..., Iterator[object]]) -> Callable[..., object]:
            assert inspect.isgeneratorfunction(function)

            def call(*arguments: object) -> Iterator[object]:
                asked.append(duration(*arguments))
                yield from elsewhere(function, *arguments)

            return call

        return decorated

    stand_in = ModuleType("spaces")
    stand_in.GPU = gpu
    monkeypatch.setitem(sys.modules, "spaces", stand_in)
    return asked


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = [f"{word} number {i},{'good' if word == 'yes' else 'bad'}" for i in range(12) for word in ("yes", "no")]
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "\n".join(rows), encoding="utf-8")
    return path


def job_of(base: Predictor, table: Path, steps: int = 6) -> Job:
    request = TuneRequest(
        path=table, heads={"classification": "quality"}, steps=steps, freeze=FreezePolicy(), replay=True
    )
    service = Service(Settings(), base=base)
    data = read_data(base, request, service.settings, service.replay)
    return Job(base, data.tasks, data.sources, data.validation, train_config(request, data), 600)


def same(one: object, other: object) -> bool:
    """Whether two values are equal, tensors and the weights of models among them."""
    if isinstance(one, Predictor):
        return isinstance(other, Predictor) and same(one.model.state_dict(), other.model.state_dict())
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if is_dataclass(one):
        return type(one) is type(other) and all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_every_argument_survives_the_way_there_and_back(make_still, table: Path) -> None:
    job = job_of(make_still(), table)
    (back,) = elsewhere(iter, [job])
    assert same(job, back)
    np.testing.assert_array_equal(back.predictor.encode(["a cat"]), job.predictor.encode(["a cat"]))
    assert not same(job, replace(back, seconds=1)), "or nothing was compared"


def test_every_event_survives_and_the_result_is_that_of_a_run_here(make_still, table: Path) -> None:
    job = job_of(make_still(), table)
    here, there = list(trained(job)), list(elsewhere(trained, job))
    assert [type(event) for event in there] == [type(event) for event in here]
    kinds = {type(event) for event in here}
    assert len(kinds & set(get_args(RunEvent))) >= 5
    for event in here:
        assert same(pickle.loads(pickle.dumps(event)), event)
    losses = [[event.losses for event in events if isinstance(event, StepEnded)] for events in (here, there)]
    assert all(ours == pytest.approx(theirs) for ours, theirs in zip(*losses, strict=True))
    ends = [events[-1] for events in (here, there)]
    assert all(isinstance(end, RunEnded) for end in ends)
    for name, value in ends[0].state.items():
        torch.testing.assert_close(ends[1].state[name], value, msg=name)
    result = job.result(ends[1].state)
    assert [task.name for task in result.tasks] == ["topic", "entities", "similarity", "quality"]
    moved = result.model.state_dict()
    assert any(not torch.equal(moved[n], v) for n, v in job.predictor.model.state_dict().items())


def finished(service: Service, within_s: float = 120) -> object:
    run = service.run("k")
    run.join(within_s)
    assert run.state == "ended", run.error
    return run


def test_on_a_space_a_run_trains_elsewhere_and_the_session_has_its_model(
    make_still, table: Path, lent: list[int]
) -> None:
    base = make_still()
    service = Service(Settings(), base=base)
    service.accelerator = Accelerator(lent=True)
    request = TuneRequest(path=table, heads={"classification": "quality"}, steps=4)
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    service.tune("k", BASE, request)
    run = finished(service)
    assert len(run.steps) == 4
    assert lent == [30]
    tuned = service.models.get("k", "tuned 1")
    assert tuned.analyze(["yes number 3"])[0]["quality"].label in ("good", "bad")
    assert tuned.model.encoder is base.model.encoder, "a frozen encoder is shared"
    assert all(torch.equal(value, base.model.state_dict()[name]) for name, value in before.items())


def test_on_a_space_a_run_that_is_stopped_keeps_what_it_learned(make_still, table: Path, lent: list[int]) -> None:
    service = Service(Settings(), base=make_still())
    service.accelerator = Accelerator(lent=True)
    service.tune("k", BASE, TuneRequest(path=table, heads={"classification": "quality"}, steps=500))
    run, end = service.run("k"), time.monotonic() + 120
    while not run.steps and run.active and time.monotonic() < end:
        time.sleep(0.05)
    service.stop("k")
    finished(service)
    assert run.ended.reason == "stopped"
    assert 0 < len(run.steps) < 500
    assert "tuned 1" in service.models.names("k")


def test_on_a_space_whose_gpu_is_not_to_be_had_the_page_has_a_sentence(
    make_still, table: Path, lent, monkeypatch
) -> None:
    service = Service(Settings(), base=make_still())
    service.accelerator = Accelerator(lent=True)

    def refused(_: Job) -> Iterator[RunEvent]:
        raise RuntimeError("You have exceeded your GPU quota")
        yield

    monkeypatch.setattr(service.accelerator, "_train", refused)
    service.tune("k", BASE, TuneRequest(path=table, heads={"classification": "quality"}, steps=4))
    run = service.run("k")
    run.join(60)
    assert run.state == "failed"
    assert run.error == (
        "The GPU did not end the run (You have exceeded your GPU quota); try again later, or fewer steps."
    )


def test_on_a_space_long_lists_are_read_elsewhere(make_still, lent: list[int], monkeypatch) -> None:
    monkeypatch.setattr(accelerator, "STEP", 4)
    base, shares = make_still(), []
    texts = [f"text {i}" for i in range(10)]
    found = Accelerator(lent=True).read(base, texts, on_progress=shares.append)
    np.testing.assert_allclose([one.vector for one in found], base.encode(texts), atol=1e-5)
    assert shares[-1] == 1.0
    assert lent == [10]
    Accelerator(lent=True).read(base, texts[:4])
    assert lent == [10], "a short list is not worth a GPU"


def test_what_is_asked_of_the_gpu_grows_with_the_work(make_still, table: Path) -> None:
    job = job_of(make_still(), table, steps=200)
    assert run_seconds(job) == 60
    assert run_seconds(replace(job, config=replace(job.config, steps=500))) == 105
    assert read_seconds(job.predictor, ["x"] * 20_000, None) == 30


def test_elsewhere_nothing_is_asked(make_still, table: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "spaces", None)  # importing it would fail
    service = Service(Settings(), base=make_still())
    assert not service.accelerator.lent


def test_while_one_session_tunes_another_gets_the_same_answers_to_the_bit(make_still, table: Path) -> None:
    service = Service(Settings(), base=make_still())
    texts = ["the cat", "yes number 3", "Ana met Bob in Rome"]

    def answers() -> bytes:
        found = service.models.analyze("other", BASE, texts)
        return pickle.dumps([(one.vector.tobytes(), dict(one.predictions)) for one in found])

    before = answers()
    service.tune(
        "k", BASE, TuneRequest(path=table, heads={"classification": "topic2"}, steps=30, freeze=FreezePolicy())
    )
    run, during = service.run("k"), []
    while run.active:
        during.append(answers())
    finished(service)
    assert len(during) > 1
    assert set(during) == {before}
    assert answers() == before
    assert service.models.names("other") == [BASE]
    mine = service.models.analyze("k", "tuned 1", texts)
    assert mine[0].vector.tobytes() != service.models.base.analyze(texts)[0].vector.tobytes(), "and the tuned one moved"
