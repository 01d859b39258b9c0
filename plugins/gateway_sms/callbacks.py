"""What Kannel calls back with: delivery reports on the URL that each message brought, and messages of people.

Kannel signs nothing. What proves that a request comes from it is a secret in the path, `/callbacks/NAME/SECRET/dlr` and
`/callbacks/NAME/SECRET/mo`. Source: Kannel 1.4.5, user guide, "Delivery Reports" and "SMS-service group"; runs of
Debian's kannel 1.4.5-12, 2026-11.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl

from gateway import CallbackRequest, Consent, Event, Inbound, Receipt, Status
from gateway_sms.answers import AnswerTable, cleaned, report_code

DLR: Final = "dlr"
MO: Final = "mo"

# The bits of dlr-mask, and of %d. What the last two of them say of a message is in the words of the SMSC too.
REPORTS: Final[Mapping[int, Status]] = {
    1: Status.DELIVERED,
    2: Status.UNDELIVERED,
    4: Status.ACCEPTED,
    8: Status.SENT,
    16: Status.FAILED,
    32: Status.SENT,
}
_NEGATIVE: Final = frozenset({Status.UNDELIVERED, Status.FAILED, Status.EXPIRED})
_ENDS: Final = frozenset({Status.DELIVERED, Status.UNDELIVERED, Status.FAILED})
_FIELDS_MAX: Final = 60
_DIGITS_INTERNATIONAL: Final = 8  # a shorter number is a short code, and no international number without its +


def report_url(callback_url: str, secret: str, ref: str) -> str:
    """The dlr-url of a message: Kannel fills in what follows a percent sign."""
    return f"{callback_url}/{secret}/{DLR}?ref={ref}&status=%d&answer=%A&fid=%F&at=%T"


def is_genuine(request: CallbackRequest, secret: str) -> bool:
    """Whether the path has the secret."""
    claimed = request.tail.encode("utf-8", "surrogatepass")
    report, message = (hmac.compare_digest(claimed, f"/{secret}/{kind}".encode()) for kind in (DLR, MO))
    return report or message


def events_of(request: CallbackRequest, secret: str, table: AnswerTable) -> Sequence[Event]:
    """Pure; whatever the bytes, it raises nothing."""
    raw = request.url.partition("?")[2]
    if request.tail == f"/{secret}/{DLR}":
        return _reported(_fields(raw, "utf-8"), table)
    if request.tail == f"/{secret}/{MO}":
        fields = _fields(raw, "utf-8")
        return _written({**fields, "text": _fields(raw, _charset(fields.get("charset", ""))).get("text", "")})
    return ()


def _fields(raw: str, charset: str) -> dict[str, str]:
    """The first value of each parameter."""
    try:
        pairs = parse_qsl(raw, encoding="latin-1", max_num_fields=_FIELDS_MAX)
    except ValueError:
        return {}
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(name, value.encode("latin-1", "replace").decode(charset, "replace"))
    return fields


def _charset(name: str) -> str:
    """The codec of a text, which comes in the charset of the SMSC; UTF-8, smsbox's default, for unknown names."""
    named = {"ucs-2": "utf-16-be", "ucs2": "utf-16-be", "utf-16": "utf-16-be", "iso-10646-ucs-2": "utf-16-be"}
    wanted = named.get(name.strip().lower(), name.strip())
    try:
        b"\xff".decode(wanted, "replace")  # raises for what is no codec of texts, or cannot leave out what is broken
    except (LookupError, ValueError):
        return "utf-8"
    return wanted


def _reported(fields: Mapping[str, str], table: AnswerTable) -> Sequence[Event]:
    ref, number = fields.get("ref"), fields.get("status", "")
    said = REPORTS.get(int(number)) if number.isascii() and number.isdigit() and len(number) < 4 else None
    if not ref or said is None:
        return ()
    code, words = report_code(fields.get("answer", ""))
    meaning = None if code is None else table.meaning(code)
    # A receipt of an SMSC comes with the bit for delivered or not; its own word says more.
    status = meaning.status if meaning is not None and meaning.status is not None and said in _ENDS else said
    failed = status in _NEGATIVE
    foreign = cleaned(fields.get("fid", ""))
    receipt = Receipt(
        status=status,
        ref=ref,
        provider_ids=(foreign,) if foreign else (),
        at=_instant(fields.get("at", "")),
        code=meaning.why if failed and meaning is not None else None,
        reason=(words or (meaning.title if meaning is not None else None)) if failed else None,
        provider_code=code if failed else None,
        address_dead=failed and meaning is not None and meaning.verdict == "address_dead",
    )
    if failed and meaning is not None and meaning.verdict == "opt_out":
        return (receipt, Consent(address="", wish="out", source="provider", ref=ref, reason=words or meaning.title))
    return (receipt,)


def _written(fields: Mapping[str, str]) -> Sequence[Event]:
    address = _address(fields.get("from", ""))
    text = fields.get("text", "")
    if not address:
        return ()
    id = cleaned(fields.get("id", "")) or _own_id(address, fields)
    return (Inbound(provider_id=id, address=address, text=text, at=_instant(fields.get("ts", ""))),)


def _address(said: str) -> str:
    """SMSCs give international numbers without their plus; a national one begins with 0, a short code is short."""
    address = cleaned(said).replace(" ", "")
    international = address.isascii() and address.isdigit() and not address.startswith("0")
    return f"+{address}" if international and len(address) >= _DIGITS_INTERNATIONAL else address


def _own_id(address: str, fields: Mapping[str, str]) -> str:
    """For a get-url without `%I`: the same request again is the same message."""
    said = "\0".join((address, fields.get("to", ""), fields.get("ts", ""), fields.get("text", "")))
    return f"mo-{hashlib.sha256(said.encode('utf-8', 'replace')).hexdigest()[:32]}"


def _instant(said: str) -> datetime | None:
    if not (said.isascii() and said.isdigit() and len(said) <= 11):
        return None
    return datetime.fromtimestamp(int(said), UTC)
