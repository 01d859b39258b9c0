"""TLS: certificates and names are checked, and a host that fails at it was certainly sent nothing."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.contract import NotSent
from gateway.outbound.client import HttpClient
from tests.outbound.provider import Provider, answer_all


def server_context(folder: Path, name: str) -> ssl.SSLContext:
    """A server's side, with a certificate of its own for `name`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


def trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=folder / "certificate.pem")


async def test_a_trusted_host_is_told_by_name_whom_we_want_and_connections_are_kept(tmp_path: Path) -> None:
    context = server_context(tmp_path, "localhost")
    names = []
    context.sni_callback = lambda _, name, __: names.append(name)
    async with Provider(answer_all, context) as provider:
        client = HttpClient(2, trusting(tmp_path))
        for _ in range(5):
            assert (await client("POST", provider.url, body=b"a")).body == b"ok"
            await asyncio.sleep(0)
        assert (names, provider.connections) == (["localhost"], 1)
        await client.close()


@pytest.mark.parametrize("name", ["localhost", "elsewhere.example"])
async def test_a_host_that_is_not_trusted_or_has_another_name_was_certainly_sent_nothing(
    tmp_path: Path, name: str
) -> None:
    async with Provider(answer_all, server_context(tmp_path, name)) as provider:
        client = HttpClient(2, None if name == "localhost" else trusting(tmp_path))
        with pytest.raises(NotSent, match=r"(?i)certificate"):
            await client("POST", provider.url, body=b"a")
        assert (provider.requests, client.connections) == ([], 0)
        await client.close()
