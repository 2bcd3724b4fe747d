"""A circuit breaker: an endpoint that has failed several times in a row is left alone for a while. No I/O, no clock.

Closed, everybody may ask. After ``threshold`` failures in a row it is open: nobody may for ``pause_s``. Then one may
try: its success closes the circuit, its failure opens it for another pause, and when its outcome is never told (it was
cancelled) the next one may try a pause later.

Why our own: of the libraries, circuitbreaker and purgatory let everybody in as soon as the pause is over and read the
clock themselves (purgatory the wall clock), and pybreaker knows no asyncio.
"""

from __future__ import annotations

THRESHOLD = 5
PAUSE_S = 10.0


class Breaker:
    """One endpoint's circuit. Times are seconds of any clock that only goes forward."""

    def __init__(self, threshold: int = THRESHOLD, pause_s: float = PAUSE_S) -> None:
        self.threshold = threshold
        self.pause_s = pause_s
        self._failures = 0
        self._open_until: float | None = None

    def admit(self, now: float) -> float:
        """0.0: go ahead and tell how it went. Otherwise: for how many seconds nobody may ask."""
        if self._open_until is None:
            return 0.0
        if now < self._open_until:
            return self._open_until - now
        self._open_until = now + self.pause_s
        return 0.0

    def succeeded(self) -> None:
        """The endpoint has answered."""
        self._failures = 0
        self._open_until = None

    def failed(self, now: float) -> bool:
        """The endpoint has not answered. Returns whether the circuit is open now."""
        self._failures += 1
        if self._failures >= self.threshold:
            self._open_until = now + self.pause_s
        return self._open_until is not None
