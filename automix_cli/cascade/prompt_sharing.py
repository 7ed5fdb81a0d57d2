"""How many prompts are billed for completions that one call asks for: the one rule of all estimates.

What the server has shown decides, as far as the cache tells of it; else what its provider is known to do;
else each completion counts with a prompt of its own. That is the careful assumption: a bill that shares
prompts is lower.
"""

from __future__ import annotations

from typing import Literal

from automix_cli.backends.catalog import provider_of
from automix_cli.profile.model import Tier

Sharing = Literal["one", "each", "unknown"]
"""One prompt for all completions of a call, one for each, or nobody knows, which counts as one for each."""


def prompt_sharing(tier: Tier, evidence: bool | None = None) -> Sharing:
    """How many prompts a call for several completions of a tier is billed with.

    Args:
        tier: that is called.
        evidence: whether its server gave several completions for one prompt; None where that was not seen.

    Example:
        >>> own = Tier(name="b", model="openai/x", api_base="http://localhost:8000/v1")
        >>> prompt_sharing(Tier(name="a", model="openai/x")), prompt_sharing(own), prompt_sharing(own, True)
        ('one', 'unknown', 'one')
        >>> prompt_sharing(Tier(name="c", model="anthropic/claude-x"))
        'each'
    """
    if evidence is not None:
        return "one" if evidence else "each"
    client = tier.client()
    if client != "direct":
        return "one" if client == "demo" else "each"
    from automix_cli.backends.openai_providers import PROVIDERS

    provider = PROVIDERS[provider_of(tier.model) or tier.model.partition("/")[0]]
    if not provider.takes_n:
        return "each"
    is_own_address = provider.address is not None and tier.api_base in (None, provider.address)
    return "one" if provider.bills_prompt_once and is_own_address else "unknown"


def prompts_billed(completions: float, sharing: Sharing) -> float:
    """How many prompts completions of one call are billed with.

    Example:
        >>> prompts_billed(8, "one"), prompts_billed(8, "unknown"), prompts_billed(0, "one")
        (1, 8, 0)
    """
    return min(completions, 1) if sharing == "one" else completions
