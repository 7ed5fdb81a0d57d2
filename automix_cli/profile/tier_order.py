"""Which of a server's models is likely the cheaper one: by price, else by what names say of their size."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from automix_cli.backends.catalog import list_price
from automix_cli.profile.model import Tier

_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", re.IGNORECASE)
# Billions of parameters that a word stands for: only their order counts.
_SIZE_WORDS = {
    **dict.fromkeys(("nano", "tiny"), 1.0),
    **dict.fromkeys(("mini", "lite", "flash", "haiku"), 4.0),
    **dict.fromkeys(("small", "luna"), 8.0),
    **dict.fromkeys(("medium", "sonnet"), 30.0),
    **dict.fromkeys(("large", "big", "pro", "max", "opus"), 100.0),
    **dict.fromkeys(("huge", "xl", "ultra"), 200.0),
}


class TierOrder(NamedTuple):
    """Models, the cheapest first as far as that can be told.

    Attributes:
        models: in that order.
        is_known: whether the order goes by prices; else it is a guess.
        reason: what it goes by.
    """

    models: tuple[Tier, ...]
    is_known: bool
    reason: str


def cheapest_first(models: Sequence[Tier]) -> TierOrder:
    """Order by known prices, else by what the names say of their size, else as they were listed.

    Example:
        >>> own = [Tier(name="a", model=f"hosted_vllm/{n}") for n in ("big", "qwen-8b", "tiny")]
        >>> [tier.model for tier in cheapest_first(own).models], cheapest_first(own).reason
        (['hosted_vllm/tiny', 'hosted_vllm/qwen-8b', 'hosted_vllm/big'], 'what their names say of their size')
    """
    prices = [_price(tier) for tier in models]
    if None not in prices and len(set(prices)) > 1:
        order = sorted(range(len(models)), key=lambda i: prices[i] or 0.0)
        return TierOrder(tuple(models[i] for i in order), True, "list prices")
    ordered = tuple(sorted(models, key=lambda tier: size_of(_name(tier))))
    differ = len({size_of(_name(tier)) for tier in ordered}) > 1
    return TierOrder(ordered, False, "what their names say of their size" if differ else "the server's list")


def _name(tier: Tier) -> str:
    """A model without the provider's prefix."""
    return tier.model.partition("/")[2]


def _price(tier: Tier) -> float | None:
    """USD per million tokens in and out, by the name alone on a server of one's own; None for unknown."""
    price = tier.list_price()
    if price is None or not (price.input or price.output):
        price = list_price(_name(tier))
    return None if price is None else price.input + price.output


def size_of(name: str) -> float:
    """How large a model is, in billions of parameters, as its name says; infinite where it says nothing.

    Example:
        >>> sorted(["gpt-oss", "qwen3:30b-a3b", "gemma3:4b", "smollm:135m"], key=size_of)
        ['smollm:135m', 'gemma3:4b', 'qwen3:30b-a3b', 'gpt-oss']
    """
    sizes = [float(n) / (1000 if unit.lower() == "m" else 1) for n, unit in _SIZE.findall(name)]
    if sizes:
        return max(sizes)
    words = [_SIZE_WORDS[word] for word in re.findall(r"[a-z]+", name.lower()) if word in _SIZE_WORDS]
    return min(words, default=math.inf)
