"""What a dry run says is still to be paid is what the run then buys."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from automix_cli import prompts
from automix_cli.backends.base import Request, ScriptedBackend
from automix_cli.backends.cache import Cached
from automix_cli.backends.store import Store
from automix_cli.cascade import pay_now
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.estimate import plan_collection
from automix_cli.cascade.lengths import cached_lengths
from automix_cli.errors import ContentFiltered
from automix_cli.profile.model import Profile, Tier, VerificationSettings
from automix_cli.records import Completion, Question
from automix_cli.usage import Price, Usage
from automix_cli.views.lines import plan_lines

TIERS = tuple(Tier(name=n, model=f"openai/{n}", price=Price(input=0.0, output=1e6)) for n in ("a", "b"))
PROFILE = Profile(name="p", tiers=TIERS, verification=VerificationSettings(max_votes=4))
QUESTIONS = [Question(text=f"question {n}", id=n) for n in range(6)]
REFUSED = "question 5"  # by the first tier


def reply(request: Request) -> Completion | Exception:
    if prompts.is_verification(request.messages):
        return Completion(text=prompts.decision(True), usage=Usage(output_tokens=40, calls=1))
    if REFUSED in request.messages[-1].content and request.model == "openai/a":
        return ContentFiltered("no")
    return Completion(text="4", usage=Usage(output_tokens=700, calls=1))


def collect(folder: Path, questions: list[Question], votes: int = 4) -> tuple[int, int]:
    """Ask all tiers; returns the completions bought, and their output tokens."""
    backend = ScriptedBackend(reply)
    profile = replace(PROFILE, verification=VerificationSettings(max_votes=votes))

    async def run() -> float:
        cascade = Cascade(profile, Cached(backend, Store(folder)))
        traces = [await cascade.collect(question) for question in questions]
        await cascade.backend.aclose()
        return sum(step.spent_usd or 0.0 for trace in traces for step in trace.steps)

    spent = asyncio.run(run())
    return sum(call.n for call in backend.calls), round(spent)


def plan(folder: Path, questions: list[Question] = QUESTIONS, profile: Profile = PROFILE) -> dict[str, Any]:
    lengths = cached_lengths(profile, questions, folder)
    whole = plan_collection(profile, questions, lengths)
    return pay_now.plan_with_cache(whole, profile, questions, lengths, folder)


@pytest.mark.parametrize(
    ("before", "votes"),
    [(3, 4), (5, 4), (5, 2), (1, 0)],
    ids=["half", "all but one", "fewer votes", "answers"],
)
def test_what_is_to_be_paid_is_what_the_run_then_buys(tmp_path: Path, before: int, votes: int) -> None:
    collect(tmp_path, QUESTIONS[:before], votes)
    own = plan(tmp_path, QUESTIONS[:5])["to_pay"]
    bought, dollars = collect(tmp_path, QUESTIONS[:5])
    assert own["calls"] == bought
    assert own["cached_calls"] == 5 * 6 - bought
    if votes:
        assert own["usd"] == pytest.approx(dollars)
    assert (own["usd"] == 0) == (bought == 0)


def test_nothing_is_to_be_paid_only_where_the_cache_has_everything_a_refusal_among_it(tmp_path: Path) -> None:
    collect(tmp_path, QUESTIONS)
    whole = plan(tmp_path)
    assert whole["to_pay"] == {"calls": 0, "usd": 0.0, "cached_calls": 36, "looked_up": 6}
    assert "to pay now: $0, all of it is in the cache" in plan_lines(whole)
    assert collect(tmp_path, QUESTIONS) == (0, 0)


def test_a_cache_without_any_of_it_and_a_folder_without_a_cache_change_nothing(tmp_path: Path) -> None:
    collect(tmp_path, [Question(text="another one", id=9)])
    assert "to_pay" not in plan(tmp_path)
    assert "to_pay" not in plan(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_questions_that_are_not_looked_up_count_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pay_now, "MOST_LOOK_UPS", 2)
    collect(tmp_path, QUESTIONS)
    whole = plan(tmp_path)
    own = whole["to_pay"]
    assert (own["calls"], own["cached_calls"], own["looked_up"]) == (24, 12, 2)
    assert own["usd"] == pytest.approx(whole["expected"]["usd"] * 4 / 6)
    [line] = [line for line in plan_lines(whole) if line.startswith("to pay now")]
    assert line.endswith(
        "12 of 36 completions are in the cache (of the first 2 questions; the others count in full)"
    )


def test_where_a_price_is_unknown_so_is_what_is_to_be_paid(tmp_path: Path) -> None:
    collect(tmp_path, QUESTIONS[:3])
    unknown = replace(PROFILE, tiers=(replace(TIERS[0], price=None), TIERS[1]))
    assert plan(tmp_path, profile=unknown)["to_pay"]["usd"] is None
