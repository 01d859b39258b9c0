"""`gateway demo`: the whole gateway on this machine, with 500 people, three channels and providers that answer back."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from gateway.cli.demo_stage import POLL_SECONDS, TEMPLATE, StageSet, stage
from gateway.cli.frame import Frame, fail, framed

PEOPLE: Final = 500
WITHOUT_ADDRESS: Final = range(0, 500, 25)  # twenty
MALFORMED: Final = range(3, 500, 50)  # ten
OPTED_OUT: Final = range(7, 500, 34)  # fifteen
REFUSED_BY_SERVER: Final = range(11, 500, 125)  # four, whose mailbox does not exist
CHOIR: Final = range(60)  # those who get an SMS
YOUTH: Final = range(60, 120)  # those who get a WhatsApp message
BATCH: Final = 50
EVERY: Final = "2s"  # users may not go below 30 s; the demo's daemon is told that it may
DEMO_SECONDS: Final = 180.0
FINAL: Final = frozenset({"completed", "partial", "failed", "cancelled"})
REPLIES: Final = (
    (1, "sms", "I will be there!"),
    (2, "sms", "Can my sister come too?"),
    (3, "sms", "STOP"),
    (61, "whatsapp", "Shall I bring a cake?"),
    (62, "whatsapp", "Yes"),
)
STATES: Final = ("succeeded", "failed", "skipped", "unknown", "cancelled", "pending", "in_flight", "handed_over")


@dataclass(slots=True)
class Play:
    """What the demo started, and what it shows: the bulk actions by channel, and the conversations."""

    actions: dict[str, str]
    views: dict[str, Any] = field(default_factory=dict)
    conversations: list[Any] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Every action has ended."""
        return len(self.views) == len(self.actions) and all(view["status"] in FINAL for view in self.views.values())


@click.command()
@click.option("--keep", is_flag=True, help="Leave the gateway running at the end, until Ctrl-C.")
@framed
async def demo(frame: Frame, keep: bool) -> None:
    """Write to 500 people by e-mail, SMS and WhatsApp, on this machine only, and show where everybody ended."""
    console = Console(stderr=frame.as_json)
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder:
        async with stage(Path(folder)) as running:
            console.print(
                f"The gateway answers at {running.url}. Behind it, on this machine: a mail server, and Twilio's "
                f"simulator for SMS and WhatsApp. Its files are in {running.folder}."
            )
            play = await _begin(running)
            await _watch(running, play, console)
            answered = await _answer(running, play)
            taken = _taken(running)
            _tell_books(console, play, taken, answered)
            if frame.as_json:
                frame.show({"actions": play.views, "taken": taken, "conversations": play.conversations}, lambda: None)
            await _look_around(console, running, play, keep)
            _check(play, taken)


def _person(number: int) -> dict[str, object]:
    address: str | None = f"person{number}@demo.example"
    if number in WITHOUT_ADDRESS:
        address = None
    elif number in MALFORMED:
        address = f"person..{number}@demo.example"  # may be kept, cannot be written to
    elif number in REFUSED_BY_SERVER:
        address = f"gone{number}@demo.example"
    tags = ["choir"] if number in CHOIR else ["youth"] if number in YOUTH else []
    return {
        "id": f"m-{number}",
        "first_name": f"Person {number}",
        "email": address,
        "phone": _phone(number),
        "tags": tags,
        "attributes": {"city": "Lagos"},
    }


def _phone(number: int) -> str:
    return f"+1415555{1000 + number}"


