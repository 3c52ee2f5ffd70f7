"""What the README and docs/ say exists: commands, settings, topics, paths, files and events."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
import typer
from typer.models import CommandInfo

from api.routes import ROUTES
from intentloop import cli
from local.dead_letter_commands import dlq
from schema.envelope import decode
from schema.events import QuestionAsked
from schema.settings import LOCAL_ONLY, Settings, variable
from schema.topics import TOPICS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
DEAD_LETTERS = (ROOT / "docs" / "dead-letters.md").read_text(encoding="utf-8")
CODE = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for kind, text in CODE if kind == language]


def commands_of(app: typer.Typer, group: str = "") -> dict[str, CommandInfo]:
    """Every command by its name, those of groups with the group's name before theirs."""
    named = {f"{group}{one.name or one.callback.__name__}": one for one in app.registered_commands if one.callback}
    for inner in app.registered_groups:
        assert inner.typer_instance is not None
        named |= commands_of(inner.typer_instance, f"{group}{inner.name} ")
    return named


def test_every_command_exists() -> None:
    named = set(re.findall(r"(?:`|bin/|^)intentloop ((?:dlq |models )?[a-z][a-z-]*)", README + DEAD_LETTERS, re.MULTILINE))
    assert named, "the README names commands"
    assert named <= commands_of(cli).keys()


def test_every_command_is_in_the_readme() -> None:
    assert {command for command in commands_of(cli) if f"intentloop {command}" not in README} - {"demo"} == set()


def test_every_option_for_dead_letters_exists() -> None:
    commands = typer.main.get_command(dlq).commands.values()  # type: ignore[attr-defined]
    options = {option for command in commands for parameter in command.params for option in parameter.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", DEAD_LETTERS))
    assert {"--fix", "--edit", "--reason"} <= named
    assert named <= options


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test", "install"} <= named <= targets


def test_every_setting_is_listed_with_its_default() -> None:
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = default.get_secret_value() if hasattr(default, "get_secret_value") else default
        assert f"| `{variable(name)}` | {shown} | {field.description} |" in SETTINGS


def test_every_variable_is_a_setting() -> None:
    named = set(re.findall(r"INTENTLOOP_[A-Z_]+", README + SETTINGS))
    assert named <= {variable(name) for name in Settings.model_fields} | LOCAL_ONLY


def test_every_topic_is_listed_with_its_partitions() -> None:
    for topic in TOPICS:
        row = next(line for line in README.splitlines() if line.startswith("| `") and f"`{topic.stem}`" in line)
        kept = "compacted" if topic.cleanup == "compact" else row.rpartition("| ")[2]
        assert row.split("|")[3].strip() == str(topic.partitions)
        assert kept in row
        if topic.cleanup == "delete":
            hours = topic.retention_ms // 3_600_000
            assert row.split("|")[4].strip() in {f"{hours} h", f"{hours // 24} d"}


def test_every_path_of_the_api_exists() -> None:
    routes = {(route.method, re.sub(r"\{\w+\}", "{}", route.path.removeprefix("/"))) for route in ROUTES}
    rooms = "questions|work|progress|guidelines|review|agreement|events|batches|keywords|models|rollout|stats"
    named = re.findall(rf"`(GET|POST) ((?:{rooms})[^`?]*)", README)
    assert {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in named} == routes
    for url in re.findall(r"localhost:8001/api/v1/model-tuning/([^\s\"?]+)", README):
        path = re.sub(r"/\d+/", "/{}/", re.sub(r"\{\w+\}", "{}", url))
        assert path in {path for _, path in routes}


def test_the_python_example_imports_what_exists() -> None:
    for example in blocks("python"):
        tree = ast.parse(example)
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), "README.md", "exec"), {})


def test_the_event_of_any_language_is_one_that_the_streams_read() -> None:
    [event] = [text for text in blocks("json") if "specversion" in text]
    assert decode(QuestionAsked, event.encode()).data.consent is not None


def test_the_answer_shown_is_an_answer() -> None:
    from schema.events import Classification

    [answer] = [text for text in blocks("json") if "specversion" not in text]
    assert Classification.model_validate(json.loads(answer)).model_version


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:schema|tests|training|deploy|bench)/[\w/.-]+\.\w+)`", README))))
def test_every_file_exists(name: str) -> None:
    assert (ROOT / name).exists()
