"""What decides while no rows of the user's own have: the public prior and this question's planned costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from automix_cli import prompts
from automix_cli.cascade.prompt_sharing import prompt_sharing, prompts_billed
from automix_cli.cascade.requests import RequestBuilder, sample_counts
from automix_cli.fitting.public_prior import HALF_RULE, PublicResult, public_evidence, result_of
from automix_cli.pomdp.cost import FREE, Cost
from automix_cli.pomdp.prior_policy import PriorPolicy, TierCosts
from automix_cli.pomdp.problem import Policy
from automix_cli.pomdp.rules import AlwaysPolicy, MajorityPolicy
from automix_cli.pomdp.signals import signal_facts
from automix_cli.profile.model import Profile
from automix_cli.profile.router import give_up_of
from automix_cli.records import Question

EXPECTED_OUTPUT = 1 / 8  # of max_tokens, where nothing is known of a tier's completions
_PER_TOKEN = 1e-6  # prices are per million tokens


def default_policy(profile: Profile) -> Policy[Any]:
    """The policy of a profile that was not calibrated.

    That is the rule of half where `router: {kind: majority}` asks for it, else the public prior. Where
    the prior cannot be used, and where there is one tier, the last tier answers every question.

    Raises:
        DataError: the profile's `router:` block gives no amount to give up.
    """
    v, tiers = profile.verification, len(profile.tiers)
    facts = signal_facts(v.signal, v.logprob_of)
    if (profile.router or {}).get("kind") == "majority":
        batch = v.batch if facts.purchase == "rounds" else (1,)
        return MajorityPolicy(tiers=tiers, max_votes=facts.readings(v.max_votes), batch=batch)
    costs = planned_costs(profile)
    give_up = give_up_of(profile)
    if tiers == 1 or why_no_prior(profile) or costs is None:
        return AlwaysPolicy(tiers, tiers - 1)
    return PriorPolicy(
        public_evidence(),
        costs,
        give_up,
        max_votes=facts.max_votes(v.max_votes),
        batch=v.batch,
        samples=v.max_votes if facts.of_samples else 0,
        names=tuple(tier.name for tier in profile.tiers),
    )


def why_no_prior(profile: Profile) -> str:
    """Why the public prior cannot decide, as the beginning of a sentence; "" where it can."""
    if profile.verification.signal == "logprob":
        return "no public prior holds for log-probabilities"
    if is_free(profile):
        return "all prices are 0, so there is nothing to save"
    prices = {tier.name: tier.list_price() for tier in profile.tiers}
    unknown = [name for name, price in prices.items() if price is None]
    if unknown:
        return f"the price of {' and '.join(unknown)} is unknown, so nobody can tell whether votes pay"
    return ""


def is_free(profile: Profile) -> bool:
    """Whether all tiers are known to cost nothing."""
    prices = [tier.list_price() for tier in profile.tiers]
    return all(price is not None and not price.input and not price.output for price in prices)


def notes(profile: Profile) -> Iterator[str]:
    """What decides, what that came to on public sets, and what takes its place."""
    first, last = profile.tiers[0].name, profile.tiers[-1].name
    head, reason = f"profile {profile.name} is uncalibrated: ", why_no_prior(profile)
    if (profile.router or {}).get("kind") == "majority":
        dearer = last if len(profile.tiers) == 2 else "the next tier"
        rule = f"it asks {dearer} when most votes say no, a rule of thumb"
        yield f"{head}{rule} ({_result_words(HALF_RULE, last)})"
    elif reason:
        yield f"{head}{reason}: {last} answers every question"
    else:
        give_up = give_up_of(profile)
        words = _result_words(result_of(give_up), last)
        yield (
            f"{head}{last} answers, unless {first} and votes on its answer are expected to be worth it "
            f"({100 * give_up:g} points of quality for the price of an answer); {words}"
        )
    if is_free(profile):
        yield "price: {input: 0.1, output: 0.4} under a tier says what a million tokens are worth in USD"
    else:
        yield "automix calibrate replaces it by a rule measured on your own labelled rows"


def _result_words(result: PublicResult | None, last: str) -> str:
    if result is None:
        return "that was tried on no public set"
    quality, cost = result
    if quality.least >= 1:
        return f"on public sets that kept {last}'s quality, and saved nothing"
    return (
        f"on public sets: {100 * quality.least:.0f} to {quality.most:.0%} of {last}'s quality, "
        f"{cost.least:.3g} to {cost.most:.3g} times its cost"
    )


# ---------------------------------------------------------------- planned costs


def planned_costs(profile: Profile) -> tuple[TierCosts, ...] | None:
    """What each tier is expected to cost at this profile's prices; None where one is unknown.

    Prompts are counted, completions are taken for an eighth of max_tokens, and the votes of a round have one
    prompt where the provider is known to bill them so. The cache is not looked at: the same profile
    decides alike everywhere.
    """
    costs = [_tier_costs(profile, index) for index in range(len(profile.tiers))]
    return None if None in costs else tuple(cost for cost in costs if cost is not None)


def _tier_costs(profile: Profile, index: int) -> TierCosts | None:
    tier, builder, question = profile.tiers[index], RequestBuilder(profile), Question(text="")
    price = tier.list_price()
    if price is None:
        return None
    ask = builder.for_answer(question, tier).request
    check = builder.for_votes(question, "", tier, first=0, n=1).request
    output = EXPECTED_OUTPUT * ask.max_tokens
    longer = prompts.estimate_tokens(check.messages) - prompts.estimate_tokens(ask.messages) + output
    input_rate, output_rate = price.input * _PER_TOKEN, price.output * _PER_TOKEN
    prompt, vote_prompt = Cost(0.0, input_rate), Cost(input_rate * max(0.0, longer), input_rate)
    verdict = Cost(output_rate * EXPECTED_OUTPUT * check.max_tokens)
    count, sharing = sample_counts(profile, index).answers, prompt_sharing(tier)
    answers = prompt * prompts_billed(count, sharing) + Cost(output_rate * output * count)
    if sharing == "one":
        return TierCosts(answers, verdict, vote_prompt)
    return TierCosts(answers, vote_prompt + verdict, FREE)
