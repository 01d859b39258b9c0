"""What a mail that came back means: a bounce, a complaint, or nothing.

Everything here is pure, takes any octets and raises nothing. In the order of trust: reports of servers (RFC 3464),
complaints of readers (RFC 5965), and what `flufl.bounce` recognises by its wording. Automatic answers of people
(RFC 3834) change nothing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email import message_from_bytes
from typing import Final

from flufl.bounce import all_failures

from gateway import Consent, Event, Receipt, Status, plain_email
from gateway_email.received import Fields, Part, read_blocks, read_fields, read_mail
from gateway_email.replies import Meaning
from gateway_email.verdicts import Failure, failure_of
from gateway_email.verp import ReturnPaths

WORDING_OCTETS_MAX: Final = 32_768  # of a bounce in no known form: what it has to say it says at its beginning
WORDING_LINE_MAX: Final = 200  # octets of its lines: patterns that others wrote take the square of it
WORDING_LINES_MAX: Final = 600
FOLDED_MAX: Final = 20  # lines in a row that begin with a blank: a field that is longer costs the parser too much time
NESTING_MAX: Final = 12  # multiparts and mails that such a bounce may be made of; more costs the parser too much time
RECIPIENTS_MAX: Final = 20  # recipients of one report

_DETECTORS_LOG: Final = logging.getLogger("flufl.bounce")
_REFERENCE: Final = r"([a-z0-9_]{1,40})"
_STATUS_TYPES: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
_RETURNED_TYPES: Final = frozenset(
    {"message/rfc822", "message/rfc822-headers", "text/rfc822-headers", "message/global", "message/global-headers"}
)
_ENVELOPE: Final = (
    *("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-delivered-to", "x-rcpt-to", "to", "cc"),
    *("return-path", "x-envelope-from", "x-original-return-path"),
)
# RFC 5965 7.3 and RFC 6650: which reports are a person's word. The others come from machines, or say the contrary.
NO_COMPLAINT: Final = frozenset({"not-spam", "auth-failure", "virus", "dmarc"})
_HOTMAIL: Final = Fields((("feedback-type", "abuse"),))  # what Microsoft's own format, older than RFC 5965, says
_NOT_FAILED: Final = frozenset({"delivered", "relayed", "expanded", "delayed"})
_DAEMONS: Final = ("mailer-daemon", "postmaster", "mail-daemon", "mailerdaemon", "mdaemon", "mail delivery")
_ANSWERED: Final = ("auto_reply", "auto-reply", "autoreply")
_AWAY: Final = re.compile(
    r"^\s*(?:(?:re|aw|sv|antw|auto(?:matic|matische)?)\s*:\s*)*"
    r"(?:out of (?:the )?office|automatic reply|auto(?:matic)?[- ]?(?:reply|response|antwort)|autoreply|"
    r"automatische antwort|abwesen|réponse automatique|absence|absent|respuesta automática|fuera de la oficina|"
    r"risposta automatica|resposta automática|automatisch antwoord|on vacation|vacation)",
    re.IGNORECASE,
)
_CODE: Final = re.compile(r"(?<![\d.])[45](?:\d\d[ -]|\.\d{1,3}\.\d{1,3}(?![\d.]))")
_COPY: Final = re.compile(
    r"^[-=*_ ]{2,20}[^\n]{0,60}\b(?:copy|original|returned|headers)\b", re.IGNORECASE | re.MULTILINE
)
_NESTING: Final = re.compile(rb"boundary|message/", re.IGNORECASE)


class BounceReader:
    """Reads what comes back to one sender."""

    def __init__(self, domain: str, paths: ReturnPaths | None, errors: Mapping[str, Meaning]) -> None:
        """`domain`: of the sender's Message-IDs. `errors`: what codes mean to the operator."""
        self._errors = errors
        self._domain = domain.lower()
        self._paths = paths
        self._message_id = re.compile(rf"<{_REFERENCE}@{re.escape(self._domain)}>", re.IGNORECASE)
        self._quoted_id = re.compile(rf"message-id:\s{{0,9}}<{_REFERENCE}@{re.escape(self._domain)}>", re.IGNORECASE)
        self._own = re.compile(rf"@{re.escape(self._domain)}>?\s*$", re.IGNORECASE)

    def events(self, raw: bytes) -> Sequence[Event]:
        """A failed Receipt, an opt-out, or nothing."""
        mail = read_mail(raw)
        for part in mail.walk():
            if part.media_type == "message/feedback-report":
                return self._complaint(mail, read_fields(part.body()))
            if part.media_type in _STATUS_TYPES and _about_recipients(blocks := read_blocks(part.body())):
                return self._report(mail, blocks)
        if any(fields.first("x-hmxmroriginalrecipient") for fields in _returned(mail)):
            return self._complaint(mail, _HOTMAIL)
        return self._wording(mail, raw)

    # What the three kinds say.

    def _report(self, mail: Part, reports: Sequence[Fields]) -> Sequence[Event]:
        """One mail goes to one address; a report of several is about those that the address stands for."""
        failures: list[Failure] = []
        others = 0
        for block in _about_recipients(reports)[:RECIPIENTS_MAX]:
            action = block.first("action").partition("(")[0].strip().lower()
            status = block.first("status")
            if action in _NOT_FAILED:
                others += 1
            elif action == "failed" or not action:
                said = block.first("diagnostic-code").partition(";")[2].strip()
                failures.append(failure_of(status, said, self._errors))
        ref, proved = self._reference(mail, reports)
        return self._failed(ref, failures, certain=proved and not others)

    def _complaint(self, mail: Part, report: Fields) -> Sequence[Event]:
        """The address is left to the message that the complaint names: providers often blacken it in the report."""
        kind = report.first("feedback-type").partition("(")[0].strip().lower()
        if not kind or kind in NO_COMPLAINT:
            return ()
        ref, _ = self._reference(mail, [report])
        reason = f"A complaint came back, of the type {kind[:40]!r}."
        if ref is not None:
            return (Consent(address="", wish="out", source="complaint", ref=ref, reason=reason),)
        address = _address(report.first("original-rcpt-to", "removal-recipient"))
        if not address or not self._is_about_us(mail, report):
            return ()
        return (Consent(address=address, wish="out", source="complaint", reason=reason),)

    def _wording(self, mail: Part, raw: bytes) -> Sequence[Event]:
        """A bounce in no form that a standard knows."""
        ref, proved = self._reference(mail, ())
        if ref is None or self._message_id.search(mail.fields.first("message-id")):
            return ()  # nobody's, or a mail of ours that went round in a circle
        if not mail.fields.first("x-failed-recipients"):  # Exim names them there, whatever else it says
            if _is_automatic_answer(mail.fields) or not _is_from_a_server(mail.fields):
                return ()
            if not _is_known_by_wording(mail.fields, raw):
                return ()
        texts = [part.text() for part in mail.walk() if part.media_type in ("text/plain", "text/html")]
        return self._failed(ref, [failure_of("", _said("\n".join(texts)), self._errors)], certain=proved)

    def _failed(self, ref: str | None, failures: Sequence[Failure], *, certain: bool) -> Sequence[Event]:
        """`certain`: the message is beyond doubt, and it reached nobody. Only then can the address be dead."""
        if ref is None or not failures:
            return ()
        alive = [failure for failure in failures if not failure.dead]
        chosen = (alive or failures)[0]
        receipt = Receipt(
            status=Status.BOUNCED,
            ref=ref,
            code=chosen.code,
            reason=chosen.reason,
            provider_code=chosen.provider_code,
            address_dead=certain and not alive,
        )
        if not chosen.left:
            return (receipt,)
        return (receipt, Consent(address="", wish="out", source="provider", ref=ref, reason=chosen.reason))

    # Which message it is about.

    def _reference(self, mail: Part, reports: Iterable[Fields]) -> tuple[str | None, bool]:
        """The message's reference, and whether it is proved.

        A proof is in the return path and in the envelope id of senders with a `bounce_address`. Without one nothing can
        be proved, so everything counts as if it were.
        """
        returned = _returned(mail)
        reports = list(reports)
        if self._paths is not None:
            ref = self._proved(mail.fields, returned, reports)
            if ref is not None:
                return ref, True
        return self._named(mail, returned, reports), self._paths is None

    def _proved(self, fields: Fields, returned: Sequence[Fields], reports: Sequence[Fields]) -> str | None:
        assert self._paths is not None
        places = [value for each in (fields, *returned) for value in each.every(*_ENVELOPE)]
        places += [value for each in reports for value in each.every("original-mail-from")]
        for place in places[:100]:
            if (ref := self._paths.ref_in(place)) is not None:
                return ref
        for each in reports:
            if (ref := self._paths.ref_of_envelope_id(each.first("original-envelope-id"))) is not None:
                return ref
        return None

    def _named(self, mail: Part, returned: Sequence[Fields], reports: Sequence[Fields]) -> str | None:
        """By the names that everybody can read: the envelope id, the Message-ID, and what quotes or answers it."""
        ids = [f"<{each.first('original-envelope-id')}>" for each in reports]
        ids += [each.first("message-id") for each in returned]
        ids += [mail.fields.first("in-reply-to"), mail.fields.first("references")]
        for value in ids:
            if (found := self._message_id.search(value)) is not None:
                return found[1].lower()
        for part in mail.walk():
            if not part.parts and (found := self._quoted_id.search(part.text())) is not None:
                return found[1].lower()
        return None

    def _is_about_us(self, mail: Part, report: Fields) -> bool:
        authors = [report.first("original-mail-from"), *(each.first("from") for each in _returned(mail))]
        return any(self._own.search(author) for author in authors)


