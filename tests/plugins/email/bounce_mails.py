"""Mails that come back, in the shapes of the servers that send them; names and addresses are made up.

Each is about the message `REF`, which went to ada@example.org from a sender with the return path `PATH`.
"""

from __future__ import annotations

from typing import Final

from gateway_email.verp import ReturnPaths

REF: Final = "msg_0c3v8h2k9m4qa"
SECRET: Final = "a secret of these tests"
PATHS: Final = ReturnPaths("bounce@grace.example", SECRET)
PATH: Final = PATHS.path(REF)

RETURNED: Final = f"""\
Return-Path: <{PATH}>
Message-ID: <{REF}@grace.example>
Date: Mon, 01 Jun 2026 08:00:00 +0000
From: Grace Church <news@grace.example>
MIME-Version: 1.0
To: ada@example.org
Subject: Sunday
Content-Type: text/plain; charset=utf-8
"""


def report(blocks: str, *, to: str = PATH, returned: str = RETURNED, head: str = "", text: str = "Sorry.") -> bytes:
    """A report as Postfix writes it."""
    return f"""\
Return-Path: <>
Received: by mx.example.net (Postfix) id 4F1C22A; Mon,  1 Jun 2026 08:00:03 +0000 (UTC)
Date: Mon,  1 Jun 2026 08:00:03 +0000 (UTC)
From: MAILER-DAEMON@mx.example.net (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: {to}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="9D2A01.1780300803/mx.example.net"
Message-Id: <20260601080003.4F1C22A@mx.example.net>
{head}
This is a MIME-encapsulated message.

--9D2A01.1780300803/mx.example.net
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

{text}

--9D2A01.1780300803/mx.example.net
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net
X-Postfix-Queue-ID: 9D2A01
X-Postfix-Sender: rfc822; news@grace.example
Arrival-Date: Mon,  1 Jun 2026 08:00:01 +0000 (UTC)

{blocks}
--9D2A01.1780300803/mx.example.net
Content-Description: Undelivered Message Headers
Content-Type: text/rfc822-headers

{returned}
--9D2A01.1780300803/mx.example.net--
""".replace("\n", "\r\n").encode()


def block(action: str, status: str, said: str = "", recipient: str = "ada@example.org") -> str:
    """What a report says of one recipient."""
    diagnostic = f"Diagnostic-Code: {said}\n" if said else ""
    return f"""\
Final-Recipient: rfc822; {recipient}
Original-Recipient: rfc822;{recipient}
Action: {action}
Status: {status}
Remote-MTA: dns; mx.example.org
{diagnostic}
"""


USER_UNKNOWN: Final = report(
    block("failed", "5.1.1", "smtp; 550 5.1.1 <ada@example.org>: Recipient address rejected:\n    User unknown")
)
MAILBOX_FULL: Final = report(block("failed", "5.2.2", "smtp; 552 5.2.2 <ada@example.org>: mailbox full"))
GIVEN_UP: Final = report(
    block("failed", "4.4.1", "X-Postfix; connect to mx.example.org[192.0.2.1]:25: Connection timed out")
)
POLICY: Final = report(block("failed", "5.7.1", "smtp; 550 5.7.1 Message refused: SPF check failed"))
DELAYED: Final = report(block("delayed", "4.4.1", "X-Postfix; connect to mx.example.org: Connection timed out"))

# RFC 3464 appendix E.2: several recipients with different fates, one of whom waits, and one of whom it reached.
SEVERAL: Final = report(
    block("delayed", "4.0.0", "", "louisl@example.org")
    + block("relayed", "2.1.9", "", "sue@example.org")
    + block("failed", "5.1.1", "smtp; 550 user unknown", "tom@example.org")
)

# Sendmail: no return path in its To, the whole header of the mail behind, class and code in the words of the remote.
SENDMAIL: Final = f"""\
From MAILER-DAEMON Mon Jun  1 08:00:04 2026
Received: from localhost (localhost)
\tby mta.example.net (8.14.3/8.14.3) id m8I8s45D007047;
\tMon, 1 Jun 2026 08:00:04 GMT
From: Mail Delivery Subsystem <MAILER-DAEMON>
Message-Id: <202606010800.m8I8s45D007047@mta.example.net>
To: <{PATH}>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="m8I8s45D007047.1780300804/mta.example.net"
Subject: Returned mail: see transcript for details
Auto-Submitted: auto-generated (failure)

This is a MIME-encapsulated message

--m8I8s45D007047.1780300804/mta.example.net

The original message was received at Mon, 1 Jun 2026 08:00:04 GMT
from [192.0.2.97]

   ----- The following addresses had permanent fatal errors -----
<ada@example.org>
    (reason: 550 Host unknown)

--m8I8s45D007047.1780300804/mta.example.net
Content-Type: message/delivery-status

Reporting-MTA: dns; mta.example.net
Received-From-MTA: DNS; [192.0.2.97]

Final-Recipient: RFC822; ada@example.org
Action: failed
Status: 5.1.2
Remote-MTA: DNS; example.org
Diagnostic-Code: SMTP; 550 Host unknown
Last-Attempt-Date: Mon, 1 Jun 2026 08:00:04 GMT

--m8I8s45D007047.1780300804/mta.example.net
Content-Type: text/rfc822-headers

{RETURNED}
--m8I8s45D007047.1780300804/mta.example.net--
""".encode()

