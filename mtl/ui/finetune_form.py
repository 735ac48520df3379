"""The fields of the fine-tune tab, as a request and back. Knows no run."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_args

from mtl.errors import SessionError
from mtl.service.tuning import TuneRequest
from mtl.training.config import Balancing, BalancingMethod, FreezePolicy, GradientMethod, LoRA, SamplingMethod

SAMPLE, UPLOAD, CORRECTED = "Sample: help-desk requests", "My table", "My corrections"
SAMPLE_FILE = "helpdesk.marked"
NOTHING = "Nothing: only measure"
HEADS_ONLY = "Heads only (fast, the encoder stays as it is)"
TOP_LAYERS = "Top layers and heads"
GRADUAL = "Heads first, then layer by layer"
LORA = "Small adapters in every layer (LoRA)"
ALL = "Everything"
SAMPLERS: dict[str, SamplingMethod] = {
    "By fixed shares: yours 1, replayed as set": "shares",
    "By size times weight": "proportional",
    "By size times weight, evened out": "temperature",
    "In turn": "round_robin",
}
BALANCINGS: dict[str, BalancingMethod] = {
    "Fixed weights": "fixed",
    "Each divided by its first loss": "initial",
    "Learned from uncertainty": "uncertainty",
    "By how fast each falls (DWA)": "dwa",
    "So that all fall alike (FAMO)": "famo",
    "Gradients projected apart (PCGrad)": "pcgrad",
    "Gradients joined without conflict (UPGrad)": "upgrad",
}


def presets() -> list[str]:
    """What may move, in words; adapters only where peft is installed."""
    adapters = [LORA] if importlib.util.find_spec("peft") else []
    return [NOTHING, HEADS_ONLY, TOP_LAYERS, GRADUAL, *adapters, ALL]


def balancings() -> list[str]:
    """Ways to balance losses, in words; those on gradients only where torchjd is installed."""
    joins = get_args(GradientMethod) if importlib.util.find_spec("torchjd") is None else ()
    return [words for words, method in BALANCINGS.items() if method not in joins]


@dataclass(frozen=True)
class Form:
    """The fields of the tab, in the order in which handlers get their values."""

    source: str = SAMPLE
    file: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    label_head: str | None = "request"
    span_head: str | None = "things"
    moves: str = HEADS_ONLY
    top_layers: float = 2
    frozen_heads: tuple[str, ...] | list[str] = ()
    steps: float = TuneRequest.steps
    rate: float = TuneRequest.head_lr
    encoder_rate: float = TuneRequest.encoder_lr
    keep: bool = TuneRequest.retention
    replay: bool = TuneRequest.replay
    replay_weight: float = TuneRequest.replay_weight
    sampler: str = next(iter(SAMPLERS))
    temperature: float = 2.0
    balancing: str = next(iter(BALANCINGS))
    label_weight: float = 1.0
    span_weight: float = 1.0

    @property
    def heads(self) -> dict[str, str]:
        """Head names by kind of task; none that is blank."""
        named = {"classification": (self.label_head or "").strip(), "ner": (self.span_head or "").strip()}
        return {kind: name for kind, name in named.items() if name}

    @property
    def columns(self) -> dict[str, str]:
        """What an uploaded table calls our columns, where that is not our own name."""
        named = {"text": self.text_column, "label": self.label_column} if self.source == UPLOAD else {}
        return {ours: theirs for ours, theirs in named.items() if theirs and theirs != ours}


FIELDS = tuple(one.name for one in fields(Form))


def policy_of(form: Form, n_layers: int) -> FreezePolicy:
    """What a form lets move, of an encoder with so many layers."""
    heads = tuple(form.frozen_heads)
    policies = {
        NOTHING: lambda: FreezePolicy(everything=True),
        HEADS_ONLY: lambda: FreezePolicy(encoder=True, heads=heads),
        TOP_LAYERS: lambda: FreezePolicy(embeddings=True, layers=n_layers - int(form.top_layers), heads=heads),
        GRADUAL: lambda: FreezePolicy(gradual=min(0.1, 0.9 / (n_layers + 1)), heads=heads),
        LORA: lambda: FreezePolicy(lora=LoRA(), heads=heads),
        ALL: lambda: FreezePolicy(heads=heads),
    }
    return policies[form.moves]()


def request_of(form: Form, path: Path, heads: dict[str, str], n_layers: int) -> TuneRequest:
    """A form as a request for the table at that path."""
    weights = {"classification": form.label_weight, "ner": form.span_weight}
    method = BALANCINGS[form.balancing]
    return TuneRequest(
        path=path,
        heads=heads,
        columns=form.columns,
        held=form.source != CORRECTED,
        freeze=policy_of(form, n_layers),
        steps=int(form.steps),
        head_lr=form.rate,
        encoder_lr=form.encoder_rate,
        retention=form.keep,
        replay=form.replay,
        replay_weight=form.replay_weight,
        sampler=SAMPLERS[form.sampler],
        temperature=form.temperature,
        balancing=Balancing(method=method, weights={heads[k]: w for k, w in weights.items() if k in heads and w != 1}),
    )


def form_of(request: TuneRequest, n_layers: int) -> Form:
    """A request as a form: what `request_of` made it of, but for the file.

    Raises:
        SessionError: where a field of the request cannot be set on the page.
    """
    sample = request.path.name == SAMPLE_FILE
    weights = {kind: request.balancing.weights.get(name, 1.0) for kind, name in request.heads.items()}
    form = Form(
        source=SAMPLE if sample else UPLOAD if request.held else CORRECTED,
        text_column=request.columns.get("text"),
        label_column=request.columns.get("label"),
        label_head=request.heads.get("classification"),
        span_head=request.heads.get("ner"),
        moves=_moves(request.freeze),
        top_layers=max(1, n_layers - request.freeze.layers)
        if request.freeze.layers or request.freeze.embeddings
        else 2,
        frozen_heads=list(request.freeze.heads),
        steps=request.steps,
        rate=request.head_lr,
        encoder_rate=request.encoder_lr,
        keep=request.retention,
        replay=request.replay,
        replay_weight=request.replay_weight,
        sampler=_words(SAMPLERS, request.sampler),
        temperature=request.temperature,
        balancing=_words(BALANCINGS, request.balancing.method),
        label_weight=weights.get("classification", 1.0),
        span_weight=weights.get("ner", 1.0),
    )
    if form.moves not in presets() or request_of(form, request.path, form.heads, n_layers) != request:
        raise SessionError(
            "Those settings hold what this page cannot set; use their recipe with `python -m mtl train`."
        )
    return form


def _moves(policy: FreezePolicy) -> str:
    chosen = {
        NOTHING: policy.everything,
        HEADS_ONLY: policy.encoder,
        GRADUAL: policy.gradual is not None,
        LORA: policy.lora is not None,
        TOP_LAYERS: policy.embeddings or policy.layers > 0,
    }
    return next((words for words, holds in chosen.items() if holds), ALL)


def _words(choices: dict[str, SamplingMethod] | dict[str, BalancingMethod], method: str) -> str:
    found = next((words for words, own in choices.items() if own == method), None)
    if found is None:
        raise SessionError(f"This page does not offer {method!r}; use the recipe with `python -m mtl train`.")
    return found
