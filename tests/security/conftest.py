"""The stories' gateway, for what is shown through the whole of it."""

from tests.stories.conftest import story

__all__ = ["story"]
