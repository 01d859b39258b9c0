"""A certificate for localhost and 127.0.0.1 with its key, both as public as can be: for these tests and nothing else.

Valid from 2020 to 2120; made by `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes` and
`openssl ca -selfsign` with subjectAltName=DNS:localhost,IP:127.0.0.1.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

KEY: Final = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgyx8e7+DuYtxNcOwf
qzo8vR/hnH4BdyA8dO4VYVrZRs+hRANCAARsFZdEgMQQ8jdplS9raz9QztCIDXfp
bxM5+50fDCLHov9YMxeQn7XSTgIwIyU6nWsMom/Tn+nr33ymKtxqAxM+
-----END PRIVATE KEY-----
"""

CERTIFICATE: Final = """\
-----BEGIN CERTIFICATE-----
MIIBmjCCAT+gAwIBAgIBATAKBggqhkjOPQQDAjAtMRIwEAYDVQQDDAlsb2NhbGhv
c3QxFzAVBgNVBAoMDmZvciB0ZXN0cyBvbmx5MCAXDTIwMDEwMTAwMDAwMFoYDzIx
MjAwMTAxMDAwMDAwWjAtMRIwEAYDVQQDDAlsb2NhbGhvc3QxFzAVBgNVBAoMDmZv
ciB0ZXN0cyBvbmx5MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEbBWXRIDEEPI3
aZUva2s/UM7QiA136W8TOfudHwwix6L/WDMXkJ+10k4CMCMlOp1rDKJv05/p6998
pircagMTPqNOMEwwGgYDVR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMA8GA1UdEwEB
/wQFMAMBAf8wHQYDVR0OBBYEFIHoVWIwxJ2JR2Tpb5qUic90enkcMAoGCCqGSM49
BAMCA0kAMEYCIQCDuxW/ftbYCU72ASPro0aZgV0q/m/UfIB+IBtlbsnL3gIhALeF
xOgNPY896UnU1zyAJ/w9l9jjeL+ys+t3qZoQis+z
-----END CERTIFICATE-----
"""


def write_certificate(folder: Path) -> Path:
    """The certificate as a file, which is what `tls_ca_file` takes."""
    path = folder / "certificate.pem"
    path.write_text(CERTIFICATE)
    return path


def server_context(folder: Path) -> ssl.SSLContext:
    """What a server speaks TLS with."""
    key = folder / "key.pem"
    key.write_text(KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(write_certificate(folder), key)
    return context
