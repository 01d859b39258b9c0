"""People write back: their words find the conversation, the contact and the message that they answer."""

from __future__ import annotations

from pathlib import Path

from tests.stories.twilio import phone, sms_story


async def test_a_reply_is_an_answer_to_the_action_and_is_answered_through_the_same_number(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        await told.people(2)
        action = await told.text_all()
        assert await told.replies(phone(0), "I will be there!") == 200
        (conversation,) = await told.story.everything("/v1/conversations?unread=true")
        assert (conversation["address"], conversation["contact_id"], conversation["unread"]) == (phone(0), "m-1", 1)
        assert conversation["last_message"]["text"] == "I will be there!"
        (answer,) = await told.story.everything(f"/v1/messages?bulk_action={action}&direction=inbound")
        assert (answer["text"], answer["link_reason"], answer["status"]) == (
            "I will be there!",
            "last_prompt",
            "received",
        )
        assert (await told.story.get(f"/v1/bulk-actions/{action}/stats"))["replies"] == 1
        path = f"/v1/conversations/{conversation['id']}"
        sent = await told.story.post(f"{path}/reply", {"body": "Wonderful, {{ first_name }}."}, 202)
        await told.settle()
        assert (sent["source"], sent["in_reply_to"]) == ("reply", answer["id"])
        assert told.twilio.record[-1].body == "Wonderful, Ada0."
        texts = [message["text"] for message in await told.story.everything(f"{path}/messages")]
        assert texts == ["Wonderful, Ada0.", "I will be there!", "Hi Ada0, see you on Sunday."]


async def test_what_was_read_is_not_unread_and_what_comes_then_is(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        await told.replies(phone(7), "Hello?")
        await told.replies(phone(7), "Anybody there?")
        (conversation,) = await told.story.everything("/v1/conversations?unmatched=true")
        assert conversation["unread"] == 2
        path = f"/v1/conversations/{conversation['id']}"
        newest, oldest = await told.story.everything(f"{path}/messages")
        assert (await told.story.post(f"{path}/read", {"up_to": oldest["id"]}))["unread"] == 1
        assert (await told.story.post(f"{path}/read", {"up_to": newest["id"]}))["unread"] == 0
        assert await told.story.everything("/v1/conversations?unread=true") == []
        await told.replies(phone(7), "Good night")
        (conversation,) = await told.story.everything("/v1/conversations?unread=true")
        assert conversation["unread"] == 1
        assigned = await told.story.post(f"{path}/assign", {"to": "user:42"})
        assert assigned["assigned_to"] == "user:42"
        (mine,) = await told.story.everything("/v1/conversations?assigned_to=user:42")
        assert mine["id"] == conversation["id"]


async def test_the_same_message_posted_again_is_kept_once(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        for _ in range(3):
            await told.replies(phone(1), "Hello", MessageSid="SM" + "a" * 32, SmsSid="SM" + "a" * 32)
        assert len(await told.story.everything("/v1/messages?direction=inbound")) == 1


async def test_twilios_own_opt_out_is_ours_and_start_lifts_it(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        told.twilio.advanced_opt_out = True
        await told.people(2)
        action = await told.text_all()
        await told.replies(phone(0), "STOP")
        opt_outs = await told.story.everything("/v1/opt-outs")
        assert {(one["address"], one["contact_id"]) for one in opt_outs} == {(phone(0), None), (None, "m-1")}
        again = await told.text_all()
        assert (await told.story.books(again))["counts"] == {"total": 2, "succeeded": 1, "skipped": 1}
        await told.replies(phone(0), "START")
        assert await told.story.everything("/v1/opt-outs") == []
        assert (await told.story.get(f"/v1/bulk-actions/{action}/stats"))["opt_outs"] == 1


async def test_a_picture_is_kept_by_reference(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        await told.replies(phone(1), "", media=[("https://api.twilio.com/media/ME1", "image/jpeg")])
        (message,) = await told.story.everything("/v1/messages?direction=inbound")
        assert message["media"] == [
            {"url": "https://api.twilio.com/media/ME1", "content_type": "image/jpeg", "filename": None}
        ]