def _about_recipients(blocks: Sequence[Fields]) -> list[Fields]:
    """The blocks of a report that speak of a recipient. Gmail sends reports in which there are none."""
    return [
        block
        for block in blocks
        if block.first("action") or (block.first("final-recipient") and block.first("status").startswith(("4", "5")))
    ]


def _returned(mail: Part) -> list[Fields]:
    """The headers of the mails that came back inside this one."""
    return [read_fields(part.body()) for part in mail.walk() if part.media_type in _RETURNED_TYPES and part is not mail]


def _address(value: str) -> str:
    """The address in `rfc822; <ada@example.org>`, or ""."""
    try:
        return plain_email(value.rpartition(";")[2].strip().strip("<>"))
    except ValueError:
        return ""


def _is_from_a_server(fields: Fields) -> bool:
    """A bounce has no return path (RFC 5321 4.5.5); where that is not told, its author's name must do."""
    if any(value.strip() == "<>" for value in fields.every("return-path", "x-envelope-from")):
        return True
    return _has_a_server_s_name(fields)


def _has_a_server_s_name(fields: Fields) -> bool:
    author = fields.first("from").lower()
    return any(daemon in author for daemon in _DAEMONS)


def _is_automatic_answer(fields: Fields) -> bool:
    """RFC 3834, and what came before it. Servers mark their bounces so too, and answers have no return path either."""
    if _AWAY.search(fields.first("subject")) or fields.first("x-autoreply", "x-autorespond", "x-autoresponse"):
        return True
    if fields.first("precedence").strip().lower() in _ANSWERED:
        return True
    marked = fields.first("auto-submitted").partition(";")[0].strip().lower() not in ("", "no")
    return marked and not _has_a_server_s_name(fields)


