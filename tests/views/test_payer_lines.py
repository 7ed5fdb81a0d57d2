"""The sentences that a payer reads, word for word."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from automix_cli.cascade.baseline import CostTally, TierAnswers
from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.payer import Baseline, Offer
from automix_cli.profile.model import Profile, Tier
from automix_cli.usage import Price, Usage
from automix_cli.views.payer_lines import batch_line, compare_costs, offer_lines

# ---------------------------------------------------------------- calibrate and bench

LARGE = Baseline("large", 0.0094)
ROUTED = Offer(
    subject="Routing",
    cost=0.0031,
    baseline=LARGE,
    gain=Measure(0.3, "", -0.8, 1.4),
    rows=200,
    rows_cost=1.2,
)


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        (
            {},
            [
                "Routing: $3.10 per 1,000 questions instead of $9.40 with large (67 % cheaper) "
                "at +0.3 points of quality (95 %: -0.8 to +1.4).",
                "The 200 labelled rows cost $1.20 (all answers and votes): paid back after 191 questions.",
            ],
        ),
        (
            {"gain": None, "set_aside_cost": 0.2},
            [
                "Routing: $3.10 per 1,000 questions instead of $9.40 with large (67 % cheaper).",
                "The 200 labelled rows cost $1.20 (all answers and votes, $0.20 of it for rows set aside): "
                "paid back after 191 questions.",
            ],
        ),
        (
            {"gain": None, "rows": 0},
            ["Routing: $3.10 per 1,000 questions instead of $9.40 with large (67 % cheaper)."],
        ),
        (
            {
                "gain": Measure(0.3, "too few rows for an interval"),
                "measure": "agreement with large",
                "rows": 0,
            },
            [
                "Routing: $3.10 per 1,000 questions instead of $9.40 with large (67 % cheaper) "
                "at +0.3 points of agreement with large."
            ],
        ),
        (
            {"gain": Measure(None, "undefined"), "rows_cost": None},
            [
                "Routing: $3.10 per 1,000 questions instead of $9.40 with large (67 % cheaper).",
                "What the 200 labelled rows cost is unknown.",
            ],
        ),
        (
            {"baseline": Baseline("medium", 0.0062, "the best single tier"), "gain": None, "rows": 1},
            [
                "Routing: $3.10 per 1,000 questions instead of $6.20 with medium, the best single tier "
                "(50 % cheaper).",
                "The 1 labelled row cost $1.20 (all answers and votes): paid back after 388 questions.",
            ],
        ),
        (
            {"cost": 0.012, "gain": None},
            ["Routing: $12.00 per 1,000 questions instead of $9.40 with large (28 % dearer)."],
        ),
        (
            {"cost": 0.0094, "gain": None},
            ["Routing: $9.40 per 1,000 questions instead of $9.40 with large (as dear)."],
        ),
        (
            {"baseline": Baseline("local", 0.0), "gain": None},
            ["Routing: $3.10 per 1,000 questions instead of $0 with local."],
        ),
        (
            {"baseline": Baseline("large", None)},
            ["Routing: $3.10 per 1,000 questions; what large alone costs is unknown."],
        ),
        ({"cost": None}, ["Routing: the cost is unknown, because a price is."]),
        (
            {"subject": "large alone", "tier": "large", "cost": 0.0094},
            ["No routing: large alone costs $9.40 per 1,000 questions."],
        ),
        (
            {
                "subject": "medium alone",
                "tier": "medium",
                "cost": 0.0062,
                "baseline": Baseline("medium", 0.0062, "the best single tier"),
            },
            ["No routing: medium alone, the best single tier, costs $6.20 per 1,000 questions."],
        ),
        (
            {
                "subject": "small alone",
                "tier": "small",
                "cost": 0.0000042,
                "gain": Measure(-29, "", -34.2, -24),
            },
            [
                "small alone: $0.0042 per 1,000 questions instead of $9.40 with large (99.9 % cheaper) "
                "at -29.0 points of quality (95 %: -34.2 to -24.0).",
                "The 200 labelled rows cost $1.20 (all answers and votes): paid back after 128 questions.",
            ],
        ),
    ],
)
def test_an_offer_in_words(changes: dict[str, object], sentences: list[str]) -> None:
    assert offer_lines(replace(ROUTED, **changes)) == sentences


@pytest.mark.parametrize(
    ("cost", "other", "words"),
    [
        (3.1, 9.4, ("67 % cheaper", "than")),
        (0.02, 10, ("99.8 % cheaper", "than")),
        (0, 10, ("100 % cheaper", "than")),
        (0.001, 10, ("99.9 % cheaper", "than")),
        (9.99, 10, ("as dear", "as")),
        (10.04, 10, ("as dear", "as")),
        (10.06, 10, ("1 % dearer", "than")),
        (19.9, 10, ("99 % dearer", "than")),
        (20, 10, ("2.0 times as dear", "as")),
        (31000, 10, ("3,100 times as dear", "as")),
        (1, 0, None),
        (0, 0, None),
    ],
)
def test_costs_are_compared_in_words(cost: float, other: float, words: tuple[str, str] | None) -> None:
    assert compare_costs(cost, other) == words


# ---------------------------------------------------------------- a batch of ask


def profile(*prices: float | None, router: dict[str, object] | None = None) -> Profile:
    names = ("small", "medium", "large")[-len(prices) :] if len(prices) != 2 else ("small", "large")
    tiers = [
        Tier(name=n, model=f"openai/unknown-{n}", price=None if p is None else Price(input=p, output=4 * p))
        for n, p in zip(names, prices, strict=True)
    ]
    return Profile(name="test", tiers=tuple(tiers), router=router)


def costs(cost: float | None, *, small: int, large: int, large_usd: float | None = 0.0) -> CostTally:
    """Some rows whose first tier is small; the price of its answers plays no part."""
    answers = {"small": TierAnswers(small, 0.001 * small)}
    if large:
        answers["large"] = TierAnswers(large, large_usd)
    return CostTally(
        baseline="large",
        rows=max(small, large),
        cost_usd=cost,
        prompt_tokens=100 * small,
        answers=answers,
        other_usage=Usage(input_tokens=100 * (small - large), output_tokens=10 * (small - large)),
    )


@pytest.mark.parametrize(
    ("tally", "prices", "line"),
    [
        (CostTally(baseline="large"), (1.0, 20.0), ""),
        (CostTally(rows=4, cost_usd=0.01), (20.0,), "$2.50 per 1,000 questions at list price"),
        (
            costs(2.0, small=500, large=500, large_usd=4.0),
            (1.0, 20.0),
            "$4.00 per 1,000 questions at list price, 50 % cheaper than large alone",
        ),
        (
            costs(6.0, small=500, large=500, large_usd=4.0),
            (1.0, 20.0),
            "$12.00 per 1,000 questions at list price, 50 % dearer than large alone",
        ),
        (
            costs(1.0, small=500, large=88, large_usd=0.88),
            (1.0, 20.0),
            "$2.00 per 1,000 questions at list price, about 80 % cheaper than large alone (estimate: large "
            "was not asked on 412 of 500 questions, and counts there at its mean on the others, which are "
            "often harder)",
        ),
        (
            costs(0.1, small=100, large=0),
            (1.0, 20.0),
            "$1.00 per 1,000 questions at list price, about 64 % cheaper than large alone (estimate: large "
            "was not asked on 100 of 100 questions, and counts there at the tokens of the answers given, too "
            "few if it reasons at length)",
        ),
        (
            costs(None, small=9, large=1, large_usd=None),
            (1.0, None),
            "cost per 1,000 questions unknown: no price of large",
        ),
        (
            costs(0.009, small=9, large=0),
            (1.0, None),
            "$1.00 per 1,000 questions at list price; what large alone costs is unknown: no price of large",
        ),
        (
            costs(None, small=9, large=0),
            (None, None),
            "cost per 1,000 questions unknown: no price of small, large",
        ),
    ],
)
def test_a_batch_in_words(tally: CostTally, prices: tuple[float | None, ...], line: str) -> None:
    assert batch_line(tally, profile(*prices)) == line


def test_no_saving_is_claimed_where_rows_are_missing() -> None:
    tally = costs(0.1, small=100, large=20, large_usd=0.2)
    assert "cheaper than large alone" in batch_line(tally, profile(1.0, 20.0))
    line = batch_line(tally, profile(1.0, 20.0), whole=False)
    assert line.endswith("answered rows alone: the others may cost more, so that no saving is claimed")
