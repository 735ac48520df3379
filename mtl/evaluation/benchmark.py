"""Inference beside what a user would pick instead: each contender in a process of its own, in rounds, so that ratios
are of runs that lay beside each other. What is not installed is left out and named."""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import torch

from mtl.errors import ConfigError
from mtl.evaluation.contenders import Timed

Case = Literal["short", "mixed", "tasks", "callers", "map 2,000", "map 10,000", "start"]
RESULTS_FILE = "benchmark.json"

ENCODERS = (
    "sentence-transformers",
    "onnxruntime fp32",
    "onnxruntime int8",
    "OpenVINO",
    "mtl fp32",
    "mtl",
)
CASES: Mapping[Case, tuple[str, ...]] = {
    "short": ENCODERS,
    "mixed": ENCODERS,
    "tasks": ("sentence-transformers", "three pipelines", "mtl, every task"),
    "callers": ("one by one", "micro-batches"),
    "map 2,000": ("umap-learn", "mtl, PCA", "mtl, UMAP"),
    "map 10,000": ("umap-learn", "mtl, UMAP"),
    "start": ("import gradio", "mtl, the page"),
}
TEXTS: Mapping[Case, int] = {
    "short": 1024,
    "mixed": 512,
    "tasks": 512,
    "callers": 960,
    "map 2,000": 2000,
    "map 10,000": 10_000,
    "start": 1,
}


@dataclass(frozen=True)
class Ratio:
    """How many times as good ours is as theirs; the median over rounds of ratios within a round."""

    case: Case
    what: str
    theirs: str
    ours: str
    measure: str
    target: float
    found: float = 0.0
    rounds: tuple[float, ...] = ()


WANTED = (
    Ratio("short", "encode, short sentences", "sentence-transformers", "mtl", "texts_per_s", 4.8),
    Ratio("mixed", "encode, 10 to 200 tokens", "sentence-transformers", "mtl", "texts_per_s", 4.0),
    Ratio("short", "encode in fp32, short sentences", "sentence-transformers", "mtl fp32", "texts_per_s", 2.6),
    Ratio("mixed", "encode in fp32, 10 to 200 tokens", "sentence-transformers", "mtl fp32", "texts_per_s", 2.4),
    Ratio("short", "one short sentence, p50", "sentence-transformers", "mtl", "p50_ms", 3.0),
    Ratio("tasks", "every task, against encode alone", "sentence-transformers", "mtl, every task", "texts_per_s", 4.0),
    Ratio("tasks", "every task, against three pipelines", "three pipelines", "mtl, every task", "texts_per_s", 8.0),
    Ratio("callers", "32 callers, throughput", "one by one", "micro-batches", "texts_per_s", 3.0),
    Ratio("callers", "32 callers, p50", "one by one", "micro-batches", "p50_ms", 1.0),
    Ratio("map 2,000", "UMAP of 2,000", "umap-learn", "mtl, UMAP", "seconds", 1.0),
    Ratio("map 10,000", "UMAP of 10,000", "umap-learn", "mtl, UMAP", "seconds", 1.0),
)


@dataclass(frozen=True)
class Results:
    """What a benchmark found: of each case and contender one measurement a round."""

    machine: Mapping[str, object]
    measured: Mapping[str, Mapping[str, Sequence[Mapping[str, float | None]]]]
    ratios: Sequence[Ratio]
    left_out: Mapping[str, str] = field(default_factory=dict)


def run(
    checkpoint: Path,
    sentences: Sequence[str],
    *,
    rounds: int = 3,
    cases: Sequence[str] = tuple(CASES),
    on_measured: Callable[[str, str, Timed], object] = lambda *_: None,
) -> Results:
    """Measures every contender of these cases, round after round.

    Raises:
        ConfigError: for a case that there is not, or a contender of ours that failed.
    """
    unknown = [case for case in cases if case not in CASES]
    if unknown:
        raise ConfigError(f"--only {unknown[0]}: unknown; say some of {', '.join(CASES)}, between semicolons")
    chosen: list[Case] = [case for case in CASES if case in cases]
    measured: dict[str, dict[str, list[Mapping[str, float | None]]]] = {}
    left_out: dict[str, str] = {}
    peak = _alone("matrix peak", checkpoint, [])
    with tempfile.TemporaryDirectory() as folder:
        for case in chosen:
            texts = Path(folder) / "texts.json"
            texts.write_text(json.dumps(texts_of(case, sentences)), encoding="utf-8")
            for _ in range(rounds):
                for name in CASES[case]:
                    if name in left_out:
                        continue
                    found = _measured(name, checkpoint, texts)
                    if isinstance(found, str):
                        left_out[name] = found
                        continue
                    measured.setdefault(case, {}).setdefault(name, []).append(found)
                    on_measured(case, name, Timed(**{k: v for k, v in found.items() if k != "memory_mb"}))
    ratios = [_ratio(wanted, measured[wanted.case]) for wanted in WANTED if wanted.case in measured]
    machine = {**describe_machine(), "matrix_gflops": peak.get("gflops")}
    return Results(machine, measured, [ratio for ratio in ratios if ratio is not None], left_out)


