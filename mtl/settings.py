"""Limits and places of a running app. The one module that reads the environment.

Host and port are Gradio's own: GRADIO_SERVER_NAME and GRADIO_SERVER_PORT.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from mtl.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Each field can be set by an environment variable of its name: MTL_MAX_STEPS=200.

    checkpoint, samples   folders
    comparison            what `python -m mtl compare` wrote for the shipped recipe; shown where it is there
    max_characters        of one text; max_texts: texts of one request; max_points: of a map
    max_rows, max_labels  of an uploaded table for fine-tuning; max_bytes: of any table, unpacked
    max_steps, max_seconds  of one run
    session_ttl_s         a session that is not heard of for so long is freed
    grace_s               a run whose page left goes on for so long
    max_models            tuned models of all sessions together
    """

    checkpoint: Path = ROOT / "checkpoints" / "default"
    samples: Path = ROOT / "assets" / "samples"
    comparison: Path = ROOT / "assets" / "results" / "comparison.json"
    max_characters: int = 20_000
    max_texts: int = 2_000
    max_points: int = 20_000
    max_rows: int = 5_000
    max_labels: int = 200
    max_bytes: int = 100_000_000
    max_steps: int = 500
    max_seconds: int = 900
    session_ttl_s: int = 3_600
    grace_s: int = 120
    max_models: int = 12

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and value < 1:
                raise ConfigError(f"MTL_{field.name.upper()} is {value}; it must be 1 or more")


def launched_processes(environ: Mapping[str, str] = os.environ) -> int:
    """How many processes `accelerate launch` or torchrun started together; 1 where neither did."""
    count = environ.get("WORLD_SIZE", "1")
    return int(count) if count.isdecimal() else 1


def from_environment(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process.

    Raises:
        ConfigError: for a value that is no whole number, or under 1.
    """
    values: dict[str, object] = {}
    for field in fields(Settings):
        name = f"MTL_{field.name.upper()}"
        if name not in environ:
            continue
        if field.name in ("checkpoint", "samples", "comparison"):
            values[field.name] = Path(environ[name])
        elif environ[name].strip().isdecimal():
            values[field.name] = int(environ[name])
        else:
            raise ConfigError(f"{name} is {environ[name]!r}; it must be a whole number")
    settings = Settings(**values)  # type: ignore[arg-type]
    if not settings.samples.is_dir():
        raise ConfigError(f"MTL_SAMPLES is {str(settings.samples)!r}; there is no such folder")
    return settings
