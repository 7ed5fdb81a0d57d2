"""What verifying answers that exist would cost: calls and dollars to expect before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from automix_cli.cascade.call_costs import CallCost, CallForecast, at_best, cost_of, least_cost_of, sum_of
from automix_cli.cascade.checks import Check, samples_per_check
from automix_cli.cascade.estimate import length_words, plan_embeddings, prompt_words, sharing_of
from automix_cli.cascade.failed_attempts import worst_list_cost
from automix_cli.cascade.lengths import TierLengths
from automix_cli.cascade.prompt_sharing import prompts_billed
from automix_cli.cascade.requests import RequestBuilder
from automix_cli.cascade.uncalibrated import EXPECTED_OUTPUT
from automix_cli.profile.model import Profile, Tier
from automix_cli.profile.router import embedder_of
from automix_cli.usage import add_money


def plan_verifications(
    profile: Profile,
    checks: Iterable[Check],
    votes: int,
    lengths: Mapping[str, TierLengths] = MappingProxyType({}),
) -> dict[str, Any]:
    """Calls and dollars to expect for checking answers that exist, without sending anything.

    Each gets `votes` votes, or is compared with as many answers; `low` assumes short replies.
    `tiers` says what is expected of each tier, and `cheapest` what it would be if the cheapest
    of the profile checked all; `answers_usd` is what the answers cost, where every row says it. `lengths`
    says how long the completions of a tier have been.
    """
    number = samples_per_check(profile.verification, votes)
    word = "sample" if profile.verification.signal == "consistency" else "vote"
    every = list(checks)
    bills = [check_forecast(profile, check.tier, check, number, lengths) for check in every]
    total = CallForecast()
    for bill in bills:
        total = total.plus(bill)
    is_priced = all(check.tier.list_price() is not None for check in every)
    sharing = {check.tier.name: sharing_of(check.tier, lengths) for check in every}
    plan = {
        "answers": len(every),
        "profile": profile.name,
        "policy": f"{number} {word}{'' if number == 1 else 's'} on each",
        **total.rows(is_priced=is_priced),
        **_by_tier(profile, every, bills, number, lengths),
        **(
            _if_shared_row(profile, every, number, lengths)
            if is_priced and "unknown" in sharing.values()
            else {}
        ),
        "answers_usd": add_money(*(check.cost_usd for check in every)),
        "assumes": f"expected: {length_words(lengths)}; {prompt_words(sharing, word)}",
    }
    embedder = embedder_of(profile)
    return plan if embedder is None else plan_embeddings(plan, embedder, (c.question for c in every))


def _if_shared_row(
    profile: Profile, checks: Sequence[Check], number: int, lengths: Mapping[str, TierLengths]
) -> dict[str, float]:
    """What is expected if servers of which nobody knows it bill one prompt for what one call gives."""
    bills = (check_forecast(profile, c.tier, c, number, lengths, if_shared=True).expected for c in checks)
    return {"usd_if_shared": sum_of(bills).usd}


def _by_tier(
    profile: Profile,
    checks: Sequence[Check],
    bills: Sequence[CallForecast],
    number: int,
    lengths: Mapping[str, TierLengths],
) -> dict[str, Any]:
    """The expected dollars of each tier that checks, and of the cheapest if it checked all."""
    rows: dict[str, dict[str, Any]] = {}
    cheapest, all_by_cheapest = profile.tiers[0], CallCost()
    for check, bill in zip(checks, bills, strict=True):
        row = rows.setdefault(check.tier.name, {"answers": 0, "usd": 0.0})
        row["answers"] += 1
        row["usd"] = add_money(row["usd"], bill.expected.usd if check.tier.list_price() else None)
        same = bill if check.tier is cheapest else check_forecast(profile, cheapest, check, number, lengths)
        all_by_cheapest = all_by_cheapest.plus(same.expected)
    usd = all_by_cheapest.usd if cheapest.list_price() else None
    return {"tiers": rows, "cheapest": {"tier": cheapest.name, "usd": usd}}


def check_forecast(
    profile: Profile,
    tier: Tier,
    check: Check,
    number: int,
    lengths: Mapping[str, TierLengths],
    *,
    if_shared: bool = False,
) -> CallForecast:
    """What it costs that a tier checks one answer; `if_shared` as in `VisitRequests.collected_bill`."""
    builder, own = RequestBuilder(profile), lengths.get(tier.name, TierLengths())
    if profile.verification.signal == "consistency":
        request, earlier = builder.for_answer(check.question, tier, n=number).request, own.answers
    else:
        request = builder.for_votes(check.question, check.answer, tier, first=0, n=1).request
        earlier = own.votes
    output = EXPECTED_OUTPUT if earlier.mean is None else earlier.mean / request.max_tokens
    sharing = sharing_of(tier, lengths)
    share = earlier.scale * prompts_billed(number, at_best(sharing) if if_shared else sharing) / number
    low, expected = (
        number * cost(tier, request, output, prompt_share=share) for cost in (least_cost_of, cost_of)
    )
    worst = number * (worst_list_cost(tier, request.part(0, 1)) or 0.0)
    return CallForecast(*(CallCost(number, usd) for usd in (low, expected, worst)))
