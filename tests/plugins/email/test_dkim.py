"""DKIM: an independent verifier accepts what is signed, and nothing that differs by a visible character."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import dkim  # type: ignore[import-untyped]
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import Accepted, Secret
from gateway.errors import Invalid
from gateway.testing.smtp_server import SmtpServer
from gateway_email.dkim import PrivateKey, Signer, SigningKey, private_key, relaxed_body
from gateway_email.mailbox import Mailbox
from gateway_email.mime import Composer
from gateway_email.smtp import SmtpAdapter
from tests.plugins.email.harness import NOW, RecordingLog, adapter_for, mail, tools
from tests.plugins.email.harness import settings as read_settings
from tests.plugins.email.test_headers import HOSTILE

SHORT_KEY = """\
-----BEGIN PRIVATE KEY-----
MIIBUwIBADANBgkqhkiG9w0BAQEFAASCAT0wggE5AgEAAkEA3mB2Q1xjNCTSXyMK
hZW7z3c2Irkrq7P5A+VqW77MNrPDHZxnp8BxcPvH770PAVYmuKUcFNkPSnKHHy+H
2pXVHQIDAQABAkBqM8FnTEEojwlVXEPTJn6Kh5F4Jd0gZJRhcvhHlqiq2mzjZAXb
LOWziNJuUmo40D4kO6d5OjexbKkbCkQXItVVAiEA/PgpTXzM7h1t0XlGNbWZiXEL
N/q1EOGS8fEPpUyG8GsCIQDhCnm1fzLgyUobzKyMf+yeSj6jbBLsrAWBVwaLeeOS
lwIgIJvctyBfSlKA1X/MjR/bqtvnlk+7B3IMfyOT4Lr8qgECIA9pMDyFoW5TWofc
1FQqzoFohDGczQ74GMhqtUAH8NWxAiAI6ywVqAAjNebjV1Qv8flEWMqU1qkW6Na2
8noODWAeKA==
-----END PRIVATE KEY-----
"""  # openssl genrsa 512, made for this test


class BadSignatureError(Exception):
    pass


class VerifyKey:
    """What dkimpy wants of PyNaCl to check Ed25519, which is all that it does not do itself."""

    def __init__(self, key: bytes, encoder: object) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(key))

    def verify(self, digest: bytes, signature: bytes) -> None:
        try:
            self._key.verify(signature, digest)
        except InvalidSignature as exc:
            raise BadSignatureError from exc


@pytest.fixture(autouse=True, scope="module")
def dkimpy_checks_ed25519() -> Iterator[None]:
    nacl = SimpleNamespace(
        signing=SimpleNamespace(VerifyKey=VerifyKey),
        encoding=SimpleNamespace(Base64Encoder=None),
        exceptions=SimpleNamespace(BadSignatureError=BadSignatureError, ValueError=ValueError),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dkim, "nacl", nacl, raising=False)
        yield


@cache
def key_of(kind: str) -> Any:
    match kind:
        case "ed25519":
            return Ed25519PrivateKey.generate()
        case "ec":
            return ec.generate_private_key(ec.SECP256R1())
        case bits:
            return rsa.generate_private_key(65_537, int(bits))


def pem_of(kind: str, password: bytes | None = None) -> str:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    return str(key_of(kind).private_bytes(serialization.Encoding.PEM, form, encryption).decode())


def record_of(kind: str) -> bytes:
    """What stands in DNS."""
    public = key_of(kind).public_key()
    if kind == "ed25519":
        raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(raw)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)


def dns(name: bytes, timeout: int = 5) -> bytes:
    records = {f"{kind}._domainkey.grace.example.".encode(): record_of(kind) for kind in ("2048", "ed25519")}
    return records.get(name, b"")


def signatures_valid(raw: bytes) -> list[bool]:
    """What dkimpy says of each signature of a mail."""
    count = len(re.findall(rb"(?m)^DKIM-Signature:", raw.partition(b"\r\n\r\n")[0]))
    return [bool(dkim.DKIM(raw).verify(idx=number, dnsfunc=dns)) for number in range(count)]


def verified(raw: bytes) -> bool:
    try:
        checks = signatures_valid(raw)
    except dkim.DKIMException:
        return False
    return bool(checks) and all(checks)


def signer(*kinds: str) -> Signer:
    return Signer([SigningKey("grace.example", kind, key_of(kind)) for kind in kinds])


def composer(*kinds: str) -> Composer:
    return Composer(Mailbox.parse("Grace Church <news@grace.example>"), None, signer=signer(*kinds))


UNSUBSCRIBE = {
    "List-Unsubscribe": "<https://gateway.example/u/" + "t0ken" * 30 + ">",
    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
}
SIGNING = composer("2048")


@pytest.mark.parametrize("kinds", [("2048",), ("ed25519",), ("2048", "ed25519")])
def test_an_independent_verifier_accepts_every_signature(kinds: tuple[str, ...]) -> None:
    raw = composer(*kinds).build(mail(text="Grüße\t aus  Kraków \n\n\n", html="<p>Hé", headers=UNSUBSCRIBE), NOW)
    assert signatures_valid(raw) == [True] * len(kinds)
    assert max(map(len, raw.partition(b"MIME-Version")[0].split(b"\r\n"))) <= 78


def test_what_is_signed_covers_what_people_and_one_click_rely_on() -> None:
    raw = composer("2048").build(mail(headers=UNSUBSCRIBE, reply_to="office@grace.example"), NOW)
    tags = dkim.util.parse_tag_value(raw.partition(b":")[2].partition(b"\r\nMessage-ID")[0])
    names = re.split(rb"\s*:\s*", tags[b"h"].strip())
    assert set(names) >= {
        *(b"from", b"to", b"subject", b"date", b"message-id", b"mime-version", b"content-type", b"reply-to"),
        *(b"list-unsubscribe", b"list-unsubscribe-post"),
    }
    assert (names.count(b"from"), names.count(b"subject")) == (2, 2)
    assert b"l" not in tags
    assert (tags[b"c"], tags[b"d"], tags[b"t"]) == (
        b"relaxed/relaxed",
        b"grace.example",
        str(int(NOW.timestamp())).encode(),
    )


@settings(max_examples=100, deadline=None)
@given(subject=HOSTILE, text=HOSTILE, html=st.none() | HOSTILE)
def test_whatever_is_written_is_signed_right(subject: str, text: str, html: str | None) -> None:
    message = mail(subject=subject, text=text, html=html, headers=UNSUBSCRIBE)
    if SIGNING.refusal(message) is None:
        assert verified(SIGNING.build(message, NOW))


def test_an_address_beyond_ascii_is_signed_right() -> None:
    assert verified(SIGNING.build(mail(to="zoë@bücher.example"), NOW))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_changed_character_breaks_the_signature(data: st.DataObject) -> None:
    raw = SIGNING.build(mail(subject="Sunday at ten", html="<p>Come", headers=UNSUBSCRIBE), NOW)
    start = raw.index(b"\r\nMessage-ID:") + 2
    at = data.draw(st.sampled_from([i for i in range(start, len(raw)) if raw[i] > 0x20]))
    letter = data.draw(st.sampled_from([b for b in b"abcXYZ0159" if chr(b).lower() != chr(raw[at]).lower()]))
    assert verified(raw)
    assert not verified(raw[:at] + bytes((letter,)) + raw[at + 1 :])


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b"Subject: News\r\n", b"Subject: News\r\nSubject: Other\r\n"),
        lambda raw: raw.replace(b"From: ", b"From: eve@evil.example\r\nFrom: "),
        lambda raw: re.sub(rb"List-Unsubscribe-Post:.*\r\n", b"", raw),
        lambda raw: re.sub(rb"List-Unsubscribe: <https", b"List-Unsubscribe: <http", raw),
        lambda raw: raw + b"more\r\n",
    ],
    ids=["second subject", "second author", "one-click taken out", "link changed", "body continued"],
)
def test_what_is_added_or_taken_away_breaks_the_signature(change: Callable[[bytes], bytes]) -> None:
    raw = SIGNING.build(mail(headers=UNSUBSCRIBE), NOW)
    assert change(raw) != raw
    assert not verified(change(raw))


def test_a_subject_that_was_not_there_cannot_be_added() -> None:
    raw = SIGNING.build(mail(subject=None), NOW)
    assert verified(raw)
    assert not verified(raw.replace(b"\r\nTo: ", b"\r\nSubject: Buy\r\nTo: "))


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b"Subject: News", b"Subject:   News  "),
        lambda raw: raw.replace(b"\r\nSubject: ", b"\r\nsubject:\r\n "),
        lambda raw: b"Received: from a by b;\r\n Mon, 1 Jun 2026 08:00:00 +0000\r\nReturn-Path: <a@b>\r\n" + raw,
        lambda raw: raw.replace(b"Hello there.", b"Hello \t there.  ") + b"\r\n\r\n",
    ],
    ids=["blanks", "folding", "trace fields", "blanks in the body"],
)
def test_what_relays_do_to_mails_breaks_nothing(change: Callable[[bytes], bytes]) -> None:
    raw = SIGNING.build(mail(text="Hello there."), NOW)
    assert change(raw) != raw
    assert verified(change(raw))


@pytest.mark.parametrize(
    ("body", "canonical"),
    [
        # The first is the example of RFC 6376 3.4.5, the rest 3.4.4 taken by its words.
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),
        (b"", b""),
        (b"\r\n", b""),
        (b"\r\n\r\n", b""),
        (b" \t\r\n", b""),
        (b"a\r\n \r\n", b"a\r\n"),
        (b"a\r\n\r\nb\r\n", b"a\r\n\r\nb\r\n"),
    ],
)
def test_a_body_is_canonicalised_as_the_standard_says(body: bytes, canonical: bytes) -> None:
    assert relaxed_body(body) == canonical


async def test_an_adapter_with_keys_sends_signed_mails(server: SmtpServer) -> None:
    keys = [{"selector": "2048", "key": pem_of("2048")}, {"selector": "ed25519", "key": pem_of("ed25519")}]
    async with adapter_for(server, dkim=keys) as adapter:
        assert await adapter.send(mail(text=".\n..\nhidden\n")) == Accepted()
    assert signatures_valid(server.messages[0].content) == [True, True]


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_a_key_is_read_in_both_forms_of_pem(form: serialization.PrivateFormat) -> None:
    pem = key_of("2048").private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    read: PrivateKey = private_key(pem.decode())
    assert isinstance(read, rsa.RSAPrivateKey)


@pytest.mark.parametrize(
    ("pem", "said"),
    [
        ("hunter2", "is not a private key in PEM"),
        ("", "is not a private key in PEM"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is not a private key in PEM"),
        (lambda: pem_of("ec"), "neither an RSA key nor an Ed25519 key"),
        (lambda: pem_of("2048", b"hunter2"), "is encrypted"),
        (lambda: pem_of("2048").replace("PRIVATE", "PUBLIC"), "is not a private key in PEM"),
    ],
)
def test_a_key_that_cannot_be_used_is_named_at_start(
    server: SmtpServer, pem: str | Callable[[], str], said: str
) -> None:
    key = pem if isinstance(pem, str) else pem()
    with pytest.raises(Invalid, match=f"selector 's1' cannot be used: .*{said}") as raised:
        read_settings(server, dkim=[{"selector": "s1", "key": key}])
    assert "hunter2" not in str(raised.value)


def test_a_key_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="it has 512 bits"):
        private_key(SHORT_KEY)


def test_two_keys_at_one_place_are_refused(server: SmtpServer) -> None:
    key = {"selector": "s1", "key": pem_of("ed25519")}
    with pytest.raises(Invalid, match="same domain and selector"):
        read_settings(server, dkim=[key, {**key, "domain": "GRACE.example"}])


@pytest.mark.parametrize(("place", "value"), [("selector", "a b"), ("selector", "s1;"), ("domain", "a; b"), ("key", 1)])
def test_a_key_at_no_possible_place_is_refused(server: SmtpServer, place: str, value: object) -> None:
    with pytest.raises(Invalid, match=place):
        read_settings(server, dkim=[{"selector": "s1", "key": pem_of("ed25519"), place: value}])


def test_a_key_is_never_shown(server: SmtpServer) -> None:
    given_key = Secret(pem_of("ed25519"))
    assert given_key.splitlines()[1] not in repr(read_settings(server, dkim=[{"selector": "s1", "key": given_key}]))


@pytest.mark.parametrize(
    ("domain", "events"),
    [
        (None, []),
        ("grace.example", []),
        ("mail.grace.example", []),
        ("relay.example", ["dkim_domain_not_aligned"]),
        ("egrace.example", ["dkim_domain_not_aligned"]),
    ],
)
async def test_a_signature_that_dmarc_cannot_count_is_warned_of(
    server: SmtpServer, domain: str | None, events: list[str]
) -> None:
    log = RecordingLog()
    key = {"selector": "s1", "key": pem_of("ed25519"), "domain": domain}
    await SmtpAdapter(read_settings(server, dkim=[key]), tools(log)).open()
    assert log.events == events
