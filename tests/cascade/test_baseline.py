"""What a batch would have cost with one tier alone: exact where it answered, else estimated."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from msgspec.structs import asdict, replace

from automix_cli.api import CallOptions, Runtime, choose_profile
from automix_cli.cascade.baseline import (
    BaselineCost,
    CalibratedQuality,
    CostTally,
    baseline_cost,
    calibrated_quality,
)
from automix_cli.profile.model import Profile, Tier
from automix_cli.profile.router import fingerprint
from automix_cli.records import Answer, Question, RowError, Step
from automix_cli.usage import Price, Usage

SMALL = Tier(name="small", model="openai/unknown-a", price=Price(input=1.0, output=4.0))
LARGE = Tier(name="large", model="openai/unknown-b", price=Price(input=10.0, output=40.0))
PROFILE = Profile(name="test", tiers=(SMALL, LARGE))


def step(tier: Tier, tokens: int = 100, out: int = 10, votes_usd: float = 0.0) -> Step:
    usage = Usage(input_tokens=tokens, output_tokens=out, calls=1)
    cost = None if tier.price is None else tier.price.of(usage)
    return Step(
        tier=tier.name,
        answer="a",
        answer_usage=usage,
        answer_cost=cost,
        cost_usd=None if cost is None else cost + votes_usd,
    )


def row(*steps: Step, **changes: Any) -> Answer:
    return replace(Answer(question=Question(text="?"), answer="a", route=steps), **changes)


def tally(*rows: Answer) -> CostTally:
    costs = CostTally(baseline="large")
    for each in rows:
        costs.add(each)
    return costs


# ---------------------------------------------------------------- counting


def test_rows_that_were_not_run_to_their_end_do_not_count() -> None:
    error = RowError(type="timeout", message="late")
    costs = tally(
        row(step(SMALL)),
        row(step(SMALL)).with_error(error),
        row(step(SMALL)).with_error(error, status="skipped"),
        row(),
        row(step(SMALL), status="abstained", answer=None),
    )
    assert (costs.rows, costs.prompt_tokens, costs.answers["small"].rows) == (2, 200, 2)
    assert costs.cost_usd == pytest.approx(2 * 140e-6)


def test_votes_are_part_of_the_batch_and_not_of_the_baseline() -> None:
    costs = tally(row(step(SMALL, votes_usd=0.5), step(LARGE, votes_usd=0.25)))
    assert costs.cost_usd == pytest.approx(0.75 + 11 * 140e-6)
    assert baseline_cost(costs, PROFILE) == BaselineCost("large", pytest.approx(1400e-6), 0, "answers")


# ---------------------------------------------------------------- the source of the estimate


def fitted(held_out: dict[str, list[float]] | None = None, **changes: Any) -> dict[str, Any]:
    """What calibrate notes on its fit, for the profile above."""
    return {
        "rows": 100,
        "held_out": held_out or {},
        "prices": {tier.name: tier.price and asdict(tier.price) for tier in PROFILE.tiers},
        **fingerprint(PROFILE),
        **changes,
    }


def pomdp(small: list[float], large: list[float], **changes: Any) -> dict[str, Any]:
    costs = {"small": small, "large": large}
    observations = {name: {"costs": {"answer": pair}} for name, pair in costs.items()}
    return {"kind": "pomdp", "observations": observations, "fitted": fitted(**changes)}


COSTS = {"always:small": [140e-6, 0.6], "always:large": [900e-6, 0.9]}
ALWAYS = {"kind": "always", "tier": "small", "fitted": fitted(COSTS)}
FIT = pomdp([0.0, 1.4e-6], [600e-6, 5e-6])


@pytest.mark.parametrize(
    ("router", "cost", "source"),
    [
        (None, 4 * 1400e-6, "mean"),
        (FIT, 3 * (600e-6 + 500e-6) + (600e-6 + 1500e-6), "fit"),
        (ALWAYS, 4 * 900e-6, "fit"),
        (pomdp([0.0, 1.4e-6], [0.0, 0.0]), 4 * 1400e-6, "mean"),
        (pomdp([1.0, 0.0], [20.0, 0.0]), 4 * 1400e-6, "mean"),
        (pomdp([0.0, 1.4e-6], [1e-3, 0.0], prices={"small": None, "large": None}), 4 * 1400e-6, "mean"),
        (pomdp([0.0, 1.4e-6], [1e-3, 0.0], models=["other", "models"]), 4 * 1400e-6, "mean"),
        ({"kind": "threshold", "cut": 0.5}, 4 * 1400e-6, "mean"),
        ({"kind": "always", "tier": "small", "fitted": fitted({"always:large": []})}, 4 * 1400e-6, "mean"),
    ],
    ids=[
        *("no router", "fit by tokens", "mean held out", "fit without a cost", "fit in another unit"),
        *("other prices", "other models", "no fit", "a torn block"),
    ],
)
def test_what_the_baseline_did_not_answer_is_estimated(
    router: dict[str, Any] | None, cost: float, source: str
) -> None:
    costs = tally(
        *[row(step(SMALL)) for _ in range(2)], row(step(SMALL), step(LARGE)), row(step(SMALL, 300, 30))
    )
    estimate = baseline_cost(costs, replace(PROFILE, router=router))
    assert estimate == BaselineCost("large", pytest.approx(cost), 3, source)


def test_without_any_answer_of_the_baseline_its_price_and_the_tokens_given_count() -> None:
    costs = tally(row(step(SMALL)), row(step(SMALL, 300, 30)))
    assert baseline_cost(costs, PROFILE) == BaselineCost("large", pytest.approx(5600e-6), 2, "tokens")


def test_an_unknown_price_is_unknown_and_never_0() -> None:
    unpriced = replace(LARGE, price=None)
    profile = replace(PROFILE, tiers=(SMALL, unpriced))
    for rows in ([row(step(SMALL))], [row(step(SMALL)), row(step(SMALL), step(unpriced))]):
        assert baseline_cost(tally(*rows), profile).cost_usd is None
    assert baseline_cost(tally(row(step(SMALL), step(unpriced))), profile).cost_usd is None


# ---------------------------------------------------------------- quality


@pytest.mark.parametrize(
    ("router", "quality"),
    [
        (None, None),
        ({"kind": "threshold", "cut": 0.5}, None),
        ({**ALWAYS, "fitted": {**ALWAYS["fitted"], "unproven": True}}, CalibratedQuality(0.6 / 0.9)),
        ({**ALWAYS, "tier": "large"}, None),
        (pomdp([0, 0], [0, 0], held_out={"pomdp": [1.0, 0.88], **COSTS}), CalibratedQuality(0.88 / 0.9)),
        (
            pomdp([0, 0], [0, 0], held_out={"pomdp": [1.0, 0.88], **COSTS}, written=[1.0, 0.81]),
            CalibratedQuality(0.81 / 0.9),
        ),
        (pomdp([0, 0], [0, 0], held_out={"pomdp": [1.0, 0.88], **COSTS}, written=[1.0, None]), None),
        (pomdp([0, 0], [0, 0], held_out={"pomdp": [1.0, 0.88]}), None),
        (pomdp([0, 0], [0, 0], held_out={"pomdp": [1.0, 0.8], "always:large": [1.0, 0.0]}), None),
        (pomdp([0, 0], [0, 0], held_out={"pomdp": [1.0, 0.88], **COSTS}, prompt_sha256="other"), None),
        (
            pomdp([0, 0], [0, 0], held_out={"pomdp": [1, 0.9], **COSTS}, unproven=True, labels_from="large"),
            CalibratedQuality(1.0, measure="agreement with large", unproven=True),
        ),
        (
            pomdp([0, 0], [0, 0], certificate={"keep": 0.95, "confidence": 0.9, "best": "large"}),
            CalibratedQuality(0.95, chance=0.9),
        ),
        (pomdp([0, 0], [0, 0], certificate={"keep": 0.95, "confidence": 0.9, "best": "small"}), None),
    ],
    ids=[
        *(
            "no router",
            "no fit",
            "a single tier",
            "the baseline alone",
            "routed",
            "what is written differs",
            "withheld",
            "no baseline",
            "a baseline that scores nothing",
        ),
        *("other prompts", "agreement, unproven", "a promise", "a promise about another tier"),
    ],
)
def test_quality_is_what_calibration_measured(
    router: dict[str, Any] | None, quality: CalibratedQuality | None
) -> None:
    assert calibrated_quality(replace(PROFILE, router=router), "large") == quality


# ---------------------------------------------------------------- simulated tiers


def test_hard_questions_go_to_the_baseline_so_that_its_mean_there_is_too_high_for_the_others() -> None:
    """The reason why the fit comes before the mean, shown on the simulated tiers."""
    options = CallOptions(profile="demo", no_cache=True)
    profile = choose_profile(options)
    questions = [Question(text=f"What is {a} * {b}?") for a in range(13, 63) for b in (7, 389)]

    async def costs_of(cascade: Any) -> tuple[CostTally, float]:
        costs, truth = CostTally(baseline="large"), 0.0
        alone = dataclasses.replace(cascade, profile=replace(profile, tiers=profile.tiers[1:]))
        for question in questions:
            costs.add(await cascade.answer(question))
            truth += (await alone.answer(question)).cost_usd
        return costs, truth

    costs, truth = Runtime(profile, options).run(costs_of)
    estimate = baseline_cost(costs, profile)
    assert (estimate.source, 0 < estimate.other_rows < len(questions)) == ("mean", True)
    assert estimate.cost_usd > 1.05 * truth
