"""Files that go with a mail: fetched, named safely, encoded once, and put where the HTML wants them.

A file whose name the HTML mentions as `cid:NAME` is shown in its place; every other one is attached.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from gateway import Code, File, FileRefused, Files, Outbound, Rejected
from gateway_email.encoding import base64_lines
from gateway_email.headers import one_line

NAME_MAX: Final = 240  # octets of a file's name in UTF-8: three times as many in its header field are still one line
EXTENSION_MAX: Final = 20  # octets that are kept of ".jpeg" when a name is shortened
KEPT_OCTETS_MAX: Final = 64_000_000  # of encoded files, per sender: those of some bulk actions at once
THREAD_OCTETS: Final = 262_144  # encoding more than this, about a millisecond's work, does not hold up the loop

_CID: Final = re.compile(r"\bcid:([^\s\"'<>()]+)", re.IGNORECASE)
_SAFE_CID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9!#$&+.^_`{}~@,;()\[\] -]+")
# What folders are parted by, what Windows forbids, and the characters that make "gnp.exe" read as "exe.png".
_UNSAFE_NAME: Final = re.compile(r'[/\\:*?"<>|\u200e\u200f\u202a-\u202e\u2066-\u2069]')
_MEDIA_TYPE: Final = re.compile(
    r"([a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63})\s*(?:;\s*charset=\"?([a-z0-9_-]{1,40})\"?\s*)?"
)


@dataclass(frozen=True, slots=True)
class Attached:
    """The files of one mail as MIME parts, and its HTML with the names by which it shows some of them."""

    html: str | None
    shown: tuple[bytes, ...] = ()
    apart: tuple[bytes, ...] = ()

    @property
    def size(self) -> int:
        """Octets of all parts."""
        return sum(map(len, self.shown)) + sum(map(len, self.apart))


class Attachments:
    """Gets the files of one sender's mails. The parts of the last files are kept: a bulk action encodes each once."""

    def __init__(self, files: Files, size_max: int) -> None:
        self._files = files
        self._size_max = size_max
        self._kept: OrderedDict[tuple[File, str | None], bytes] = OrderedDict()
        self._kept_octets = 0
        self._encoding = asyncio.Lock()

    def refusal(self, message: Outbound) -> Rejected | None:
        """Files that are known beforehand to be too large. Pure."""
        known = sum(media.size or 0 for media in message.media)
        return Rejected(Code.MEDIA, self._too_large(known)) if known > self._size_max else None

    async def fetched(self, message: Outbound) -> Attached:
        """All files of a message. FileRefused, FileUnavailable."""
        if not message.media:
            return Attached(message.html)
        files = [await self._files(media) for media in message.media]
        size = sum(len(file.body) for file in files)
        if size > self._size_max:
            raise FileRefused(self._too_large(size))
        html, cids = shown_files(message.html, [file.filename for file in files])
        shown: list[bytes] = []
        apart: list[bytes] = []
        for file in files:
            cid = cids.pop(file.filename, None)  # of two files with one name the first is meant
            (shown if cid else apart).append(await self._part(file, cid))
        return Attached(html, tuple(shown), tuple(apart))

    async def _part(self, file: File, cid: str | None) -> bytes:
        key = (file, cid)
        if key not in self._kept:
            async with self._encoding:  # many messages that wait for the same file wait for one encoding
                if key not in self._kept:
                    return await self._encode(key)
        self._kept.move_to_end(key)
        return self._kept[key]

    async def _encode(self, key: tuple[File, str | None]) -> bytes:
        file, cid = key
        if len(file.body) > THREAD_OCTETS:
            part = await asyncio.to_thread(file_part, file, cid)
        else:
            part = file_part(file, cid)
        self._kept[key] = part
        self._kept_octets += len(part)
        while self._kept_octets > KEPT_OCTETS_MAX:
            _, forgotten = self._kept.popitem(last=False)
            self._kept_octets -= len(forgotten)
        return part

    def _too_large(self, size: int) -> str:
        return f"The files have {size:,} octets together, and at most {self._size_max:,} are sent with a mail."


def shown_files(html: str | None, names: Sequence[str]) -> tuple[str | None, dict[str, str]]:
    """Which of these files the HTML shows, by their Content-ID, and the HTML with that id in each place.

    The id is the name itself; a name that cannot be one (RFC 2392) is replaced in both.
    """
    if html is None or not names:
        return html, {}
    known = frozenset(names)
    cids: dict[str, str] = {}

    def replaced(found: re.Match[str]) -> str:
        name = found[1] if found[1] in known else unquote(found[1])
        if name not in known:
            return found[0]
        cids[name] = _content_id(name)
        return f"cid:{cids[name]}"

    return _CID.sub(replaced, html), cids


def file_part(file: File, cid: str | None) -> bytes:
    """A file as a MIME part with its own header, in base64."""
    name = safe_name(file.filename)
    lines = [
        f"Content-Type: {media_type(file.content_type)};\r\n {_name_parameter('name', name)}",
        f"Content-Disposition: {'inline' if cid else 'attachment'};\r\n {_name_parameter('filename', name)}",
        "Content-Transfer-Encoding: base64",
        *([f"Content-ID: <{cid}>"] if cid else []),
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + base64_lines(file.body)


def safe_name(name: str) -> str:
    """A file's name that leads to no folder, hides no extension and is no longer than file systems take."""
    name = _UNSAFE_NAME.sub("_", one_line(name)).strip(" .") or "file"
    if len(name.encode()) <= NAME_MAX:
        return name
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension.encode()) > EXTENSION_MAX:
        stem, extension = name, ""
    end = dot + extension if extension else ""
    return stem.encode()[: NAME_MAX - len(end.encode())].decode(errors="ignore").rstrip() + end


def media_type(given: str) -> str:
    """A media type that may stand in a header, with its charset if it has one.

    Mails and multiparts may not be in base64 (RFC 2046 5.1, 5.2.1), so they are sent as files of no known type.
    """
    found = _MEDIA_TYPE.fullmatch(given.strip().lower())
    if found is None or found[1].startswith(("message/", "multipart/")):
        return "application/octet-stream"
    return found[1] if found[2] is None else f"{found[1]}; charset={found[2]}"


def _content_id(name: str) -> str:
    if _SAFE_CID.fullmatch(name):
        return name
    return "file-" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _name_parameter(parameter: str, name: str) -> str:
    """`filename="a b.pdf"`, or in the way of RFC 2231 4 where the name is not plain ASCII."""
    if _PLAIN_NAME.fullmatch(name):
        return f'{parameter}="{name}"'
    return f"{parameter}*=utf-8''{quote(name, safe='')}"
