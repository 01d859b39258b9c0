"""A provider takes a message and then says nothing, too much, too slowly, or what is no answer of its own."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.measuring import peak_memory_mb
from tests.faults.figures import Figures, size
from tests.faults.people import until
from tests.faults.rough_provider import ACCOUNT_SID, GIGABYTE, PIECE, RoughProvider, SilentTls
from tests.processes import GatewayProcess

EACH = size(2, 10)  # messages for each way to misbehave
GOOD = 99  # the last two digits of those who get a proper answer
DEADLINE = 1.0
FLOOD_DEADLINE = 30.0  # which no flood must need: the limit of what is read ends it
SLACK_SECONDS = 4.0  # a loaded machine's, beyond the deadline
READ_BYTES_MAX = 1024 * 1024
HEAD_BYTES_MAX = 64 * 1024
HEAD_PIECES_MAX = 3_000  # two of them
CHUNK_SPARE = 1_000  # what stands around the chunks of a megabyte
MEMORY_MB_MAX = 250
SECONDS_MAX = size(60, 600)

SENDERS = """
[senders.{name}]
channel = "sms"
adapter = "twilio"
rate = "5000/s"
concurrency = 8
deadline = "{deadline}s"
on_unknown = "hold"
lookup = false
account_sid = "{sid}"
auth_token = "token-of-nobody"
from = "+14155552345"
api_url = "{url}"
"""


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def text(gateway: GatewayProcess, sender: str, ends: range) -> dict[str, Any]:
    """A text to `EACH` people for each ending of their numbers; the action when nobody is in flight any more."""
    numbers = [f"+1415555{hundreds:02d}{end:02d}" for end in ends for hundreds in range(10, 10 + EACH)]
    status, action = await gateway.call(
        "POST",
        "/v1/bulk-actions",
        {
            "operation": "send_message",
            "recipients": {"addresses": [{"to": number} for number in numbers]},
            "message": {"channel": "sms", "sender": sender, "body": "Hi"},
        },
    )
    assert status == 201, action

    async def settled() -> bool:
        nonlocal action
        _, action = await gateway.call("GET", f"/v1/bulk-actions/{action['id']}")
        counts = action["counts"]
        return counts.get("total") == len(numbers) and not counts.get("pending", 0) + counts.get("in_flight", 0)

    await until(settled, SECONDS_MAX, "everybody settled")
    return dict(action)


async def test_whatever_it_answers_it_is_cut_off_and_nobody_is_said_to_have_failed(
    tmp_path: Path, unused_tcp_port: int, figures: Figures
) -> None:
    async with RoughProvider() as rough, SilentTls() as tls:
        more = SENDERS.format(name="rough", sid=ACCOUNT_SID, deadline=DEADLINE, url=f"http://127.0.0.1:{rough.port}")
        more += SENDERS.format(
            name="flooded", sid=ACCOUNT_SID, deadline=FLOOD_DEADLINE, url=f"http://127.0.0.1:{rough.port}"
        )
        more += SENDERS.format(name="hung", sid=ACCOUNT_SID, deadline=DEADLINE, url=f"https://127.0.0.1:{tls.port}")
        async with GatewayProcess(tmp_path, 25, port=unused_tcp_port, more=more) as gateway:
            await gateway.start()
            await text(gateway, "rough", range(GOOD, GOOD + 1))
            assert len(rough.taken) == EACH
            before = descriptors(gateway.pid)
            quiet = len(rough.kinds) - rough.floods
            action = await text(gateway, "rough", range(quiet))
            started = time.monotonic()
            flooded = await text(gateway, "flooded", range(quiet, len(rough.kinds)))
            flood_seconds = time.monotonic() - started
            hung = await text(gateway, "hung", range(GOOD, GOOD + 1))
            states: Counter[str] = Counter()
            for one in (action, flooded, hung):
                _, page = await gateway.call("GET", f"/v1/bulk-actions/{one['id']}/recipients?limit=200")
                states.update(row["state"] for row in page["items"])

            async def given_back() -> bool:
                return descriptors(gateway.pid) <= before

            await until(given_back, 30, f"{before} descriptors, there are {descriptors(gateway.pid)}")
            after, memory = descriptors(gateway.pid), peak_memory_mb(gateway.pid)
            assert gateway.alive, gateway.log
            counts = sum((Counter(one["counts"]) for one in (action, flooded, hung)), Counter())
    figures.hold(
        "F5 silence, trickle, reset, TLS",
        "cut at the deadline, unknown and never failed, no descriptor leaks",
        f"cut after {rough.longest_seconds:.1f} s at most (deadline {DEADLINE:g} s), {counts['unknown']} of "
        f"{counts['total']} unknown, {counts['failed']} failed, descriptors {before} before and {after} after",
        rough.longest_seconds < DEADLINE + SLACK_SECONDS
        and counts["unknown"] == counts["total"] == EACH * (len(rough.kinds) + 1)
        and set(states) == {"unknown"}
        and after <= before,
    )
    figures.hold(
        "F6 garbage",
        "classified by the adapter's table, at most 1 MB read, no redirect followed",
        f"{len(rough.kinds)} kinds, all unknown; {rough.most_bytes:,} octets of a body of {GIGABYTE:,} read and "
        f"{rough.most_head_bytes:,} of a head; {rough.elsewhere} redirects followed, {memory:.0f} MB of memory",
        # The piece in which the limit lies is counted whole, and so is one that was written before its end was seen.
        READ_BYTES_MAX <= rough.most_bytes <= READ_BYTES_MAX + 2 * len(PIECE) + CHUNK_SPARE
        and HEAD_BYTES_MAX <= rough.most_head_bytes <= HEAD_BYTES_MAX + HEAD_PIECES_MAX
        and flood_seconds < FLOOD_DEADLINE
        and rough.elsewhere == 0
        and memory < MEMORY_MB_MAX,
    )
