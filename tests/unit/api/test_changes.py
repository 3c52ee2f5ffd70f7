"""A listener is told the newest total of each pair, once, however many came; and nothing that it did not ask for."""

from __future__ import annotations

import asyncio
import threading

from pydantic import SecretStr

from api.changes import Changes, Listener
from schema.envelope import wrap
from schema.events import KeywordCounted
from schema.settings import Settings

NOWHERE = Settings(kafka="127.0.0.1:1", database_url=SecretStr("mysql+pymysql://u:p@127.0.0.1:1/d"))


def counted(keyword: str, total: int, intent: str = "wealth") -> KeywordCounted:
    said = {"keyword": keyword, "intent": intent, "total": total, "updated_at": "2026-01-01T00:00:00Z"}
    return KeywordCounted.model_validate(said)


async def test_a_slow_listener_holds_one_total_per_pair() -> None:
    listener = Listener(asyncio.get_running_loop(), None)

    def tell() -> None:
        for total in range(1, 1001):
            listener.hear(("财运", "wealth"), total)
            listener.hear(("跳槽", "career"), total)

    teller = threading.Thread(target=tell)
    teller.start()
    await asyncio.to_thread(teller.join)
    assert await listener.take(5) == {("财运", "wealth"): 1000, ("跳槽", "career"): 1000}
    assert await listener.take(0.01) == {}


async def test_only_the_intent_that_was_asked_for_is_told() -> None:
    listener = Listener(asyncio.get_running_loop(), "career")
    listener.hear(("财运", "wealth"), 1)
    listener.hear(("跳槽", "career"), 1)
    assert await listener.take(5) == {("跳槽", "career"): 1}


async def test_a_total_that_comes_late_from_another_worker_is_not_told() -> None:
    changes = Changes(NOWHERE)
    listener = Listener(asyncio.get_running_loop(), None)
    changes._listeners.add(listener)
    for total in (5, 4, 5):
        changes.hear(wrap(counted("财运", total), source="test"))
    assert await listener.take(5) == {("财运", "wealth"): 5}
    changes.hear(wrap(counted("财运", 4), source="test"))
    assert await listener.take(0.01) == {}
