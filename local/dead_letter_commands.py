"""``intentloop dlq``: look at dead letters, send them again, remove them. What they do is in `streams.dead_letters`."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from local.slow import slow
from schema.errors import ConfigError
from schema.settings import Settings, load_settings

if TYPE_CHECKING:
    from schema.topics import Topic
    from streams.dead_letter_log import Box
    from streams.dead_letters import Letter, Selection
    from streams.replay import Change, Replay, Unfit

dlq = typer.Typer(
    no_args_is_help=True,
    help="Dead letters: the records that no consumer could process. List them, look at them, send them again, remove them.",
)

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="dead letters by id, such as question.asked:3:17")]
TopicOption = Annotated[str, typer.Option("--topic", help="those of this topic, such as question.asked")]
Since = Annotated[str, typer.Option("--since", metavar="WHEN", help="those that died since: 15m, 2h, 3d, 2026-11-24T08:30")]
Reason = Annotated[str, typer.Option("--reason", help="those with this reason, such as not_json")]
All = Annotated[bool, typer.Option("--all", help="every one that waits")]
Json = Annotated[bool, typer.Option("--json", help="JSON lines instead of text")]


@dlq.command("list")
def list_command(
    topic: TopicOption = "",
    since: Since = "",
    reason: Reason = "",
    handled: Annotated[bool, typer.Option("--handled", help="those too that were replayed or purged")] = False,
    as_json: Json = False,
) -> None:
    """List the dead letters that wait, oldest first: id, when it died, reason, message.

    The id is the place of the original record, TOPIC:PARTITION:OFFSET; the other commands take it.
    """
    from local.dead_letter_views import as_line, as_summary

    box = _read(load_settings(os.environ), _Wanted(topic=topic, since=since, reason=reason))
    shown = [letter for letter in box.letters if handled or letter.handled is None]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() and not as_json else 0
    for letter in shown:
        line = json.dumps(as_summary(letter), ensure_ascii=False) if as_json else as_line(letter)
        print(line[:width] if width else line)
    hidden = len(box.letters) - len(shown)
    more = f"; {hidden} more were replayed or purged (--handled lists them)" if hidden else ""
    print(f"{_number(len(shown), 'dead letter')}{more}", file=sys.stderr)


@dlq.command()
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="a dead letter's id: TOPIC:PARTITION:OFFSET")],
    as_json: Json = False,
) -> None:
    """Show one dead letter: the original key, value, headers and time, and why and where it died.

    Identifiers were masked, and users replaced by pseudonyms, when it died. Where it stands in the dead-letter topic
    (question.asked.dlq:0:5) may be given instead of its id.
    """
    from local.dead_letter_views import as_object, as_text

    box = _read(load_settings(os.environ), _Wanted(ids=[letter_id]), values=True)
    [letter] = box.letters
    print(json.dumps(as_object(letter), ensure_ascii=False) if as_json else as_text(letter))


@dlq.command("replay")
def replay_command(
    ids: Ids = None,
    topic: TopicOption = "",
    since: Since = "",
    reason: Reason = "",
    everything: All = False,
    fix: Annotated[str, typer.Option("--fix", metavar="JQ", help="repair each value with this jq expression")] = "",
    edit: Annotated[bool, typer.Option("--edit", help="repair each value in your editor ($VISUAL, $EDITOR)")] = False,
    skip_unfit: Annotated[
        bool, typer.Option("--skip-unfit", help="leave those that would be refused again, send the others")
    ] = False,
    as_json: Json = False,
) -> None:
    """Send dead letters back to their topic, with their key and headers; each is then no longer listed.

    All are checked first: if one would be refused again, nothing is sent. What was replayed is not replayed again, and an
    event that is replayed twice all the same is counted once, by its id.

    --fix gives the value to a jq expression and sends the result: 'del(.data.zodiac)', or '.data.gender = "unknown"'.
    A value that is not JSON is given as one string, and a string that comes back is the new text:
    'rtrimstr(",") + "}"'. jq loses digits of whole numbers above 2^53.
    """
    from streams.replay import Unfit, as_it_is, jq_fix, send

    if fix and edit:
        raise ConfigError("--fix and --edit cannot be used together")
    settings = load_settings(os.environ)
    change = jq_fix(fix) if fix else as_it_is
    wanted = _Wanted(ids=ids or (), topic=topic, since=since, reason=reason, everything=everything)
    box = _read(settings, wanted.checked(), values=True)
    waiting = [letter for letter in box.letters if letter.handled is None]
    replays, unfit, unchanged = _repair(waiting, change, by_hand=edit)
    if unfit and not skip_unfit:
        more = f" {len(unfit) - 1} more would be refused, too." if len(unfit) > 1 else ""
        hint = " --skip-unfit sends the others." if replays else ""
        raise Unfit(unfit[0][1].code, f"{unfit[0][1]}.{more} Nothing was sent.{hint}")
    with slow("replaying") as progress:
        send(settings, replays, progress=progress)
    outcomes = {
        "replayed": [made.letter for made in replays],
        "unchanged": unchanged,
        "unfit": [letter for letter, _ in unfit],
        "handled_before": [letter for letter in box.letters if letter.handled is not None and ids],
    }
    if as_json:
        for outcome, letters in outcomes.items():
            for letter in letters:
                print(json.dumps({"id": str(letter.id), "outcome": outcome}))
    else:
        print(", ".join(f"{len(some)} {what.replace('_', ' ')}" for what, some in outcomes.items() if some or what == "replayed"))
    for _, fault in unfit:
        print(f"error: {fault}", file=sys.stderr)
    if unfit:
        raise typer.Exit(1)


@dlq.command("purge")
def purge_command(
    ids: Ids = None,
    topic: TopicOption = "",
    since: Since = "",
    reason: Reason = "",
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    as_json: Json = False,
) -> None:
    """Remove dead letters for good; asks first.

    Kafka deletes from the beginning of a topic only. A purged dead letter behind one that still waits is no longer listed or
    replayed, and its text stays in the topic until that one is handled and another purge runs, or for 14 days. What was
    replayed before and stands in front is deleted, too.
    """
    from streams.replay import purge

    settings = load_settings(os.environ)
    wanted = _Wanted(ids=ids or (), topic=topic, since=since, reason=reason, everything=everything).checked()
    box = _read(settings, wanted, all_of_topic=True)
    selection = wanted.selection(settings)
    chosen = [letter for letter in box.letters if letter.handled is None and selection.takes(letter)]
    if chosen and not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"this removes {_number(len(chosen), 'dead letter')} for good: say --yes where nobody can be asked")
        typer.confirm(f"Remove {_number(len(chosen), 'dead letter')} for good?", abort=True)
    done = purge(settings, box, chosen, everywhere=everything)
    if as_json:
        print(json.dumps({"purged": done.letters, "deleted_records": done.deleted, "waiting": done.waiting}))
        return
    print(f"{done.letters} purged; {_number(done.deleted, 'record')} deleted from Kafka")
    if done.waiting:
        print(f"the text of {done.waiting} stays in Kafka until what stands before it is handled and purged, or for 14 days")


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class _Wanted:
    """What the options of a command select, as they were given."""

    ids: Sequence[str] = ()
    topic: str = ""
    since: str = ""
    reason: str = ""
    everything: bool = False

    def checked(self) -> _Wanted:
        """Itself, if exactly one way of selecting was used.

        Raises:
            ConfigError: none was, or several.
        """
        ways = [bool(self.ids), bool(self.topic or self.since or self.reason), self.everything]
        if sum(ways) != 1:
            what = "name dead letters by id, or select them with --topic, --since, --reason, or take --all"
            raise ConfigError(what if not any(ways) else f"{what}: only one of these at a time")
        return self

    def selection(self, settings: Settings) -> Selection:
        """The dead letters that are meant."""
        from streams.dead_letters import Selection, find_place, find_topic, parse_when

        prefix = settings.topic_prefix
        return Selection(
            ids=frozenset(find_place(text, prefix) for text in self.ids),
            topic=find_topic(self.topic, prefix) if self.topic else None,
            reason=self.reason,
            since=parse_when(self.since, datetime.now(UTC)) if self.since else None,
        )

    def topics(self, settings: Settings) -> list[Topic]:
        """The topics that they can be in."""
        from streams.dead_letters import BURIED, find_topic

        prefix = settings.topic_prefix
        if self.topic:
            return [find_topic(self.topic, prefix)]
        named = {find_topic(text.partition(":")[0], prefix) for text in self.ids}
        return [topic for topic in BURIED if not named or topic in named]


def _read(settings: Settings, wanted: _Wanted, *, values: bool = False, all_of_topic: bool = False) -> Box:
    """The dead letters that are wanted, or all that stand in the same topics; a missing id is an error."""
    from streams.dead_letter_log import read_box

    selection = wanted.selection(settings)
    with slow("reading dead letters") as progress:
        box = read_box(
            settings,
            wanted.topics(settings),
            keep_value=lambda letter: values and selection.takes(letter),
            progress=progress,
        )
    selection.check_found(box.letters)
    return box if all_of_topic else replace(box, letters=[letter for letter in box.letters if selection.takes(letter)])


_Repaired = tuple[list["Replay"], list[tuple["Letter", "Unfit"]], list["Letter"]]


def _repair(letters: list[Letter], change: Change, *, by_hand: bool) -> _Repaired:
    """What can be sent of `letters`, what cannot, and what a person left as it was."""
    from streams.replay import Unfit, prepare

    replays: list[Replay] = []
    unfit: list[tuple[Letter, Unfit]] = []
    unchanged: list[Letter] = []
    for letter in letters:
        try:
            made = _edited(letter) if by_hand else prepare(letter, change)
        except Unfit as fault:
            unfit.append((letter, fault))
            continue
        if made is None:
            unchanged.append(letter)
        else:
            replays.append(made)
    return replays, unfit, unchanged


def _edited(letter: Letter) -> Replay | None:
    """What a person made of `letter`; None if nothing. A mistake can be mended at once where somebody can be asked.

    Raises:
        Unfit: its consumer would refuse it again.
    """
    from local.dead_letter_views import pretty
    from local.editor import edit
    from streams.replay import Unfit, prepare

    before = text = pretty(letter.value)
    while True:
        saved = edit(text, os.environ)
        if saved == before:
            return None
        try:
            return prepare(letter, lambda _, now=saved: now)  # type: ignore[misc]
        except Unfit as fault:
            if not sys.stdin.isatty():
                raise
            print(f"error: {fault}", file=sys.stderr)
            if not typer.confirm("Edit again?", default=True):
                raise
        text = saved
