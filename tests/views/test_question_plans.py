"""What is planned for a question, in words, is what the run then does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from known import two_tiers
from msgspec.structs import replace

from automix_cli import prompts
from automix_cli.backends.base import Request, ScriptedBackend
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.question_facts import facts_of_answer
from automix_cli.pomdp.first_moves import first_moves
from automix_cli.pomdp.model import Cost
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Facts, Policy
from automix_cli.pomdp.rules import AlwaysPolicy, MajorityPolicy, ThresholdPolicy
from automix_cli.profile.model import Profile, Tier, VerificationSettings
from automix_cli.records import Answer, Completion, Question
from automix_cli.usage import Price, Usage
from automix_cli.views.first_moves_words import plan_sentence
from automix_cli.views.lines import explain_legend, explain_tree
from automix_cli.views.question_plans import QuestionPlans, planned_lines

PROFILE = Profile(
    name="test",
    router={"kind": "majority"},
    tiers=(
        Tier(name="small", model="test/small", price=Price(input=1.0, output=2.0)),
        Tier(name="large", model="test/large", price=Price(input=10.0, output=20.0)),
    ),
    verification=VerificationSettings(),
)
LENGTHS = replace(
    two_tiers(0.02), tiers=(two_tiers().tiers[0], replace(two_tiers().tiers[1], answer=Cost(1.0, 0.5)))
)
POLICIES: dict[str, Policy[Any]] = {
    "always": AlwaysPolicy(2, 1),
    "half": MajorityPolicy(2, 8),
    "threshold": ThresholdPolicy.single(tiers=2, votes=4, cut=0.7),
    **{f"pomdp {weight}": PomdpPolicy(two_tiers(weight)) for weight in (0.001, 0.01, 0.02)},
    "pomdp by length": PomdpPolicy(LENGTHS),
}


def answer(policy: Policy[Any], verdicts: str, text: str = "9 + 9?") -> tuple[Cascade, Answer]:
    """A question whose votes say + or -, in turn."""
    left = iter(verdicts)

    def reply(request: Request) -> Completion:
        own = prompts.decision(next(left) == "+") if prompts.is_verification(request.messages) else "18"
        return Completion(text=own, usage=Usage(input_tokens=9, output_tokens=9, calls=1))

    cascade = Cascade(PROFILE, ScriptedBackend(reply), policy)
    return cascade, asyncio.run(cascade.answer(Question(text=text)))


@pytest.mark.parametrize("verdicts", ["++++++++", "--------", "+-+-+-+-", "-+++-+++"])
@pytest.mark.parametrize("name", POLICIES)
def test_a_run_does_what_was_planned(name: str, verdicts: str) -> None:
    policy = POLICIES[name]
    cascade, row = answer(policy, verdicts, "word " * 40)
    moves, step = first_moves(policy, facts_of_answer(cascade, row)), row.route[0]
    assert PROFILE.tiers[moves.start.tier].name == step.tier
    own = next((look for look in moves.looks if look.of == step.count.n_votes), None)
    assert (own is None) <= moves.is_open
    if own is not None:
        assert own.actions[step.count.correct].kind == step.action


@pytest.mark.parametrize(
    ("name", "trust"),
    [("half", "of its votes, not calibrated"), ("pomdp 0.01", "chance to be right")],
)
def test_an_explanation_has_the_plan_before_the_steps_and_names_its_numbers(name: str, trust: str) -> None:
    cascade, row = answer(POLICIES[name], "++++++++")
    plans = QuestionPlans(PROFILE, cascade.active_policy())
    tree = explain_tree(row, plans.of_answer(cascade, row), plans.trust)
    shown = [str(branch.label) for branch in tree.children]
    assert shown[0].startswith("plan asks small, buys ")
    assert shown[1].startswith("small ")
    assert any(str(line.label).endswith(trust) for line in tree.children[1].children)
    assert max(map(len, explain_legend(row))) < 80


@pytest.mark.parametrize(
    ("policy", "lines"),
    [
        (
            POLICIES["half"],
            [
                "plan: asks small, buys up to 8 votes; asks large when fewer than half agree, "
                "else reports small's answer"
            ],
        ),
        (POLICIES["always"], ["plan: asks large and reports its answer"]),
        (
            MajorityPolicy(3, 8),
            [
                "plan: asks small, buys up to 8 votes; asks large when fewer than half agree, "
                "else reports small's answer; and the same with large's answer"
            ],
        ),
    ],
    ids=["half", "always", "three tiers"],
)
def test_a_dry_run_says_the_plan_of_its_questions(policy: Policy[Any], lines: list[str]) -> None:
    huge = (Tier(name="huge", model="test/huge"),) if getattr(policy, "tiers", 2) == 3 else ()
    profile = replace(PROFILE, tiers=(*PROFILE.tiers, *huge))
    questions = [Question(text="a?"), Question(text="b " * 900)]
    assert list(planned_lines(profile, policy, questions, 2)) == lines
    [some] = planned_lines(profile, policy, questions, 7)
    assert some == lines[0].replace("plan:", "plan of the first 2 questions:")


def test_a_dry_run_tells_apart_questions_with_other_plans() -> None:
    questions = [Question(text="a?")] * 3 + [Question(text="word " * 4000)]
    lines = list(planned_lines(PROFILE, POLICIES["pomdp by length"], questions, 4))
    assert [line.partition(":")[0] for line in lines] == [
        "plan of 3 of 4 questions",
        "plan of 1 of 4 questions",
    ]
    assert len({line.partition(":")[2] for line in lines}) == 2


def test_classes_with_plans_of_their_own_are_named() -> None:
    model = two_tiers(0.01)
    easy, hard = (0.01, 0.0001, 0.02, 0.9699), (0.05, 0.0001, 0.9, 0.0499)
    policy = PomdpPolicy(replace(model, priors=(easy, hard, model.priors[0])))
    every = [first_moves(policy, Facts(None, k)).start.tier for k in range(3)]
    assert every[:2] == [0, 1]
    words = plan_sentence(policy, ("small", "large"), classes=("art", "law"))
    assert "law: asks large and reports its answer" in words
    assert "art: asks small" in words
    assert words.startswith("by the class of the question. ")
    many = PomdpPolicy(replace(model, cost_weight=0.01, priors=(easy, hard, *_between(easy, hard))))
    words = plan_sentence(many, ("small", "large"), classes=("a", "b", "c", "d", "e"))
    assert words.startswith("starts at small (a")
    assert words.endswith("what follows depends on the class of the question")


def _between(a: tuple[float, ...], b: tuple[float, ...]) -> list[tuple[float, ...]]:
    """Priors between two, of as many plans."""
    return [
        tuple(share * x + (1 - share) * y for x, y in zip(a, b, strict=True))
        for share in (0.4, 0.6, 0.8, 0.9)
    ]
