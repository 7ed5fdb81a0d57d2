"""Shadow calls: which rows are drawn, what the row says of them, what they cost, and what they never do."""

import asyncio
import hashlib
import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from shell import ROOT, automix
from test_cascade import LARGE, LARGE_CALL, SMALL, calls, profile, says, script

from automix_cli import prompts
from automix_cli.api import CallOptions, Runtime, choose_profile, shadow_plan
from automix_cli.backends.base import Request, ScriptedBackend
from automix_cli.cascade.answer import Degrading
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.estimate import plan_calls
from automix_cli.cascade.failed_attempts import note_maybe_billed
from automix_cli.cascade.shadow import ShadowPlan
from automix_cli.data.draws import uniform
from automix_cli.errors import BackendError, BudgetError, NoText, RateLimited, TimedOut, UsageError
from automix_cli.profile.model import Profile, Task
from automix_cli.profile.router import baseline_of
from automix_cli.records import Answer, Completion, Question

ALL = ShadowPlan(LARGE, 1.0)
QUESTIONS = ROOT / "profiles" / "demo-questions.jsonl"


def ask(backend: ScriptedBackend, plan: ShadowPlan | None = ALL, **changes: Any) -> Answer:
    cascade = Cascade(changes.pop("profile", profile()), backend, shadow=plan, **changes)
    return asyncio.run(cascade.answer(Question(text="9 + 9?")))


# ---------------------------------------------------------------- the draw


def test_a_row_is_drawn_by_the_hash_of_seed_and_id() -> None:
    for seed, ident in ((0, "q1"), (7, 12), (7, "ü")):
        number = int(hashlib.sha256(f"shadow:{seed}:{ident}".encode()).hexdigest()[:16], 16)
        assert math.isclose(uniform("shadow", seed, ident), number / 2**64, rel_tol=1e-12)


def test_the_share_of_rows_drawn_is_the_share_asked_for_and_larger_shares_draw_more_besides() -> None:
    shares = (0.0, 0.02, 0.1, 0.5, 1.0)
    draws = [{i for i in range(10_000) if ShadowPlan(LARGE, share, 3).draws(i)} for share in shares]
    for share, rows in zip(shares, draws, strict=True):
        assert abs(len(rows) - 10_000 * share) <= 4 * math.sqrt(10_000 * share * (1 - share))
    assert all(fewer < more for fewer, more in pairwise(draws))


def test_draws_with_another_seed_are_independent() -> None:
    both = sum(
        ShadowPlan(LARGE, 0.5, 0).draws(i) and ShadowPlan(LARGE, 0.5, 1).draws(i) for i in range(10_000)
    )
    assert abs(both - 2_500) < 4 * math.sqrt(10_000 * 0.25 * 0.75)


# ---------------------------------------------------------------- the row


@pytest.mark.parametrize(("small", "equal"), [("18", True), ("**18**.", True), ("17", False)])
def test_a_row_that_did_not_call_the_baseline_calls_it_and_is_compared_by_canonical_form(
    small: str, equal: bool
) -> None:
    backend = script("++++", small=small)
    row, plain = ask(backend), ask(script("++++", small=small), None)
    assert calls(backend)[-1] == ("test/large", False, 1)
    assert row.to_dict()["shadow"] == {
        "tier": "large",
        "share": 1.0,
        "seed": 0,
        "equal": equal,
        "answer": "18",
        "answer_usd": LARGE_CALL,
        "calls": 1,
        "cost_usd": LARGE_CALL,
        "spent_usd": LARGE_CALL,
    }
    assert row.cost_usd == plain.cost_usd
    assert math.isclose(row.spent_usd or 0, (plain.spent_usd or 0) + LARGE_CALL)
    assert row.usage == plain.usage


def test_a_row_that_reports_the_baseline_counts_as_equal_at_no_cost() -> None:
    backend = script("-----")
    row = ask(backend)
    assert [model for model, vote, _ in calls(backend) if not vote] == ["test/small", "test/large"]
    shadow = row.to_dict()["shadow"]
    assert (shadow["equal"], shadow["answer_usd"]) == (True, LARGE_CALL)
    assert "calls" not in shadow
    assert row.cost_usd == row.spent_usd


def test_a_row_that_is_not_drawn_makes_the_same_calls_as_without_shadow() -> None:
    backends = [script("++++"), script("++++")]
    drawn_by_none = ask(backends[0], ShadowPlan(LARGE, 0.0))
    assert drawn_by_none.shadow is None
    ask(backends[1], None)
    assert calls(backends[0]) == calls(backends[1])


def test_free_text_is_equal_only_by_its_words() -> None:
    for small, equal in (("18 men", False), ("18!", True)):
        free = replace(profile(), task=Task(scorer="f1"))
        assert ask(script("++++", small=small), profile=free).shadow.equal is equal


# ---------------------------------------------------------------- failures


def failing_large(error: BackendError) -> ScriptedBackend:
    def reply(request: Request) -> Completion | Exception:
        if request.model == "test/large":
            note_maybe_billed(request, error) if error.maybe_billed else None
            return error
        return says(prompts.decision(True) if prompts.is_verification(request.messages) else "17")

    return ScriptedBackend(reply)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RateLimited("slow down"), "rate_limit"),
        (BudgetError("stopped by --max-cost"), "budget"),
        (TimedOut("late", maybe_billed=True), "timeout"),
    ],
)
def test_a_shadow_call_that_fails_leaves_the_row_as_it_is(error: BackendError, kind: str) -> None:
    row = ask(failing_large(error))
    assert (row.status, row.answer, row.error) == ("ok", "17", None)
    shadow = row.to_dict()["shadow"]
    assert (shadow["equal"], shadow["error"]["type"]) == (None, kind)
    assert (shadow["spent_usd"] > 0) == error.maybe_billed
    assert math.isclose(row.spent_usd, row.cost_usd + shadow["spent_usd"])


