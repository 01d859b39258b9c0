"""Links to unsubscribe: nobody can make one up, and none says whose it is."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.ids import MessageId
from gateway.core.links import TOKEN_CHARACTERS, Links

LINKS = Links(b"s" * 32, "https://gateway.example")
IDS = st.integers(0, 2**63 - 1).map(MessageId)


@given(IDS)
def test_a_link_leads_back_to_its_message(message: MessageId) -> None:
    url = LINKS.unsubscribe(message)
    assert url is not None
    assert len(url.removeprefix("https://gateway.example/u/")) == TOKEN_CHARACTERS
    assert LINKS.message_of(LINKS.token(message)) == message


@given(IDS, st.integers(0, 24 * 8 - 1))
def test_one_flipped_bit_leads_nowhere(message: MessageId, bit: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(LINKS.token(message)))
    raw[bit // 8] ^= 1 << bit % 8
    assert LINKS.message_of(base64.urlsafe_b64encode(raw).decode()) is None


@given(st.text(max_size=40) | st.text("AB-_+/= ", min_size=32, max_size=32))
def test_whatever_else_stands_there_leads_nowhere(token: str) -> None:
    assert LINKS.message_of(token) is None


def test_another_installation_s_link_leads_nowhere() -> None:
    assert LINKS.message_of(Links(b"t" * 32, None).token(MessageId(5))) is None
    assert Links(b"t" * 32, None).unsubscribe(MessageId(5)) is None
