"""What a cap keeps from being asked at all, whatever the question: said before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator

from automix_cli.backends.budget import worst_cost
from automix_cli.cascade.requests import RequestBuilder
from automix_cli.profile.model import Profile
from automix_cli.records import Question

_SHORTEST = Question(text="?")


def cap_notes(profile: Profile) -> Iterator[str]:
    """Name each tier of which one answer, to the shortest question, may cost more than the whole cap."""
    cap, builder = profile.limits.max_cost, RequestBuilder(profile)
    for tier in profile.tiers if cap is not None else ():
        request, price = builder.for_answer(_SHORTEST, tier).request, profile.budget_price(tier)
        most = 0.0 if price is None else worst_cost(request, price)
        if cap is not None and most > cap:
            yield (
                f"the cap of ${cap:g} is below what one call of {tier.name} may cost, ${most:.2g} at "
                f"max_tokens {request.max_tokens:,}: rows that need it are skipped, and those after them; "
                f"a higher --max-cost or a lower max_tokens of {tier.name} mends it"
            )
