"""What a page in somebody's browser can do with a daemon on their machine, and what our one page lets through.

There is no console: the page behind `/u/{token}` is the only HTML that the gateway serves.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest
import pytest_asyncio

from tests.stories.conftest import PUBLIC_URL, Story, story_in
from tests.stories.test_unsubscribe import link_in

on_one_loop = pytest.mark.asyncio(loop_scope="module")

PAYLOADS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</title><script>alert(1)</script>",
    "</style><svg onload=alert(1)>",
    "\"><a href='javascript:alert(1)'>x</a>",
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% for a in b %}",
    "{title} {content} %s &lt;b&gt; &amp;",
    "<!--",
    "\u2028</p><form action=https://evil.example>",
)
TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "p", "form", "button"}
ATTRIBUTES = {"lang", "charset", "name", "content", "method", "value"}


@dataclass
class Page(HTMLParser):
    """What a browser would find in it."""

    tags: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    texts: list[tuple[str, str]] = field(default_factory=list)  # the tag that is open, and what stands in it
    forms: list[dict[str, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag == "form":
            self.forms.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open, data))

    def handle_comment(self, data: str) -> None:
        self.tags.add("a comment")

    def text(self, tag: str) -> str:
        return "".join(text for opened, text in self.texts if opened == tag)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Story]:
    async with story_in(tmp_path_factory.mktemp("browsers")) as story:
        yield story


# ---- pages of other sites


@on_one_loop
@pytest.mark.parametrize(
    "path", ["/v1/me", "/v1/contacts", "/v1/openapi.json", "/healthz", "/readyz", "/metrics", "/x"]
)
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.nip.example", "localhost.evil.example", "[::ffff:8.8.8.8]"]
)
async def test_a_name_that_was_rebound_to_this_machine_opens_nothing(house: Story, path: str, host: str) -> None:
    reply = await house.call("GET", path, headers={"Host": host})
    assert (reply.status, reply.code) == (403, "host_not_allowed")


@on_one_loop
@pytest.mark.parametrize("path", ["/callbacks/mail", "/u/AAAA"])
async def test_not_even_the_doors_for_strangers_answer_to_such_a_name_on_loopback(house: Story, path: str) -> None:
    reply = await house.call("POST", path, data=b"x", headers={"Host": "evil.example"})
    assert (reply.status, reply.code) == (403, "host_not_allowed")


FOREIGN = (
    "https://evil.example",
    "http://evil.example:8080",
    "null",
    "",
    "http://localhost.evil.example",
    "http://127.0.0.1@evil.example",
    "file://",
    "chrome-extension://abcdef",
    "https://gateway.example.evil.example",
    "://",
)


@on_one_loop
@pytest.mark.parametrize("path", ["/v1/me", "/v1/contacts", "/healthz", "/metrics"])
@pytest.mark.parametrize("origin", FOREIGN)
async def test_pages_of_other_sites_are_refused_whatever_key_they_bring(house: Story, path: str, origin: str) -> None:
    reply = await house.call("GET", path, headers={"Origin": origin})
    assert (reply.status, reply.code) == (403, "origin_not_allowed")
    assert not [name for name in reply.headers if name.lower().startswith("access-control-")]


@on_one_loop
@pytest.mark.parametrize("origin", [PUBLIC_URL, "http://localhost:3000", "http://127.0.0.1:8080", "http://[::1]:8080"])
async def test_pages_of_this_machine_and_of_the_public_url_are_answered(house: Story, origin: str) -> None:
    assert (await house.call("GET", "/v1/me", headers={"Origin": origin})).status == 200


@on_one_loop
async def test_a_page_changes_nothing_by_a_form_and_is_given_no_leave_to_do_more(house: Story) -> None:
    before = await house.everything("/v1/contacts")
    headers = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    form = await house.call("POST", "/v1/contacts", data=b'{"contacts":[{"id":"evil"}]}', headers=headers)
    assert (form.status, form.code) == (403, "origin_not_allowed")
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    preflight = await house.call("OPTIONS", "/v1/contacts", headers=asked)
    assert preflight.status in (403, 405)
    assert not [name for name in preflight.headers if name.lower().startswith("access-control-")]
    assert await house.everything("/v1/contacts") == before


@on_one_loop
async def test_without_a_key_nothing_is_done_whatever_cookies_and_credentials_a_browser_adds(house: Story) -> None:
    path = f"{house.base}/v1/contacts"
    headers = {"Cookie": f"authorization=Bearer {house.token}; key={house.token}"}
    async with house.session.get(path, headers=headers) as answer:
        assert answer.status == 401
        assert "Basic" not in answer.headers["WWW-Authenticate"], "or browsers would ask, and remember"
        assert "Set-Cookie" not in answer.headers
    async with house.session.get(f"{path}?key={house.token}&access_token={house.token}") as answer:
        assert answer.status == 401


# ---- our page


@pytest.mark.parametrize("title", PAYLOADS)
async def test_the_name_of_an_org_stays_text_on_the_page_for_people_who_leave(tmp_path: Path, title: str) -> None:
    escaped = title.replace("\\", "\\\\").replace('"', '\\"')
    async with story_in(tmp_path, org=f'title = "{escaped}"') as story:
        await story.contacts(1)
        await story.mail_all(category="newsletter")
        path = link_in(story, "m-1@example.org")
        for method in ("GET", "POST"):
            async with story.session.request(method, story.base + path) as answer:
                page = Page()
                page.feed(await answer.text())
                page.close()
            assert page.tags == TAGS
            assert page.attributes <= ATTRIBUTES
            assert title in page.text("p")
            assert page.forms
            assert all(form == {"method": "post"} for form in page.forms), "it is sent to the page itself"


@on_one_loop
@pytest.mark.parametrize("path", ["/u/x", "/u/%3Cscript%3Ealert(1)%3C/script%3E", "/u/" + "a" * 5_000])
async def test_a_link_that_opens_nothing_is_not_shown(house: Story, path: str) -> None:
    async with house.session.get(house.base + path) as answer:
        text = await answer.text()
        assert answer.status == 404
    assert "script" not in text
    assert "aaa" not in text


@on_one_loop
async def test_the_page_runs_loads_frames_and_keeps_nothing(house: Story) -> None:
    async with house.session.get(f"{house.base}/u/x") as answer:
        headers, text = answer.headers, await answer.text()
    policy = dict(rule.strip().partition(" ")[::2] for rule in headers["Content-Security-Policy"].split(";"))
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer", "the link must not go to where the reader goes next"
    assert "Set-Cookie" not in headers
