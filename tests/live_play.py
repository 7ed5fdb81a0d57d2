"""Recorded rows played as live traffic: the cascade asks, and the recorded tiers answer.

The answers, votes and costs of trace rows stand behind the cascade's own door for money, so that what
comes out are rows of `ask`, shadow calls included.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from automix_cli import prompts
from automix_cli.backends.base import Request, ScriptedBackend
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.shadow import ShadowPlan
from automix_cli.profile.model import Profile, Task, Tier, VerificationSettings
from automix_cli.profile.router import router_policy
from automix_cli.records import Completion, Question
from automix_cli.usage import Price, Usage

_MARK = re.compile(r"recorded row (\d+)\b")
_MICRO = 1_000_000
"""A token costs a millionth of a dollar, so that recorded costs come out as they are."""


def profile_for(names: Sequence[str], router: Mapping[str, Any] | None, max_votes: int = 6) -> Profile:
    """A profile of recorded tiers."""
    price = Price(input=1.0, output=1.0)
    tiers = tuple(Tier(name=name, model=f"test/{name}", price=price) for name in names)
    return Profile(
        name="recorded",
        tiers=tiers,
        task=Task(scorer="exact"),
        verification=VerificationSettings(max_votes=max_votes),
        router=router,
    )


def play(
    rows: Sequence[Mapping[str, Any]], profile: Profile, *, share: float, seed: int = 0, labels: bool = False
) -> list[dict[str, Any]]:
    """The rows that `ask --shadow` writes of trace rows; votes are dealt in a random order.

    With `labels` rows say what is expected, and so are scored.
    """
    deal = random.Random(seed)
    votes = [{name: list(cell.get("votes") or []) for name, cell in row["tiers"].items()} for row in rows]
    for own in (bag for bags in votes for bag in bags.values()):
        deal.shuffle(own)
    names = {tier.model: tier.name for tier in profile.tiers}

    def reply(request: Request) -> Completion:
        match = _MARK.search(request.messages[-1].content)
        assert match is not None
        at, name = int(match[1]), names[request.model]
        cell = rows[at]["tiers"][name]
        if prompts.is_verification(request.messages):
            vote, usd = votes[at][name][request.first], cell.get("vote_cost") or 0.0
            text = "I cannot tell." if vote is None else prompts.decision(bool(vote))
        else:
            text, usd = cell["answer"], cell["cost"]
        return Completion(text=text, usage=Usage(input_tokens=round(_MICRO * usd), calls=1))

    plan = ShadowPlan(profile.tiers[-1], share, seed)
    cascade = Cascade(profile, ScriptedBackend(reply), router_policy(profile), shadow=plan)

    async def answers() -> list[dict[str, Any]]:
        return [(await cascade.answer(question(i))).to_dict() for i in range(len(rows))]

    def question(i: int) -> Question:
        gold = rows[i].get("gold") if labels else None
        return Question(text=f"recorded row {i}", id=i, index=i, expected=() if gold is None else (gold,))

    return asyncio.run(answers())
