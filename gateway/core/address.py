"""The one spelling of an address: telephone numbers as E.164, e-mail addresses with a lower-case domain."""

from __future__ import annotations

import re
from typing import Final

import phonenumbers

EMAIL_MAX: Final = 254  # RFC 5321 4.5.3.1.3: a path is 256 octets with its brackets
LOCAL_MAX: Final = 64  # RFC 5321 4.5.3.1.1
DOMAIN_MAX: Final = 253  # RFC 1035 2.3.4, without the final dot
LABEL_MAX: Final = 63
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f\u0080-\u00a0\u2028\u2029\ud800-\udfff]")
_ATOM: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u00a1-\U0010ffff-]+")
_QUOTED: Final = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*"')
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")


def phone(text: str, region: str | None) -> str:
    """A telephone number as E.164 (`"+2348012345678"`); a national one is read in `region` (`"NG"`).

    ValueError with a sentence that names the text and what is wrong.
    """
    if _is_spelled(text):
        return text
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as exc:
        hint = "" if region or text.strip().startswith("+") else "; write it with + and the country code"
        raise ValueError(f"{text!r} is not a telephone number{hint}") from exc
    if not phonenumbers.is_possible_number(number) or not phonenumbers.is_valid_number(number):
        raise ValueError(f"{text!r} is not a telephone number that can be called")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _is_spelled(text: str) -> bool:
    """True if the text is a valid number and E.164 already, which takes a third of the time of reading it.

    False may also mean that only reading it will tell: an Italian zero, or digits that may be a trunk prefix.
    """
    if not _E164.fullmatch(text):
        return False
    for digits in (1, 2, 3):
        code, rest = int(text[1 : 1 + digits]), text[1 + digits :]
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(code)
        if regions is not None:
            metadata = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(code, regions[0])
            if metadata is None or rest.startswith("0"):
                return False
            trunk = metadata.national_prefix_for_parsing
            if trunk is not None and re.match(trunk, rest):
                return False
            return phonenumbers.is_valid_number(phonenumbers.PhoneNumber(country_code=code, national_number=int(rest)))
    return False


def plain_email(text: str) -> str:
    """An e-mail address that may be kept: one @, no white space or control characters, lengths, an encodable domain.

    The domain becomes lower case; the part before the @ is the receiver's business and stays as it is (RFC 5321 2.4).
    ValueError with a sentence. `strict_email` says whether it can also be written to.
    """
    stripped = text.strip()
    local, at, domain = stripped.rpartition("@")
    if not at or ("@" in local and not local.startswith('"')):
        raise ValueError(f"{text!r} is not an e-mail address: it needs exactly one @")
    if not local or not domain:
        raise ValueError(f"{text!r} is not an e-mail address: something is missing beside the @")
    if _CONTROL.search(domain) or _CONTROL.search(local.strip('"').replace(" ", "") or "x"):
        raise ValueError(f"{text!r} is not an e-mail address: it has white space or control characters")
    if " " in local and not local.startswith('"'):
        raise ValueError(f"{text!r} is not an e-mail address: it has white space or control characters")
    lowered = domain.lower()
    if len(local.encode()) > LOCAL_MAX or len(ascii_domain(lowered)) > DOMAIN_MAX or len(stripped) > EMAIL_MAX:
        raise ValueError(f"{text[:80]!r}... is not an e-mail address: it is too long")
    return f"{local}@{lowered}"


def strict_email(text: str) -> str:
    """An e-mail address that SMTP can carry: a dot-atom or quoted string (RFC 5321 4.1.2) at a domain of valid labels.

    ValueError with a sentence.
    """
    address = plain_email(text)
    local, _, domain = address.rpartition("@")
    if not _QUOTED.fullmatch(local) and not all(_ATOM.fullmatch(atom) for atom in local.split(".")):
        raise ValueError(f"{text!r} cannot be written to: {local!r} is not allowed before the @")
    labels = ascii_domain(domain).split(".")
    if len(labels) < 2:
        raise ValueError(f"{text!r} cannot be written to: {domain!r} is not a full domain name")
    if not all(_LABEL.fullmatch(label) and len(label) <= LABEL_MAX for label in labels):
        raise ValueError(f"{text!r} cannot be written to: {domain!r} is not a domain name")
    if labels[-1].isdigit():
        raise ValueError(f"{text!r} cannot be written to: {domain!r} is not a domain name")
    return address


def ascii_domain(domain: str) -> str:
    """A domain as DNS knows it: IDNA for what is not ASCII. ValueError if it cannot be encoded."""
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError as exc:
        raise ValueError(f"{domain!r} is not a domain name") from exc
