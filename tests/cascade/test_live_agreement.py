"""Answers compared live: an earlier answer is reported because the next tier gives an equal one."""

import json
from pathlib import Path

import pytest
from loopback import Call, Loopback
from msgspec.structs import replace

from automix_cli.api import CallOptions, Runtime, choose_profile
from automix_cli.cascade.cascade import Cascade
from automix_cli.fitting.fitted import Fitted, FittedTier
from automix_cli.pomdp.agreement import AgreementModel, Pair
from automix_cli.pomdp.model import Cost
from automix_cli.pomdp.observations import NO_OBSERVATIONS
from automix_cli.pomdp.problem import Action, Facts
from automix_cli.records import Answer, Question

NAMES = ("small", "middle", "large")
PRICES = (1.0, 1.0, 20.0)  # dollars per million tokens, in and out
ANSWERS = {  # by question: what each tier says
    "agree": ("It is 7.", "7.0", "9"),
    "differ": ("7", "8", "9"),
    "late": ("7", "8", "7"),
}


def fitted() -> Fitted:
    """Tiers right in 60, 55 and 90 of 100; equal answers are seldom both wrong."""
    right = (0.6, 0.55, 0.9)
    counts = [100.0] * 8
    for state in range(8):
        for tier, share in enumerate(right):
            counts[state] *= share if state >> tier & 1 else 1 - share
    pair = Pair(0.97, 0.08)
    return Fitted(
        tiers=tuple(
            FittedTier(name=name, observation=NO_OBSERVATIONS, answer=Cost(price * 0.001))
            for name, price in zip(NAMES, PRICES, strict=True)
        ),
        counts=(tuple(counts),),
        alpha=1.0,
        agreement=AgreementModel(pairs=((), (pair,), (pair, pair)), groups=(0.0, 0.0, 0.5), one_right=0.01),
    )


def says(call: Call) -> str:
    """The answer of the tier that a call names, to the question that it asks."""
    word = next(word for word in ANSWERS if word in call.prompt)
    return ANSWERS[word][NAMES.index(call.model)]


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Answer]:
    """The row of each question."""
    monkeypatch.setenv("AUTOMIX_CACHE_DIR", str(tmp_path / "cache"))
    with Loopback(says) as server:
        tiers = [
            f'- {{name: {name}, model: openai/{name}, api_base: "{server.url}", '
            f"price: {{input: {price}, output: {price}}}}}"
            for name, price in zip(NAMES, PRICES, strict=True)
        ]
        router = json.dumps({"kind": "pomdp", "cost_weight": 10.0, **fitted().to_dict()})
        path = tmp_path / "profile.yaml"
        path.write_text(
            "version: 1\ntiers:\n" + "\n".join(tiers) + f"\ntask: {{scorer: numeric}}\nrouter: {router}\n"
        )
        options = CallOptions(profile=str(path))

        async def job(cascade: Cascade) -> list[Answer]:
            return [await cascade.answer(Question(text=f"{word}?", id=word)) for word in ANSWERS]

        return {str(row.question.id): row for row in Runtime(choose_profile(options), options).run(job)}


def test_an_earlier_answer_is_reported_because_the_second_tier_agrees(answers: dict[str, Answer]) -> None:
    row = answers["agree"].to_dict()
    assert (row["tier"], row["answer"], row["status"]) == ("small", "It is 7.", "ok")
    assert [(s["tier"], s.get("agrees_with"), s["action"], s.get("reports")) for s in row["route"]] == [
        ("small", None, "escalate", None),
        ("middle", "small", "report", "small"),
    ]
    assert row["confidence"] > 0.9
    assert "agrees with small, so that it is right with chance 0.9" in row["reason"]
    assert row["cost_usd"] == pytest.approx(sum(s["cost_usd"] for s in row["route"]))


def test_answers_that_differ_are_settled_by_the_last_tier(answers: dict[str, Answer]) -> None:
    row = answers["differ"].to_dict()
    assert (row["tier"], row["answer"]) == ("large", "9")
    assert [s.get("agrees_with") for s in row["route"]] == [None, None, None]
    assert " instead of 0.90; report is the only step left" in row["reason"]
    late = answers["late"].to_dict()
    assert (late["answer"], late["route"][2]["agrees_with"]) == ("7", "small")
    assert late["confidence"] > row["confidence"]


def test_the_row_does_what_the_plan_says(answers: dict[str, Answer]) -> None:
    from automix_cli.fitting.router_block import Settings

    policy = fitted().policy(10.0, Settings())
    without = replace(fitted(), agreement=None).policy(10.0, Settings())
    assert policy.forecast(Facts()).value > without.forecast(Facts()).value + 0.01
    assert policy.action(policy.begin(Facts())) == Action("start", 0)


def test_a_router_block_keeps_its_agreement() -> None:
    block = json.loads(json.dumps(fitted().to_dict()))
    assert Fitted.from_dict(block) == fitted()
