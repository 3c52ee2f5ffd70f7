"""docker-compose.yml runs the processes that the README names, and Docker Compose accepts it where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from schema.settings import PREFIX, Settings, variable

ROOT = Path(__file__).parent.parent
PROCESSES = {"api", "streams", "trainer", "replica", "migrate"}
NEEDED = {"MYSQL_ROOT_PASSWORD": "a password", "INTENTLOOP_PSEUDONYM_KEY": "k" * 32}


def services() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"])


def compose_command() -> list[str] | None:
    """Docker Compose, as a plugin or as a program of its own."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            return command
    return None


def test_every_process_runs_and_the_replica_twice() -> None:
    commands = [
        service["command"][0] for service in services().values() if service.get("image") == "intentloop" and "command" in service
    ]
    assert set(commands) == PROCESSES
    assert commands.count("replica") == 2


def test_the_variables_it_sets_are_settings() -> None:
    known = {variable(name) for name in Settings.model_fields}
    given = {name for service in services().values() for name in service.get("environment", {}) if name.startswith(PREFIX)}
    assert given - known == set()


@pytest.mark.parametrize("profile", [[], ["--profile", "monitoring"]])
def test_docker_compose_accepts_it(profile: list[str]) -> None:
    command = compose_command()
    if command is None:
        pytest.skip("Docker Compose is not installed here")
    done = subprocess.run(
        [*command, *profile, "config", "--quiet"], cwd=ROOT, env=os.environ | NEEDED, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
