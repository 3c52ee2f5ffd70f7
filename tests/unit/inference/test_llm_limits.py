"""So many calls at once, so much in a day, and none for what is known already or asked by others at the same time."""

from __future__ import annotations

import asyncio
import gc
from datetime import date, timedelta
from typing import Any

import pytest

from inference.llm import Llm
from inference.llm_guard import LlmFailed
from schema.errors import ConfigError, TransientError

GOOD = {"intents": ["wealth"], "confidence": 0.83, "reasoning": "问钱"}
TOKENS = {"prompt_tokens": 1_000_000, "completion_tokens": 500_000, "total_tokens": 1_500_000}


async def refused(llm: Llm, question: str) -> str:
    """The outcome of a question that gets no answer."""
    with pytest.raises(LlmFailed) as failure:
        await llm.classify(question)
    return failure.value.outcome


async def test_no_more_calls_at_once_than_allowed(make_llm: Any, server: Any) -> None:
    llm = make_llm(concurrency=2, timeout=20)
    release = server.holds(GOOD)
    asking = [asyncio.create_task(llm.classify(question)) for question in "甲乙丙丁戊"]
    await server.arrived(2)
    release.set()
    assert [said.intents for said in await asyncio.gather(*asking)] == [["wealth"]] * 5
    assert (len(server.asked), server.most) == (5, 2)


async def test_who_finds_no_slot_is_sent_away_soon(make_llm: Any, server: Any, metrics: Any) -> None:
    llm = make_llm(concurrency=1, timeout=4)
    release = server.holds(GOOD)
    first = asyncio.create_task(llm.classify("财运"))
    await server.arrived(1)
    assert await refused(llm, "事业") == "busy"
    assert not first.done()
    release.set()
    await first
    await llm.classify("事业")
    assert metrics.outcomes() == {"busy": 1, "answered": 2}


async def test_those_who_ask_the_same_at_once_make_one_call(make_llm: Any, server: Any, metrics: Any) -> None:
    llm = make_llm(timeout=10)
    release = server.holds(GOOD)
    asking = [asyncio.create_task(llm.classify("今年财运如何")) for _ in range(5)]
    await server.arrived(1)
    release.set()
    answers = await asyncio.gather(*asking)
    assert [said.cached for said in answers] == [False, True, True, True, True]
    assert {said.reasoning for said in answers} == {"问钱"}
    assert len(server.asked) == 1
    assert metrics.outcomes() == {"answered": 1, "cached": 4}


