"""The command line: every process of the system, and tools for people and scripts.

Settings come from the environment (`intentloop settings` lists them). What was started wrongly ends with one line on stderr
and exit status 2.
"""

from __future__ import annotations

import os
import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schema.errors import ArtefactError, ConfigError, IntentLoopError
from schema.settings import Settings, load_settings, variable

if TYPE_CHECKING:
    from inference.artefact import Role

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
BUILTIN = Path(__file__).parent / "training" / "base" / "v0"

ModelOption = Annotated[str, typer.Option("--model", help="an artefact's folder, or a version's name; v0 is built in")]


def settings() -> Settings:
    """The settings of this process."""
    return load_settings(os.environ)


def find_model(name: str, roles: frozenset[Role]) -> Path:
    """The verified folder of an artefact that is named by its folder or its version.

    Raises:
        ArtefactError: there is none, or it is not whole.
    """
    from inference.artefact import fetch, verify

    folder = Path(name)
    if not (folder / "manifest.json").exists():
        folder = BUILTIN
        if name != "v0":
            given = settings()
            return fetch(f"{given.models}/{name}", sha256=None, cache=given.var / "cache", roles=roles)
    verify(folder, sha256=None, roles=roles)
    return folder


@cli.command()
def api() -> None:
    """Serve the ops API and the console (INTENTLOOP_API_PORT, 8001)."""
    from api.app import run

    run(settings())


@cli.command()
def streams() -> None:
    """Run a streams worker: events into the database, live counts."""
    from streams.app import run

    run(settings())


@cli.command()
def trainer() -> None:
    """Run the relay, the trigger and the trainer."""
    from consumers.process import run_trainer

    run_trainer(settings())


@cli.command()
def replica() -> None:
    """Run an inference replica (INTENTLOOP_REPLICA_PORT, 8101)."""
    from consumers.replica import run

    run(settings())


@cli.command()
def migrate(sql: Annotated[bool, typer.Option("--sql", help="print the tables as SQL and change nothing")] = False) -> None:
    """Create what is missing: database, tables, topics, the built-in version. May be repeated."""
    from schema.migrate import tables_sql

    if sql:
        print(tables_sql(), end="")
        return
    from local.first_start import first_start

    for line in first_start(settings(), BUILTIN):
        print(line)


@cli.command()
def up() -> None:
    """Start the whole system on this machine: Kafka, MariaDB and every process. Ctrl-C ends it."""
    from local.system import run_up

    run_up(settings(), BUILTIN)


@cli.command()
def demo(exit_after: Annotated[bool, typer.Option("--exit", help="end after the report instead of serving on")] = False) -> None:
    """Start the system, play traffic, label, train, activate and reload; report what happened (var/demo/report.json)."""
    from local.demo import run_demo

    raise typer.Exit(run_demo(settings(), BUILTIN, exit_after=exit_after))


@cli.command()
def classify(model: ModelOption = "v0") -> None:
    """Classify JSON lines {"id", "question"} from stdin, without any server."""
    from inference.artefact import SERVING
    from inference.pipeline import Pipeline
    from local.json_lines import QuestionLine, answer_lines

    given = settings()
    unit = Pipeline.load(find_model(model, SERVING), threads=given.inference_threads, confidence=given.confidence)

    def answer(line: QuestionLine) -> dict[str, object]:
        return unit.answer_local(line.question).model_dump(mode="json")

    if not answer_lines(QuestionLine, answer):
        raise typer.Exit(1)


@cli.command("time-intent")
def time_intent_command(
    today: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="the day asked on; default: today in Shanghai")
    ] = None,
) -> None:
    """Say which years JSON lines {"id", "question"} from stdin ask about."""
    from inference.time_intent import time_intent, today_in_shanghai
    from local.json_lines import QuestionLine, answer_lines

    day: date = today.date() if today else today_in_shanghai()

    def answer(line: QuestionLine) -> dict[str, object]:
        return {"time_intent": time_intent(line.question, day).model_dump(mode="json")}

    if not answer_lines(QuestionLine, answer):
        raise typer.Exit(1)


@cli.command()
def mask() -> None:
    """Mask identifiers in JSON lines {"id", "text"} from stdin."""
    from dataclasses import asdict

    from local.json_lines import TextLine, answer_lines
    from schema.privacy import find
    from schema.privacy import mask as mask_text

    def answer(line: TextLine) -> dict[str, object]:
        return {"text": mask_text(line.text), "found": [asdict(found) for found in find(line.text)]}

    if not answer_lines(TextLine, answer):
        raise typer.Exit(1)


@cli.command("settings")
def settings_command() -> None:
    """List every setting, its default and what it does."""
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = default.get_secret_value() if hasattr(default, "get_secret_value") else default
        print(f"{variable(name):32} {shown!s:12} {field.description}")


def main() -> None:
    """Run the command line; end with status 2 and one line where it was started wrongly."""
    try:
        cli()
    except (ConfigError, ArtefactError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except IntentLoopError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(70)


if __name__ == "__main__":
    main()
