"""When row changes are awaited by NOTIFY, and when they are looked for: NOTIFY costs the writers a little at commit."""

from __future__ import annotations

from collections import deque

WINDOW_S = 1.0
BUSY_WAKEUPS = 100
"""With more wake-ups than this in a second, looking costs less than being woken: NOTIFY is serialised at commit."""
QUIET_RECORDS = 50
"""With fewer records than this in a second, being woken costs less than looking."""


class Pace:
    """Counts wake-ups and records over the last second. `now` is any monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._wakeups: deque[float] = deque(maxlen=BUSY_WAKEUPS + 1)
        self._records: deque[tuple[float, int]] = deque()
        self._looking_since = 0.0
        self.looking = False
        """Whether changes are looked for, and writers need not NOTIFY."""

    def woken(self, now: float) -> None:
        """Note a wake-up."""
        self._wakeups.append(now)

    def drained(self, records: int, now: float) -> None:
        """Note that records were taken from the outbox."""
        if records:
            self._records.append((now, records))

    def decide(self, now: float) -> bool:
        """Decide again; tell whether `looking` has changed."""
        before = self.looking
        if not self.looking:
            full = len(self._wakeups) == self._wakeups.maxlen
            if full and now - self._wakeups[0] < WINDOW_S:
                self.looking, self._looking_since = True, now
                self._records.clear()
        elif now - self._looking_since >= WINDOW_S:
            while self._records and now - self._records[0][0] > WINDOW_S:
                self._records.popleft()
            self.looking = sum(records for _, records in self._records) >= QUIET_RECORDS
            self._wakeups.clear()
        return self.looking is not before
