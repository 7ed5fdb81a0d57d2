"""Requests that failed and may be charged for all the same: each is counted for the row that made it."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import NamedTuple

from automix_cli.backends.base import Request
from automix_cli.cascade.visit import ServedUsage, cost_of
from automix_cli.errors import BackendError
from automix_cli.profile.model import Tier
from automix_cli.records import Completion


class FailedAttempt(NamedTuple):
    """A request that failed; `reply` holds what it used, None where that is not known."""

    request: Request
    reply: Completion | None = None

    def cost(self, tier: Tier) -> float | None:
        """What it cost at list price, or the most that it can have cost; None when that is unknown."""
        if self.reply is None:
            return worst_list_cost(tier, self.request)
        return cost_of(tier, [ServedUsage(self.reply.usage, self.reply.service_tier)])


_bill: ContextVar[list[FailedAttempt]] = ContextVar("bill")


def open_bill() -> list[FailedAttempt]:
    """Start a bill for the row that this task works on; it is a list that grows."""
    attempts: list[FailedAttempt] = []
    _bill.set(attempts)
    return attempts


def note_maybe_billed(request: Request, error: BackendError) -> None:
    """Put an attempt that failed, but may be charged for, on the bill of the row it was made for."""
    with contextlib.suppress(LookupError):
        _bill.get().append(FailedAttempt(request, error.reply))


def worst_list_cost(tier: Tier, request: Request) -> float | None:
    """The most that a request can cost at the list price; None when that is unknown."""
    from automix_cli.backends.budget import worst_cost

    price = tier.most_price()
    return None if price is None else worst_cost(request, price)
