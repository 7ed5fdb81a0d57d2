"""What verifying answers that exist would cost: calls and dollars to expect before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from automix_cli.cascade.call_costs import (
    LEAST_PROMPT,
    MOST_PROMPT,
    CallCost,
    CallForecast,
    at_best,
    completion_usd,
)
from automix_cli.cascade.checks import Check, samples_per_check
from automix_cli.cascade.estimate import length_words, plan_embeddings, prompt_words, sharing_of
from automix_cli.cascade.failed_attempts import worst_list_cost
from automix_cli.cascade.lengths import TierLengths
from automix_cli.cascade.prompt_sharing import Sharing, prompts_billed
from automix_cli.cascade.reply_range import ReplyRange, reply_range
from automix_cli.cascade.requests import RequestBuilder
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
    every = [CheckRequest(profile, check, check.tier, number, lengths) for check in checks]
    total, unknown = CallForecast(), dict[str, ReplyRange]()
    for own in every:
        total = total.plus(own.forecast())
        if not own.reply.is_known:
            unknown[f"{'answers' if word == 'sample' else 'votes'} of {own.tier.name}"] = own.reply
    is_priced = all(own.tier.list_price() is not None for own in every)
    sharing = {own.tier.name: own.sharing for own in every}
    first = "--limit 20" if len(every) > 20 else "a call"
    shows_shared = is_priced and "unknown" in sharing.values()
    plan = {
        "answers": len(every),
        "profile": profile.name,
        "policy": f"{number} {word}{'' if number == 1 else 's'} on each",
        **total.rows(is_priced=is_priced),
        **_by_tier(profile, every, lengths),
        **({"usd_if_shared": sum(own.shared_usd() for own in every)} if shows_shared else {}),
        "answers_usd": add_money(*(own.check.cost_usd for own in every)),
        "assumes": f"expected: {length_words(lengths, unknown, first)}; {prompt_words(sharing, word)}",
    }
    embedder = embedder_of(profile)
    return plan if embedder is None else plan_embeddings(plan, embedder, (c.check.question for c in every))


def _by_tier(
    profile: Profile, checks: Sequence[CheckRequest], lengths: Mapping[str, TierLengths]
) -> dict[str, Any]:
    """The expected dollars of each tier that checks, and of the cheapest if it checked all."""
    rows: dict[str, dict[str, Any]] = {}
    cheapest, all_by_cheapest = profile.tiers[0], CallCost()
    for own in checks:
        bill, check = own.forecast().expected, own.check
        row = rows.setdefault(own.tier.name, {"answers": 0, "usd": 0.0})
        row["answers"] += 1
        row["usd"] = add_money(row["usd"], bill.usd if own.tier.list_price() else None)
        if own.tier is not cheapest:
            bill = CheckRequest(profile, check, cheapest, own.number, lengths).forecast().expected
        all_by_cheapest = all_by_cheapest.plus(bill)
    usd = all_by_cheapest.usd if cheapest.list_price() else None
    return {"tiers": rows, "cheapest": {"tier": cheapest.name, "usd": usd}}


class CheckRequest:
    """One answer that a tier checks: the request for votes or samples, not yet sent.

    Attributes:
        reply: how long a vote or a sample is.
        sharing: how many prompts a call for several is billed with.
    """

    def __init__(
        self, profile: Profile, check: Check, tier: Tier, number: int, lengths: Mapping[str, TierLengths]
    ) -> None:
        self.check, self.tier, self.number = check, tier, number
        own = lengths.get(tier.name, TierLengths())
        builder, label = RequestBuilder(profile), None
        if profile.verification.signal == "consistency":
            self.request = builder.for_answer(check.question, tier, n=number).request
            self.earlier, label = own.answers, own.label_tokens
        else:
            self.request = builder.for_votes(check.question, check.answer, tier, first=0, n=1).request
            self.earlier = own.votes
        self.reply = reply_range(self.earlier, self.request, label)
        self.sharing = sharing_of(tier, lengths)

    def forecast(self) -> CallForecast:
        """What it costs."""
        best, least, most = at_best(self.sharing), LEAST_PROMPT, MOST_PROMPT
        if self.earlier.prompt_tokens:
            least = most = 1.0
        bills = (
            self._usd(min(1.0, self.reply.short), best, LEAST_PROMPT),
            self._usd(self.reply.guess, self.sharing),
            self.number * (worst_list_cost(self.tier, self.request.part(0, 1)) or 0.0),
            self._usd(self.reply.short, best, least),
            self._usd(self.reply.long, self.sharing, most),
        )
        return CallForecast(*(CallCost(self.number, usd) for usd in bills))

    def shared_usd(self) -> float:
        """What is expected if a server of which nobody knows it bills one prompt for all of a call."""
        return self._usd(self.reply.guess, at_best(self.sharing))

    def _usd(self, tokens: float, sharing: Sharing, prompt: float = 1.0) -> float:
        share = prompt * self.earlier.scale * prompts_billed(self.number, sharing) / self.number
        return self.number * completion_usd(self.tier, self.request, tokens, prompt_share=share)
