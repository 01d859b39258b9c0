"""What the Twilio simulator answers with: JSON as Twilio writes it, its errors, and what is none of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web

from gateway.testing.provider_faults import HUGE_BYTES, Fault, Garbage, Hang, Refuse, ServerError, Throttle
from gateway.testing.twilio_messages import error_body

HTML: Final = b"<!DOCTYPE html><html><body><h1>Welcome to the guest network</h1></body></html>"


def json_answer(value: object, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    """A value as JSON."""
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        headers=headers,
        content_type="application/json",
        charset="utf-8",
    )


def error_answer(code: int, status: int, headers: Mapping[str, str] | None = None, **values: str) -> web.Response:
    """One of Twilio's errors; `values` are put into its sentence."""
    return json_answer(error_body(code, status, **values), status, headers)


def faulty_answer(fault: Fault) -> web.Response:
    """What a fault answers. After a hang, which ends with the simulator only, nobody reads it."""
    match fault:
        case Throttle():
            return error_answer(20429, 429, {} if fault.retry_after is None else {"Retry-After": fault.retry_after})
        case Hang():
            return web.Response(status=503)
        case ServerError():
            return error_answer(20503 if fault.status == 503 else 20500, fault.status)
        case Refuse():
            return json_answer(error_body(fault.code, fault.status, fault.message), fault.status)
        case Garbage():
            return _garbage(fault)
    raise TypeError(f"{fault!r} does not say what to do")


def _garbage(fault: Garbage) -> web.Response:
    match fault.kind:
        case "html":
            return web.Response(body=HTML, content_type="text/html")
        case "empty":
            return web.Response(body=b"")
        case "huge":
            return web.Response(body=b'{"sid": "' + b"x" * HUGE_BYTES + b'"}', content_type="application/json")
        case "redirect":
            return web.Response(status=302, headers={"Location": "/elsewhere"})
        case "wrong_type":
            return json_answer({"sid": 7, "status": ["queued"], "messages": "none", "contents": 1}, 200)
