"""A profile without calibration: the public prior, the costs of its own tiers, and what is said of both."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from recorded import DATA

from automix_cli import prompts
from automix_cli.backends.base import Request, ScriptedBackend
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.estimate import plan_calls
from automix_cli.cascade.uncalibrated import default_policy, notes, planned_costs
from automix_cli.errors import DataError
from automix_cli.fitting.public_prior import GIVE_UP, HALF_RULE, KINDS, RESULTS, public_prior
from automix_cli.pomdp.prior_policy import PriorPolicy
from automix_cli.pomdp.problem import Facts
from automix_cli.pomdp.rules import AlwaysPolicy
from automix_cli.profile.model import Profile, Task, Tier, VerificationSettings
from automix_cli.profile.router import give_up_of
from automix_cli.records import Answer, Completion, Question
from automix_cli.usage import Price, Usage

SMALL = Tier(
    name="small", model="openai/tiny", price=Price(input=0.1, output=0.4), params=(("max_tokens", 80),)
)
LARGE = Tier(
    name="large", model="openai/huge", price=Price(input=60, output=240), params=(("max_tokens", 800),)
)
MIDDLE = Tier(name="middle", model="openai/middle", price=Price(input=1, output=4))
PRIOR = {"kind": "prior", "give_up": 0.2}
UNKNOWN, FREE = {"price": None}, {"price": Price(input=0, output=0)}


def profile(*tiers: Tier, router: dict[str, Any] | None = None, **verification: Any) -> Profile:
    settings = VerificationSettings(**verification)
    return Profile(
        name="own", tiers=tiers or (SMALL, LARGE), task=Task(), verification=settings, router=router
    )


def run(own: Profile, *, yes: bool = True) -> tuple[Answer, ScriptedBackend]:
    def reply(request: Request) -> Completion:
        says = prompts.decision(yes) if prompts.is_verification(request.messages) else "4"
        return Completion(text=says, usage=Usage(input_tokens=10, output_tokens=5, calls=1))

    backend = ScriptedBackend(reply)
    return asyncio.run(Cascade(own, backend).answer(Question(text="2 + 2?"))), backend


TIERS = {
    "priced": (SMALL, LARGE),
    "three tiers": (SMALL, MIDDLE, LARGE),
    "no price": (replace(SMALL, **UNKNOWN), LARGE),
    "no price at all": (replace(SMALL, **UNKNOWN), replace(LARGE, **UNKNOWN)),
    "all free": (replace(SMALL, **FREE), replace(LARGE, **FREE)),
    "free small tier": (replace(SMALL, **FREE), LARGE),
    "equal prices": (replace(SMALL, price=LARGE.price), LARGE),
}


@pytest.mark.parametrize("signal", ["votes", "consistency", "logprob"])
@pytest.mark.parametrize("tiers", TIERS.values(), ids=TIERS)
def test_by_default_the_last_tier_answers_and_nothing_else_is_bought(
    tiers: tuple[Tier, ...], signal: Any
) -> None:
    answer, backend = run(profile(*tiers, signal=signal))
    assert [r.model for r in backend.calls] == [LARGE.model]
    assert (answer.tier, answer.escalated) == ("large", False)
    assert answer.reason


@pytest.mark.parametrize(("yes", "tier"), [(True, "small"), (False, "large")])
@pytest.mark.parametrize("signal", ["votes", "consistency"])
def test_who_gives_up_more_has_the_same_planner_with_votes(signal: Any, yes: bool, tier: str) -> None:
    own = profile(router=PRIOR, signal=signal)
    answer, backend = run(own, yes=yes)
    samples_agree = signal == "consistency"
    assert answer.tier == ("small" if samples_agree else tier)
    assert answer.route[0].tier == "small"
    assert len(backend.calls) > 1 or samples_agree
    assert "points better" in answer.reason


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (profile(), "on public sets that kept large's quality, and saved nothing"),
        (profile(router=PRIOR), "on public sets: 64 to 100% of large's quality, 0.29 to 1.03 times its cost"),
        (profile(router={"kind": "prior", "give_up": 0.9}), "that was tried on no public set"),
        (
            profile(router={"kind": "majority"}),
            "it asks large when most votes say no, a rule of thumb "
            "(on public sets: 51 to 99% of large's quality, 0.1 to 5.54 times its cost)",
        ),
        (profile(*TIERS["no price"]), "the price of small is unknown, so nobody can tell whether votes pay"),
        (profile(*TIERS["no price at all"]), "the price of small and large is unknown"),
        (profile(*TIERS["all free"]), "all prices are 0, so there is nothing to save: large answers"),
        (profile(signal="logprob"), "no public prior holds for log-probabilities: large answers"),
    ],
    ids=["default", "give up", "give up beyond", "majority", "one price", "no prices", "free", "logprob"],
)
def test_the_first_lines_say_what_decides_and_what_replaces_it(own: Profile, words: str) -> None:
    first, second = notes(own)
    assert first.startswith("profile own is uncalibrated: ")
    assert words in first
    way = (
        "price: {input: 0.1, output: 0.4} under a tier says"
        if "all prices are 0" in words
        else "automix calibrate"
    )
    assert second.startswith(way)


@pytest.mark.parametrize("amount", [None, 0, -0.1, 1.5, True, "much"])
def test_an_amount_that_is_none_is_refused(amount: Any) -> None:
    with pytest.raises(DataError, match="give_up: expected a number above 0 and up to 1"):
        give_up_of(profile(router={"kind": "prior", "give_up": amount}))


@pytest.mark.parametrize(
    ("model", "api_base"),
    [("mistral/tiny", None), ("hosted_vllm/tiny", "http://127.0.0.1:1/v1"), ("groq/tiny", None)],
)
def test_votes_share_a_prompt_only_where_the_provider_says_so(model: str, api_base: str | None) -> None:
    costs = planned_costs(profile(SMALL, replace(SMALL, name="other", model=model, api_base=api_base), LARGE))
    assert costs is not None
    at_once, one_by_one, _ = costs
    assert at_once.round.at(100) > 0
    assert one_by_one.round.at(100) == 0
    assert at_once.round.at(100) + at_once.vote.at(100) == pytest.approx(one_by_one.vote.at(100))
    assert at_once.answer == one_by_one.answer


def test_samples_are_part_of_what_asking_costs() -> None:
    one, five = (planned_costs(profile(signal=s, max_votes=5)) for s in ("votes", "consistency"))
    assert one is not None and five is not None  # noqa: PT018
    assert one[0].answer.at(1000) < five[0].answer.at(1000) < 5 * one[0].answer.at(1000)
    assert one[1].answer == five[1].answer


@pytest.mark.parametrize(("router", "low", "worst"), [(None, 1, 1), ({"kind": "majority"}, 5, 10)])
def test_a_dry_run_counts_the_calls_of_what_decides(router: Any, low: int, worst: int) -> None:
    plan = plan_calls(profile(router=router), [Question(text="2 + 2?")])
    assert (plan["low"]["calls"], plan["worst"]["calls"]) == (low, worst)
    assert plan["low"]["usd"] <= plan["expected"]["usd"] <= plan["worst"]["usd"]


def test_a_dry_run_follows_the_plan_of_the_prior() -> None:
    own = profile(router=PRIOR)
    policy = default_policy(own)
    assert isinstance(policy, PriorPolicy)
    question = Question(text="2 + 2?")
    plan = plan_calls(own, [question] * 100)
    forecast = policy.forecast(Facts(30.0))
    calls = plan["expected"]["calls"] / 100
    assert calls == pytest.approx(1 + forecast.votes + forecast.escalated, abs=0.3)
    assert f"0% to 100% ({forecast.escalated:.0%} is a guess) of answers escalated" in plan["assumes"]


def test_the_numbers_that_ship_make_a_prior() -> None:
    assert sum(h.chance for h in public_prior()) == pytest.approx(1.0, abs=1e-12)
    assert RESULTS[GIVE_UP].quality.least >= 0.98
    assert all(len(kind.states) == 4 for kind in KINDS)


def test_a_single_tier_needs_no_prior() -> None:
    own = profile(SMALL)
    assert run(own)[0].tier == "small"
    assert default_policy(own) == AlwaysPolicy(1, 0)


# ---------------------------------------------------------------- on recorded sets


@pytest.mark.skipif(not DATA.exists(), reason="no recorded sets at hand: set AUTOMIX_DATA")
def test_the_prior_is_what_recorded_sets_teach_and_keeps_the_aim_on_each_left_out() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    import public_prior as bench

    assert tuple(kind for recorded in bench.SETS for kind in bench.kinds(recorded)) == KINDS
    kept: dict[str, float] = {}
    for recorded in bench.SETS:
        learn = bench.without(recorded.name, bench.SETS)
        for price in (bench.Price(2.0, 2.0), bench.Price(10.0, 0.5), bench.Price(60.0, 1 / 8)):
            own, half = bench.measure(recorded, learn, price, GIVE_UP), bench.rule_of_half(recorded, price)
            assert own.cost <= 1.02
            assert own.kept >= max(0.98, half.kept)
            kept[f"{recorded.name} {recorded.small}"] = half.kept  # the rule heeds no price
    assert tuple(round(f(kept.values()), 3) for f in (min, max)) == HALF_RULE.quality
