"""The pool of connections in the moments that a real server rarely hits."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from gateway import NotSent
from gateway_email.pool import Pool
from gateway_email.session import Session


class FakeSession:
    """As much of a session as the pool sees."""

    def __init__(self) -> None:
        self.alive = True
        self.transactions = 0
        self.idle_since = 0.0

    def abort(self) -> None:
        self.alive = False

    async def quit(self) -> None:
        self.alive = False


class Connecting:
    """What the pool connects with: each call waits until the test ends it."""

    def __init__(self) -> None:
        self.attempts: list[asyncio.Future[Session]] = []

    async def __call__(self) -> Session:
        attempt: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        self.attempts.append(attempt)
        return await attempt

    def succeed(self, number: int) -> None:
        self.attempts[number].set_result(cast(Session, FakeSession()))


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def pool_of(connecting: Connecting, limit: int = 10) -> Pool:
    return Pool(connecting, limit=limit, uses=100, idle_seconds=60)


async def test_while_there_is_no_connection_only_one_is_tried() -> None:
    connecting = Connecting()
    pool = pool_of(connecting)
    callers = [asyncio.create_task(pool.acquire()) for _ in range(4)]
    await settle()
    assert len(connecting.attempts) == 1
    connecting.succeed(0)
    await settle()
    assert len(connecting.attempts) == 4
    for number in (1, 2, 3):
        connecting.succeed(number)
    assert len(set(await asyncio.gather(*callers))) == 4


async def test_the_next_caller_connects_when_the_first_is_cancelled() -> None:
    connecting = Connecting()
    pool = pool_of(connecting)
    first, second = (asyncio.create_task(pool.acquire()) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    assert len(connecting.attempts) == 2
    connecting.succeed(1)
    await second
    assert pool.size == 1


async def test_all_who_wait_are_told_that_nobody_can_connect() -> None:
    connecting = Connecting()
    pool = pool_of(connecting)
    callers = [asyncio.create_task(pool.acquire()) for _ in range(3)]
    await settle()
    connecting.attempts[0].set_exception(NotSent("down"))
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["down"] * 3
    assert pool.size == 0


async def test_a_session_handed_over_in_the_moment_of_a_cancellation_is_not_lost() -> None:
    connecting = Connecting()
    pool = pool_of(connecting, limit=1)
    first = asyncio.create_task(pool.acquire())
    await settle()
    connecting.succeed(0)
    session = await first
    waiting = asyncio.create_task(pool.acquire())
    await settle()
    pool.release(session)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await pool.acquire() is session


async def test_room_given_in_the_moment_of_a_cancellation_goes_to_the_next() -> None:
    connecting = Connecting()
    pool = pool_of(connecting, limit=1)
    first = asyncio.create_task(pool.acquire())
    await settle()
    connecting.succeed(0)
    session = await first
    cancelled, waiting = (asyncio.create_task(pool.acquire()) for _ in range(2))
    await settle()
    pool.discard(session)
    cancelled.cancel()
    await settle()
    assert len(connecting.attempts) == 2
    connecting.succeed(1)
    assert (await waiting).alive


async def test_a_refused_connection_is_not_asked_for_again_while_others_work() -> None:
    connecting = Connecting()
    pool = pool_of(connecting)
    first, second = (asyncio.create_task(pool.acquire()) for _ in range(2))
    await settle()
    connecting.succeed(0)
    await settle()
    connecting.attempts[1].set_exception(NotSent("too many connections"))
    session = await first
    third = asyncio.create_task(pool.acquire())
    await settle()
    assert len(connecting.attempts) == 2
    pool.release(session)
    assert await second is session
    pool.release(session)
    assert await third is session


async def test_who_waits_longest_is_served_first() -> None:
    connecting = Connecting()
    pool = pool_of(connecting, limit=1)
    first = asyncio.create_task(pool.acquire())
    await settle()
    connecting.succeed(0)
    session = await first
    served: list[int] = []

    async def work(number: int) -> None:
        mine = await pool.acquire()
        served.append(number)
        pool.release(mine)

    tasks = [asyncio.create_task(work(number)) for number in range(3)]
    await settle()
    pool.release(session)
    await work(3)
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2, 3]
    await pool.close()


async def test_a_closed_session_is_never_given_out() -> None:
    connecting = Connecting()
    pool = pool_of(connecting)
    first = asyncio.create_task(pool.acquire())
    await settle()
    connecting.succeed(0)
    session = await first
    pool.release(session)
    session.abort()
    second = asyncio.create_task(pool.acquire())
    await settle()
    connecting.succeed(1)
    assert await second is not session
    assert pool.size == 1
