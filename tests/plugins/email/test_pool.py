"""The pool of connections in the moments that a real server rarely hits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from gateway import Misconfigured, NotSent
from gateway_email.handshake import Unusable
from gateway_email.pool import QUICK_SECONDS, Pool
from gateway_email.replies import Reply
from gateway_email.session import Session
from gateway_email.transaction import TAKEN, Overdue, Transaction

LATER_SECONDS = 60.0


class FakeSession:
    """As much of a session as the pool sees. What it has taken is answered when the test says so."""

    def __init__(self, capacity: int = 1) -> None:
        self.capacity = capacity
        self.usable = True
        self.transactions = 0
        self.idle_since = 0.0
        self.answer_seconds = 0.0
        self.messages: list[Transaction] = []
        self.when_free: Callable[[Session], None]
        self.when_lost: Callable[[Session], None]

    @property
    def load(self) -> int:
        return len(self.messages)

    def take(self, message: Transaction) -> None:
        self.transactions += 1
        self.messages.append(message)

    def answer(self) -> None:
        """The first message has been accepted."""
        self.messages.pop(0).answered(TAKEN)
        self.when_free(cast(Session, self))

    def withdraw(self, message: Transaction) -> bool:
        if message not in self.messages:
            return False
        self.break_down()
        return True

    def break_down(self) -> None:
        self.usable = False
        lost, self.messages = self.messages, []
        self.when_lost(cast(Session, self))
        for message in lost:
            message.lost("broken")

    async def quit(self) -> None:
        self.usable = False


class Connecting:
    """What the pool connects with: each call waits until the test ends it."""

    def __init__(self, capacity: int = 1) -> None:
        self.capacity = capacity
        self.attempts: list[asyncio.Future[FakeSession]] = []

    async def __call__(self) -> Session:
        attempt: asyncio.Future[FakeSession] = asyncio.get_running_loop().create_future()
        self.attempts.append(attempt)
        return cast(Session, await attempt)

    def succeed(self, number: int) -> FakeSession:
        session = FakeSession(self.capacity)
        self.attempts[number].set_result(session)
        return session


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def pool_of(connecting: Connecting, limit: int = 10, uses: int = 100) -> Pool:
    return Pool(connecting, limit=limit, uses=uses, idle_seconds=60)


def message(seconds: float = LATER_SECONDS) -> Transaction:
    deadline = asyncio.get_running_loop().time() + seconds
    return Transaction(b"news@grace.example", b"ada@example.org", b"msg_1@grace.example", b".\r\n", deadline)


def send(pool: Pool, number: int) -> list[asyncio.Task[Reply]]:
    return [asyncio.create_task(pool.hand_over(message())) for _ in range(number)]


async def test_while_there_is_no_connection_only_one_is_tried() -> None:
    connecting = Connecting()
    pool = pool_of(connecting)
    send(pool, 4)
    await settle()
    assert len(connecting.attempts) == 1
    connecting.succeed(0)
    await settle()
    assert len(connecting.attempts) == 4


async def test_where_two_share_a_connection_half_as_many_are_made() -> None:
    connecting = Connecting(capacity=2)
    pool = pool_of(connecting)
    send(pool, 10)
    await settle()
    session = connecting.succeed(0)
    await settle()
    assert (len(connecting.attempts), session.load) == (5, 2)


@pytest.mark.parametrize(("answer_seconds", "connections"), [(QUICK_SECONDS / 2, 1), (QUICK_SECONDS * 2, 2)])
async def test_only_a_quick_server_gets_two_messages_at_once_where_there_may_be_another_connection(
    answer_seconds: float, connections: int
) -> None:
    connecting = Connecting(capacity=2)
    pool = pool_of(connecting)
    send(pool, 1)
    await settle()
    connecting.succeed(0).answer_seconds = answer_seconds
    await settle()
    send(pool, 1)
    await settle()
    assert len(connecting.attempts) == connections


async def test_a_slow_server_gets_two_messages_at_once_on_each_of_the_connections_that_are_allowed() -> None:
    connecting = Connecting(capacity=2)
    pool = pool_of(connecting, limit=1)
    send(pool, 1)
    await settle()
    session = connecting.succeed(0)
    session.answer_seconds = QUICK_SECONDS * 2
    await settle()
    send(pool, 2)
    await settle()
    assert (session.load, len(connecting.attempts)) == (2, 1)


async def test_a_connection_that_is_being_made_is_there_for_the_next_when_the_first_is_cancelled() -> None:
    connecting = Connecting()
    pool = pool_of(connecting)
    first, second = send(pool, 2)
    await settle()
    first.cancel()
    await settle()
    session = connecting.succeed(0)
    await settle()
    session.answer()
    assert await second is TAKEN
    assert pool.size == 1


async def test_a_connection_that_nobody_waits_for_any_more_is_not_made() -> None:
    connecting = Connecting()
    pool = pool_of(connecting)
    tasks = send(pool, 2)
    await settle()
    for task in tasks:
        task.cancel()
    await settle()
    assert connecting.attempts[0].cancelled()
    assert pool.size == 0
    send(pool, 1)
    await settle()
    assert len(connecting.attempts) == 2


async def test_all_who_wait_are_told_that_nobody_can_connect() -> None:
    connecting = Connecting()
    pool = pool_of(connecting)
    tasks = send(pool, 3)
    await settle()
    connecting.attempts[0].set_exception(NotSent("down"))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["down"] * 3
    assert pool.size == 0


async def test_a_connection_that_is_closed_before_its_first_message_is_one_that_could_not_be_made() -> None:
    connecting = Connecting()
    pool = pool_of(connecting)
    (task,) = send(pool, 1)
    await settle()
    connecting.succeed(0).usable = False
    with pytest.raises(NotSent, match="before the first message"):
        await task
    assert (pool.size, len(connecting.attempts)) == (0, 1)


async def test_credentials_that_are_refused_while_other_connections_work_are_told_to_one_message() -> None:
    connecting = Connecting()
    pool = pool_of(connecting)
    tasks = send(pool, 3)
    await settle()
    session = connecting.succeed(0)
    await settle()
    connecting.attempts[1].set_exception(Unusable(Misconfigured("bad password")))
    await settle()
    session.answer()
    await settle()
    assert [task.done() for task in tasks] == [True, True, False]
    assert isinstance(tasks[1].exception(), Unusable)


async def test_a_message_that_is_cancelled_where_it_waits_takes_no_connection_with_it() -> None:
    connecting = Connecting()
    pool = pool_of(connecting, limit=1)
    first, second, third = send(pool, 3)
    await settle()
    session = connecting.succeed(0)
    await settle()
    second.cancel()
    session.answer()  # in the very moment of the cancellation
    await settle()
    session.answer()
    assert await first is TAKEN
    assert await third is TAKEN
    assert (pool.size, session.transactions) == (1, 2)


async def test_a_broken_connection_makes_room_for_another_one() -> None:
    connecting = Connecting()
    pool = pool_of(connecting, limit=1)
    first, second = send(pool, 2)
    await settle()
    session = connecting.succeed(0)
    await settle()
    session.break_down()
    await settle()
    assert len(connecting.attempts) == 2
    connecting.succeed(1).when_free = lambda session: None
    await settle()
    assert (first.done(), second.done()) == (True, False)


async def test_a_refused_connection_is_not_asked_for_again_while_others_work() -> None:
    connecting = Connecting()
    pool = pool_of(connecting)
    first, second = send(pool, 2)
    await settle()
    session = connecting.succeed(0)
    await settle()
    connecting.attempts[1].set_exception(NotSent("too many connections"))
    await settle()
    (third,) = send(pool, 1)
    await settle()
    assert len(connecting.attempts) == 2
    for task in (first, second, third):
        session.answer()
        assert await task is TAKEN


async def test_who_waits_longest_is_served_first() -> None:
    connecting = Connecting()
    pool = pool_of(connecting, limit=1)
    served: list[int] = []

    async def work(number: int) -> None:
        await pool.hand_over(message())
        served.append(number)

    tasks = [asyncio.create_task(work(number)) for number in range(4)]
    await settle()
    session = connecting.succeed(0)
    for _ in tasks:
        await settle()
        session.answer()
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2, 3]
    await pool.close()
    assert not session.usable


async def test_a_closed_session_is_never_given_out() -> None:
    connecting = Connecting()
    pool = pool_of(connecting)
    (first,) = send(pool, 1)
    await settle()
    session = connecting.succeed(0)
    await settle()
    session.answer()
    await first
    session.break_down()
    send(pool, 1)
    await settle()
    assert (session.load, len(connecting.attempts), pool.size) == (0, 2, 1)


async def test_a_message_that_waits_too_long_for_a_connection_ends_and_the_others_go_on_waiting() -> None:
    connecting = Connecting()
    pool = pool_of(connecting)
    patient = asyncio.create_task(pool.hand_over(message()))
    hasty = asyncio.create_task(pool.hand_over(message(seconds=0.01)))
    with pytest.raises(Overdue):
        await hasty
    assert not patient.done()
    session = connecting.succeed(0)
    await settle()
    session.answer()
    assert await patient is TAKEN
