"""The forecast learns from the cache how long completions are."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from automix_cli import prompts
from automix_cli.backends.base import Request, ScriptedBackend
from automix_cli.backends.cache import Cached
from automix_cli.backends.store import Store
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.estimate import plan_calls, plan_collection
from automix_cli.cascade.lengths import cached_lengths
from automix_cli.cascade.requests import RequestBuilder
from automix_cli.profile.model import Profile, Tier, VerificationSettings
from automix_cli.records import Completion, Question
from automix_cli.usage import Price, Usage

ANSWER, VOTE = 700, 40  # output tokens
TIERS = tuple(Tier(name=n, model=f"openai/{n}", price=Price(input=0.0, output=1e6)) for n in ("a", "b"))
PROFILE = Profile(name="p", tiers=TIERS, verification=VerificationSettings(max_votes=4))
QUESTIONS = [Question(text=f"question {n}", id=n) for n in range(10)]


def reply(request: Request) -> Completion:
    if prompts.is_verification(request.messages):
        return Completion(text=prompts.decision(True), usage=Usage(output_tokens=VOTE, calls=1))
    return Completion(text="4", usage=Usage(output_tokens=ANSWER, calls=1))


async def collect(folder: Path, questions: list[Question]) -> None:
    cascade = Cascade(PROFILE, Cached(ScriptedBackend(reply), Store(folder)))
    for question in questions:
        await cascade.collect(question)
    await cascade.backend.aclose()


def test_a_plan_expects_completions_as_long_as_those_in_the_cache(tmp_path: Path) -> None:
    guess = plan_collection(PROFILE, QUESTIONS)
    asyncio.run(collect(tmp_path, QUESTIONS[:3]))
    lengths = cached_lengths(PROFILE, QUESTIONS, tmp_path)
    plan = plan_collection(PROFILE, QUESTIONS, lengths)
    assert plan["expected"]["usd"] == pytest.approx(10 * (2 * ANSWER + 4 * VOTE))  # a dollar a token
    assert plan["expected"]["usd"] != pytest.approx(guess["expected"]["usd"])
    assert (plan["low"], plan["worst"]) == (guess["low"], guess["worst"])
    assert "18 completions in the cache" in plan["assumes"]
    assert plan_calls(PROFILE, QUESTIONS, lengths)["expected"] != plan_calls(PROFILE, QUESTIONS)["expected"]


def test_a_folder_without_a_cache_is_left_alone(tmp_path: Path) -> None:
    lengths = cached_lengths(PROFILE, QUESTIONS, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert plan_collection(PROFILE, QUESTIONS, lengths) == plan_collection(PROFILE, QUESTIONS)


def test_a_tier_that_was_asked_of_long_questions_only_is_not_expected_to_answer_all_at_such_length(
    tmp_path: Path,
) -> None:
    def longer(request: Request) -> Completion:
        hard = any(f"question {n}" in request.messages[-1].content for n in (0, 1))
        tokens = (400 if hard else 100) * (3 if request.model == "openai/b" else 1)
        return Completion(text="4", usage=Usage(output_tokens=tokens, calls=1))

    async def escalate() -> None:
        backend = Cached(ScriptedBackend(longer), Store(tmp_path))
        builder = RequestBuilder(PROFILE)
        for n, question in enumerate(QUESTIONS):
            for tier in TIERS[: 2 if n < 2 else 1]:
                await backend.complete(builder.for_answer(question, tier, n=1).request)
        await backend.aclose()

    asyncio.run(escalate())
    lengths = cached_lengths(PROFILE, QUESTIONS, tmp_path)
    assert lengths["a"].answers.mean == 160
    assert lengths["b"].answers.mean == 3 * 160


def test_questions_that_were_never_asked_are_expected_to_be_answered_as_others_were(tmp_path: Path) -> None:
    asyncio.run(collect(tmp_path, [Question(text="another one", id=99)]))
    lengths = cached_lengths(PROFILE, QUESTIONS, tmp_path)
    assert (lengths["a"].answers.mean, lengths["a"].votes.mean) == (ANSWER, VOTE)
    assert lengths["a"].shares_prompt is False  # each completion came with a prompt of its own
    asyncio.run(collect(tmp_path, [Question(text="yet another", id=98)]))
    assert cached_lengths(PROFILE, QUESTIONS, tmp_path)["a"].votes.completions == 8
    elsewhere = replace(PROFILE, tiers=tuple(replace(t, api_base="http://127.0.0.1:1/v1") for t in TIERS))
    assert cached_lengths(elsewhere, QUESTIONS, tmp_path)["a"].answers.mean is None
