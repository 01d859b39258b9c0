"""Who a bulk action is for, as it was asked: five kinds of selection. The snapshot is expanded from one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from gateway.core.ids import ActionId
from gateway.core.states import RecipientState


@dataclass(frozen=True, slots=True, kw_only=True)
class AllContacts:
    """Every contact of the org, in the order of creation. `deleted`: the deleted ones too."""

    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reachable:
    """On which channel somebody must have an address: `name` and `address_from` of `contract.Channel`."""

    name: str
    address_from: Literal["phone", "email"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactFilter:
    """The contacts to which every given condition applies, in the order of creation.

    `tags_any`: at least one of them, `tags_all`: each of them, `tags_none`: not one of them. `attributes`: equal
    values, where None means that there is no value. `seen_before`: last synced earlier than this. `reachable`: with an
    address on that channel. `deleted`: deleted ones too.
    """

    tags_any: tuple[str, ...] = ()
    tags_all: tuple[str, ...] = ()
    tags_none: tuple[str, ...] = ()
    attributes: Mapping[str, object] = field(default_factory=dict)
    seen_before: datetime | None = None
    reachable: Reachable | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactList:
    """`total` contacts by their public ids, each once, in the order given. The ids themselves are kept in chunks."""

    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressList:
    """`total` bare addresses, in the order given. The entries themselves are kept in chunks."""

    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherAction:
    """The recipients of another bulk action that are in one of these states, in the order of its snapshot."""

    action: ActionId
    states: tuple[RecipientState, ...]


Selection = AllContacts | ContactFilter | ContactList | AddressList | OtherAction
