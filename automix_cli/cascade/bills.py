"""Failed attempts that a provider may charge for, on the bill of the row they were made for."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar

from automix_cli import prompts
from automix_cli.backends.base import Request
from automix_cli.profile.model import Tier
from automix_cli.records import Usage

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


def worst_cost(tier: Tier, request: Request) -> float | None:
    """The most a request can cost in dollars; None when the price is unknown."""
    price = tier.list_price()
    if price is None:
        return None
    longest = request.n * request.max_tokens
    return price.of(Usage(input_tokens=prompts.estimate_tokens(request.messages), output_tokens=longest))