async def _begin(running: StageSet) -> Play:
    """The people, those who left, and one bulk action on each channel."""
    await running.call("POST", "/v1/contacts", {"contacts": [_person(number) for number in range(PEOPLE)]})
    left = [{"channel": "email", "contact": f"m-{number}", "reason": "asked by phone"} for number in OPTED_OUT]
    await running.call("POST", "/v1/opt-outs", {"opt_outs": left})
    mail = {
        "channel": "email",
        "subject": "See you on Sunday, {{ first_name | default('friend') }}",
        "body": "Hi {{ first_name | default('friend') }},\n\nwe meet in {{ city }} at ten. Bring somebody along!\n",
        "html": "<p>Hi <b>{{ first_name | default('friend') }}</b>,</p><p>we meet in {{ city }} at ten.</p>",
    }
    drip = {"mode": "drip", "drip": {"batch_quantity": BATCH, "repeat_after": EVERY}}
    text = {"channel": "sms", "body": "Hi {{ first_name }}, the choir meets at nine. Can you come?"}
    template = {"channel": "whatsapp", "template": TEMPLATE, "parameters": {"1": "ten"}}
    return Play(
        actions={
            "email": await _create(running, "Sunday invitation", {"all": True}, mail, drip),
            "sms": await _create(running, "Choir", {"where": {"tags": {"any": ["choir"]}}}, text),
            "whatsapp": await _create(running, "Youth", {"where": {"tags": {"any": ["youth"]}}}, template),
        }
    )


async def _create(
    running: StageSet, label: str, recipients: object, message: object, schedule: object | None = None
) -> str:
    body = {"label": label, "operation": "send_message", "recipients": recipients, "message": message}
    if schedule is not None:
        body["schedule"] = schedule
    created: str = (await running.call("POST", "/v1/bulk-actions", body))["id"]
    return created


async def _watch(running: StageSet, play: Play, console: Console) -> None:
    """Show the books until every action has ended. Somewhere in between people write back."""
    replying: asyncio.Task[None] | None = None
    async with asyncio.timeout(DEMO_SECONDS):
        with Live(console=console, auto_refresh=False) as live:
            while True:
                await _look(running, play)
                live.update(await _picture(running, play), refresh=True)
                settled = all(play.views[channel]["status"] in FINAL for channel in ("sms", "whatsapp"))
                if settled and replying is None:
                    replying = asyncio.create_task(_reply(running))
                if play.over and replying is not None and replying.done():
                    await replying
                    await _look(running, play)
                    live.update(await _picture(running, play), refresh=True)
                    return
                await asyncio.sleep(POLL_SECONDS)


async def _look(running: StageSet, play: Play) -> None:
    for channel, action in play.actions.items():
        play.views[channel] = await running.call("GET", f"/v1/bulk-actions/{action}")
    play.conversations = (await running.call("GET", "/v1/conversations"))["items"]


async def _reply(running: StageSet) -> None:
    """Some people write back; one of them does not want to be written to any more."""
    for number, channel, text in REPLIES:
        if channel == "sms":
            await running.sms.reply(_phone(number), text)
        else:
            await running.whatsapp.reply(_phone(number), text, channel="whatsapp")
    async with asyncio.timeout(DEMO_SECONDS):
        while len((await running.call("GET", "/v1/conversations"))["items"]) < len(REPLIES):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)


async def _answer(running: StageSet, play: Play) -> str:
    """Answer the question about the sister, through the number that she asked."""
    asked = next(one for one in play.conversations if "sister" in one["last_message"]["text"])
    reply = {"body": "Of course, {{ first_name }}. Everybody may come."}
    sent: dict[str, Any] = await running.call("POST", f"/v1/conversations/{asked['id']}/reply", reply)
    async with asyncio.timeout(DEMO_SECONDS):
        while sent["status"] != "delivered":
            await asyncio.sleep(POLL_SECONDS)
            sent = await running.call("GET", f"/v1/messages/{sent['id']}")
    return str(sent["text"])


def _taken(running: StageSet) -> dict[str, int]:
    """How many messages each provider has taken for the bulk actions, by its own record."""
    answers = sum("Everybody may come" in message.body for message in running.sms.record)
    return {
        "email": len(running.smtp.record()),
        "sms": len(running.sms.record) - answers,
        "whatsapp": len(running.whatsapp.record),
    }