async def test_those_who_ask_the_same_share_its_failure_too(llm: Llm, server: Any, metrics: Any) -> None:
    server.replies("{}", status=401)
    failures = await asyncio.gather(*(llm.classify("财运") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(failure, LlmFailed) for failure in failures)
    assert len(server.asked) == 1
    assert metrics.outcomes() == {"error": 3}


async def test_a_caller_that_gives_up_takes_the_answer_from_nobody(make_llm: Any, server: Any, metrics: Any) -> None:
    llm = make_llm(timeout=10)
    release = server.holds(GOOD)
    impatient = asyncio.create_task(llm.classify("财运"))
    await server.arrived(1)
    patient = asyncio.create_task(llm.classify("财运"))
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    release.set()
    assert (await patient).intents == ["wealth"]
    assert len(server.asked) == 1
    assert metrics.outcomes() == {"timeout": 1, "cached": 1}


async def test_a_failure_that_nobody_waits_for_is_no_noise(make_llm: Any, server: Any, caplog: Any) -> None:
    llm = make_llm(concurrency=1, timeout=10)
    release = server.holds("no answer")
    server.says(GOOD)
    asking = asyncio.create_task(llm.classify("财运"))
    await server.arrived(1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    release.set()
    await llm.classify("事业")  # its slot is free once the first call has failed
    del asking  # its traceback holds the call
    gc.collect()
    assert [record.message for record in caplog.records if "never retrieved" in record.message] == []


async def test_closing_ends_the_calls_under_way(make_llm: Any, server: Any) -> None:
    llm = make_llm(timeout=10)
    server.holds(GOOD)
    asking = asyncio.create_task(llm.classify("财运"))
    await server.arrived(1)
    await llm.close()
    with pytest.raises(TransientError, match="closed"):
        await asking


@pytest.mark.parametrize("variant", ["今年财运如何", "今年財運如何？", "  今年财运，如何!", "今年财运如何🎲"])
async def test_an_answer_is_kept_for_questions_that_read_the_same(llm: Llm, server: Any, metrics: Any, variant: str) -> None:
    server.says(GOOD)
    await llm.classify("今年财运如何")
    said = await llm.classify(variant)
    assert (said.intents, said.confidence, said.cached, said.cost) == (["wealth"], 0.83, True, 0.0)
    assert len(server.asked) == 1
    assert metrics.outcomes() == {"answered": 1, "cached": 1}


async def test_full_width_reads_the_same_and_signs_alone_do_not(llm: Llm, server: Any) -> None:
    server.says(GOOD)
    for question in ("Ａ股能买吗", "a股能买吗", "？？", "🎲"):
        await llm.classify(question)
    assert len(server.asked) == 3


async def test_what_was_said_of_another_s_numbers_is_not_told(llm: Llm, server: Any) -> None:
    server.says(GOOD | {"reasoning": "1990年5月出生的人问钱"})
    await llm.classify("1990年5月生，财运如何")
    said = await llm.classify("1985年3月生，财运如何")
    assert (said.intents, said.reasoning, said.cached) == (["wealth"], "", True)
    assert (await llm.classify("1990年5月生，财运如何")).reasoning == "1990年5月出生的人问钱"


async def test_a_kept_answer_grows_old(make_llm: Any, server: Any, clock: Any) -> None:
    llm = make_llm(cache_ttl=60, clock=clock)
    server.says(GOOD)
    await llm.classify("财运")
    clock.now += 59
    assert (await llm.classify("财运")).cached
    clock.now += 1
    assert not (await llm.classify("财运")).cached
    assert len(server.asked) == 2


@pytest.mark.parametrize("first", ["财运", GOOD | {"intents": ["admin"]}])
async def test_what_is_no_answer_is_not_kept(llm: Llm, server: Any, first: object) -> None:
    server.says(first)
    server.says(GOOD)
    assert await refused(llm, "财运") == "outside_schema"
    assert not (await llm.classify("财运")).cached


async def test_a_kept_answer_needs_no_endpoint_and_no_budget(make_llm: Any, server: Any) -> None:
    llm = make_llm(circuit_failures=1, daily_calls=2)
    server.says(GOOD)
    server.replies("{}", status=401)
    await llm.classify("财运")
    assert [await refused(llm, q) for q in ("事业", "健康")] == ["error", "budget"]
    assert (await llm.classify("财运")).cached


async def test_each_request_counts_against_the_calls_of_a_day(make_llm: Any, server: Any, metrics: Any) -> None:
    day = [date(2026, 3, 1)]
    llm = make_llm(daily_calls=2, today=lambda: day[0])
    server.replies("{}", status=500)
    with pytest.raises(TransientError, match="the 2 calls of 2026-03-01 are used up"):
        await llm.classify("财运")
    assert len(server.asked) == 2
    assert await refused(llm, "财运") == "budget"
    day[0] += timedelta(days=1)
    server.answers.clear()
    server.says(GOOD)
    await llm.classify("财运")
    assert metrics.outcomes() == {"budget": 2, "answered": 1}


async def test_money_is_counted_by_the_tokens_and_ends_for_the_day(make_llm: Any, server: Any, metrics: Any) -> None:
    day = [date(2026, 3, 1)]
    llm = make_llm(price_in=1, price_out=4, daily_budget=5, today=lambda: day[0])
    server.says(GOOD, usage=TOKENS)
    assert (await llm.classify("财运")).cost == pytest.approx(3.0)
    await llm.classify("事业")
    with pytest.raises(TransientError, match="the budget of 5 for 2026-03-01 is used up"):
        await llm.classify("健康")
    assert metrics.grown("cost_total") == pytest.approx(6.0)
    assert metrics.grown("tokens_total", "in") == 2_000_000
    assert metrics.grown("tokens_total", "out") == 1_000_000
    day[0] += timedelta(days=1)
    await llm.classify("健康")


async def test_an_answer_that_is_not_taken_is_paid_for_too(make_llm: Any, server: Any) -> None:
    llm = make_llm(price_in=1, daily_budget=0.5)
    server.says("admin", usage=TOKENS)
    assert [await refused(llm, q) for q in ("财运", "事业")] == ["outside_schema", "budget"]


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -1, "completion_tokens": 0}, {"prompt_tokens": "x"}, [], 5])
async def test_where_no_tokens_are_told_each_character_counts_as_one(
    make_llm: Any, server: Any, metrics: Any, usage: object
) -> None:
    llm = make_llm(price_in=1)
    server.says("ok", usage=usage)
    await refused(llm, "财运")
    sent = sum(len(message["content"]) for message in server.asked[0]["messages"])
    assert (metrics.grown("tokens_total", "in"), metrics.grown("tokens_total", "out")) == (sent, 2)
    assert metrics.grown("cost_total") == pytest.approx(sent / 1_000_000)


async def test_a_budget_without_prices_is_a_mistake_at_the_start(make_llm: Any) -> None:
    with pytest.raises(ConfigError, match="INTENTLOOP_LLM_PRICE_IN"):
        make_llm(daily_budget=5)
