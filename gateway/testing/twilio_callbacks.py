"""How the Twilio simulator calls back: signed as Twilio signs, repeated as the URL's fragment asks, on loopback only.

Sources: twilio.com/docs/usage/webhooks/webhooks-security and .../webhooks-connection-overrides, 2026-11.
"""

from __future__ import annotations

import asyncio
import hmac
from base64 import b64encode
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
from yarl import URL

from gateway.testing.twilio_messages import SimMessage

WORKERS: Final = 32  # callbacks on their way at once
READ_SECONDS: Final = 15.0  # Twilio waits so long for an answer
RETRIES_MAX: Final = 5
MISSED_MAX: Final = 50_000  # callbacks that nobody took, kept for `post_missed`
ROUNDS_MAX: Final = 5  # of posting one again after all its tries were in vain
STOP_WORDS: Final = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
START_WORDS: Final = frozenset({"START", "YES", "UNSTOP"})
POOL_NUMBER: Final = "+15005550006"  # Twilio's test number that works; what a Messaging Service chooses
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Call:
    """One callback: its URL with the connection overrides, and its fields in order."""

    url: str
    fields: Mapping[str, str]
    token: str  # the same for every try of this callback
    round: int = 0  # how often `post_missed` has brought it back


@dataclass(slots=True)
class Tally:
    """What became of the callbacks: tries, answers by status, and those that no try delivered."""

    posted: int = 0
    delivered: int = 0
    failed: int = 0
    last_status: int | None = None  # None: no answer


def receipt_call(message: SimMessage, status: str, account_sid: str, token: str) -> Call:
    """The status callback that says `status`, as Twilio posts it."""
    fields = {
        "SmsSid": message.sid,
        "SmsStatus": status,
        "MessageStatus": status,
        "To": message.to,
        "MessageSid": message.sid,
        "AccountSid": account_sid,
        "From": message.sender or ("whatsapp:" if message.on_whatsapp else "") + POOL_NUMBER,
        "ApiVersion": "2010-04-01",
    }
    if message.service_sid is not None:
        fields["MessagingServiceSid"] = message.service_sid
    if message.on_whatsapp:
        fields["ChannelPrefix"] = "whatsapp"
    if status in {"failed", "undelivered"} and message.error_code is not None:
        fields["ErrorCode"] = str(message.error_code)
    return Call(message.callback or "", fields, token)


def inbound_fields(
    sid: str, account_sid: str, sender: str, to: str, text: str, media: Sequence[tuple[str, str]]
) -> dict[str, str]:
    """The fields of an inbound message, as Twilio posts it; on WhatsApp both addresses have the channel's prefix."""
    fields = {
        "SmsMessageSid": sid,
        "NumMedia": str(len(media)),
        "SmsSid": sid,
        "SmsStatus": "received",
        "Body": text,
        "To": to,
        "NumSegments": "1",
        "MessageSid": sid,
        "AccountSid": account_sid,
        "From": sender,
        "ApiVersion": "2010-04-01",
    }
    if sender.startswith("whatsapp:+"):
        fields["WaId"] = sender.removeprefix("whatsapp:+")
    for index, (url, kind) in enumerate(media):
        fields[f"MediaUrl{index}"] = url
        fields[f"MediaContentType{index}"] = kind
    return fields


def signature_of(url: str, fields: Mapping[str, str], secret: str, algorithm: str = "sha1") -> str:
    """X-Twilio-Signature of a form posted to `url`, whose fragment is not signed."""
    signed = url.partition("#")[0] + "".join(name + fields[name] for name in sorted(fields))
    return b64encode(hmac.digest(secret.encode(), signed.encode(), algorithm)).decode()


def wish_of(text: str) -> str | None:
    """STOP or START, if the text is one of Twilio's words for it."""
    word = text.strip().upper()
    return "STOP" if word in STOP_WORDS else "START" if word in START_WORDS else None


