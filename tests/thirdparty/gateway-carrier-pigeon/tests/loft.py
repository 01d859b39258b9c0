"""A loft on this machine: it prepares birds, never flies a ring twice, and reports."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from carrier_pigeon.reports import seal

TOKEN = "a-loft-token"
SEAL_SECRET = "a-seal-secret"


class Loft:
    """`with Loft() as loft: loft.url`. `flights` has what was asked for, by ring."""

    def __init__(self) -> None:
        self.flights: dict[str, dict[str, Any]] = {}
        handler = type("Handler", (_Handler,), {"loft": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def prepare(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """A flight for a ring, or the one that there is."""
        known = self.flights.get(asked["ring"])
        if known is not None:
            return 200, known
        number = f"F-{len(self.flights) + 1:06}"
        flight = {**asked, "flight": number, "state": "waiting"}
        self.flights[asked["ring"]] = flight
        return 202, flight

    def land(self, ring: str, origin: str) -> int:
        """Report that a bird landed and what it brought back, to a gateway there."""
        flight = self.flights[ring]
        flight["state"] = "landed"
        note = {"kind": "note", "flight": "F-900001", "from": flight["coop"]}
        reports = [
            {"kind": "flight", **flight},
            {**note, "note": "Coo.", "answers": flight["flight"]},
        ]
        body = json.dumps({"reports": reports}).encode()
        at = str(int(time.time()))
        request = urllib.request.Request(
            origin + urlsplit(flight["report_to"]).path,
            data=body,
            headers={"X-Loft-Time": at, "X-Loft-Seal": seal(SEAL_SECRET, at, body)},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            status: int = answer.status
            return status


class _Handler(BaseHTTPRequestHandler):
    loft: Loft

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        asked = json.loads(self.rfile.read(length))
        if self._allowed():
            self._answer(*self.loft.prepare(asked))

    def do_GET(self) -> None:
        if not self._allowed():
            return
        parts = urlsplit(self.path)
        if parts.path == "/v2/keeper":
            self._answer(200, {"keeper": "Ngozi", "feed": "paid"})
            return
        ring = parse_qs(parts.query)["ring"][0]
        found = self.loft.flights.get(ring)
        self._answer(200, {"flights": [] if found is None else [found]})

    def _allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._answer(401, {"problem": "who_are_you"})
        return False

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass
