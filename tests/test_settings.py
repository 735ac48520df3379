"""Settings come from the environment, once, and a wrong value is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl.errors import ConfigError
from mtl.settings import from_environment


def test_defaults_point_into_the_project() -> None:
    settings = from_environment({})
    assert settings.checkpoint.parts[-2:] == ("checkpoints", "default")
    assert settings.samples.is_dir()


def test_each_field_has_a_variable() -> None:
    settings = from_environment({"MTL_CHECKPOINT": "/models/x", "MTL_MAX_STEPS": " 7 "})
    assert settings.checkpoint == Path("/models/x")
    assert settings.max_steps == 7


@pytest.mark.parametrize("value", ["many", "-3", "0", "1.5", ""])
def test_a_wrong_value_is_named(value: str) -> None:
    with pytest.raises(ConfigError, match="MTL_MAX_STEPS"):
        from_environment({"MTL_MAX_STEPS": value})


@pytest.mark.parametrize("name", ["MTL_API_KEY", "MTL_PAGE_PASSWORD"])
def test_a_blank_secret_is_no_open_door(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is blank"):
        from_environment({name: "\n"})
    assert from_environment({name: ""}).api_keys == ()


def test_a_missing_folder_of_samples_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"MTL_SAMPLES is .*no such folder"):
        from_environment({"MTL_SAMPLES": str(tmp_path / "none")})
