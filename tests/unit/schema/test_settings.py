"""Settings: read from a mapping, every variable at fault named at once, no secret shown."""

from pathlib import Path

import pytest

from schema.errors import ConfigError
from schema.settings import Settings, environment, load_settings


def test_every_variable_at_fault_is_named_at_once() -> None:
    environ = {"INTENTLOOP_API_PORT": "http", "INTENTLOOP_CONFIDENCE": "7", "INTENTLOOP_TRAIN_TRESHOLD": "3", "PATH": "/bin"}
    with pytest.raises(ConfigError) as caught:
        load_settings(environ)
    message = str(caught.value)
    assert "INTENTLOOP_API_PORT" in message
    assert "INTENTLOOP_CONFIDENCE" in message
    assert "did you mean INTENTLOOP_TRAIN_THRESHOLD" in message
    assert "\n" not in message


def test_missing_settings_are_named_together() -> None:
    with pytest.raises(ConfigError, match=r"INTENTLOOP_KAFKA .*INTENTLOOP_DATABASE_URL"):
        Settings().require("kafka", "database_url")


def test_a_short_pseudonym_key_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({"INTENTLOOP_PSEUDONYM_KEY": "hunter2"}).require("pseudonym_key")
    assert "hunter2" not in str(caught.value)


def test_a_child_process_reads_the_same_settings() -> None:
    settings = load_settings({"INTENTLOOP_KAFKA": "h:1", "INTENTLOOP_PSEUDONYM_KEY": "x" * 20, "INTENTLOOP_VAR": "elsewhere"})
    assert load_settings(environment(settings)) == settings


def test_models_are_kept_in_var_unless_said_otherwise() -> None:
    assert Settings(var=Path("/data/x")).models == "file:///data/x/models"
    assert Settings(models_url="s3://bucket/models").models == "s3://bucket/models"