class Caller:
    """Posts callbacks, in the order given but up to 32 at once."""

    def __init__(self) -> None:
        self._base: str | None = None
        self.auth_token = ""
        self.webhook_key: tuple[str, str] | None = None  # name and secret: sign with SHA-256
        self.tally = Tally()
        self._session: aiohttp.ClientSession | None = None
        self._waiting: deque[Call] = deque()
        self._missed: deque[Call] = deque(maxlen=MISSED_MAX)
        self._workers: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def base(self) -> str | None:
        """What replaces the origin of every URL."""
        return self._base

    @base.setter
    def base(self, base: str | None) -> None:
        if base is not None and urlsplit(base).hostname not in LOOPBACK:
            raise ValueError(f"callbacks go to this machine only, not to {base}")
        self._base = base.rstrip("/") if base else None

    def enqueue(self, calls: Sequence[Call]) -> None:
        """Post these soon."""
        if not calls:
            return
        self._waiting.extend(calls)
        self._idle.clear()
        self._staff()

    def post_missed(self) -> int:
        """Post once more what nobody took, as a provider that tries for hours does: five times at most. How many."""
        again = [replace(call, round=call.round + 1) for call in self._missed]
        self._missed.clear()
        self.enqueue(again)
        return len(again)

    async def drained(self) -> None:
        """Return when nothing is waiting or on its way."""
        await self._idle.wait()

    async def close(self) -> None:
        """Drop what waits, and end."""
        self._waiting.clear()
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def post(self, call: Call) -> int | None:
        """Post one, and again as often as its URL asks; the last answer's status, None if there was none."""
        url, _, fragment = call.url.partition("#")
        overrides = dict(parse_qsl(fragment))
        tries = 1 + min(RETRIES_MAX, int(overrides.get("rc", "1")))
        policy = set(overrides.get("rp", "ct").split(","))
        status: int | None = None
        for _ in range(tries):
            self.tally.posted += 1
            status, trouble = await self._try(url, call)
            if trouble is None or not policy & {trouble, "all"}:
                break
        if status is not None and status < 300:
            self.tally.delivered += 1
        else:
            self.tally.failed += 1
            if (status is None or status >= 500) and call.round < ROUNDS_MAX:
                self._missed.append(call)
        self.tally.last_status = status
        return status

    def _staff(self) -> None:
        while len(self._workers) < min(WORKERS, len(self._waiting)):
            worker = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._ended)

    async def _work(self) -> None:
        while self._waiting:
            await self.post(self._waiting.popleft())

    def _ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        self._staff()  # for what came after its last look
        if not self._workers:
            self._idle.set()

    async def _try(self, url: str, call: Call) -> tuple[int | None, str | None]:
        """The answer's status, and what Twilio's retry policy calls it: ct, rt, 4xx, 5xx or nothing."""
        here = self._here(url)
        if here is None:
            return None, "ct"
        body = urlencode(call.fields).encode()
        try:
            answer = await self._opened().post(here, data=body, headers=self._headers(url, call))
        except aiohttp.ClientConnectorError:
            return None, "ct"
        except (aiohttp.ClientError, TimeoutError):
            return None, "rt"
        async with answer:
            await answer.read()
        return answer.status, f"{answer.status // 100}xx" if answer.status >= 400 else None

    def _headers(self, url: str, call: Call) -> dict[str, str]:
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "I-Twilio-Idempotency-Token": call.token,
            "User-Agent": "TwilioProxy/1.1",
        }
        secret, algorithm = self.auth_token, "sha1"
        if self.webhook_key is not None:
            name, secret = self.webhook_key
            algorithm = "sha256"
            headers["X-Twilio-Webhooks-Signature-Settings"] = f"key={name},algorithm=HMAC_SHA256"
        headers["X-Twilio-Signature"] = signature_of(url, call.fields, secret, algorithm)
        return headers

    def _here(self, url: str) -> URL | None:
        """Where the URL is reached on this machine; None if it leads away from it and nothing says where."""
        parts = urlsplit(url)
        if self._base is not None:
            # `encoded`: the receiver must see path and query as they were signed.
            return URL(f"{self._base}{parts.path}{'?' if parts.query else ''}{parts.query}", encoded=True)
        return URL(url, encoded=True) if parts.hostname in LOOPBACK else None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=WORKERS),
                timeout=aiohttp.ClientTimeout(total=READ_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session
