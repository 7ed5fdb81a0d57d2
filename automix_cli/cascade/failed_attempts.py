"""Requests that failed and may be charged for all the same: each is counted for the row that made it."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar

from automix_cli.backends.base import Request
from automix_cli.backends.budget import worst_cost
from automix_cli.profile.model import Tier

_bill: ContextVar[list[Request]] = ContextVar("bill")


def open_bill() -> list[Request]:
    """Start a bill for the row that this task works on; it is a list that grows."""
    requests: list[Request] = []
    _bill.set(requests)
    return requests


def note_maybe_billed(request: Request) -> None:
    """Put an attempt that failed, but may be charged for, on the bill of the row it was made for."""
    with contextlib.suppress(LookupError):
        _bill.get().append(request)


def worst_list_cost(tier: Tier, request: Request) -> float | None:
    """The most that a request can cost at the list price; None when that is unknown."""
    price = tier.most_price()
    return None if price is None else worst_cost(request, price)
