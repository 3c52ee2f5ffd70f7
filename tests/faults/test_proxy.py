"""The proxy itself: what it does to a transaction is what a server or a network would do."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pymysql
import pytest
from sqlalchemy import make_url

from tests.faults.points import Fault, HoldAnswer, HoldCommit, Refuse, ResetAfterCommit
from tests.faults.proxy import Proxy

TABLE = "intent_user_questions"
WAIT = 10.0


def connect(url: str) -> pymysql.Connection:
    made = make_url(url)
    return pymysql.connect(
        host=made.host or "", port=made.port or 0, user=made.username, password=made.password or "", database=made.database
    )


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    """Before a database with one small table."""
    with connect(database_url) as direct, direct.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {TABLE} (n INT PRIMARY KEY) ENGINE=InnoDB")
    made = Proxy(database_url)
    yield made
    made.stop()


def insert(connection: pymysql.Connection, number: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {TABLE} VALUES (%s)", (number,))


def rows(database_url: str) -> list[int]:
    with connect(database_url) as direct, direct.cursor() as cursor:
        cursor.execute(f"SELECT n FROM {TABLE} ORDER BY n")
        return [n for (n,) in cursor.fetchall()]


def test_it_passes_everything_on(proxy: Proxy, database_url: str) -> None:
    """Also a statement of more than 16 MB, which takes two packets, if the server takes it at all."""
    with connect(proxy.url) as through:
        insert(through, 1)
        through.commit()
        with through.cursor() as cursor:
            cursor.execute("SELECT REPEAT('好', 100000)")
            assert cursor.fetchone() == ("好" * 100_000,)
            with pytest.raises(pymysql.err.OperationalError):
                cursor.execute(f"SELECT '{'x' * (17 << 20)}'")
    assert rows(database_url) == [1]


def test_a_held_commit_is_not_committed_and_a_dropped_one_never_is(proxy: Proxy, database_url: str) -> None:
    held = proxy.plan(HoldCommit())
    with ThreadPoolExecutor() as pool, connect(proxy.url) as through:
        insert(through, 1)
        committing = pool.submit(through.commit)
        assert held.reached.wait(WAIT)
        assert rows(database_url) == []
        proxy.drop()
        held.release()
        with pytest.raises(pymysql.err.OperationalError):
            committing.result(WAIT)
    assert rows(database_url) == []


@pytest.mark.parametrize("fault", [HoldCommit, HoldAnswer])
def test_what_is_held_goes_on_when_released(proxy: Proxy, database_url: str, fault: type[Fault]) -> None:
    held = proxy.plan(fault())  # type: ignore[call-arg]
    with ThreadPoolExecutor() as pool, connect(proxy.url) as through:
        insert(through, 1)
        committing = pool.submit(through.commit)
        assert held.reached.wait(WAIT)
        assert rows(database_url) == ([1] if fault is HoldAnswer else [])
        held.release()
        committing.result(WAIT)
    assert rows(database_url) == [1]


def test_a_reset_after_commit_leaves_it_committed(proxy: Proxy, database_url: str) -> None:
    proxy.plan(ResetAfterCommit())
    through = connect(proxy.url)
    insert(through, 1)
    with pytest.raises(pymysql.err.OperationalError) as error:
        through.commit()
    assert error.value.args[0] == 2013
    assert rows(database_url) == [1]


@pytest.mark.parametrize(("number", "left"), [(1213, [3]), (1205, [1, 3])])
def test_a_deadlock_rolls_all_back_and_a_lock_timeout_one_statement(
    proxy: Proxy, database_url: str, number: int, left: list[int]
) -> None:
    fault = proxy.plan(Refuse(number, "INSERT", TABLE, after=1))
    with connect(proxy.url) as through:
        insert(through, 1)
        with pytest.raises(pymysql.err.OperationalError) as error:
            insert(through, 2)
        assert error.value.args[0] == number
        insert(through, 3)
        through.commit()
    assert fault.reached.is_set()
    assert rows(database_url) == left


def test_a_commit_that_deadlocks_is_rolled_back(proxy: Proxy, database_url: str) -> None:
    proxy.plan(Refuse(1213, "COMMIT", TABLE))
    with connect(proxy.url) as through:
        insert(through, 1)
        with pytest.raises(pymysql.err.OperationalError):
            through.commit()
        through.commit()
    assert rows(database_url) == []


def test_a_database_that_is_down_refuses_and_comes_back_on_the_same_port(proxy: Proxy, database_url: str) -> None:
    through = connect(proxy.url)
    proxy.down()
    with pytest.raises(pymysql.err.OperationalError):
        insert(through, 1)
    with pytest.raises(pymysql.err.OperationalError, match="refused"):
        connect(proxy.url)
    proxy.up()
    with connect(proxy.url) as again:
        insert(again, 2)
        again.commit()
    assert rows(database_url) == [2]


def test_a_silent_database_answers_nobody_and_drops_all_when_it_comes_back(proxy: Proxy, database_url: str) -> None:
    with ThreadPoolExecutor() as pool, connect(proxy.url) as through:
        proxy.down("silent")
        asked = pool.submit(insert, through, 1)
        late = pool.submit(connect, proxy.url)
        assert proxy.tried.wait(WAIT)
        assert not asked.done()
        assert not late.done()
        proxy.up()
        for waiting in (asked, late):
            with pytest.raises(pymysql.err.OperationalError):
                waiting.result(WAIT)
    assert rows(database_url) == []
