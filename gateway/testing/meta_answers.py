"""What the simulated Graph API answers with: JSON, its errors, and what is none of its answers."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

from gateway.testing.meta_messages import TITLES
from gateway.testing.provider_faults import HUGE_BYTES, Fault, Garbage, Hang, Refuse, ServerError, Throttle


def faulty_answer(fault: Fault) -> web.Response:
    """What a fault answers. After a hang, which ends with the simulator only, nobody reads it."""
    match fault:
        case Hang():
            return web.Response(status=503)
        case Throttle():
            headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            return error_answer(130429, TITLES[130429], 429, headers)
        case Refuse():
            return error_answer(fault.code, fault.message, fault.status)
        case ServerError():
            page = "<html>Sorry, something went wrong.</html>"
            return web.Response(status=fault.status, text=page, content_type="text/html")
        case Garbage():
            return garbage_answer(fault)
    raise TypeError(f"{fault!r} does not say what to do")


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A value as JSON."""
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json", charset="utf-8")


def error_answer(code: int, details: str, status: int = 400, headers: Mapping[str, str] | None = None) -> web.Response:
    """One of Meta's errors. The HTTP status tells little: its code does."""
    error = {
        "message": f"(#{code}) {TITLES.get(code, 'Error')}",
        "type": "OAuthException",
        "code": code,
        "error_data": {"messaging_product": "whatsapp", "details": details},
        "fbtrace_id": "Az8or2yhqkZfEZ-_4Qn_Bam",
    }
    return json_answer({"error": error}, status, headers)


def garbage_answer(fault: Garbage) -> web.Response:
    """What is none of its answers."""
    match fault.kind:
        case "html":
            return web.Response(body=b"<html><body>Welcome, guest</body></html>", content_type="text/html")
        case "empty":
            return web.Response(body=b"")
        case "huge":
            return web.Response(body=b'{"messages":"' + b"x" * HUGE_BYTES + b'"}', content_type="application/json")
        case "redirect":
            return web.Response(status=302, headers={"Location": "/elsewhere"})
        case "wrong_type":
            return json_answer({"messages": {"id": 7}, "contacts": "none"})
