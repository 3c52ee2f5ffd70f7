"""The command line: every process of the system, and tools for people and scripts.

Settings come from the environment (`intentloop settings` lists them). What was started wrongly ends with one line on stderr
and exit status 2.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from local.dead_letter_commands import dlq
from schema.errors import ArtefactError, ConfigError, IntentLoopError, RequestError
from schema.settings import Settings, load_settings, variable

if TYPE_CHECKING:
    from inference.artefact import Role

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
cli.add_typer(dlq, name="dlq")
models_cli = typer.Typer(no_args_is_help=True, help="Versions side by side.")
cli.add_typer(models_cli, name="models")
BUILTIN = Path(__file__).parent / "training" / "base" / "v0"

TrainTask = Literal["fine_tune", "extract_keywords"]
ModelOption = Annotated[str, typer.Option("--model", help="an artefact's folder, or a version's name; v0 is built in")]


_MACHINE = {
    errno.ENOSPC: "free some space, or set INTENTLOOP_VAR to a folder on another disk",
    errno.EDQUOT: "free some space, or set INTENTLOOP_VAR to a folder on another disk",
    errno.EACCES: "run as a user who may, or set INTENTLOOP_VAR to another folder",
    errno.EROFS: "set INTENTLOOP_VAR to a folder that can be written",
    errno.ENOTDIR: "set INTENTLOOP_VAR to a folder",
}
"""What the machine may lack, and what to do about it."""


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
            where = f"{given.models}/{name}"
            return fetch(where, sha256=None, cache=given.var / "cache", roles=roles, verify_key=given.verify_key)
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
    from streams.start import run

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
def train(
    data: Annotated[Path, typer.Option(help='labelled questions, JSON lines {"question", "intents"}')],
    parent: Annotated[str, typer.Option(help="what to start from: an artefact's folder, a version, or a Hugging Face BERT")],
    out: Annotated[Path, typer.Option(help="the folder that the new artefact becomes; must not exist")],
    replay: Annotated[Path | None, typer.Option(help="labelled questions of earlier trainings")] = None,
    rules: Annotated[Path | None, typer.Option(help="keyword rules in force, JSON lines; default: the parent's")] = None,
    version: Annotated[str, typer.Option(help="its name; default: the folder's")] = "",
    rules_revision: Annotated[
        int | None, typer.Option(help="of its rules; default: the parent's, plus one if they change")
    ] = None,
    task: Annotated[TrainTask, typer.Option(help="extract_keywords makes new rules and keeps the model")] = "fine_tune",
    extract_keywords: Annotated[bool, typer.Option(help="mine keyword rules too")] = True,
    min_confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="share of labels that must agree with a rule")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="mined rules at most")] = 1000,
    base: Annotated[
        str, typer.Option(help="where a full retraining starts: builtin, or a Hugging Face BERT; default: INTENTLOOP_BASE_MODEL")
    ] = "",
    checkpoints: Annotated[
        Path | None, typer.Option(help="folder of an interrupted training's state; the same training goes on from there")
    ] = None,
    progress: Annotated[bool, typer.Option(help="JSON lines of progress and a result on stdout; ends when stdin does")] = False,
) -> None:
    """Train an artefact from labelled questions, without any server; the gate's verdict is part of the result."""
    from local.training_progress import end_with_stdin, json_lines, progress_bar
    from training.corpus import read_rows
    from training.job import TrainJob
    from training.keywords import read_rules
    from training.run import train as run

    given = settings()
    if progress:
        end_with_stdin()
    job = TrainJob(
        rows=read_rows(data),
        parent=_parent(parent),
        out=out,
        version=version or out.name,
        replay=read_rows(replay) if replay else (),
        rules=read_rules(rules) if rules else None,
        rules_revision=rules_revision,
        extract_keywords=extract_keywords,
        task=task,
        min_support=given.rule_min_support,
        min_confidence=given.rule_min_confidence if min_confidence is None else min_confidence,
        rule_limit=limit,
        threads=given.train_threads,
        base=base or given.base_model,
        checkpoints=checkpoints,
    )
    with json_lines() if progress else progress_bar() as report:
        result = run(job, report).as_json()
    print(json.dumps({"result": result} if progress else result, ensure_ascii=False), flush=True)