def _is_known_by_wording(fields: Fields, raw: bytes) -> bool:
    """Whether `flufl.bounce` finds an address in it that will never be reached."""
    tame = b"\n".join(_tame(raw[:WORDING_OCTETS_MAX].replace(b"\r\n", b"\n").split(b"\n")))
    if sum(1 for _ in _NESTING.finditer(tame)) > NESTING_MAX:
        return False
    if not fields.first("from"):
        tame = b"From: MAILER-DAEMON\n" + tame  # one of the detectors cannot do without

    # What breaks a detector would be logged with a traceback of up to thousands of lines, for each mail of a stranger.
    def silence(record: logging.LogRecord) -> bool:
        return False

    _DETECTORS_LOG.addFilter(silence)
    try:
        _, permanent = all_failures(message_from_bytes(tame))
    # A stranger's mail goes through seventeen detectors that others wrote: what breaks one of them is no bounce.
    except Exception:  # noqa: BLE001
        return False
    finally:
        _DETECTORS_LOG.removeFilter(silence)
    return bool(permanent)


def _tame(lines: Sequence[bytes]) -> Iterator[bytes]:
    folded = 0
    for line in lines[:WORDING_LINES_MAX]:
        folded = folded + 1 if line.startswith((b" ", b"\t")) else 0
        if folded <= FOLDED_MAX:
            yield line[:WORDING_LINE_MAX]


def _said(text: str) -> str:
    """The line of a bounce in which the server says why, with the two after it; else its beginning."""
    lines = [line.strip() for line in _COPY.split(text[:WORDING_OCTETS_MAX], maxsplit=1)[0].splitlines()]
    for number, line in enumerate(lines):
        if _CODE.search(line) is not None:
            return " ".join(lines[number : number + 3])
    return " ".join(line for line in lines if line)[:1_000]
