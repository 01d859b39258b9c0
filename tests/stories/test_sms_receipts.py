"""SMS through Twilio: receipts that are late, tripled, shuffled and partly lost, and books that are right."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

from gateway.testing.provider_faults import Fate, Hang, ReceiptTrouble, Refuse, ServerError, Throttle
from tests.stories.twilio import phone, sms_story

DRIP = {"mode": "drip", "drip": {"batch_quantity": 20, "repeat_after": "1h"}}


async def test_a_drip_whose_receipts_are_tripled_shuffled_and_partly_lost_ends_with_the_right_books(
    tmp_path: Path,
) -> None:
    async with sms_story(tmp_path) as told:
        await told.people(60)
        told.twilio.receipt_trouble = ReceiptTrouble(delayed=True, copies=3, shuffled=True, lost=0.4, seed=7)
        told.twilio.fates = [
            Fate(to="+1415555010[0-4]", status="undelivered", error_code=30005),
            Fate(to="+1415555011[0-2]", status="failed", error_code=30007),
        ]
        action = await told.text_all(DRIP)
        for _ in range(3):
            await told.release()
            await told.story.advance(timedelta(hours=1), timedelta(minutes=20))
        await told.release()
        # Whatever was lost is asked about, so that everybody's end is known before the deadline.
        await told.story.advance(timedelta(hours=12), timedelta(hours=1))
        books = await told.story.books(action)
        assert books["status"] == "partial"
        assert books["counts"] == {"total": 60, "succeeded": 52, "failed": 8}
        codes = Counter((each["state"], each["code"]) for each in (await told.story.people(action)).values())
        assert codes == {("succeeded", None): 52, ("failed", "invalid_address"): 5, ("failed", "content_rejected"): 3}
        assert told.texts() == Counter(phone(n) for n in range(60))
        numbers = [batch["quantity"] for batch in await told.story.batches(action)]
        assert numbers == [20, 20, 20]


async def test_without_receipts_at_all_everybody_is_asked_about_or_counts_as_unconfirmed(tmp_path: Path) -> None:
    async with sms_story(tmp_path, steps=("sent",)) as told:
        told.twilio.receipt_trouble = ReceiptTrouble(lost=1.0)
        await told.people(3)
        action = await told.text_all()
        assert (await told.story.books(action))["status"] == "delegated"
        await told.story.advance(timedelta(hours=25), timedelta(hours=1))
        books = await told.story.books(action)
        assert books["status"] == "completed"
        assert books["counts"] == {"total": 3, "succeeded": 3, "unconfirmed": 3}


async def test_the_connections_to_the_provider_are_among_the_figures(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        name = 'gateway_http_connections{sender="sms"}'
        assert f"{name} 0.0" in told.story.installation.metrics.render().decode()
        await told.people(3)
        await told.text_all()
        await told.settle()
        (line,) = [
            line for line in told.story.installation.metrics.render().decode().splitlines() if line.startswith(name)
        ]
        assert 1 <= float(line.rpartition(" ")[2]) <= 8  # what is kept, of W


async def test_a_provider_that_throttles_hangs_and_breaks_down_gets_each_text_once(tmp_path: Path) -> None:
    async with sms_story(tmp_path, more='deadline = "1s"') as told:
        await told.people(12)
        told.twilio.faults = [
            Throttle(first=1, times=2, retry_after="2"),
            Hang(to=phone(5), times=1, accepted=True),
            Hang(to=phone(6), times=1, accepted=False),
            ServerError(to=phone(7), times=1, accepted=True),
            ServerError(to=phone(8), times=1, accepted=False),
        ]
        action = await told.text_all()
        await told.story.advance(timedelta(minutes=10), timedelta(seconds=20))
        await told.settle()
        books = await told.story.books(action)
        assert books["status"] == "completed"
        assert books["counts"] == {"total": 12, "succeeded": 12}
        assert told.texts() == Counter(phone(n) for n in range(12))


async def test_credentials_that_expire_in_the_middle_hold_the_sender_and_lose_nobody(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        await told.people(40)
        action = await told.text_all(DRIP)
        assert (await told.story.books(action))["counts"]["succeeded"] == 20
        good = told.twilio.credentials
        told.twilio.credentials = {}
        await told.story.advance(timedelta(hours=1), timedelta(minutes=20))
        books = await told.story.books(action)
        assert books["counts"] == {"total": 40, "succeeded": 20, "pending": 20}
        assert books["wait_reason"] == "sender_down"
        assert (await told.story.sender("sms"))["held"] == "misconfigured"
        told.twilio.credentials = good
        await told.story.advance(timedelta(minutes=3), timedelta(seconds=30))
        await told.settle()
        books = await told.story.books(action)
        assert books["status"] == "completed"
        assert books["counts"] == {"total": 40, "succeeded": 40}
        assert told.texts() == Counter(phone(n) for n in range(40))


async def test_somebody_whom_the_provider_has_unsubscribed_is_skipped_and_stays_out(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        await told.people(3)
        told.twilio.faults = [Refuse(to=phone(1), code=21610)]
        action = await told.text_all()
        people = await told.story.people(action)
        assert people["m-2"]["state"] == "skipped"
        assert people["m-2"]["code"] == "opted_out"
        told.twilio.faults = []
        again = await told.text_all()
        assert (await told.story.books(again))["counts"] == {"total": 3, "succeeded": 2, "skipped": 1}


async def test_a_forged_receipt_changes_nothing(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        await told.people(1)
        told.twilio.receipt_trouble = ReceiptTrouble(delayed=True)
        action = await told.text_all()
        told.twilio.auth_token = "not-the-token"
        await told.release()
        assert (await told.story.books(action))["counts"] == {"total": 1, "handed_over": 1}
        assert told.twilio.tally.last_status == 403


async def test_segments_are_counted_in_the_preview_the_log_and_the_stats(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        await told.people(2)
        long = "Привет! " * 10
        body = {
            "operation": "send_message",
            "recipients": {"all": True},
            "message": {"channel": "sms", "body": long},
        }
        preview = await told.story.post("/v1/bulk-actions/preview", body)
        assert preview["segments"] == 4
        action = await told.text_all(body=long)
        stats = await told.story.get(f"/v1/bulk-actions/{action}/stats")
        assert stats["segments"] == 4
        (first, *_) = await told.story.everything(f"/v1/messages?bulk_action={action}")
        assert first["segments"] == 2


async def test_a_text_over_the_limit_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        await told.people(1)
        message = {"channel": "sms", "body": "x" * 1601}
        reply = await told.story.call(
            "POST",
            "/v1/bulk-actions",
            {"operation": "send_message", "recipients": {"all": True}, "message": message},
        )
        assert (reply.status, reply.code) == (422, "too_long")
        reply = await told.story.call("POST", "/v1/messages", {**message, "to": phone(0)})
        assert (reply.status, reply.code) == (422, "too_long")
        assert told.twilio.requests == 0
