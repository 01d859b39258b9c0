"""Webhooks as Meta writes them: batches of statuses, messages of people, news of templates and preferences, signed.

Sources: developers.facebook.com, WhatsApp, webhooks/reference, 2026-05; facebook/openapi,
business-messaging-api_v23.0.yaml, 2026-11; pywa 4.5.0, tests/data/updates.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import aiohttp
from yarl import URL

WORKERS: Final = 16
READ_SECONDS: Final = 15.0
TRIES_MAX: Final = 3  # Meta goes on for seven days; a simulator gives up
BATCH_MAX: Final = 50  # updates in one webhook; Meta allows a thousand
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})

Part = dict[str, Any]


def webhook(account: str, field: str, values: Sequence[Part]) -> Part:
    """A batch: one entry, with a change for each value."""
    changes = [{"value": value, "field": field} for value in values]
    return {"object": "whatsapp_business_account", "entry": [{"id": account, "changes": changes}]}


def messages_value(number_id: str, display: str, contacts: Sequence[Part], **parts: Sequence[Part]) -> Part:
    """The value of a change of the field `messages`: with `statuses`, or with `messages`."""
    return {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": display, "phone_number_id": number_id},
        "contacts": list(contacts),
        **{name: list(part) for name, part in parts.items()},
    }


def status_part(
    wamid: str, status: str, wa_id: str, user_id: str, at: int, ref: str | None, error: tuple[int, str] | None
) -> Part:
    """One status. `error`: code and details of a failed one."""
    part: Part = {
        "id": wamid,
        "status": status,
        "timestamp": str(at),
        "recipient_id": wa_id,
        "recipient_user_id": user_id,
        "pricing": {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"},
    }
    if ref is not None:
        part["biz_opaque_callback_data"] = ref
    if error is not None:
        code, details = error
        part["errors"] = [
            {"code": code, "title": details, "message": details, "error_data": {"details": details}, "href": HREF}
        ]
    return part


HREF: Final = "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/"


def person(wa_id: str, user_id: str, name: str | None) -> Part:
    """Somebody, beside what they wrote or what became of what they were sent."""
    return {"profile": {"name": name or "Somebody"}, "wa_id": wa_id, "user_id": user_id}


def user_id_of(wa_id: str) -> str:
    """The business-scoped id of a person: always the same for the same number."""
    digest = hashlib.sha256(wa_id.encode()).hexdigest()
    return f"US.{int(digest[:16], 16):020d}"


def signed_body(document: Part) -> bytes:
    """The bytes of a webhook: what is beyond ASCII is escaped, as in those that Meta signs."""
    return json.dumps(document, separators=(",", ":")).encode()


def signature_of(secret: str, body: bytes) -> str:
    """The header X-Hub-Signature-256."""
    return f"sha256={hmac.digest(secret.encode(), body, hashlib.sha256).hex()}"


class Poster:
    """Posts webhooks, up to 16 at once; one that is not answered 200 is posted again."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.answers: list[int | None] = []
        self.base: str | None = None  # replaces the origin of the callback URL
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    def enqueue(self, url: str, documents: Sequence[Part]) -> None:
        """Post these soon."""
        self._waiting.extend((url, signed_body(document)) for document in documents)
        self._staff()

    async def post(self, url: str, document: Part) -> int | None:
        """Post one; the last answer's status, None if there was none."""
        return await self._post(url, signed_body(document))

    async def get(self, url: str, query: Mapping[str, str]) -> tuple[int | None, str]:
        """The handshake."""
        here = self._here(f"{url}?{urlencode(query)}")
        if here is None:
            return None, ""
        try:
            async with self._opened().get(here) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return None, ""

    async def drained(self) -> None:
        """Return when nothing is waiting or on its way."""
        while self._workers or self._waiting:
            await asyncio.gather(*self._workers, return_exceptions=True)

    async def close(self) -> None:
        """Drop what waits, and end."""
        self._waiting.clear()
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _staff(self) -> None:
        """A worker for each webhook that waits, while there may be more of them: one that hangs holds nobody up."""
        for _ in range(min(WORKERS - len(self._workers), len(self._waiting))):
            worker = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._ended)

    def _ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        self._staff()  # for what came after its last look

    async def _work(self) -> None:
        while self._waiting:
            await self._post(*self._waiting.popleft())

    async def _post(self, url: str, body: bytes) -> int | None:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "facebookexternalua",
            "X-Hub-Signature-256": signature_of(self.secret, body),
        }
        status: int | None = None
        for _ in range(TRIES_MAX):
            here = self._here(url)
            if here is None:
                break
            try:
                async with self._opened().post(here, data=body, headers=headers) as answer:
                    await answer.read()
                    status = answer.status
            except (aiohttp.ClientError, TimeoutError):
                status = None
            self.answers.append(status)
            if status == 200:
                break
        return status

    def _here(self, url: str) -> URL | None:
        """Where the URL is reached on this machine; None if it leads away from it."""
        parts = urlsplit(url)
        query = f"?{parts.query}" if parts.query else ""
        here = url if self.base is None else f"{self.base.rstrip('/')}{parts.path}{query}"
        return URL(here, encoded=True) if urlsplit(here).hostname in LOOPBACK else None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=READ_SECONDS))
        return self._session