# Gmail: a report without a word in it, and X-Failed-Recipients.
GMAIL: Final = f"""\
Delivered-To: {PATH}
Return-Path: <>
Content-Type: multipart/report; boundary="000000000000ca2d9205f5a5444d"; report-type=delivery-status
To: {PATH}
Auto-Submitted: auto-replied
Message-ID: <63fc15e0.050a0220.58de0.183e.GMR@mx.google.example>
From: Mail Delivery Subsystem <mailer-daemon@googlemail.example>
Subject: Delivery Status Notification (Failure)
In-Reply-To: <{REF}@grace.example>
References: <{REF}@grace.example>
X-Failed-Recipients: ada@example.org

--000000000000ca2d9205f5a5444d
Content-Type: multipart/alternative; boundary="000000000000ca333105f5a5444f"

--000000000000ca333105f5a5444f
Content-Type: text/plain; charset="UTF-8"

** Address not found **

The response from the remote server was:

550 5.1.1 <ada@example.org>: Email address could not be found, or was misspelled

--000000000000ca333105f5a5444f--
--000000000000ca2d9205f5a5444d
Content-Type: message/delivery-status


--000000000000ca2d9205f5a5444d--
""".encode()

EXIM: Final = f"""\
Return-path: <>
Envelope-to: {PATH}
Received: from Debian-exim by mx.example.net with local (Exim 4.96)
\tid 1pT2uB-0007Xe-1S for {PATH}; Mon, 01 Jun 2026 08:00:04 +0000
X-Failed-Recipients: ada@example.org
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@mx.example.net>
To: {PATH}
Subject: Mail delivery failed: returning message to sender
Message-Id: <E1pT2uB-0007Xe-1S@mx.example.net>

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  ada@example.org
    Unrouteable address

------ This is a copy of the message, including all the headers. ------

{RETURNED}
Hello.
""".encode()

QMAIL: Final = f"""\
Return-Path: <>
Delivered-To: {PATH}
Received: (qmail 4721 invoked for bounce); 1 Jun 2026 08:00:04 -0000
Date: 1 Jun 2026 08:00:04 -0000
From: MAILER-DAEMON@mx.example.net
To: {PATH}
Subject: failure notice

Hi. This is the qmail-send program at mx.example.net.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<ada@example.org>:
192.0.2.7 does not like recipient.
Remote host said: 550 sorry, no mailbox here by that name. (#5.1.1)
Giving up on 192.0.2.7.

--- Below this line is a copy of the message.

{RETURNED}
Hello.
""".encode()

QMAIL_WITHOUT_A_CODE: Final = QMAIL.replace(b" (#5.1.1)", b"")
QMAIL_FULL: Final = QMAIL.replace(
    b"550 sorry, no mailbox here by that name. (#5.1.1)", b"552 mailbox is full, no such user action possible"
)


def complaint(kind: str, *, original: str = RETURNED, more: str = "") -> bytes:
    """A complaint as in RFC 5965 appendix B."""
    return f"""\
From: <abusedesk@example.com>
Date: Thu, 4 Jun 2026 17:40:36 -0000
Subject: FW: Earn money
To: <abuse@grace.example>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report;
     boundary="part1_13d.2e68ed54_boundary"

--part1_13d.2e68ed54_boundary
Content-Type: text/plain; charset="US-ASCII"
Content-Transfer-Encoding: 7bit

This is an email abuse report.

--part1_13d.2e68ed54_boundary
Content-Type: message/feedback-report

Feedback-Type: {kind}
User-Agent: SomeGenerator/1.0
Version: 1
{more}
--part1_13d.2e68ed54_boundary
Content-Type: message/rfc822
Content-Disposition: inline

{original}
Hello.

--part1_13d.2e68ed54_boundary--
""".encode()


ABUSE: Final = complaint("abuse", more="Original-Rcpt-To: <redacted@example.org>\n")
REDACTED: Final = complaint(
    "abuse",
    original="From: news@grace.example\nTo: <x>\nSubject: x\n",
    more="Original-Mail-From: <news@grace.example>\nOriginal-Rcpt-To: rfc822; Ada@Example.org\n",
)

# Microsoft's: no report, but a field in the mail that came back.
HOTMAIL: Final = f"""\
Return-Path: <staff@hotmail.example>
From: staff@hotmail.example
Subject: complaint about message from 192.0.2.222
To: abuse@grace.example
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="F0000EEE2-0000-2111-AAB0-000000000000"

--F0000EEE2-0000-2111-AAB0-000000000000
Content-Type: message/rfc822
Content-Disposition: inline

X-HmXmrOriginalRecipient: ada@example.org
{RETURNED}
Hello.
--F0000EEE2-0000-2111-AAB0-000000000000--
""".encode()


def answer(subject: str, *fields: str, sender: str = "Ada <ada@example.org>", text: str = "I am away.") -> bytes:
    """What a person's mail program answers by itself. It has no return path, as RFC 3834 4 advises."""
    return "\n".join(
        (
            *("Return-Path: <>", f"Delivered-To: {PATH}", f"From: {sender}", f"To: {PATH}"),
            *(f"Subject: {subject}", f"In-Reply-To: <{REF}@grace.example>", "Message-ID: <a1@example.org>", *fields),
            *("", text, ""),
        )
    ).encode()


OUT_OF_OFFICE: Final = answer("Out of Office: Sunday", "Auto-Submitted: auto-replied", "X-Auto-Response-Suppress: All")
VACATION: Final = answer("Re: Sunday", "Auto-Submitted: auto-replied (vacation)", "Precedence: bulk")

ALL: Final = {name: value for name, value in sorted(globals().items()) if isinstance(value, bytes) and name.isupper()}
