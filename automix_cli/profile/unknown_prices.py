"""The lines to add to a profile where the price of a model is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from automix_cli.profile.model import Profile, Tier


def embedding_price_line(tier: Tier) -> str:
    """The line of a profile that gives the price of an embedding model."""
    return f"embedding: {{model: {tier.model}, price: {{input: …}}}}"


def price_line(tier: Tier, profile: Profile) -> str:
    """The line of a profile that gives the price of a model."""
    if tier not in profile.tiers:
        return embedding_price_line(tier)
    return f"- {{name: {tier.name}, model: {tier.model}, price: {{input: …, output: …}}}}"


def price_notes(profile: Profile, models: Sequence[Tier] | None = None) -> Iterator[str]:
    """Say of which models no price is known, with the line that tells it; of all tiers if none are given."""
    for tier in profile.tiers if models is None else models:
        if tier.list_price() is None and tier.standard_price() is not None:
            service = f"the {tier.service_tier} service"
            yield f"price of {tier.model} by {service} unknown, so costs are null; tell it as price: …"
        elif tier.list_price() is None:
            yield f"price of {tier.model} unknown, so costs are null; tell it in the profile:"
            yield f"  {price_line(tier, profile)}"
