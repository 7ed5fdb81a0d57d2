"""What a run spends, counted where the requests leave."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from automix_cli.backends.base import Backend, Request
from automix_cli.errors import BackendError
from automix_cli.records import Completion, ServiceTier
from automix_cli.usage import Price, add_money


class MeteredBackend(Struct, kw_only=True):
    """A backend around the ones that cost money, which adds up what is paid.

    `price` gives the price of a request's model by a service, `most_price` the most that a call of it can be
    charged; None is an unknown price, after which the sum is unknown.

    Example:
        >>> import asyncio
        >>> from automix_cli.backends.base import ScriptedBackend
        >>> from automix_cli.usage import Usage
        >>> inner = ScriptedBackend([Completion(text="4", usage=Usage(input_tokens=2, calls=1))])
        >>> one = Price(input=1e6, output=1e6)
        >>> meter = MeteredBackend(inner=inner, price=lambda r, s: one, most_price=lambda r: one)
        >>> _ = asyncio.run(meter.complete(Request(model="m", messages=())))
        >>> meter.spent_usd
        2.0
    """

    inner: Backend
    price: Callable[[Request, ServiceTier], Price | None]
    most_price: Callable[[Request], Price | None]
    spent_usd: float | None = 0.0

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        """Pass the request on, and count what comes back."""
        completions = await self.inner.complete(request)
        for completion in completions:
            self._count(request, completion)
        return completions

    def note_maybe_billed(self, request: Request, error: BackendError) -> None:
        """Count a failed attempt: what its reply says, else the most that it can cost."""
        if error.reply is not None:
            self._count(request, error.reply)
            return
        from automix_cli.backends.budget import worst_cost

        price = self.most_price(request)
        worst = None if price is None else worst_cost(request, price)
        self.spent_usd = add_money(self.spent_usd, worst)

    def _count(self, request: Request, completion: Completion) -> None:
        price = self.price(request, completion.service_tier)
        self.spent_usd = add_money(self.spent_usd, None if price is None else price.of(completion.usage))

    async def aclose(self) -> None:
        """Close the inner backend."""
        await self.inner.aclose()