async def _picture(running: StageSet, play: Play) -> Group:
    taken = _taken(running)
    books = Table(title="Bulk actions", title_justify="left")
    books.add_column("channel")
    books.add_column("status")
    for name in ("total", "on the way", "succeeded", "failed", "skipped", "taken"):
        books.add_column(name, justify="right")
    for channel, view in play.views.items():
        counts = view["counts"]
        on_the_way = counts["pending"] + counts["in_flight"] + counts["handed_over"] + counts["unknown"]
        cells = (counts["total"], on_the_way, counts["succeeded"], counts["failed"], counts["skipped"], taken[channel])
        books.add_row(channel, view["status"], *map(str, cells))
    return Group(books, await _batches(running, play), await _reasons(running, play), _inbox(play))


async def _batches(running: StageSet, play: Play) -> Table:
    view = play.views["email"]
    path = f"/v1/bulk-actions/{play.actions['email']}/batches?limit=12"
    title = "Batches of the e-mail drip"
    if view["next_batch_at"] and view["status"] not in FINAL:
        title += f"; the next at {view['next_batch_at'][11:19]}"
    released = Table(title=title, title_justify="left")
    for name in ("batch", "at", "people", "succeeded", "failed"):
        released.add_column(name, justify="right")
    for batch in reversed((await running.call("GET", path))["items"]):
        inside = batch["counts"]
        cells = (batch["number"], batch["started_at"][11:19], batch["quantity"], inside["succeeded"], inside["failed"])
        released.add_row(*map(str, cells))
    return released


async def _reasons(running: StageSet, play: Play) -> Table:
    why = Table(title="Not reached, and why", title_justify="left")
    why.add_column("channel")
    why.add_column("reason")
    why.add_column("people", justify="right")
    for channel, action in play.actions.items():
        path = f"/v1/bulk-actions/{action}/recipients?state=failed&state=skipped&limit=200"
        reasons = [each["reason"] for each in (await running.call("GET", path))["items"]]
        for reason in sorted(set(reasons)):
            why.add_row(channel, reason, str(reasons.count(reason)))
    return why


def _inbox(play: Play) -> Table:
    inbox = Table(title="Conversations", title_justify="left")
    for name in ("channel", "from", "last message", "answers to"):
        inbox.add_column(name)
    labels = {play.actions[channel]: view["label"] for channel, view in play.views.items()}
    for one in play.conversations:
        last = one["last_message"]
        answers = labels.get(last["bulk_action_id"] or "", "")
        inbox.add_row(one["channel"], one["contact_id"] or one["address"], last["text"], answers)
    return inbox


def _tell_books(console: Console, play: Play, taken: dict[str, int], answered: str) -> None:
    console.print(f'\nA question was answered in its conversation, and the answer delivered: "{answered}"')
    for channel, view in play.views.items():
        counts = view["counts"]
        sums = " + ".join(f"{counts[state]} {state.replace('_', ' ')}" for state in STATES if counts[state])
        total = sum(counts[state] for state in STATES)

        of = f"{total} of {counts['total']}; its provider took {taken[channel]}"
        console.print(f"The books of {channel}: {sums} = {of}.")


def _check(play: Play, taken: dict[str, int]) -> None:
    """What the gateway says was handed over is what the providers have taken."""
    handed_over = {channel: view["counts"]["succeeded"] for channel, view in play.views.items()}
    handed_over["sms"] += play.views["sms"]["counts"]["failed"]  # taken, and reported as undelivered afterwards
    if handed_over != taken:
        fail(f"The gateway's books {handed_over} and the providers' {taken} differ: this is a defect.")


async def _look_around(console: Console, running: StageSet, play: Play, keep: bool) -> None:
    if not keep:
        console.print("\nTo look around in it with curl, run it again with --keep.")
        return
    console.print(f"\nIt goes on running until you press Ctrl-C. Look around:\n\n  export KEY={running.key}")
    for path in (
        f"/v1/bulk-actions/{play.actions['email']}",
        f"/v1/bulk-actions/{play.actions['sms']}/recipients?state=failed",
        "/v1/conversations?unread=true",
        "/v1/messages?direction=inbound",
        "/v1/templates",
        "/v1/openapi.json",
    ):
        command = f"  curl -s -H \"Authorization: Bearer $KEY\" '{running.url}{path}'"
        console.print(command, soft_wrap=True, highlight=False)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