def test_a_baseline_without_text_is_no_error_and_costs_what_was_charged() -> None:
    error = NoText("no text", maybe_billed=True)
    error.reply = says("")
    shadow = ask(failing_large(error)).to_dict()["shadow"]
    assert (shadow["failed"], shadow["equal"], shadow["spent_usd"]) == ("no_text", None, LARGE_CALL)
    assert "error" not in shadow


def test_a_row_without_an_answer_is_not_compared() -> None:
    backend = ScriptedBackend(lambda request: RateLimited("slow down"))
    assert ask(backend).shadow is None
    assert len(backend.calls) == 1


def test_once_the_cap_was_reached_a_degraded_run_makes_no_shadow_call() -> None:
    backend = script("")
    row = ask(backend, degrading=Degrading(cap_reached=True))
    assert (row.answer, row.shadow.error.type) == ("17", "budget")
    assert [model for model, _, _ in calls(backend)] == ["test/small"]


# ---------------------------------------------------------------- money


@pytest.mark.parametrize("cap", [0.002, 0.006, 0.02])
def test_shadow_calls_stay_within_the_cap(cap: float) -> None:
    options = CallOptions(profile="demo", no_cache=True, max_cost=cap, shadow=1.0)

    async def run(cascade: Cascade) -> list[Answer]:
        return [await cascade.answer(Question(text=f"What is 17 * {n}?", id=n)) for n in range(20)]

    rows = Runtime(choose_profile(options), options).run(run)
    assert sum(row.spent_usd or 0.0 for row in rows) <= cap
    assert any(row.shadow and row.shadow.error for row in rows) or rows[-1].status == "skipped"


def test_a_dry_run_counts_the_rows_drawn_and_their_calls() -> None:
    questions = [Question(text="9 + 9?", id=i) for i in range(200)]
    plan = ShadowPlan(LARGE, 0.1)
    rows = sum(plan.draws(q.id) for q in questions)
    without, beside = (plan_calls(profile(), questions, shadow=s) for s in (None, plan))
    assert beside["shadow"] == {
        "tier": "large",
        "rows": rows,
        "calls": round(rows * 2 / 3),
        "usd": pytest.approx(beside["expected"]["usd"] - without["expected"]["usd"]),
    }
    assert beside["low"]["calls"] == without["low"]["calls"] + rows
    assert beside["worst"] == without["worst"]
    assert "shadow" not in without


# ---------------------------------------------------------------- which baseline


@pytest.mark.parametrize(
    ("router", "name"),
    [
        (None, "large"),
        ({"kind": "always", "tier": "small", "fitted": {}}, "large"),
        ({"kind": "always", "tier": "large", "fitted": {"baseline": "small"}}, "small"),
        ({"kind": "always", "tier": "large", "fitted": {"baseline": "gone"}}, "large"),
    ],
)
def test_the_baseline_is_that_of_the_profile_else_the_dearest_tier(router: Any, name: str) -> None:
    routed = replace(profile(), router=router)
    assert baseline_of(routed).name == name
    assert shadow_plan(routed, CallOptions(shadow=0.5)).baseline.name == name
    assert shadow_plan(routed, CallOptions(baseline="small")).baseline.name == "small"


def test_a_single_tier_has_no_baseline_to_ask() -> None:
    one = Profile(name="one", tiers=(SMALL,))
    with pytest.raises(UsageError, match="the only one"):
        shadow_plan(one, CallOptions(shadow=0.1))


# ---------------------------------------------------------------- the command


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def shadows(path: Path) -> dict[str, Any]:
    return {row["id"]: row.get("shadow") for row in rows_of(path)}


def test_resumed_and_cached_runs_draw_the_same_rows(tmp_path: Path) -> None:
    questions, whole, part = (tmp_path / f"{name}.jsonl" for name in ("questions", "whole", "part"))
    questions.write_text("\n".join(QUESTIONS.read_text("utf-8").split("\n")[:30]), "utf-8")
    command = ("ask", "--profile", "demo", "-i", questions, "--shadow", "0.3")
    first = automix(*command, "-o", whole)
    assert first.code == 0
    expected = {ident for ident, shadow in shadows(whole).items() if shadow}
    assert f"{len(expected)} rows compared with large" in first.err
    assert automix(*command[:-2], "-o", part).code == 0
    assert not any(shadows(part).values())
    again = automix(*command, "-o", part, "--resume")
    assert f"redone: {len(expected)} drawn for a shadow call" in again.err
    assert {ident for ident, shadow in shadows(part).items() if shadow} == expected
    assert sum(row["spent_usd"] for row in rows_of(part) if row["id"] in expected) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shadow", "0.1", "What is 2 + 2?"), "draws from rows"),
        (("--baseline", "larg", "What is 2 + 2?"), "did you mean"),
        (("--shadow", "1.5", "What is 2 + 2?"), "0.0<=x<=1.0"),
    ],
)
def test_options_that_cannot_work_are_refused(options: tuple[str, ...], message: str) -> None:
    ran = automix("ask", "--profile", "demo", *options)
    assert ran.code == 2
    assert message in ran.err
