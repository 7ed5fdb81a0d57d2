"""What calls use and what they cost: tokens, list prices, and sums in which an unknown stays unknown."""

from __future__ import annotations

import math
from collections.abc import Iterable

from msgspec import Struct


def add_money(*amounts: float | None) -> float | None:
    """Sum dollars; one unknown makes the sum unknown.

    Example:
        >>> add_money(0.5, 0.25), add_money(0.5, None), add_money()
        (0.75, None, 0.0)
    """
    if None in amounts:
        return None
    total = math.fsum(amounts)  # type: ignore[arg-type]
    return round(total, 12) if total else 0.0  # finer than any price list


class Usage(Struct, frozen=True, kw_only=True, gc=False):
    """Tokens and calls. Tokens read from a provider's cache, or written to it, are parts of the input.

    `reasoning_tokens` are part of the output.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    calls: int = 0
    cache_write_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            calls=self.calls + other.calls,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
        )

    def of_prompt(self) -> Usage:
        """The same without the output.

        Example:
            >>> Usage(input_tokens=3, output_tokens=5, calls=1).of_prompt().to_dict()["output_tokens"]
            0
        """
        return Usage(
            input_tokens=self.input_tokens,
            cached_input_tokens=self.cached_input_tokens,
            calls=self.calls,
            cache_write_tokens=self.cache_write_tokens,
        )

    def to_dict(self) -> dict[str, int]:
        """The `usage` object of a row; `cache_write_tokens` only where there are any.

        Example:
            >>> Usage(input_tokens=3, calls=1).to_dict()["input_tokens"]
            3
        """
        row = {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_input_tokens": self.cached_input_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "calls": self.calls,
        }
        if self.cache_write_tokens:
            row["cache_write_tokens"] = self.cache_write_tokens
        return row


NO_USAGE = Usage()


def total_usage(usages: Iterable[Usage]) -> Usage:
    """Sum usages, starting from none."""
    total = NO_USAGE
    for usage in usages:
        total = usage if total is NO_USAGE else total + usage
    return total


class Price(Struct, frozen=True, kw_only=True):
    """List price in USD per million tokens; `cached_input` and `cache_write` default to `input`.

    Example:
        >>> Price(input=1.0, output=10.0).of(Usage(input_tokens=1000, output_tokens=100))
        0.002
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None

    @property
    def cached_rate(self) -> float:
        """USD per million tokens of input that the provider had in its own cache."""
        return self.input if self.cached_input is None else self.cached_input

    @property
    def write_rate(self) -> float:
        """USD per million tokens of input that the provider writes into its own cache."""
        return self.input if self.cache_write is None else self.cache_write

    def of(self, usage: Usage) -> float:
        """Dollars that `usage` costs at this price."""
        cached, writes = usage.cached_input_tokens, usage.cache_write_tokens
        rest = usage.input_tokens - cached - writes
        inputs = rest * self.input + cached * self.cached_rate + writes * self.write_rate
        return (inputs + usage.output_tokens * self.output) / 1e6
