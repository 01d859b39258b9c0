"""Who is in no batch yet, by time zone in the order of the snapshot, in eight bytes each: for the forecast."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence


class Places:
    """Places in the snapshot. What is taken may come back."""

    def __init__(self, waiting: Mapping[str, Sequence[int]]) -> None:
        """`waiting`: by time zone, ascending."""
        self._zones = {zone: _Zone(places) for zone, places in waiting.items() if places}

    @property
    def counts(self) -> dict[str, int]:
        """How many wait in each zone; none without anybody."""
        return {zone: each.left for zone, each in self._zones.items() if each.left}

    @property
    def end(self) -> int:
        """A place behind everybody's."""
        return max((each.last for each in self._zones.values()), default=-1) + 1

    def take(self, quantity: int, zones: Collection[str] | None) -> dict[str, int]:
        """Take the first `quantity` of these zones (None: of all), as a release does. How many of each it took."""
        wanted = {zone: each for zone, each in self._zones.items() if each.left and (zones is None or zone in zones)}
        if sum(each.left for each in wanted.values()) > quantity:
            # The place of the last one; places are different, so up to it there are exactly that many.
            last = bisect_left(
                range(max(each.last for each in wanted.values())),
                quantity,
                key=lambda place: sum(each.upto(place) for each in wanted.values()),
            )
            shares = {zone: each.upto(last) for zone, each in wanted.items()}
        else:
            shares = {zone: each.left for zone, each in wanted.items()}
        for zone, share in shares.items():
            wanted[zone].start += share
        return {zone: share for zone, share in shares.items() if share}

    def just_taken(self, shares: Mapping[str, int]) -> list[tuple[int, str]]:
        """Those that the last `take` took, in the order of the snapshot."""
        return sorted((place, zone) for zone, share in shares.items() for place in self._zones[zone].before(share))

    def give_back(self, zone: str, places: Sequence[int]) -> None:
        """These wait again, each in its old place; ascending."""
        if places:
            self._zones.setdefault(zone, _Zone(())).give_back(places)


class _Zone:
    """One zone's places: those before `start` are taken."""

    def __init__(self, places: Sequence[int]) -> None:
        self._places = array("Q", places)
        self.start = 0

    @property
    def left(self) -> int:
        return len(self._places) - self.start

    @property
    def last(self) -> int:
        return self._places[-1]

    def upto(self, place: int) -> int:
        return bisect_right(self._places, place, self.start) - self.start

    def before(self, number: int) -> array[int]:
        return self._places[self.start - number : self.start]

    def give_back(self, places: Sequence[int]) -> None:
        if self.start < len(places) or (self.left and places[-1] > self._places[self.start]):
            self._places, self.start = array("Q", sorted((*places, *self._places[self.start :]))), 0
            return
        first = self.start - len(places)
        self._places[first : self.start] = array("Q", places)
        self.start = first
