"""Retrying the failed after the mail server has been mended."""

from __future__ import annotations

import pytest

from gateway.testing.smtp_server import Fault, Faults, Stage
from tests.stories.conftest import Story


async def test_the_failed_are_sent_again_and_who_opted_out_meanwhile_is_refused(story: Story) -> None:
    people = await story.contacts(6)
    story.smtp.faults = Faults([Fault(stage=Stage.RCPT, to="m-[123]@*", reply="550 5.2.2 Mailbox full")])
    action = await story.mail_all()
    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("partial", {"total": 6, "succeeded": 3, "failed": 3})
    told = await story.people(action)
    assert [id for id in people if told[id]["state"] == "failed"] == people[:3]
    assert told["m-1"]["code"] == "unreachable"
    assert "Mailbox full" in told["m-1"]["reason"]
    assert told["m-1"]["provider_code"] == "550 5.2.2"

    story.smtp.faults = Faults()
    await story.post("/v1/opt-outs", {"channel": "email", "contact": "m-2"}, 201)
    await story.post(f"/v1/bulk-actions/{action}/retry", {"states": ["failed"]})
    books = await story.books(action)
    assert (books["status"], books["round"]) == ("completed", 1)
    assert books["counts"] == {"total": 6, "succeeded": 5, "skipped": 1}
    assert books["failed_count"] == 0
    told = await story.people(action)
    assert (told["m-2"]["state"], told["m-2"]["code"]) == ("skipped", "opted_out")
    assert told["m-2"]["reason"].startswith("Opted out of ")
    assert {id: told[id]["round"] for id in people} == {id: int(id in people[:3]) for id in people}
    assert story.mails() == {f"{id}@example.org": 1 for id in people if id != "m-2"}


async def test_an_action_without_anybody_in_these_states_has_nothing_to_retry(story: Story) -> None:
    await story.contacts(2)
    action = await story.mail_all()
    reply = await story.call("POST", f"/v1/bulk-actions/{action}/retry", {"states": ["failed"]})
    assert (reply.status, reply.code) == (409, "nothing_to_retry")


@pytest.mark.parametrize("state", ["failed", "skipped"])
async def test_single_recipients_can_be_chosen_for_a_retry(story: Story, state: str) -> None:
    """A skipped one after its opt-out was removed, a failed one after its mailbox has room again."""
    await story.contacts(4)
    opt_out = None
    if state == "failed":
        story.smtp.faults = Faults([Fault(stage=Stage.RCPT, to="m-[12]@*", reply="550 5.2.2 Mailbox full")])
    else:
        for id in ("m-1", "m-2"):
            opt_out = await story.post("/v1/opt-outs", {"channel": "email", "contact": id}, 201)
    action = await story.mail_all()
    before = await story.people(action)
    assert [before[id]["state"] for id in ("m-1", "m-2")] == [state, state]

    story.smtp.faults = Faults()
    if opt_out is not None:
        reply = await story.call("DELETE", f"/v1/opt-outs/{opt_out['id']}", {"reason": "asked for it on the phone"})
        assert reply.status == 204
    chosen = before["m-2"]["recipient"]
    await story.post(f"/v1/bulk-actions/{action}/retry", {"states": [state], "recipients": [chosen]})
    after = await story.people(action)
    assert [after[id]["state"] for id in ("m-1", "m-2")] == [state, "succeeded"]
    assert story.mails() == {"m-2@example.org": 1, "m-3@example.org": 1, "m-4@example.org": 1}
