"""Templates that reach out, grow or go deep, by way of the API: refusals with a reason, and soon.

What each of them costs and may do is measured beside the renderer (`tests/core/test_template_bounds.py`).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.core.escapes import CORPUS, DEEP, GROWING, REACHING_OUT
from tests.stories.conftest import Story, story_in

pytestmark = [pytest.mark.asyncio(loop_scope="module")]

SECONDS_MAX = 5.0  # of the processor, generously: the renderer itself is held to 50 ms

SECOND_ORDER = (
    "{{ 7 * 7 }}", "{% for a in range(200) %}x{% endfor %}", "{{ unsubscribe_url }}", "{{ attributes }}", "{# x #}",
    "{{ ''.__class__.__mro__ }}", "{{ self }}", "${7*7}", "<%= 7*7 %>", "{{", "%}", "{{ config }}", "\\{{ 7 * 7 }}",
)  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Story]:
    async with story_in(tmp_path_factory.mktemp("templates")) as story:
        yield story


@pytest.mark.parametrize("name", CORPUS)
async def test_no_template_of_the_corpus_is_an_error_of_ours(house: Story, name: str) -> None:
    source = CORPUS[name]
    began = time.process_time()
    for body in ({"subject": "x", "body": source}, {"subject": source, "body": "x"}, {"subject": "x", "html": source}):
        message = {"channel": "email", "to": "ada@example.org", **body}
        reply = await house.call("POST", "/v1/messages", message)
        assert reply.status in (202, 413, 422), reply.raw
        template = {"channel": "email", "name": "corpus", **body}
        reply = await house.call("POST", "/v1/templates", template)
        assert reply.status in (201, 409, 413, 422), reply.raw
        if reply.status == 201:
            one = f"/v1/templates/{reply.json['id']}"
            shown = await house.call("POST", f"{one}/render", {"variables": {}})
            assert shown.status in (200, 422), shown.raw
            assert (await house.call("DELETE", one)).status == 204
        if name in {**REACHING_OUT, **GROWING, **DEEP}:
            assert b"<class" not in reply.raw
            assert b"<built-in" not in reply.raw
    assert time.process_time() - began < SECONDS_MAX


async def test_what_people_are_called_is_no_template(house: Story) -> None:
    """Values are data, whatever they look like: nothing that was rendered is rendered again."""
    people = [
        {"id": f"c-{number}", "name": text, "email": f"c-{number}@example.org", "attributes": {"note": text}}
        for number, text in enumerate(SECOND_ORDER)
    ]
    reply = await house.call("POST", "/v1/contacts", {"contacts": people})
    assert {each["status"] for each in reply.json["results"]} == {"created"}
    await house.mail_all(subject="{{ name }}", body="<<{{ name }}|{{ note }}>>")
    texts = {mail.recipient: mail.content.decode() for mail in house.letters()}
    for number, text in enumerate(SECOND_ORDER):
        assert f"<<{text}|{text}>>" in texts[f"c-{number}@example.org"]
