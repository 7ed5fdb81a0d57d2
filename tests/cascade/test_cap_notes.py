"""A cap that one call may exceed is said before anything is spent."""

from __future__ import annotations

import asyncio
import re

import pytest
from msgspec.structs import replace
from shell import ROOT
from typer.testing import CliRunner

from automix_cli.backends.base import ScriptedBackend
from automix_cli.backends.budget import Budget, BudgetedBackend
from automix_cli.cascade.cap_notes import cap_notes, check_notes, collection_notes
from automix_cli.cascade.requests import RequestBuilder
from automix_cli.cli import app
from automix_cli.errors import BudgetError
from automix_cli.profile.model import Profile, Tier
from automix_cli.records import Question
from automix_cli.usage import Price


def profile(cap: float | None) -> Profile:
    """Two tiers; an answer of the second may cost up to $0.041."""
    params = {"max_tokens": 2048}
    small = Tier(name="small", model="demo/small", price=Price(input=0.1, output=0.4), params=params)
    large = Tier(name="large", model="demo/large", price=Price(input=5.0, output=20.0), params=params)
    own = Profile(name="own", tiers=(small, large))
    return replace(own, limits=replace(own.limits, max_cost=cap))


@pytest.mark.parametrize(
    ("cap", "named"), [(None, []), (1.0, []), (0.02, ["large"]), (0.0, ["small", "large"])]
)
def test_each_tier_that_a_cap_cannot_pay_once_is_named(cap: float | None, named: list[str]) -> None:
    notes = list(cap_notes(profile(cap)))
    assert len(notes) == len(named)
    for note, name in zip(notes, named, strict=True):
        assert f"one call of {name} may cost" in note
        assert f"a higher --max-cost or a lower max_tokens of {name} mends it" in note


def test_a_call_for_several_votes_may_be_the_one_that_a_cap_cannot_pay() -> None:
    own = profile(0.002)
    assert len(list(cap_notes(own))) == 1  # an answer of large; one vote of small may cost less
    small, large = collection_notes(own)
    assert "one call for 8 votes of small may cost" in small
    assert "the run ends there" in small
    assert "one call of large may cost" in large
    [check] = check_notes(own, own.tiers[:1], 5)
    assert "one call for 5 votes of small may cost" in check
    assert list(check_notes(own, own.tiers[:1], 1)) == []


def test_the_note_names_the_price_that_the_refusal_names() -> None:
    """Both name the first call that does not fit; the refusal's question is longer by a few letters."""
    own = profile(0.0005)
    [note, _] = cap_notes(own)
    call, vote = re.findall(r"may cost, (\$[\d.]+) at max_tokens 2,048", note)
    request = RequestBuilder(own).for_answer(Question(text="?"), own.tiers[0]).request
    backend = BudgetedBackend(ScriptedBackend(["never"]), Budget(0.0005), lambda _: own.tiers[0].price)
    with pytest.raises(BudgetError) as caught:
        asyncio.run(backend.complete(request))
    assert f"the next call may cost up to {call} at max_tokens 2,048" in caught.value.message
    assert float(vote[1:]) > float(call[1:])
    assert "and what one vote may cost" in note


def test_room_for_votes_that_the_profile_sets_apart_is_what_mends_it() -> None:
    own = profile(0.001)
    own = replace(own, verification=replace(own.verification, max_tokens=4096))
    small, _ = cap_notes(own)
    assert "what one vote of small may cost" in small
    assert "a higher --max-cost or a lower max_tokens of verification mends it" in small


def test_calibrate_says_it_before_it_pays() -> None:
    rows = ["--profile", "demo", "--max-cost", "0.0001", "--no-cache"]
    ran = CliRunner().invoke(app, ["calibrate", str(ROOT / "profiles" / "demo-questions.jsonl"), *rows])
    assert ran.exit_code == 4
    assert "the cap of $0.0001 is below what one call of small may cost, $" in ran.stderr
    assert "and what one call for 8 votes may cost, $" in ran.stderr
