"""Recorded cases of the adapter `smtp`: bounces and complaints as they are posted, and what is read from them."""

from __future__ import annotations

from typing import Final

from gateway import Code, Consent, Event, Receipt, Status
from gateway.testing.cases import CallbackCase, Cases, callback
from tests.plugins.email import bounce_mails as mails

TOKEN: Final = "a bounce token of these tests"
SETTINGS: Final = {
    "host": "mail.example",
    "from": "Grace Church <news@grace.example>",
    "bounce_address": "bounce@grace.example",
    "bounce_secret": mails.SECRET,
    "bounce_token": TOKEN,
}
"""Of the sender that the cases are about."""

URL: Final = "https://gateway.example/callbacks/mail/bounce"


def _posted(name: str, body: bytes, source: str, *events: Event) -> CallbackCase:
    request = callback(URL, body, headers={"Authorization": f"Bearer {TOKEN}"}, content_type="message/rfc822")
    return CallbackCase(name=name, request=request, events=events, source=source)


def _bounced(code: Code, provider_code: str | None, reason: str, *, dead: bool = False) -> Receipt:
    return Receipt(
        status=Status.BOUNCED,
        ref=mails.REF,
        code=code,
        provider_code=provider_code,
        reason=reason,
        address_dead=dead,
    )


def _complained(kind: str) -> Consent:
    reason = f"A complaint came back, of the type {kind!r}."
    return Consent(address="", wish="out", source="complaint", ref=mails.REF, reason=reason)


_DSN: Final = "RFC 3464, as Postfix 3 writes it (bounce(8)); seen 2026-06-01"
_ARF: Final = "RFC 5965 appendix B; seen 2026-06-01"
_UNKNOWN_USER: Final = "550 5.1.1 <ada@example.org>: Recipient address rejected: User unknown"

CASES: Final = Cases(
    callbacks=(
        _posted(
            "a hard bounce", mails.USER_UNKNOWN, _DSN, _bounced(Code.INVALID_ADDRESS, "5.1.1", _UNKNOWN_USER, dead=True)
        ),
        _posted(
            "a full mailbox",
            mails.MAILBOX_FULL,
            _DSN,
            _bounced(Code.UNREACHABLE, "5.2.2", "552 5.2.2 <ada@example.org>: mailbox full"),
        ),
        _posted(
            "given up after days",
            mails.GIVEN_UP,
            _DSN,
            _bounced(Code.UNREACHABLE, "4.4.1", "connect to mx.example.org[192.0.2.1]:25: Connection timed out"),
        ),
        _posted(
            "a policy",
            mails.POLICY,
            _DSN,
            _bounced(Code.PROVIDER, "5.7.1", "550 5.7.1 Message refused: SPF check failed"),
        ),
        _posted("a warning of a delay", mails.DELAYED, _DSN),
        _posted(
            "several recipients behind one address",
            mails.SEVERAL,
            "RFC 3464 appendix E.2; seen 2026-06-01",
            _bounced(Code.INVALID_ADDRESS, "5.1.1", "550 user unknown"),
        ),
        _posted(
            "Sendmail, in an mbox",
            mails.SENDMAIL,
            "sendmail 8.14's errorreport; yaslama/bouncehammer:examples/17-messages.eml",
            _bounced(Code.INVALID_ADDRESS, "5.1.2", "550 Host unknown", dead=True),
        ),
        _posted(
            "Gmail, with an empty report",
            mails.GMAIL,
            "the shape of sisimai/set-of-emails:maildir/dos/lhost-googleworkspace-01.eml",
            _bounced(
                Code.INVALID_ADDRESS,
                "5.1.1",
                "550 5.1.1 <ada@example.org>: Email address could not be found, or was misspelled",
                dead=True,
            ),
        ),
        _posted(
            "Exim",
            mails.EXIM,
            "Exim 4 without bounce_message_file; flufl.bounce 6.0: X-Failed-Recipients",
            _bounced(
                Code.INVALID_ADDRESS,
                None,
                "This message was created automatically by mail delivery software. A message that you sent could not "
                "be delivered to one or more of its recipients. This is a permanent error. The following address(es) "
                "failed: ada@example.org Unrouteable address",
                dead=True,
            ),
        ),
        _posted(
            "qmail",
            mails.QMAIL,
            "cr.yp.to/proto/qsbmf.txt",
            _bounced(
                Code.INVALID_ADDRESS,
                "5.1.1",
                "Remote host said: 550 sorry, no mailbox here by that name. (#5.1.1) Giving up on 192.0.2.7.",
                dead=True,
            ),
        ),
        _posted("a complaint", mails.ABUSE, _ARF, _complained("abuse")),
        _posted("a complaint about fraud", mails.complaint("Fraud"), _ARF, _complained("fraud")),
        _posted("a wish to leave", mails.complaint("opt-out"), _ARF, _complained("opt-out")),
        _posted("a kind of complaint that is not known yet", mails.complaint("x-new"), _ARF, _complained("x-new")),
        _posted("no spam", mails.complaint("not-spam"), _ARF),
        _posted("a failed authentication", mails.complaint("auth-failure"), "RFC 6591; seen 2026-06-01"),
        _posted("a virus that was found", mails.complaint("virus"), _ARF),
        _posted(
            "a complaint that names only the address",
            mails.REDACTED,
            _ARF,
            Consent(
                address="Ada@example.org",
                wish="out",
                source="complaint",
                reason="A complaint came back, of the type 'abuse'.",
            ),
        ),
        _posted(
            "a complaint of Hotmail's",
            mails.HOTMAIL,
            "the shape of sisimai/set-of-emails:maildir/bsd/arf-22.eml",
            _complained("abuse"),
        ),
        _posted("out of office", mails.OUT_OF_OFFICE, "RFC 3834; Exchange's automatic replies"),
        _posted("on vacation", mails.VACATION, "RFC 3834; vacation(1)"),
        CallbackCase(
            name="without the token",
            request=callback(URL, mails.USER_UNKNOWN),
            events=(_bounced(Code.INVALID_ADDRESS, "5.1.1", _UNKNOWN_USER, dead=True),),
            source="ours",
            genuine=False,
        ),
        CallbackCase(
            name="at another path",
            request=callback(URL + "s", mails.USER_UNKNOWN, headers={"Authorization": f"Bearer {TOKEN}"}),
            events=(),
            source="ours",
            genuine=False,
        ),
    )
)
