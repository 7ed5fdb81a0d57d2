"""Whether verification can pay, by hand: a dollar a token, and prompts of known length."""

from pathlib import Path

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from automix_cli import prompts
from automix_cli.backends.server_record import Lengths
from automix_cli.cascade.break_even import BreakEven, break_even, longest_context
from automix_cli.cascade.estimate import plan_collection
from automix_cli.cascade.lengths import TierLengths
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


def tokens(own: Profile, question: Question, answer: int = 128) -> tuple[int, int]:
    """The tokens of a prompt for an answer, and of one for a vote, which holds the answer."""
    builder, tier = RequestBuilder(own), own.tiers[0]
    requests = builder.for_answer(question, tier), builder.for_votes(question, "", tier, first=0, n=1)
    ask, check = (prompts.expected_tokens(built.request.messages) for built in requests)
    return ask, check + answer


GUESS = 32  # tokens of an answer in a bill: between 1 and max_tokens, 1,024


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


def test_votes_that_a_plan_may_buy_at_once_share_a_prompt_as_in_a_bill() -> None:
    small = replace(SMALL, model="openai/x")
    own, question = profile(small, max_votes=8, batch=(1, 4)), Question(text="?")
    ask, check = tokens(own, question)
    result = break_even(own, [question])
    assert result is not None
    assert result.evidence_usd == pytest.approx(ask + check)
    assert plan_collection(own, [question])["votes"]["usd"] == pytest.approx(check - 128 + GUESS)


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
    near = [break_even(dear, [Question(text="?", context="x" * int(8 * length * f))]) for f in (0.8, 1.25)]
    assert [own.times < 1 for own in near if own] == [True, False]


def seen(written: int, prompt: int, estimate: int, *, shared: bool) -> Lengths:
    """What the cache tells of completions of one call each, or of calls that gave several for a prompt."""
    return Lengths(written, 1, prompt, estimate, int(shared), int(not shared))


OWN = replace(SMALL, model="openai/x", api_base="http://127.0.0.1:1/v1")


@pytest.mark.parametrize(
    ("small", "shared", "prompts_paid", "is_guess"),
    [
        (SMALL, None, 8, False),
        (replace(SMALL, model="openai/x"), None, 1, False),
        (OWN, None, 8, True),
        (replace(OWN, model="hosted_vllm/x"), None, 8, True),
        (OWN, False, 8, False),
        (OWN, True, 1, False),
        (replace(SMALL, model="openai/x"), False, 8, False),
    ],
    ids=[
        "one by one",
        "provider",
        "own server",
        "vllm",
        "own, seen to give one",
        "own, seen to share",
        "seen",
    ],
)
def test_votes_pay_a_prompt_each_unless_a_server_is_known_to_share_one(
    small: Tier, shared: bool | None, prompts_paid: int, is_guess: bool
) -> None:
    own, question = profile(small, max_votes=8), Question(text="What is 17 * 23?")
    ask, check = tokens(own, question)
    written = seen(0, 0, 0, shared=bool(shared)) if shared is not None else Lengths()
    result = break_even(own, [question], {"small": TierLengths(Lengths(), written)})
    assert result is not None
    assert result.evidence_usd == pytest.approx(ask + prompts_paid * check)
    assert result.unknown_prompts == (8 if is_guess else 0)
    words = "whether the server of small bills 8 votes of one call with one prompt or with 8"
    assert (words in break_even_line(result)) == is_guess


def test_only_what_fails_with_one_prompt_for_all_votes_cannot_pay() -> None:
    """Lengths are known; with a prompt for each vote the evidence is too dear, with one for all it is not."""
    question, near = Question(text="What is 17 * 23?"), Lengths(4, 1, 30, 30)
    lengths = {"small": TierLengths(near, Lengths(4, 1)), "large": TierLengths(near)}
    for rate, end in ((60e6, "hangs on this"), (2e6, "not even one vote can pay"), (1e9, "routing saves")):
        own = profile(OWN, replace(OWN, name="large", price=Price(input=rate, output=0.0)))
        ask, check = tokens(own, question, answer=4)
        result = break_even(own, [question], lengths)
        assert result is not None
        assert result.least_times is not None
        assert result.least_times == pytest.approx((ask + check) / (ask * rate / 1e6))
        assert result.most_times == pytest.approx((ask + 8 * check) / (ask * rate / 1e6))
        assert end in break_even_line(result)
        assert result.can_pay == (result.least_times < 1)
        assert ("not even one" in break_even_line(result)) == (not result.can_pay)


def test_where_all_votes_are_too_dear_and_one_is_not_fewer_are_named() -> None:
    line = break_even_line(one(least_times=2.0, most_times=4.0, least_vote_times=0.5, unknown_prompts=8))
    assert "whichever it is; fewer may pay (max_votes): one vote costs 0.5 × at the least" in line
    assert "cannot" not in line


