"""A plain text for mails that were given in HTML alone: readers without HTML see it, and filters mistrust its absence.

It is made of the template's source, once, and rendered beside it: placeholders and statements stand in the text where
they stand in the HTML. The time that this takes grows with the length of the source and with nothing else.
"""

from __future__ import annotations

import html
import re
from typing import Final

from gateway.core.template_syntax import Block, read_blocks

_UNSEEN: Final = frozenset({"head", "style", "script", "title", "template", "noscript"})
_BREAKS: Final = frozenset({"br", "tr", "li", "dt", "dd", "hr", "thead", "tbody", "option"})
_PARAGRAPHS: Final = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "center",
        "div",
        "dl",
        "fieldset",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "html",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "ul",
    ]
)
_BEGINNINGS: Final = {"li": "- ", "hr": "---\n", "td": " ", "th": " "}
_LINKS_TO_SHOW: Final = ("http:", "https:", "mailto:", "tel:", "\ue000")

_MARK: Final = re.compile("\ue000([0-9]+)\ue001")  # a block of the template, while the HTML is read
_NAME: Final = re.compile(r"/?\s*([a-zA-Z][a-zA-Z0-9]*)")
_ATTRIBUTE: Final = re.compile(r"""\b(href|alt)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_SPACE: Final = re.compile(r"[^\S\n]+")
_AROUND_BREAKS: Final = re.compile(r" ?\n ?")
_EMPTY_LINES: Final = re.compile(r"\n{3,}")
_OPEN_BRACE: Final = re.compile(r"\{(?=[{%#\ue000]|$)")
_FOR_HTML: Final = {"safe": "striptags", "e": "trim", "escape": "trim"}  # filters that mean nothing in a plain text


def plain_text_of(source: str) -> str:
    """The source of the text for an HTML template. TemplateFault if its blocks cannot be read."""
    source = source.replace("\ue000", "").replace("\ue001", "")
    blocks = read_blocks(source)
    writer = _Writer(source, blocks)
    writer.read(_marked(source, blocks))
    return writer.text()


def _marked(source: str, blocks: list[Block]) -> str:
    pieces, position = [], 0
    for number, block in enumerate(blocks):
        pieces += [_without_comments(source[position : block.start]), f"\ue000{number}\ue001"]
        position = block.end
    return "".join((*pieces, _without_comments(source[position:])))


def _without_comments(text: str) -> str:
    """What stands between blocks: the template's comments are all closed, which `read_blocks` has seen to."""
    pieces = []
    while (start := text.find("{#")) >= 0:
        pieces.append(text[:start])
        text = text[text.find("#}", start + 2) + 2 :]
    return "".join((*pieces, text))


class _Writer:
    """Goes through the HTML once. A tag ends at the first `>`, whatever is quoted in it."""

    def __init__(self, source: str, blocks: list[Block]) -> None:
        self._source = source
        self._blocks = blocks
        self._pieces: list[str] = []
        self._links: list[tuple[str, int]] = []  # of open `a`s: where they lead, and the piece with which they begin

    def read(self, marked: str) -> None:
        lower, position = marked.lower(), 0
        while (start := marked.find("<", position)) >= 0:
            self._write(marked[position:start])
            end = self._end_of_tag(marked, start)
            if end < 0:
                position = start
                break
            self._keep_statements(marked[start:end])
            name = _NAME.match(marked, start + 1)
            position = end
            if name is not None:
                word = lower[name.start(1) : name.end(1)]
                if marked[start + 1] != "/" and word in _UNSEEN:
                    position = self._skip(marked, lower, word, end)
                else:
                    self._tag(word, marked[start:end], closing=marked[start + 1] == "/")
            elif not marked.startswith("<!", start) and not marked.startswith("<?", start):
                self._write(marked[start:end])  # no tag: a sign of its own, as in "1 < 2 > 1"
        self._write(marked[position:])

    @staticmethod
    def _end_of_tag(marked: str, start: int) -> int:
        """Where what begins with `<` is over; -1 if it is never."""
        closing = "-->" if marked.startswith("<!--", start) else ">"
        found = marked.find(closing, start + 1)
        return found if found < 0 else found + len(closing)

    def _skip(self, marked: str, lower: str, word: str, position: int) -> int:
        end = lower.find(f"</{word}", position)
        end = len(marked) if end < 0 else end
        self._keep_statements(marked[position:end])
        return end

    def _tag(self, word: str, tag: str, *, closing: bool) -> None:
        if word in _PARAGRAPHS:
            self._pieces.append("\n\n")
        elif word in _BREAKS and not closing:
            self._pieces.append("\n")
        if not closing:
            self._pieces.append(_BEGINNINGS.get(word, ""))
        if word == "a" and closing and self._links:
            self._close_link()
        elif word in ("a", "img") and not closing:
            attributes = {
                found[1].lower(): found[2] or found[3] or found[4] or "" for found in _ATTRIBUTE.finditer(tag)
            }
            if word == "a":
                self._links.append((attributes.get("href", "").strip(), len(self._pieces)))
            else:
                self._write(attributes.get("alt", ""))

    def _close_link(self) -> None:
        target, begin = self._links.pop()
        address = target.removeprefix("mailto:").removeprefix("tel:")
        shown = "".join(self._pieces[begin:]).strip()
        if target.startswith(_LINKS_TO_SHOW) and shown != _literal(address):
            self._write(f" ({address})" if shown else address)

    def _write(self, text: str) -> None:
        if text:
            self._pieces.append(_literal(" ".join((f"x{text}x").split())[1:-1]))

    def _keep_statements(self, unseen: str) -> None:
        """An `if` in a tag, or in what nobody sees, must still have its `endif`."""
        kept = [mark[0] for mark in _MARK.finditer(unseen) if self._blocks[int(mark[1])].statement]
        self._pieces += kept

    def text(self) -> str:
        text = _SPACE.sub(" ", "".join(self._pieces))
        text = _EMPTY_LINES.sub("\n\n", _AROUND_BREAKS.sub("\n", text)).strip()
        return _MARK.sub(lambda mark: self._code(self._blocks[int(mark[1])]), text)

    def _code(self, block: Block) -> str:
        if block.statement or not any(text in _FOR_HTML for _, text in block.tokens):
            return self._source[block.start : block.end]
        code = " ".join(_FOR_HTML.get(text, text) if kind == "name" else text for kind, text in block.tokens)
        return f"{{{{ {code} }}}}"


def _literal(text: str) -> str:
    """Text of the HTML as text of a template: its entities resolved, and no brace of it an opening."""
    return _OPEN_BRACE.sub("{{ '{' }}", html.unescape(text))
