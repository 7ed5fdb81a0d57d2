"""The budget of a run: no request is sent unless the most that it can cost is still there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from automix_cli.backends.base import Backend, Request
from automix_cli.errors import BackendError, BudgetError
from automix_cli.records import Completion, ServiceTier
from automix_cli.usage import Price, Usage

if TYPE_CHECKING:
    import asyncio  # imported where a call is made: a stored answer needs no event loop


@dataclass(slots=True)
class Budget:
    """A cap on dollars: the worst cost is reserved before a call, the bill is settled after it.

    While no bill exceeds its reserve, `spent_usd` and `reserved_usd` together never exceed `cap`, at any
    concurrency. A bill that does is counted in full and at once: then only the requests already sent can
    go beyond the cap. Once it has refused a call, a `final` budget refuses all others too; any other
    budget still pays for the calls that fit. `option` is what sets the cap, for messages.

    Example:
        >>> budget = Budget(1.0)
        >>> budget.reserve(0.75)
        >>> budget.settle(0.75, 0.25)
        >>> budget.spent_usd, budget.reserved_usd
        (0.25, 0.0)
    """

    cap: float
    spent_usd: float = 0.0
    reserved_usd: float = 0.0
    has_refused: bool = False
    final: bool = True
    option: str = "--max-cost"
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    async def wait_for(self, worst: float, tokens: int = 0) -> None:
        """Reserve `worst` dollars, waiting while only the reserves of other calls are in the way.

        Args:
            worst: the most that the call can cost.
            tokens: its `max_tokens`, for the message; 0 where that is not told.

        Raises:
            BudgetError: when they are not there, whatever the calls under way will cost.
        """
        import asyncio

        while self._may_fit_later(worst):
            wake_up = asyncio.get_running_loop().create_future()
            self._waiting.append(wake_up)
            await wake_up
        self.reserve(worst, tokens)

    def _may_fit_later(self, worst: float) -> bool:
        is_open = not (self.has_refused and self.final)
        return is_open and self.spent_usd + worst <= self.cap < self.spent_usd + self.reserved_usd + worst

    def _wake(self) -> None:
        """Let the waiting calls check again."""
        waiting, self._waiting = self._waiting, []
        for wake_up in waiting:
            if not wake_up.done():
                wake_up.set_result(None)

    def reserve(self, worst: float, tokens: int = 0) -> None:
        """Set `worst` dollars aside; `tokens` as in `wait_for`.

        Raises:
            BudgetError: when they are not there, or the budget is final and has refused before:
                the rest would otherwise go to whichever rows happen to be cheap.
        """
        if (self.has_refused and self.final) or self.spent_usd + self.reserved_usd + worst > self.cap:
            self.has_refused = True
            self._wake()
            raise BudgetError(
                f"could exceed {self.limit_name()}: the next call may cost up to "
                f"{most_words(worst, tokens)}, and {self._left()}"
            )
        self.reserved_usd += worst

    def limit_name(self) -> str:
        """The cap with the option that sets it, for messages."""
        return f"{self.option} ${self.cap:g}"

    def _left(self) -> str:
        """What is left at this moment, for a message; what is spent in the end is known to the run alone."""
        left = max(0.0, self.cap - self.spent_usd - self.reserved_usd)
        return f"{dollars(left)} was left{' beside the calls under way' if self.reserved_usd else ''}"

    def settle(self, worst: float, bill: float, estimate: float = 0.0) -> None:
        """Give a reserve back and pay the bill in full, also one beyond the reserve.

        Where the bill is doubtful, `estimate` is what it may be; it is counted as far as the cap goes,
        because a refused `forfeit` may have spent a part of this reserve already.
        """
        self.reserved_usd = max(0.0, self.reserved_usd - worst)
        remaining = max(0.0, self.cap - self.spent_usd - self.reserved_usd)
        self.spent_usd += max(bill, min(estimate, remaining))
        self._wake()

    def add_excess(self, excess: float) -> None:
        """Count what a reply costs beyond its reserve, before the call that it belongs to is settled."""
        self.spent_usd += excess

    def check_reserves(self) -> None:
        """Refuse a request that was reserved before a bill took the room away.

        Raises:
            BudgetError: what is spent and reserved exceeds the cap.
        """
        if self.spent_usd + self.reserved_usd > self.cap * (1 + _ROUNDING):
            self.has_refused = True
            self._wake()
            error = BudgetError(
                f"could exceed {self.limit_name()} after bills above what was reserved for them"
            )
            error.attempts = 0
            raise error

    def forfeit(self, cost: float) -> None:
        """Pay a failed attempt while the next attempt is still reserved.

        Raises:
            BudgetError: when both do not fit; then there must be no next attempt.
        """
        self.spent_usd += cost
        if self.spent_usd + self.reserved_usd > self.cap:
            self.has_refused = True
            self._wake()
            raise BudgetError(f"{self.limit_name()} reached by attempts that may have been billed")


_ROUNDING = 1e-9  # sums of many dollars in another order differ by less


MESSAGE_OVERHEAD = 16  # tokens at most that a provider adds around a message


def worst_cost(request: Request, price: Price) -> float:
    """The most that a request can cost, in dollars: the only bound there is.

    A token has at least one byte, every sample may be a call of its own with the whole
    prompt, and every completion may be as long as `max_tokens` allows.

    Example:
        >>> from automix_cli.records import Message
        >>> message = Message("user", "2 + 2?")
        >>> request = Request(model="m", messages=(message,), params=(("max_tokens", 10),), n=3)
        >>> worst_cost(request, Price(input=1.0, output=2.0)) == 3 * (22 * 1.0 + 10 * 2.0) / 1e6
        True
    """
    tokens, output = request.n * most_prompt_tokens(request), request.n * request.max_tokens
    writes = tokens if price.write_rate > price.input else 0  # all of it may go into the provider's cache
    return price.of(Usage(input_tokens=tokens, output_tokens=output, cache_write_tokens=writes))


def dollars(usd: float) -> str:
    """Write the dollars of a call, or of what is left for one.

    Example:
        >>> dollars(0.00831812), dollars(0.25), dollars(0.00001234)
        ('$0.008318', '$0.25', '$0.00001234')
    """
    digits = 4 if usd <= 0 else max(2, 3 - math.floor(math.log10(usd)))
    whole, _, rest = f"{usd:.{digits}f}".partition(".")
    return f"${whole}.{rest.rstrip('0'):0<2}"


def most_words(usd: float, tokens: int) -> str:
    """Write the most that a call can cost, and its `max_tokens`, by which it is known from other calls.

    Example:
        >>> most_words(0.008318, 2048), most_words(0.25, 0)
        ('$0.008318 at max_tokens 2,048', '$0.25')
    """
    return dollars(usd) + (f" at max_tokens {tokens:,}" if tokens else "")


def most_prompt_tokens(request: Request) -> int:
    """The most tokens that the prompt of a request can have: one a byte, and some around each message."""
    return sum(MESSAGE_OVERHEAD + len(m.content.encode("utf-8", "surrogatepass")) for m in request.messages)


@dataclass(slots=True)
class _Call:
    """A call under way: by how much its replies exceed their reserves, and whether a part of it was sent."""

    excess: float = 0.0
    is_sent: bool = False


_call: ContextVar[_Call] = ContextVar("call")


@dataclass(slots=True)
class BudgetedBackend:
    """A backend around the one that costs money: sends a request only if its worst cost fits the budget.

    `price` gives the most that a request's model can be charged, and `served_price` the price of the
    service that a completion came from; by default they are the same. An endpoint whose bill was
    above its reserve has as many times more reserved from then on.
    """

    inner: Backend
    budget: Budget
    price: Callable[[Request], Price]
    served_price: Callable[[Request, ServiceTier], Price] | None = None
    _excess: dict[tuple[str, str], float] = field(default_factory=dict)

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        """Reserve, call, settle.

        Raises:
            BudgetError: before anything is sent.
            BackendError: as the inner backend.
        """
        import asyncio

        worst = self.worst(request)
        await self.budget.wait_for(worst, request.max_tokens)
        bill = estimate = 0.0
        call = _Call()
        _call.set(call)  # the tasks that send its parts see it, too
        try:
            completions = await self.inner.complete(request)
            suspect = any("usage_suspect" in c.flags for c in completions)
            bill = self.bill(request, completions)
            estimate = worst if suspect else 0.0
            self._learn(request, bill)
            return completions
        except asyncio.CancelledError:
            estimate = (
                worst if call.is_sent else 0.0
            )  # nobody waits any more, and it may be billed all the same
            raise
        finally:
            self.budget.settle(worst, max(0.0, bill - call.excess), estimate)

    def bill(self, request: Request, completions: Sequence[Completion]) -> float:
        """Dollars that completions cost by the services that gave them."""
        if self.served_price is None:
            return math.fsum(self.price(request).of(c.usage) for c in completions)
        return math.fsum(self.served_price(request, c.service_tier).of(c.usage) for c in completions)

    def check_before_send(self, request: Request) -> None:
        """Refuse a request that waited, reserved, while bills above their reserves took the room away.

        Raises:
            BudgetError: they did.
        """
        self.budget.check_reserves()
        _call.get().is_sent = True

    def note_reply(self, request: Request, completions: Sequence[Completion]) -> None:
        """Count at once what a reply costs beyond its reserve: other parts of its call may yet be sent."""
        excess = self.bill(request, completions) - self.worst(request)
        if excess > 0:
            _call.get().excess += excess
            self.budget.add_excess(excess)
            self._learn(request, self.bill(request, completions))

    def _learn(self, request: Request, bill: float) -> None:
        """Note by how many times a bill was above the worst cost."""
        plain = worst_cost(request, self.price(request))
        if bill > plain > 0:
            key = (request.model, request.endpoint)
            self._excess[key] = max(self._excess.get(key, 1.0), bill / plain)

    def worst(self, request: Request) -> float:
        """The most that a request can cost, in dollars, as far as its endpoint has shown."""
        excess = self._excess.get((request.model, request.endpoint), 1.0)
        return excess * worst_cost(request, self.price(request))

    def note_maybe_billed(self, request: Request, error: BackendError) -> None:
        """Count a failed attempt that may be charged for, by its bill where that is known.

        Raises:
            BudgetError: see `Budget.forfeit`.
        """
        if error.reply is None:
            self.budget.forfeit(self.worst(request))
            return
        bill, is_doubtful = self.bill(request, [error.reply]), "usage_suspect" in error.reply.flags
        self._learn(request, bill)
        self.budget.forfeit(max(bill, self.worst(request) if is_doubtful else 0.0))

    async def aclose(self) -> None:
        """Close the inner backend."""
        await self.inner.aclose()
