"""Whether verification can pay, by hand: a dollar a token, and prompts of known length."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from automix_cli import prompts
from automix_cli.cascade.break_even import BreakEven, break_even, longest_context
from automix_cli.cascade.requests import RequestBuilder
from automix_cli.cli import app
from automix_cli.profile.model import Profile, Tier, VerificationSettings
from automix_cli.records import Question
from automix_cli.usage import Price
from automix_cli.views.break_even_words import break_even_line, payback_lines

SMALL = Tier(name="small", model="anthropic/x", price=Price(input=1e6, output=0.0))
LARGE = Tier(name="large", model="anthropic/y", price=Price(input=4e6, output=0.0))


def profile(small: Tier = SMALL, large: Tier = LARGE, **settings: object) -> Profile:
    return Profile(name="p", tiers=(small, large), verification=VerificationSettings(**settings))  # type: ignore[arg-type]


def tokens(own: Profile, question: Question) -> tuple[int, int]:
    """The tokens of a prompt for an answer, and of one for a vote."""
    builder, tier = RequestBuilder(own), own.tiers[0]
    requests = builder.for_answer(question, tier), builder.for_votes(question, "", tier, first=0, n=1)
    ask, check = (prompts.estimate_tokens(built.request.messages) for built in requests)
    return ask, check


@pytest.mark.parametrize("votes", [1, 4, 8])
def test_the_evidence_is_an_answer_and_all_votes(votes: int) -> None:
    own, question = profile(max_votes=votes), Question(text="What is 17 * 23?")
    ask, check = tokens(own, question)
    result = break_even(own, [question, question])
    assert result is not None
    assert result.evidence_usd == pytest.approx(ask + votes * check)
    assert result.one_vote_usd == pytest.approx(ask + check)
    assert result.baseline_usd == pytest.approx(4 * ask)
    assert result.times == pytest.approx((ask + votes * check) / (4 * ask))
    assert result.fewer_votes == max([v for v in range(1, votes + 1) if ask + v * check < 4 * ask], default=0)


def test_votes_of_one_round_share_a_prompt_where_the_provider_samples_several_at_once() -> None:
    small = replace(SMALL, model="openai/x")
    own, question = profile(small, max_votes=8, batch=(1, 4)), Question(text="?")
    ask, check = tokens(own, question)
    result = break_even(own, [question])
    assert result is not None
    assert result.evidence_usd == pytest.approx(ask + 2 * check)


@pytest.mark.parametrize(
    ("most", "most_large", "tokens_large"), [(512, 512, 128), (2048, 2048, 128), (512, 2048, 512)]
)
def test_a_short_answer_is_assumed_however_long_it_may_be(
    most: int, most_large: int, tokens_large: int
) -> None:
    small = replace(SMALL, params=(("max_tokens", most),))
    params = (("max_tokens", most_large),)
    large = replace(LARGE, price=Price(input=0.0, output=1e6), params=params)
    result = break_even(profile(small, large), [Question(text="?")])
    assert result is not None
    assert (result.answer_tokens, result.baseline_tokens) == (128, tokens_large)
    assert result.baseline_usd == pytest.approx(tokens_large)


def test_what_nobody_can_weigh_is_not_weighed() -> None:
    question = [Question(text="?")]
    assert break_even(replace(profile(), tiers=(SMALL,)), question) is None
    assert break_even(profile(large=replace(LARGE, model="openai/no-such", price=None)), question) is None
    assert break_even(profile(large=replace(LARGE, price=Price(input=0, output=0))), question) is None
    assert break_even(profile(max_votes=0), question) is None
    assert break_even(profile(), []) is None


def test_the_longest_context_is_where_both_cost_the_same() -> None:
    own = profile(large=replace(LARGE, price=Price(input=4e6, output=2e7)), max_votes=2)
    assert longest_context(own) is None  # 3 prompts at 1 against one at 4: cheaper at any length
    dear = profile(large=replace(LARGE, price=Price(input=2e6, output=4e7)), max_votes=2)
    length = longest_context(dear)
    assert length is not None
    near = [break_even(dear, [Question(text="?", context="x" * int(3 * length * f))]) for f in (0.8, 1.25)]
    assert [own.can_pay for own in near if own] == [True, False]


def one(**changes: object) -> BreakEven:
    return BreakEven("small", "large", 1, 8, 0.25, 0.1, 1.0, 8, 212.0, 64.0, 64.0)._replace(**changes)  # type: ignore[arg-type]


SHORT = "at prompts of about 200 tokens and answers of about 64"
FULL = "small's answer and 8 votes on it cost"


@pytest.mark.parametrize(
    ("own", "parts"),
    [
        (
            one(),
            (
                f"{FULL} 0.25 × large's answer {SHORT}",
                "routing saves where more than 25% of answers need no large",
            ),
        ),
        (
            one(evidence_usd=1.7, fewer_votes=3, prompt_tokens=6012.0),
            (
                f"{FULL} 1.7 × large's answer at prompts of about 6,000 tokens and answers of about 64",
                "all of them cannot pay; max_votes: 3 at most, or signal: logprob",
            ),
        ),
        (
            one(evidence_usd=9.0, one_vote_usd=1.2, fewer_votes=0),
            (
                f"{FULL} 9 × large's answer {SHORT}",
                "not even one vote can pay; signal: logprob with logprob_of: answer buys none",
            ),
        ),
        (
            one(answers=8, votes=0, evidence_usd=2.0, fewer_votes=0),
            (
                f"8 answers of small cost 2 × large's answer {SHORT}",
                "they cannot pay; sample fewer (max_votes)",
            ),
        ),
    ],
)
def test_the_sentence_says_whether_it_can_pay_and_what_would(own: BreakEven, parts: tuple[str, str]) -> None:
    assert break_even_line(own) == ": ".join(parts)


@pytest.mark.parametrize(
    ("own", "end"),
    [
        (one(), ": paid back after 24 questions if 33% of them go to large, after 12 at the earliest"),
        (
            one(evidence_usd=0.9),
            ": never paid back if 33% of questions go to large, after 12 at the earliest",
        ),
        (one(evidence_usd=9.0, one_vote_usd=2.0), ", which routing cannot pay back as the profile stands"),
    ],
)
def test_the_file_is_paid_back_by_what_is_saved(own: BreakEven, end: str) -> None:
    assert list(payback_lines(own, 10.0)) == [f"this file costs about $10.00{end}"]


def test_dry_runs_and_profile_check_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOMIX_CACHE_DIR", str(tmp_path / "cache"))
    Path("rows.jsonl").write_text('{"question": "What is 17 * 23?", "expected": "391"}\n')
    words = ("rows.jsonl", "--profile", "demo", "--dry-run")
    runs = {
        "ask": CliRunner().invoke(app, ["ask", "-i", *words]).stdout,
        "calibrate": CliRunner().invoke(app, ["calibrate", *words]).stdout,
    }
    for out in runs.values():
        assert "small's answer and 8 votes on it cost" in out
    assert "this file costs about $" in runs["calibrate"]
    Path("p.yaml").write_text("extends: demo\n")
    ran = CliRunner().invoke(app, ["profile", "check", "p.yaml"])
    assert "small's answer and 8 votes on it cost" in ran.stderr
