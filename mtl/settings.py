"""Limits and places of a running app. The one module that reads the environment.

Host and port are Gradio's own: GRADIO_SERVER_NAME and GRADIO_SERVER_PORT.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from mtl.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
RATE = re.compile(r"[1-9]\d*/(second|minute|hour|day)")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Each field can be set by an environment variable of its name: MTL_MAX_STEPS=200.

    checkpoint, samples   folders
    comparison            what `python -m mtl compare` wrote for the shipped recipe; shown where it is there
    max_characters        of one text; max_texts: texts of one request; max_points: of a map
    max_rows, max_labels  of an uploaded table for fine-tuning; max_bytes: of any table, unpacked
    max_steps, max_seconds  of one run
    session_ttl_s         a session that is not heard of for so long is freed
    grace_s               what belongs to a page that left is kept, and its run goes on, for so long
    max_models, max_model_bytes  tuned models of all sessions together
    page_password         that the page asks for, of the user "mtl"; empty: anybody may look
    api_key               what programs must send to /api/v1, several with commas between; empty: nothing
    rate_limit            of each client of /api/v1: "600/minute"; empty: none
    trusted_proxies       how many proxies stand before the app: the client is who the last but so many says it is
    max_request_characters  of all texts of a request to /api
    max_body_bytes        of any request but an upload
    max_request_s, max_waiting  until a request to /api is answered; so many of them at once
    log_format            "text" for people, "json" for machines
    """

    checkpoint: Path = ROOT / "checkpoints" / "default"
    samples: Path = ROOT / "assets" / "samples"
    comparison: Path = ROOT / "assets" / "results" / "comparison.json"
    max_characters: int = 20_000
    max_texts: int = 2_048
    max_points: int = 20_000
    max_rows: int = 5_000
    max_labels: int = 200
    max_bytes: int = 100_000_000
    max_steps: int = 500
    max_seconds: int = 900
    session_ttl_s: int = 3_600
    grace_s: int = 120
    max_models: int = 12
    max_model_bytes: int = 3_000_000_000
    page_password: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)
    rate_limit: str = ""
    trusted_proxies: int = 0
    max_request_characters: int = 1_000_000
    max_body_bytes: int = 10_000_000
    max_request_s: int = 60
    max_waiting: int = 256
    log_format: str = "text"

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            least = 0 if one.name == "trusted_proxies" else 1
            if isinstance(value, int) and value < least:
                raise ConfigError(f"MTL_{one.name.upper()} is {value}; it must be {least} or more")
        if self.log_format not in ("text", "json"):
            raise ConfigError(f"MTL_LOG_FORMAT is {self.log_format!r}; it must be text or json")
        if self.rate_limit and not RATE.fullmatch(self.rate_limit):
            raise ConfigError(f"MTL_RATE_LIMIT is {self.rate_limit!r}; write it like 600/minute")
        if self.api_key and not self.api_keys:
            raise ConfigError("MTL_API_KEY holds no key; write one, or several with commas between")

    @property
    def api_keys(self) -> tuple[str, ...]:
        """The keys of `api_key`; () where none is asked for."""
        return tuple(key.strip() for key in self.api_key.split(",") if key.strip())


def launched_processes(environ: Mapping[str, str] = os.environ) -> int:
    """How many processes `accelerate launch` or torchrun started together; 1 where neither did."""
    count = environ.get("WORLD_SIZE", "1")
    return int(count) if count.isdecimal() else 1


def on_zero_gpu(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a Space whose GPU is lent for the time of a call."""
    return environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def page_files(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder whose files pages may fetch by their whole name: Gradio's own, GRADIO_TEMP_DIR."""
    return Path(environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


def from_environment(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process.

    Raises:
        ConfigError: for a value that is not what its field holds, or out of its limits.
    """
    values: dict[str, object] = {}
    for one in fields(Settings):
        name = f"MTL_{one.name.upper()}"
        if name not in environ:
            continue
        if one.name in ("api_key", "page_password") and environ[name] and not environ[name].strip():
            raise ConfigError(f"{name} is blank, and nobody would be kept out; write it, or leave it away")
        if isinstance(one.default, (Path, str)):
            values[one.name] = type(one.default)(environ[name].strip())
        elif environ[name].strip().isdecimal():
            values[one.name] = int(environ[name])
        else:
            raise ConfigError(f"{name} is {environ[name]!r}; it must be a whole number")
    settings = Settings(**values)  # type: ignore[arg-type]
    if not settings.samples.is_dir():
        raise ConfigError(f"MTL_SAMPLES is {str(settings.samples)!r}; there is no such folder")
    return settings
