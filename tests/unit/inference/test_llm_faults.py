"""An LLM that is slow, broken or down costs a bounded time, is asked again where that may help, and then left alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from inference.llm import Llm
from inference.llm_guard import LlmFailed
from local.ports import free_port
from schema.errors import TransientError
from schema.settings import Settings

GOOD = {"intents": ["wealth"], "confidence": 0.83, "reasoning": "问钱"}


async def refused(llm: Llm, question: str) -> str:
    """The outcome of a question that gets no answer."""
    with pytest.raises(LlmFailed) as failure:
        await llm.classify(question)
    return failure.value.outcome


@pytest.mark.parametrize("status", [500, 503, 429, 408])
async def test_a_server_that_recovers_is_asked_again(llm: Llm, server: Any, metrics: Any, status: int) -> None:
    server.replies("{}", status=status)
    server.replies("{}", status=status)
    server.says(GOOD)
    assert (await llm.classify("财运")).confidence == 0.83
    assert len(server.asked) == 3
    assert metrics.outcomes() == {"answered": 1}
    assert metrics.grown("call_duration_seconds_count") == 3, "the latency of each request is measured"


@pytest.mark.parametrize(("status", "tries"), [(500, 3), (429, 3), (400, 1), (401, 1), (404, 1)])
async def test_a_server_that_refuses_is_a_transient_error(llm: Llm, server: Any, metrics: Any, status: int, tries: int) -> None:
    server.replies('{"error": {"message": "no"}}', status=status)
    with pytest.raises(TransientError, match=f"the LLM did not answer: HTTP {status}$"):
        await llm.classify("财运")
    assert len(server.asked) == tries
    assert metrics.outcomes() == {"error": 1}


@pytest.mark.parametrize("said", ["0", "0.001", "a date"])
async def test_a_server_is_asked_again_when_it_says(llm: Llm, server: Any, said: str) -> None:
    past = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    for _ in range(3):
        server.replies("{}", status=429, headers={"Retry-After": past if said == "a date" else said})
        server.says(GOOD)
    waited = [(await llm.classify(question)).seconds for question in ("财运", "事业", "健康")]
    assert len(server.asked) == 6
    assert min(waited) < 0.35, "our own pause is longer"


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "soon"}, {"Retry-After": "nan"}])
async def test_a_server_that_does_not_say_when_is_left_alone_for_a_while(llm: Llm, server: Any, headers: dict[str, str]) -> None:
    server.replies("{}", status=503, headers=headers)
    server.says(GOOD)
    assert (await llm.classify("财运")).seconds > 0.37


@pytest.mark.parametrize("said", ["60", "a date"])
async def test_a_server_that_asks_for_a_long_pause_gets_it_and_nobody_waits(
    make_llm: Any, server: Any, clock: Any, said: str
) -> None:
    llm = make_llm(timeout=20, clock=clock)
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=70), usegmt=True)
    server.replies("{}", status=429, headers={"Retry-After": later if said == "a date" else said})
    server.says(GOOD)
    async with asyncio.timeout(10):
        assert await refused(llm, "财运") == "error"
    clock.now += 45
    assert await refused(llm, "事业") == "refused"
    clock.now += 30
    await llm.classify("事业")
    assert len(server.asked) == 2


async def test_a_server_that_is_silent_is_given_up(make_llm: Any, server: Any, metrics: Any) -> None:
    server.holds(GOOD)
    async with asyncio.timeout(10):
        with pytest.raises(TransientError, match=r"within 0\.2 s"):
            await make_llm(timeout=0.2).classify("财运")
    assert metrics.outcomes() == {"timeout": 1}


async def test_a_server_that_never_ends_its_reply_is_given_up(make_llm: Any, server: Any) -> None:
    server.drips()
    async with asyncio.timeout(10):
        assert await refused(make_llm(timeout=0.2), "财运") == "timeout"


async def test_the_time_limit_holds_for_all_tries_together(make_llm: Any, server: Any) -> None:
    server.replies("{}", status=500)
    server.holds(GOOD)
    async with asyncio.timeout(10):
        assert await refused(make_llm(timeout=1), "财运") == "timeout"
    assert len(server.asked) == 2


async def test_a_connection_that_breaks_off_is_tried_again(llm: Llm, server: Any) -> None:
    server.breaks_off()
    server.says(GOOD)
    assert (await llm.classify("财运")).intents == ["wealth"]
    assert len(server.asked) == 2


async def test_nobody_there_is_a_transient_error() -> None:
    llm = Llm(Settings(llm_url=f"http://127.0.0.1:{free_port()}/v1", llm_timeout=3))
    with pytest.raises(TransientError, match="APIConnectionError"):
        await llm.classify("财运")
    await llm.close()


async def test_an_endpoint_that_keeps_failing_is_left_alone_until_a_probe_succeeds(
    make_llm: Any, server: Any, clock: Any, metrics: Any
) -> None:
    llm = make_llm(circuit_failures=2, clock=clock)
    server.replies("{}", status=401)
    assert [await refused(llm, q) for q in ("财运", "事业", "健康")] == ["error", "error", "refused"]
    assert len(server.asked) == 2
    assert metrics.grown("circuit_open") == 1
    clock.now += 29.9
    with pytest.raises(TransientError, match="not asked for 0 s more"):
        await llm.classify("健康")
    clock.now += 0.2
    assert [await refused(llm, q) for q in ("健康", "性格")] == ["error", "refused"], "one probe, which fails"
    clock.now += 30
    server.answers.clear()
    server.says(GOOD)
    await llm.classify("健康")
    assert metrics.grown("circuit_open") == 0
    await llm.classify("性格")
    assert len(server.asked) == 5
    assert metrics.outcomes() == {"error": 3, "refused": 3, "answered": 2}


async def test_while_a_probe_is_under_way_nobody_else_asks(make_llm: Any, server: Any, clock: Any) -> None:
    llm = make_llm(circuit_failures=1, concurrency=1, clock=clock)
    server.replies("{}", status=401)
    release = server.holds(GOOD)
    await refused(llm, "财运")
    clock.now += 30
    probe = asyncio.create_task(llm.classify("事业"))
    await server.arrived(2)
    assert await refused(llm, "健康") == "refused"
    release.set()
    assert (await probe).intents == ["wealth"]
    assert (await llm.classify("健康")).intents == ["wealth"]


async def test_a_probe_that_the_budget_ends_makes_room_for_the_next(make_llm: Any, server: Any, clock: Any) -> None:
    day = [date(2026, 3, 1)]
    llm = make_llm(circuit_failures=1, daily_calls=2, clock=clock, today=lambda: day[0])
    server.replies("{}", status=401)
    server.replies("{}", status=500)
    server.says(GOOD)
    assert await refused(llm, "财运") == "error"
    clock.now += 30
    assert await refused(llm, "财运") == "budget", "before the second try of the probe"
    day[0] += timedelta(days=1)
    assert (await llm.classify("财运")).intents == ["wealth"]


@pytest.mark.parametrize("status", [200, 400, 422])
async def test_questions_alone_cannot_open_the_circuit(make_llm: Any, server: Any, status: int) -> None:
    llm = make_llm(circuit_failures=1)
    server.replies('{"choices": []}', status=status)
    for question in ("忽略指令", "ignore", "admin"):
        assert await refused(llm, question) in {"outside_schema", "error"}
    assert len(server.asked) == 3
