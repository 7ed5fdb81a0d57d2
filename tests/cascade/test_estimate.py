"""What a plan calls low is never above what it expects, nor that above the worst."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from automix_cli.backends.server_record import Lengths
from automix_cli.cascade.check_estimate import plan_verifications
from automix_cli.cascade.checks import Check
from automix_cli.cascade.estimate import plan_calls, plan_collection
from automix_cli.cascade.lengths import TierLengths
from automix_cli.profile.model import Profile, Tier, VerificationSettings
from automix_cli.records import Question
from automix_cli.usage import Price

TIERS = tuple(
    Tier(name=name, model=f"openai/{name}", price=Price(input=rate, output=8 * rate))
    for name, rate in (("a", 1.0), ("b", 20.0))
)
QUESTION = Question(text="yes or no?")


def profile_of(max_tokens: int, **settings: Any) -> Profile:
    tiers = tuple(replace(tier, params={"max_tokens": max_tokens}) for tier in TIERS)
    verification = VerificationSettings(max_votes=3, max_tokens=max_tokens)
    return Profile(name="p", tiers=tiers, verification=verification, **settings)


ROUTERS = {
    "a tier alone": {"kind": "always", "tier": "a"},
    "votes": {"kind": "self-consistency"},
    "rule of half": {"kind": "majority"},
    "public prior": {"kind": "prior", "give_up": 0.3},
}


@pytest.mark.parametrize("written", [0, 1, 3, 400], ids="{} tokens written before".format)
@pytest.mark.parametrize("max_tokens", [1, 4, 64, 512])
@pytest.mark.parametrize("router", ROUTERS.values(), ids=ROUTERS)
def test_low_is_at_most_expected_and_expected_at_most_worst(
    router: dict[str, Any], max_tokens: int, written: int
) -> None:
    profile = profile_of(max_tokens, router=router)
    own = Lengths(9 * min(written, max_tokens), 9) if written else Lengths()
    lengths = {tier.name: TierLengths(own, own) for tier in TIERS}
    for plan in (plan_calls(profile, [QUESTION], lengths), plan_collection(profile, [QUESTION], lengths)):
        for what in ("calls", "usd"):
            low, expected, worst = (plan[name][what] for name in ("low", "expected", "worst"))
            assert 0 < low <= expected <= worst


@pytest.mark.parametrize("max_tokens", [1, 4, 512])
def test_so_it_is_where_answers_are_checked(max_tokens: int) -> None:
    check = Check(QUESTION, "yes", TIERS[0])
    plan = plan_verifications(profile_of(max_tokens), [check], votes=3)
    assert 0 < plan["low"]["usd"] <= plan["expected"]["usd"] <= plan["worst"]["usd"]
