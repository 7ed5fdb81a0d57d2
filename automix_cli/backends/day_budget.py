"""The budget of a day: a cap on dollars that starts anew at midnight UTC and survives a restart."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from automix_cli.backends.budget import Budget
from automix_cli.backends.spending import SpendingLedger


def utc_now() -> datetime:
    """The present time in UTC."""
    return datetime.now(UTC)


class DayBudget(Budget):
    """A budget whose sums stand in a ledger, so that processes share them and none forgets them.

    The ledger holds what is reserved, too: a process that is killed leaves the most that its calls can have
    cost. A reserve that is open at midnight counts for the new day. A call that does not fit is refused, and
    others that fit are still made. `option` is what sets the cap, for messages.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     ledger = SpendingLedger(Path(folder) / "cache", "demo")
        ...     budget = DayBudget(1.0, ledger)
        ...     budget.reserve(0.75)
        ...     budget.settle(0.75, 0.25)
        ...     print(DayBudget(1.0, ledger).left_usd)
        0.75
    """

    def __init__(
        self,
        cap: float,
        ledger: SpendingLedger,
        *,
        option: str = "--max-cost-per-day",
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__(cap, final=False, option=option)
        self._ledger, self._clock = ledger, clock
        self._day = self._today()

    def _today(self) -> str:
        return self._clock().date().isoformat()

    @property
    def left_usd(self) -> float:
        """Dollars that are neither spent nor reserved today."""
        with self._in_step():
            return max(0.0, self.cap - self.spent_usd - self.reserved_usd)

    @property
    def resets_at(self) -> datetime:
        """When the next day begins."""
        today = datetime.combine(self._clock().date(), datetime.min.time(), UTC)
        return today + timedelta(days=1)

    def limit_name(self) -> str:
        """The cap with its option, and when it starts anew."""
        return f"{super().limit_name()} (it starts anew at {self.resets_at:%Y-%m-%d %H:%M} UTC)"

    @contextlib.contextmanager
    def _in_step(self) -> Iterator[None]:
        """Read the day's sum before a change and add the change after it, with nobody in between."""
        with self._ledger.transaction():
            day = self._today()
            if day != self._day:
                self._ledger.add(day, self.reserved_usd)
                self._day, self.has_refused = day, False
            before = self._ledger.total(day)
            self.spent_usd = before - self.reserved_usd
            try:
                yield
            finally:
                if change := self.spent_usd + self.reserved_usd - before:
                    self._ledger.add(day, change)

    def reserve(self, worst: float, tokens: int = 0) -> None:
        """Set `worst` dollars of this day aside; see `Budget.reserve`."""
        with self._in_step():
            super().reserve(worst, tokens)

    def settle(self, worst: float, bill: float, estimate: float = 0.0) -> None:
        """Give a reserve back and pay the bill; see `Budget.settle`."""
        with self._in_step():
            super().settle(worst, bill, estimate)

    def add_excess(self, excess: float) -> None:
        """Count what a reply costs beyond its reserve; see `Budget.add_excess`."""
        with self._in_step():
            super().add_excess(excess)

    def check_reserves(self) -> None:
        """Refuse a request that bills took the room away from; see `Budget.check_reserves`."""
        with self._in_step():
            super().check_reserves()

    def forfeit(self, cost: float) -> None:
        """Pay a failed attempt while the next one is reserved; see `Budget.forfeit`."""
        with self._in_step():
            super().forfeit(cost)