def _parent(name: str) -> str:
    """The folder of the artefact `name`, or `name` itself where it is a Hugging Face model."""
    from inference.artefact import TRAINING

    if "/" in name and not (Path(name) / "manifest.json").exists():
        return name  # a directory of weights, or owner/model of a hub
    return str(find_model(name, TRAINING))


@cli.command()
def evaluate(
    data: Annotated[Path, typer.Option(help='labelled questions, JSON lines {"question", "intents"}')],
    model: ModelOption = "v0",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of a table")] = False,
) -> None:
    """Score a version on labelled questions: macro-F1, micro-F1, and each intent."""
    from inference.artefact import SERVING
    from training.corpus import read_rows
    from training.evaluate import evaluate as run

    rows = read_rows(data)
    scores = run(find_model(model, SERVING), rows, threads=settings().inference_threads)
    if as_json:
        print(json.dumps(scores.as_json(), ensure_ascii=False))
        return
    for intent, one in scores.per_intent.items():
        print(f"{intent:12} F1 {one.f1:.4f}  precision {one.precision:.4f}  recall {one.recall:.4f}  rows {one.support}")
    print(f"macro-F1 {scores.macro_f1:.4f}  micro-F1 {scores.micro_f1:.4f}  accuracy {scores.accuracy:.4f}  rows {scores.rows}")


@models_cli.command("compare")
def compare(
    first: Annotated[str, typer.Argument(help="a version, or an artefact's folder")],
    second: Annotated[str, typer.Argument(help="another")],
    data: Annotated[
        Path | None, typer.Option(help="labelled questions, JSON lines; default: the seed corpus's held-out ones")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of tables")] = False,
) -> None:
    """Ask two versions the same questions: scores of each intent, the answers that differ, and what the gate would say."""
    from inference.artefact import SERVING
    from local.comparison import show
    from training.corpus import read_rows, seed_rows, split
    from training.judgement import judge_folder

    rows = read_rows(data) if data else split(seed_rows()).held_out
    before, after = find_model(first, SERVING), find_model(second, SERVING)
    _, metrics = judge_folder(after, before, rows, threads=settings().inference_threads)
    if as_json:
        print(json.dumps(metrics, ensure_ascii=False))
        return
    show(first, second, rows, metrics)


@models_cli.command("rescore")
def rescore(
    version: Annotated[str, typer.Argument(help="a version, or an artefact's folder")],
    against: Annotated[str, typer.Option(help="the version that serves")] = "v0",
    data: Annotated[
        Path | None, typer.Option(help="labelled questions, JSON lines; their held-out ones count besides the seed corpus's")
    ] = None,
    progress: Annotated[bool, typer.Option(help="JSON lines on stdout; ends when stdin does")] = False,
) -> None:
    """Let a version go through the gate again, on the held-out questions as they are labelled now."""
    from inference.artefact import SERVING
    from local.training_progress import end_with_stdin
    from training.corpus import distinct, read_rows, seed_rows, split
    from training.judgement import judge_folder

    if progress:
        end_with_stdin()
    rows = split(distinct([*seed_rows(), *(read_rows(data) if data else ())])).held_out
    candidate, serving = find_model(version, SERVING), find_model(against, SERVING)
    verdict, metrics = judge_folder(candidate, serving, rows, threads=settings().inference_threads)
    outcome = "completed" if verdict.passed else "rejected"
    result = {"outcome": outcome, "reason": "; ".join(verdict.reasons), "metrics": metrics}
    print(json.dumps({"result": result} if progress else result, ensure_ascii=False), flush=True)


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


@cli.command("signing-keys")
def signing_keys() -> None:
    """Make a pair of keys: the trainer signs models with the private one, replicas check with the public one."""
    from inference.signature import new_pair

    private, public = new_pair()
    print(f"INTENTLOOP_SIGNING_KEY={private}\nINTENTLOOP_VERIFY_KEY={public}")


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
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except IntentLoopError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(70)
    except OSError as error:
        if error.errno not in _MACHINE:
            raise
        print(f"error: {error.strerror}: {error.filename or 'the disk'}: {_MACHINE[error.errno]}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
