"""What a test tells the Twilio simulator while it runs: who may come in, how callbacks are signed, what goes wrong."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence

from gateway.testing.provider_faults import Fault, FaultPlan, ReceiptTrouble, Troublemaker
from gateway.testing.twilio_callbacks import Caller, Tally


class TwilioScript:
    """The part of the simulator that is set, not asked. Every setting may be changed at any time."""

    def __init__(self, account_sid: str, auth_token: str, callback_base: str | None) -> None:
        self._caller = Caller()
        self.callback_base = callback_base
        self.auth_token = auth_token
        self.credentials = {account_sid: auth_token}
        self.faults = ()
        self.receipt_trouble = ReceiptTrouble()

    @property
    def credentials(self) -> Mapping[str, str]:
        """User (account or API key) to password. An empty mapping lets nobody in: all tokens have expired."""
        return self._credentials

    @credentials.setter
    def credentials(self, credentials: Mapping[str, str]) -> None:
        self._credentials = dict(credentials)
        pairs = (f"{user}:{password}" for user, password in credentials.items())
        self._authorizations = frozenset("Basic " + b64encode(pair.encode()).decode() for pair in pairs)

    @property
    def auth_token(self) -> str:
        """What callbacks are signed with."""
        return self._caller.auth_token

    @auth_token.setter
    def auth_token(self, token: str) -> None:
        self._caller.auth_token = token

    @property
    def callback_base(self) -> str | None:
        """What replaces the origin of callback URLs: a gateway under test knows its port only when it runs."""
        return self._caller.base

    @callback_base.setter
    def callback_base(self, base: str | None) -> None:
        self._caller.base = base

    @property
    def webhook_key(self) -> tuple[str, str] | None:
        """Name and secret of the shared key with which callbacks are signed with SHA-256; None: the token and SHA-1."""
        return self._caller.webhook_key

    @webhook_key.setter
    def webhook_key(self, key: tuple[str, str] | None) -> None:
        self._caller.webhook_key = key

    @property
    def faults(self) -> Sequence[Fault]:
        """What goes wrong with requests. Setting it starts the counters again."""
        return self._faults.faults

    @faults.setter
    def faults(self, faults: Sequence[Fault]) -> None:
        self._faults = FaultPlan(faults)

    @property
    def receipt_trouble(self) -> ReceiptTrouble:
        """What goes wrong with status callbacks."""
        return self._trouble.trouble

    @receipt_trouble.setter
    def receipt_trouble(self, trouble: ReceiptTrouble) -> None:
        self._trouble = Troublemaker(trouble)

    @property
    def tally(self) -> Tally:
        """What became of the callbacks."""
        return self._caller.tally

    def post_missed(self) -> int:
        """Post the callbacks again that found nobody, or an error of ours: each at most 5 times. How many."""
        return self._caller.post_missed()

    async def drained(self) -> None:
        """Return when every callback that is not held back has been answered or given up."""
        await self._caller.drained()