def texts_of(case: Case, sentences: Sequence[str]) -> list[str]:
    """The sentences of a case: in random order, for `mixed` several joined, from one to about 200 tokens."""
    drawn = random.Random(0)
    if case != "mixed" and case != "tasks":
        return (
            [drawn.choice(sentences) for _ in range(TEXTS[case])]
            if case in ("short", "callers")
            else _different(sentences, TEXTS[case], drawn)
        )
    texts = []
    for _ in range(TEXTS[case]):
        words = drawn.randint(8, 150) if case == "mixed" else drawn.randint(5, 25)
        joined: list[str] = []
        while len(joined) < words:
            joined += drawn.choice(sentences).split()
        texts.append(" ".join(joined[:words]))
    return texts


def _different(sentences: Sequence[str], n: int, drawn: random.Random) -> list[str]:
    """Texts of which none is there twice: where sentences run out, halves of two are joined, then numbered."""
    found = dict.fromkeys(sentences)
    tries = 0
    while len(found) < n:
        tries += 1
        left, right = drawn.choice(sentences).split(), drawn.choice(sentences).split()
        number = [str(tries)] if tries > 4 * n else []
        found[" ".join([*left[: len(left) // 2 + 1], *right[len(right) // 2 :], *number])] = None
    return list(found)[:n]


def _alone(name: str, checkpoint: Path, texts: Sequence[str]) -> Mapping[str, float | None]:
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(list(texts), file)
        file.flush()
        found = _measured(name, checkpoint, Path(file.name))
    if isinstance(found, str):
        raise ConfigError(f"{name}: {found}")
    return found


def _measured(name: str, checkpoint: Path, texts: Path) -> Mapping[str, float | None] | str:
    """What a contender printed; where a package is missing, the sentence that says so."""
    command = [sys.executable, "-m", "mtl.evaluation.contenders", name, str(checkpoint.resolve()), str(texts)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["failed"]
        if "ModuleNotFoundError" in said[-1] or "needs the package" in said[-1] or "pip install" in said[-1]:
            return said[-1]
        raise ConfigError(f"{name} failed: {said[-1]}")
    found: Mapping[str, float | None] = json.loads(done.stdout.splitlines()[-1])
    return found


def _ratio(wanted: Ratio, measured: Mapping[str, Sequence[Mapping[str, float | None]]]) -> Ratio | None:
    if wanted.theirs not in measured or wanted.ours not in measured:
        return None
    pairs = [
        (float(theirs[wanted.measure] or 0), float(ours[wanted.measure] or 0))
        for theirs, ours in zip(measured[wanted.theirs], measured[wanted.ours], strict=True)
    ]
    rounds = [ours / theirs if wanted.measure == "texts_per_s" else theirs / ours for theirs, ours in pairs]
    return Ratio(**{**asdict(wanted), "found": statistics.median(rounds), "rounds": tuple(rounds)})


def describe_machine() -> dict[str, object]:
    """What the figures are of; no names of hosts."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.is_file() else ""
    model = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "")
    return {
        "cpu": model or platform.processor(),
        "cores": os.cpu_count(),
        "has": [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {flag}" in text],
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def in_words(found: Results) -> Iterator[str]:
    """The report, line by line."""
    machine = found.machine
    has = ", ".join(map(str, machine["has"])) if isinstance(machine["has"], list) else ""
    yield f"{machine['cores']} cores of {machine['cpu']} ({has})"
    yield f"matrix products {machine['matrix_gflops']:.0f} GFLOP/s"
    for case, contenders in found.measured.items():
        yield f"{case}:"
        for name, runs in contenders.items():
            yield f"  {name:22} {_figures(runs)}"
    yield "ratios, medians of paired rounds:"
    for ratio in found.ratios:
        met = "met" if ratio.found >= ratio.target else "short of it"
        yield f"  {ratio.what:38} {ratio.found:6.2f} times {ratio.theirs} (goal {ratio.target}: {met})"
    for name, why in found.left_out.items():
        yield f"left out: {name} ({why})"


def _figures(runs: Sequence[Mapping[str, float | None]]) -> str:
    def median(key: str) -> float | None:
        values = [value for run in runs if (value := run.get(key)) is not None]
        return statistics.median(values) if values else None

    units = {
        "texts_per_s": "{:8.0f} texts/s",
        "p50_ms": "p50 {:7.2f} ms",
        "seconds": "{:7.2f} s",
        "answer_ms": "first answer after {:.0f} ms",
        "quality": "trustworthiness {:.4f}",
        "memory_mb": "{:6.0f} MB",
    }
    shown = [(form, median(key)) for key, form in units.items()]
    return "  ".join(form.format(value) for form, value in shown if value is not None)


def write(found: Results, path: Path) -> None:
    """Writes the results as JSON."""
    path.write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
