"""A dry run goes by what the same rule did with questions that the cache holds whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from automix_cli import prompts
from automix_cli.backends.base import Request, ScriptedBackend
from automix_cli.backends.cache import Cached
from automix_cli.backends.store import Store
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.estimate import plan_calls, policy_of
from automix_cli.cascade.lengths import cached_lengths
from automix_cli.cascade.past_runs import past_runs
from automix_cli.profile.model import Profile, Tier, VerificationSettings
from automix_cli.records import Completion, Question
from automix_cli.usage import Price, Usage

TIERS = tuple(
    Tier(name=n, model=f"openai/{n}", price=Price(input=0.0, output=rate))
    for n, rate in (("a", 1e6), ("b", 2e7))
)
PROFILE = Profile(
    name="p", tiers=TIERS, verification=VerificationSettings(max_votes=4), router={"kind": "majority"}
)
QUESTIONS = [Question(text=f"question {n}", id=n) for n in range(40)]
HARD = 8  # every such question goes on to the second tier


def reply(request: Request) -> Completion:
    """A dollar a token of the first tier: an answer has 5, a vote 2."""
    if prompts.is_verification(request.messages):
        hard = any(f"question {n}\n" in request.messages[-1].content for n in range(0, 40, HARD))
        return Completion(text=prompts.decision(not hard), usage=Usage(output_tokens=2, calls=1))
    return Completion(text="4", usage=Usage(output_tokens=5, calls=1))


def run(folder: Path, questions: list[Question], profile: Profile = PROFILE) -> float:
    """What the questions cost."""

    async def answer_all() -> float:
        cascade = Cascade(profile, Cached(ScriptedBackend(reply), Store(folder)), policy_of(profile))
        answers = [await cascade.answer(question) for question in questions]
        await cascade.backend.aclose()
        return sum(answer.cost_usd or 0.0 for answer in answers)

    return asyncio.run(answer_all())


def test_all_questions_are_expected_to_cost_what_the_first_of_them_did(tmp_path: Path) -> None:
    first = run(tmp_path, QUESTIONS[:16])
    past = past_runs(PROFILE, policy_of(PROFILE), QUESTIONS, tmp_path)
    assert sorted(past) == list(range(16))
    assert sum(own.escalated for own in past.values()) == 2
    assert sum(own.usd for own in past.values()) == pytest.approx(first)
    plan = plan_calls(PROFILE, QUESTIONS, cached_lengths(PROFILE, QUESTIONS, tmp_path), past=past)
    assert plan["expected"]["usd"] == pytest.approx(40 / 16 * first)
    assert plan["expected"]["calls"] == round(40 / 16 * sum(own.calls for own in past.values()))
    assert plan["assumes"].startswith("expected: 12% of answers escalated")
    low, high = plan["likely_usd"]
    assert low < run(tmp_path, QUESTIONS) < high


def test_where_no_run_went_on_others_may_all_the_same(tmp_path: Path) -> None:
    easy = [question for question in QUESTIONS if int(question.id) % HARD]
    run(tmp_path, easy[:16])
    past = past_runs(PROFILE, policy_of(PROFILE), QUESTIONS, tmp_path)
    assert not any(own.escalated for own in past.values())
    plan = plan_calls(PROFILE, QUESTIONS, cached_lengths(PROFILE, QUESTIONS, tmp_path), past=past)
    low, high = plan["likely_usd"]
    assert low < run(tmp_path, QUESTIONS) < high
    assert "not known yet: answers of b" in plan["assumes"]


def test_runs_of_which_the_cache_holds_a_part_only_would_be_the_cheap_ones(tmp_path: Path) -> None:
    first = Profile(name="p", tiers=TIERS[:1], verification=VerificationSettings(max_votes=4))
    run(tmp_path, QUESTIONS[:16], first)
    assert past_runs(PROFILE, policy_of(PROFILE), QUESTIONS, tmp_path) == {}
    assert past_runs(PROFILE, policy_of(PROFILE), QUESTIONS, tmp_path / "none") == {}
    assert not (tmp_path / "none").exists()
