"""What `[senders.NAME]` holds for a loft."""

from __future__ import annotations

from typing import Annotated

import msgspec
from gateway import Secret


class LoftSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """One keeper's account at one loft."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/]+$")]
    """Where the loft is, without a path."""
    token: Secret
    """The keeper's token."""
    seal_secret: Secret
    """What the loft seals its reports with."""
    birds: Annotated[int, msgspec.Meta(ge=1, le=100)] = 4
    """How many birds may be prepared at once."""
