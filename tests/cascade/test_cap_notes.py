"""A cap that one call may exceed is said before anything is spent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from automix_cli.cascade.cap_notes import cap_notes
from automix_cli.profile.model import Profile, Tier
from automix_cli.usage import Price


def profile(cap: float | None) -> Profile:
    """Two tiers; an answer of the second may cost up to $0.041."""
    params = {"max_tokens": 2048}
    small = Tier(name="small", model="demo/small", price=Price(input=0.1, output=0.4), params=params)
    large = Tier(name="large", model="demo/large", price=Price(input=5.0, output=20.0), params=params)
    own = Profile(name="own", tiers=(small, large))
    return replace(own, limits=replace(own.limits, max_cost=cap))


@pytest.mark.parametrize(
    ("cap", "named"), [(None, []), (1.0, []), (0.02, ["large"]), (0.0, ["small", "large"])]
)
def test_each_tier_that_a_cap_cannot_pay_once_is_named(cap: float | None, named: list[str]) -> None:
    notes = list(cap_notes(profile(cap)))
    assert len(notes) == len(named)
    for note, name in zip(notes, named, strict=True):
        assert f"one call of {name} may cost" in note
        assert f"a higher --max-cost or a lower max_tokens of {name} mends it" in note
