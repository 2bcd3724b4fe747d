"""Where a model's key may be sent: to the endpoint that it is for, and nowhere else.

A key is for the place that it was given with. When nobody said so it is for the one that the settings named when it was
first read: other settings with the same key may be somebody else's endpoint, and a key in a Secret follows them later.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from robotgroups.api_keys import KeySource
from robotgroups.errors import ArgumentError

Key = str | None | ArgumentError


@dataclass(frozen=True, slots=True)
class Found:
    """What to send to a place. ``withheld``: nothing, for the key that there is is for another one."""

    key: Key
    withheld: bool = False


def place_of(base_url: str) -> str:
    """Whose endpoint a base URL names: its scheme, host and port. Empty for none."""
    url = urlsplit(base_url.lower())
    return f"{url.scheme}://{url.netloc}" if url.netloc else ""


class PlacedKey:
    """The key of one use of models. ``base_url`` is what it is for, if that is known; blank: it is not.

    Raises:
        ArgumentError: ``base_url`` names no endpoint.

    """

    def __init__(self, source: KeySource, base_url: str | None = None) -> None:
        self._source = source
        self._fixed = bool(base_url)
        self._place = _named(base_url) if base_url else ""
        self._seen: str | None = None
        self._known: dict[str, str] = {}
        self.key: Key = None

    def look(self, base_url: str) -> None:
        """Read the key; ``base_url`` is what the settings name now, empty for none."""
        self.key = _asked(self._source)
        if not isinstance(self.key, str):
            return
        place = place_of(base_url)
        if not self._fixed and place and self.key != self._seen:
            self._seen, self._place = self.key, place
        if self._place:
            self._known[self._place] = self.key

    def found(self, base_url: str) -> Found:
        """What may be sent there: the key, or the one that was for that place before."""
        place = place_of(base_url)
        if not self._place or place == self._place:
            return Found(self.key)
        known = self._known.get(place)
        return Found(known, withheld=known is None and self.key is not None)


def _named(base_url: str) -> str:
    try:
        place = place_of(base_url)
    except ValueError:
        place = ""
    if not place:
        raise ArgumentError(f"what a key is for must be a base URL (https://api.example.com/v1), not {base_url!r}")
    return place


def _asked(source: KeySource) -> Key:
    """A key, or why there is none: that is a matter of those who need it."""
    try:
        return source()
    except ArgumentError as error:
        return error


def usable(key: Key) -> str | None:
    """The key. ArgumentError: why it cannot be read."""
    if isinstance(key, ArgumentError):
        raise key
    return key