@pytest.mark.parametrize("large_tokens", [2, 222])
def test_what_the_cache_tells_is_what_calls_cost(large_tokens: int) -> None:
    """A server counts 3 tokens where 4 are estimated; answers of the small tier have 2 tokens, votes 20."""
    price = {"small": Price(input=1e6, output=2e6), "large": Price(input=4e6, output=8e6)}
    own = profile(replace(OWN, price=price["small"]), replace(OWN, name="large", price=price["large"]))
    question = Question(text="What is 17 * 23?")
    ask, check = tokens(own, question)
    lengths = {
        "small": TierLengths(seen(2, 3 * ask, 4 * ask, shared=False), seen(20, 3, 4, shared=False)),
        "large": TierLengths(seen(large_tokens, 3 * ask, 4 * ask, shared=False), Lengths()),
    }
    result = break_even(own, [question], lengths)
    assert result is not None
    prompt, votes = 0.75 * ask, 8 * (0.75 * (check - 128) + 2 + 2 * 20)
    evidence, baseline = prompt + 2 * 2 + votes, 4 * prompt + 8 * large_tokens
    assert result.times == pytest.approx(evidence / baseline)
    assert (result.least_times, result.unknown_prompts) == (None, 0)
    assert f"{result.times:.2g} × large's answer at prompts of about 19 tokens" in break_even_line(result)
    plan = plan_collection(own, [question], lengths)
    assert plan["votes"]["usd"] == pytest.approx(votes)
    assert plan["votes"]["times_answers"] == pytest.approx(votes / (prompt + 2 * 2 + baseline))
    guess = break_even(own, [question])
    assert guess is not None
    assert guess.least_times is not None
    assert guess.most_times is not None
    assert guess.least_times < evidence / baseline < guess.most_times, "a range that holds it"
    half = break_even(own, [question], {"small": lengths["small"]})
    assert half is not None
    assert half.unknown_lengths == ("answers of large (1 to 1,024 tokens)",)


@pytest.mark.parametrize(("model", "prompts_paid"), [("openai/x", 1), ("anthropic/x", 8)])
def test_a_bill_counts_the_prompts_of_votes_that_are_bought_at_once(model: str, prompts_paid: int) -> None:
    own, question = profile(replace(SMALL, model=model)), Question(text="What is 17 * 23?")
    votes = plan_collection(own, [question])["votes"]
    assert votes["usd"] == pytest.approx(prompts_paid * tokens(own, question, GUESS)[1])


def one(**changes: object) -> BreakEven:
    return BreakEven("small", "large", 1, 8, 0.25, 0.1, 1.0, 8, 212.0, 64.0, 64.0)._replace(**changes)  # type: ignore[arg-type]


SHORT = "at prompts of about 210 tokens and answers of about 64"
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
                "all 8 on every answer cost more than they can save; "
                "up to 3 may pay (max_votes), or signal: logprob",
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
    ("least", "most", "end"),
    [
        (0.1, 0.4, "routing saves where more than 40% of answers need no large, whichever it is"),
        (0.1, 4.0, "whether routing can pay hangs on this"),
        (2.0, 4.0, "not even one vote can pay, whichever it is"),
    ],
)
def test_where_lengths_are_unknown_a_range_is_said(least: float, most: float, end: str) -> None:
    unknown = ("answers of large (2 to 512 tokens)", "votes (8 to 128 tokens)")
    own = one(least_times=least, most_times=most, unknown_lengths=unknown)
    line = break_even_line(own)
    assert line.startswith(f"{FULL} {least:.2g} to {most:.2g} × large's answer")
    assert f"by what no call has shown: {', '.join(unknown)}; " in line
    assert end in line
    [payback] = payback_lines(own, 10.0)
    assert ("hangs on the same" in payback) == (least < 1)


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
    rows = (f'{{"question": "What is {n} * 23?", "expected": "{23 * n}"}}\n' for n in range(30))
    Path("rows.jsonl").write_text("".join(rows))
    words = ("rows.jsonl", "--profile", "demo", "--dry-run")
    runs = {
        "ask": CliRunner().invoke(app, ["ask", "-i", *words]).stdout,
        "calibrate": CliRunner().invoke(app, ["calibrate", *words]).stdout,
    }
    for out in runs.values():
        assert "small's answer and 8 votes on it in one call cost" in out
    assert "this file costs $" in runs["calibrate"]
    Path("p.yaml").write_text("extends: demo\n")
    ran = CliRunner().invoke(app, ["profile", "check", "p.yaml"])
    assert "small's answer and 8 votes on it in one call cost" in ran.stderr
