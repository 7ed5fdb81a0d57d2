"""The budget's one worst cost: no bill of any request is above it."""

import asyncio
import math
import random

import pytest

from automix_cli import prompts
from automix_cli.backends.base import Request, ScriptedBackend
from automix_cli.backends.budget import MESSAGE_OVERHEAD, Budget, BudgetedBackend, worst_cost
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.estimate import plan_calls
from automix_cli.cascade.failed_attempts import worst_list_cost
from automix_cli.errors import BudgetError
from automix_cli.profile.model import Profile, Tier
from automix_cli.records import Answer, Completion, Message, Question
from automix_cli.usage import Price, Usage

TEXTS = ("2 + 2?", "", "naïve café", "數學題目", "🦀" * 9, "\ud800", "a" * 500)
PRICE = Price(input=3.0, output=15.0, cached_input=0.3)


@pytest.mark.parametrize("seed", range(30))
def test_no_call_costs_more_than_the_worst_cost(seed: int) -> None:
    rng = random.Random(seed)
    messages = tuple(Message("user", rng.choice(TEXTS)) for _ in range(rng.randint(1, 4)))
    n, longest = rng.randint(1, 8), rng.randint(1, 2000)
    request = Request(model="m/x", messages=messages, params=(("max_tokens", longest),), n=n)
    # A tokeniser can do no worse than one token a byte, and a server no worse than one call a sample.
    prompt = sum(len(m.content.encode("utf-8", "surrogatepass")) + MESSAGE_OVERHEAD for m in messages)
    calls = [
        Usage(
            input_tokens=rng.randint(1, prompt),
            output_tokens=rng.randint(0, longest),
        )
        for _ in range(n)
    ]
    assert math.fsum(PRICE.of(usage) for usage in calls) <= worst_cost(request, PRICE)
    every = [Usage(input_tokens=prompt, output_tokens=longest)] * n
    assert math.fsum(PRICE.of(usage) for usage in every) == pytest.approx(worst_cost(request, PRICE))


def test_an_embedding_costs_its_text_and_nothing_is_written() -> None:
    request = Request(model="m/e", messages=(Message("user", "four"),), embeds=True)
    assert worst_cost(request, PRICE) == pytest.approx((4 + MESSAGE_OVERHEAD) * 3.0 / 1e6)


def test_budget_row_and_forecast_know_the_same_worst_cost() -> None:
    tier = Tier(name="only", model="openai/x", price=PRICE)
    request = Request(model=tier.model, messages=(Message("user", "2?"),), params=(("max_tokens", 9),))
    budgeted = BudgetedBackend(ScriptedBackend([]), Budget(1.0), lambda _: PRICE)
    assert worst_list_cost(tier, request) == budgeted.worst(request) == worst_cost(request, PRICE)
    assert worst_list_cost(Tier(name="x", model="openai/unheard-of"), request) is None


def test_a_forecast_of_the_worst_case_is_a_budget_that_just_suffices() -> None:
    tiers = tuple(Tier(name=n, model=f"openai/{n}", price=PRICE, params=(("max_tokens", 8),)) for n in "ab")
    profile, question = Profile(name="p", tiers=tiers), Question(text="Wie heißt du? 🦀")
    forecast = plan_calls(profile, [question])["worst"]["usd"]

    def longest(request: Request) -> Completion:
        prompt = sum(len(m.content.encode()) + MESSAGE_OVERHEAD for m in request.messages)
        text = prompts.decision(False) if prompts.is_verification(request.messages) else "8 bytes."
        usage = Usage(input_tokens=prompt, output_tokens=request.max_tokens, calls=1)
        return Completion(text=text, usage=usage)

    def row(cap: float) -> Answer:
        backend = BudgetedBackend(ScriptedBackend(longest), Budget(cap), lambda _: PRICE)
        return asyncio.run(Cascade(profile, backend).answer(question))

    answer = row(forecast * 1.001)
    assert answer.status == "ok"
    assert answer.tier == "b"
    assert answer.spent_usd is not None
    assert 0.5 * forecast < answer.spent_usd <= forecast
    assert row(forecast / 50).status == "skipped"


def test_a_request_beyond_the_budget_is_refused_before_it_is_sent() -> None:
    request = Request(model="m", messages=(Message("user", "hello"),), params=(("max_tokens", 100),))
    inner = ScriptedBackend(["never"])
    budgeted = BudgetedBackend(inner, Budget(worst_cost(request, PRICE) * 0.99), lambda _: PRICE)
    with pytest.raises(BudgetError, match="could exceed"):
        asyncio.run(budgeted.complete(request))
    assert inner.calls == []


def test_the_message_at_the_cap_tells_what_was_left() -> None:
    budget = Budget(1.0)
    budget.reserve(0.5)
    budget.settle(0.5, 0.125)
    budget.reserve(0.75)
    with pytest.raises(BudgetError) as caught:
        budget.reserve(0.25)
    assert caught.value.message == (
        "could exceed --max-cost $1: the next call may cost up to $0.25, "
        "and $0.125 was left beside the calls under way"
    )
