"""How far the labels are from the next training, what each labeler did, and what happens meanwhile."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, func, select, true

from api.state import Api
from api.tasks import Person
from api.threshold import toward_training
from api.wire import Call, Nothing
from schema.tables import intent_question_marks as marks
from schema.tables import utc_now

DAY_OF: Final = ZoneInfo("Asia/Shanghai")


async def progress(api: Api, call: Call[Nothing, Person]) -> dict[str, Any]:
    """Labels that wait for the next training, how many it takes, and the labels given here: a group counts once.

    An intent that is to be trained needs ``need`` labels, earlier ones included. Days are those of Asia/Shanghai.
    """
    asker = call.query.labeler or call.labeler_id

    def work(connection: Connection) -> dict[str, Any]:
        return toward_training(connection, api.settings) | _people(connection, asker)

    return await api.database(work)


def _people(connection: Connection, labeler: str | None) -> dict[str, Any]:
    now = utc_now()
    local = now.replace(tzinfo=ZoneInfo("UTC")).astimezone(DAY_OF)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(ZoneInfo("UTC")).replace(tzinfo=None)

    def count(since: datetime | None, by: str | None) -> int:
        theirs: ColumnElement[bool] = marks.c.labeler_id == by if by is not None else true()
        then: ColumnElement[bool] = marks.c.created_at >= since if since is not None else true()
        chosen = select(func.count()).select_from(marks).where(marks.c.kind == "label", theirs, then)
        return connection.execute(chosen).scalar_one()

    mine = None
    if labeler is not None:
        in_hour = count(now - timedelta(hours=1), labeler)
        mine = {"today": count(midnight, labeler), "total": count(None, labeler), "per_hour": in_hour}
    return {"mine": mine, "team_today": count(midnight, None)}


async def events(api: Api, call: Call[Nothing, Nothing]) -> AsyncGenerator[bytes]:
    """Server-sent events: ``label``, ``batch``, ``model``, ``rollout`` (a replica) and ``progress``, each with JSON.

    At most four times a second, and of each thing the newest. After a lost connection load what is shown anew.
    """
    return api.live.frames()
