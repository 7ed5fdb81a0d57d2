"""The cascade, live, on a scripted backend: which calls it makes, what it reports, what it bills."""

import asyncio
import itertools
import math
from typing import Any

import pytest
from known import two_tiers
from msgspec.structs import replace

from automix_cli import prompts
from automix_cli.backends.base import Request, ScriptedBackend
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.estimate import plan_calls
from automix_cli.cascade.failed_attempts import note_maybe_billed
from automix_cli.cascade.requests import RequestBuilder, input_sha
from automix_cli.cascade.uncalibrated import default_policy
from automix_cli.data.rows import trace_from_dict
from automix_cli.errors import (
    NO_ANSWER_ERRORS,
    BackendError,
    BadResponse,
    ContentFiltered,
    ContextTooLong,
    NoText,
    RateLimited,
    TimedOut,
    Unauthorised,
)
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Action, History, Observation, Policy, rollout
from automix_cli.pomdp.rules import AlwaysPolicy, MajorityPolicy, QuestionPolicy, ThresholdPolicy
from automix_cli.profile.model import Profile, Task, Tier, VerificationSettings
from automix_cli.records import Answer, Completion, Message, Question, TokenLogprob, Trace, Verdict
from automix_cli.usage import Price, Usage

SMALL = Tier(name="small", model="test/small", price=Price(input=1.0, output=2.0))
LARGE = Tier(name="large", model="test/large", price=Price(input=10.0, output=20.0))
USAGE = Usage(input_tokens=100, output_tokens=50, calls=1)
SMALL_CALL = 0.0002
LARGE_CALL = 0.002


def profile(*tiers: Tier, **verification: object) -> Profile:
    """A profile in which the rule of half decides."""
    return Profile(
        name="test",
        router={"kind": "majority"},
        tiers=tiers or (SMALL, LARGE),
        task=Task(scorer="exact"),
        verification=VerificationSettings(**verification),
    )


def says(text: str, **fields: object) -> Completion:
    return Completion(text=text, usage=USAGE, **fields)


def script(verdicts: str = "", small: str = "17", large: str = "18") -> ScriptedBackend:
    """Tiers with fixed answers; verdicts in order, + correct, - incorrect, ? unparsed."""
    left = iter(verdicts)

    def reply(request: Request) -> Completion | Exception:
        if prompts.is_verification(request.messages):
            mark = next(left)
            return says("I cannot tell." if mark == "?" else prompts.decision(mark == "+"))
        return says(small if request.model == "test/small" else large)

    return ScriptedBackend(reply)


def ask(backend: ScriptedBackend, profile_: Profile | None = None, **question: object) -> Answer:
    asked = Question(**{"text": "9 + 9?", **question})
    return asyncio.run(Cascade(profile_ or profile(), backend).answer(asked))


def calls(backend: ScriptedBackend) -> list[tuple[str, bool, int]]:
    return [(r.model, prompts.is_verification(r.messages), r.n) for r in backend.calls]


# ---------------------------------------------------------------- the default policy


@pytest.mark.parametrize(
    ("verdicts", "rounds", "tier"),
    [
        ("++++", [4], "small"),
        ("----" + "-", [4, 1], "large"),
        ("++-+" + "+", [4, 1], "small"),
        ("++--" + "++", [4, 2], "small"),
        ("++--" + "--" + "-", [4, 2, 1], "large"),
        ("+---" + "--", [4, 2], "large"),
        ("+---" + "+-" + "-", [4, 2, 1], "large"),
        ("????????", [4, 2, 1, 1], "large"),
        ("????" + "??" + "?" + "+", [4, 2, 1, 1], "small"),
        ("++??" + "+", [4, 1], "small"),
    ],
)
def test_votes_are_bought_in_rounds_until_no_later_vote_could_change_the_decision(
    verdicts: str, rounds: list[int], tier: str
) -> None:
    backend = script(verdicts)
    answer = ask(backend)
    assert [n for _, vote, n in calls(backend) if vote] == rounds
    assert answer.tier == tier
    assert answer.route[0].count.n_votes == len(verdicts)


@pytest.mark.parametrize("max_votes", [1, 2, 3, 5, 8])
def test_stopping_early_decides_as_all_votes_together_would(max_votes: int) -> None:
    policy = MajorityPolicy(tiers=2, max_votes=max_votes)
    for verdicts in itertools.product("+-?", repeat=max_votes):
        run = rollout(policy)
        action = next(run).action
        observation, at = Observation(), 0
        try:
            while True:
                if action.kind == "vote":
                    seen = verdicts[at : at + action.votes]
                    at += action.votes
                    parsed = len(seen) - seen.count("?")
                    observation = Observation(seen.count("+"), parsed, len(seen))
                elif action.tier == 1:
                    observation = Observation()
                action = run.send(observation).action
                observation = Observation()
        except StopIteration as done:
            last = done.value.action
        correct, wrong = verdicts.count("+"), verdicts.count("-")
        assert (last == Action("report", 0)) == (correct + wrong > 0 and correct >= wrong)


def test_the_last_tier_is_reported_without_verification() -> None:
    backend = script("-----")
    answer = ask(backend)
    assert calls(backend)[-1] == ("test/large", False, 1)
    assert (answer.answer, answer.tier, answer.model, answer.escalated) == ("18", "large", "test/large", True)
    assert [s.action for s in answer.route] == ["escalate", "report"]


def test_one_tier_is_asked_once_and_reported() -> None:
    backend = script()
    answer = ask(backend, profile(SMALL))
    assert calls(backend) == [("test/small", False, 1)]
    assert answer.answer == "17"


def test_votes_carry_their_sample_numbers_so_that_each_has_its_place_in_the_cache() -> None:
    backend = script("++--++")
    ask(backend)
    assert [(r.first, r.n) for r in backend.calls if prompts.is_verification(r.messages)] == [(0, 4), (4, 2)]


# ---------------------------------------------------------------- the row


def test_the_row_holds_the_route_and_both_ledgers() -> None:
    row = ask(script("++++"), id="q1", index=4, metadata={"k": 1}).to_dict()
    assert (row["schema"], row["id"], row["index"], row["status"]) == ("automix.ask/1", "q1", 4, "ok")
    assert row["cost_usd"] == pytest.approx(5 * SMALL_CALL)
    assert row["spent_usd"] == pytest.approx(5 * SMALL_CALL)
    assert row["usage"]["calls"] == 5
    assert row["metadata"] == {"k": 1}
    assert row["route"][0]["votes"] == {"correct": 4, "incorrect": 0, "unparsed": 0}
    assert row["reason"] == "4 of 4 votes correct: at least 50%"
    assert row["error"] is None


def test_the_reason_of_an_escalated_row_is_why_it_left_the_small_tier() -> None:
    assert ask(script("-----")).reason == "0 of 5 votes correct: under 50%"


def test_cached_completions_cost_the_same_and_are_not_paid_again() -> None:
    backend = ScriptedBackend(
        lambda r: says(prompts.decision(True) if prompts.is_verification(r.messages) else "17", cached=True)
    )
    answer = ask(backend)
    assert answer.cost_usd == pytest.approx(5 * SMALL_CALL)
    assert answer.spent_usd == 0.0


def test_an_unknown_price_is_null_never_zero() -> None:
    unpriced = replace(SMALL, price=None)
    answer = ask(script("++++"), profile(unpriced, LARGE))
    assert answer.cost_usd is None
    assert answer.spent_usd is None
    assert answer.to_dict()["cost_usd"] is None


def test_input_sha_ignores_the_id_and_sees_everything_asked() -> None:
    base = Question(text="q", context="c", choices=("a",), history=(Message("user", "h"),))
    others = [
        replace(base, text="x"),
        replace(base, context=None),
        replace(base, choices=()),
        replace(base, history=()),
    ]
    assert input_sha(base) == input_sha(replace(base, id="other", index=9))
    assert len({input_sha(q) for q in [base, *others]}) == 5


# ---------------------------------------------------------------- failures


NO_ANSWER = [ContextTooLong("too long"), ContentFiltered("filtered"), NoText("mute")]


@pytest.mark.parametrize("error", NO_ANSWER, ids=lambda e: e.kind)
def test_a_tier_that_has_no_answer_leaves_the_question_to_the_next(error: BackendError) -> None:
    backend = ScriptedBackend(lambda r: error if r.model == "test/small" else says("18"))
    answer = ask(backend)
    assert (answer.status, answer.answer, answer.tier) == ("ok", "18", "large")
    failed, last = answer.to_dict()["route"]
    assert (failed["answer"], failed["failed"], failed["action"]) == (None, error.kind, "escalate")
    assert "failed" not in last
    assert answer.reason == "no usable answer from this tier"
    assert answer.cost_usd == answer.spent_usd == pytest.approx(LARGE_CALL)


@pytest.mark.parametrize("error", NO_ANSWER, ids=lambda e: e.kind)
def test_when_no_tier_has_an_answer_the_row_is_an_error(error: BackendError) -> None:
    answer = ask(ScriptedBackend(lambda r: error))
    assert answer.status == "error"
    assert (answer.error.type, answer.error.tier) == (error.kind, "large")
    assert [step.failed for step in answer.route] == [error.kind] * 2


def test_an_answer_in_hand_is_reported_where_the_last_tier_has_none() -> None:
    verdict = says(prompts.decision(False))
    backend = ScriptedBackend(
        lambda r: (
            verdict
            if prompts.is_verification(r.messages)
            else says("17")
            if r.model == "test/small"
            else NoText("mute")
        )
    )
    answer = ask(backend)
    assert (answer.status, answer.answer, answer.tier) == ("ok", "17", "small")
    assert [step.failed for step in answer.route] == [None, "no_text"]
    first, last = answer.to_dict()["route"]
    assert "reports" not in first
    assert (last["action"], last["reports"]) == ("report", "small")


class _AbstainAtTheEnd(AlwaysPolicy):
    """Goes up after a failure, and abstains where the last tier has answered."""

    def action(self, belief: History) -> Action:
        done = bool(belief.visits) and belief.last.tier == self.tiers - 1 and not belief.last.failed
        return Action("abstain") if done else super().action(belief)


@pytest.mark.parametrize(("router", "counts"), [("majority", False), ("pomdp", True)])
def test_tokens_are_counted_only_where_a_plan_may_look_at_them(router: str, counts: bool) -> None:
    routed = replace(profile(), router={"kind": router})
    assert Cascade(routed, script(), AlwaysPolicy(2, 0)).counts_tokens is counts


def test_a_policy_that_abstains_after_a_failure_and_an_answer_abstains() -> None:
    backend = ScriptedBackend(lambda r: NoText("mute") if r.model == "test/small" else says("18"))
    cascade = Cascade(profile(), backend, policy=_AbstainAtTheEnd(2, 0))
    answer = asyncio.run(cascade.answer(Question(text="9 + 9?")))
    assert (answer.status, answer.error) == ("abstained", None)


@pytest.mark.parametrize("failure", [0.0, 0.25], ids=["not foreseen", "foreseen"])
def test_a_computed_plan_goes_on_after_a_failure_whether_or_not_the_fit_has_seen_one(failure: float) -> None:
    model = two_tiers()
    small = replace(model.tiers[0], failure=failure)
    policy = PomdpPolicy(replace(model, tiers=(small, *model.tiers[1:])))
    backend = ScriptedBackend(lambda r: NoText("mute") if r.model == "test/small" else says("18"))
    answer = asyncio.run(Cascade(profile(), backend, policy=policy).answer(Question(text="9 + 9?")))
    assert (answer.status, answer.answer, answer.tier) == ("ok", "18", "large")
    assert [(step.failed, step.action) for step in answer.route] == [
        ("no_text", "escalate"),
        (None, "report"),
    ]
    assert answer.reason.startswith("no usable answer from this tier")


@pytest.mark.parametrize("paid", [True, False])
def test_a_reply_without_text_costs_what_was_charged_for_it(paid: bool) -> None:
    def reply(request: Request) -> Completion | Exception:
        if request.model == "test/large":
            return says("18")
        error = NoText("mute", maybe_billed=paid)
        error.reply = Completion(text="", usage=USAGE, latency_s=2.0)
        if paid:
            note_maybe_billed(request, error)  # as a retry does
        return error

    answer = ask(ScriptedBackend(reply))
    assert answer.route[0].cost_usd == pytest.approx(SMALL_CALL)
    assert answer.route[0].calls == 1
    assert answer.cost_usd == pytest.approx(SMALL_CALL + LARGE_CALL)
    assert answer.spent_usd == pytest.approx(SMALL_CALL * paid + LARGE_CALL)


def test_votes_that_do_not_fit_the_window_are_no_evidence() -> None:
    backend = script()
    small = replace(SMALL, model="openai/gpt-4", params=(("max_tokens", 8000),))  # of 8,192
    answer = ask(backend, profile(small, LARGE), context="Nine is 9.")
    assert (answer.tier, answer.route[0].answer, answer.route[0].failed) == ("large", "18", None)
    assert answer.route[0].count.unparsed == 4, "no second round: it would not fit either"
    assert answer.route[0].flags == ("context_length",)
    assert not [r for r in backend.calls if prompts.is_verification(r.messages)], "none was sent"


@pytest.mark.parametrize("error", NO_ANSWER[:2], ids=lambda e: e.kind)
def test_a_vote_that_cannot_be_asked_ends_the_verification_and_the_answer_is_kept(
    error: BackendError,
) -> None:
    backend = ScriptedBackend(
        lambda r: error if prompts.is_verification(r.messages) or r.model == "test/large" else says("17")
    )
    answer = ask(backend)
    assert (answer.status, answer.answer, answer.tier) == ("ok", "17", "small")
    assert sum(prompts.is_verification(r.messages) for r in backend.calls) == 1
    assert answer.cost_usd == answer.spent_usd == pytest.approx(SMALL_CALL)


@pytest.mark.parametrize("paid", [True, False])
def test_a_mute_vote_is_unparsed_and_costs_what_was_charged_for_it(paid: bool) -> None:
    def reply(request: Request) -> Completion | Exception:
        if not prompts.is_verification(request.messages):
            return says(request.model)
        error = NoText("mute", hint="raise max_tokens", maybe_billed=paid)
        error.reply = Completion(text="", usage=USAGE)
        if paid:
            note_maybe_billed(request, error)
        return error

    backend = ScriptedBackend(reply)
    answer = ask(backend, profile(batch=(4,), max_votes=8))
    assert (answer.answer, answer.route[0].count.unparsed) == ("test/large", 8)
    assert [r.first for r in backend.calls if prompts.is_verification(r.messages)] == [0, 4]
    assert answer.cost_usd == pytest.approx(3 * SMALL_CALL + LARGE_CALL)
    assert answer.spent_usd == pytest.approx((1 + 2 * paid) * SMALL_CALL + LARGE_CALL)
    assert answer.route[0].hints == (("no_text", "raise max_tokens"),)
    assert "hints" not in answer.to_dict()["route"][0]


def test_sampled_answers_that_came_are_used_where_the_others_have_no_text() -> None:
    def reply(request: Request) -> Completion | Exception:
        if request.model == "test/large":
            return says("18")
        if request.first < 3:
            return says("17")
        error = NoText("mute", maybe_billed=False)
        error.reply = Completion(text="", usage=USAGE)
        return error

    class OneByOne(ScriptedBackend):
        async def complete(self, request: Request) -> tuple[Completion, ...]:
            return await super().complete(request.part(request.first, 1))

    answer = ask(OneByOne(reply), profile(signal="consistency", max_votes=4))
    assert (answer.answer, answer.route[0].failed, answer.route[0].flags) == ("17", None, ("no_text",))
    assert answer.cost_usd == pytest.approx(4 * SMALL_CALL)


def collect(backend: ScriptedBackend, **question: object) -> Trace:
    cascade = Cascade(profile(), backend)
    return asyncio.run(cascade.collect(Question(**{"text": "9 + 9?", "expected": ("18",), **question})))


def test_a_tier_without_an_answer_is_collected_as_a_score_of_zero_and_the_others_are_asked() -> None:
    def reply(request: Request) -> Completion | Exception:
        if request.model == "test/large":
            return says("18")
        error = NoText("mute", maybe_billed=True)
        error.reply = Completion(text="", usage=USAGE, latency_s=2.0)
        return error

    row = collect(ScriptedBackend(reply)).to_dict()
    assert row["tiers"]["small"] == {
        "failed": "no_text",
        "score": 0.0,
        "cost": pytest.approx(SMALL_CALL),
        "input_tokens": 100,
        "output_tokens": 50,
        "latency": 2.0,
    }
    assert row["tiers"]["large"]["score"] == 1.0
    assert trace_from_dict(row).to_dict() == row


def test_a_refusal_that_was_not_charged_is_collected_at_no_cost_also_of_every_tier() -> None:
    row = collect(ScriptedBackend(lambda r: ContentFiltered("no"))).to_dict()
    for cell in row["tiers"].values():
        assert (cell["failed"], cell["score"], cell["cost"]) == ("content_filter", 0.0, 0.0)
        assert "answer" not in cell


@pytest.mark.parametrize("error", [RateLimited("slow"), TimedOut("late"), BadResponse("broken")])
def test_a_trouble_of_transport_is_no_outcome_of_a_tier(error: BackendError) -> None:
    with pytest.raises(type(error)):
        collect(ScriptedBackend(lambda r: error if r.model == "test/small" else says("18")))


def test_the_errors_that_are_outcomes_are_those_that_say_there_is_no_answer() -> None:
    assert [e.kind for e in NO_ANSWER_ERRORS] == ["context_length", "content_filter", "no_text"]


def test_a_verification_that_is_refused_is_no_evidence_and_escalates() -> None:
    backend = ScriptedBackend(
        lambda r: ContentFiltered("no") if prompts.is_verification(r.messages) else says(r.model)
    )
    answer = ask(backend)
    assert answer.answer == "test/large"


@pytest.mark.parametrize(
    ("error", "kind", "fatal"),
    [
        (RateLimited("slow down"), "rate_limit", False),
        (Unauthorised("no key"), "auth", True),
        (BadResponse("broken"), "bad_response", False),
    ],
)
def test_a_failed_vote_makes_an_error_row_that_keeps_route_and_money(
    error: Exception, kind: str, fatal: bool
) -> None:
    backend = ScriptedBackend(lambda r: error if prompts.is_verification(r.messages) else says("17"))
    answer = ask(backend)
    row = answer.to_dict()
    assert (row["status"], row["answer"], row["tier"]) == ("error", None, None)
    assert row["error"] == {"type": kind, "message": str(error), "attempts": 1, "tier": "small"}
    assert answer.error.fatal is fatal
    assert row["route"][0]["answer"] == "17"
    assert row["cost_usd"] == pytest.approx(SMALL_CALL)


def test_attempts_that_may_have_been_billed_are_only_in_what_was_spent() -> None:
    def reply(request: Request) -> Completion:
        if not prompts.is_verification(request.messages):
            note_maybe_billed(request, TimedOut("late"))
            return says("17")
        return says(prompts.decision(True))

    answer = ask(ScriptedBackend(reply))
    assert answer.cost_usd == pytest.approx(5 * SMALL_CALL)
    assert answer.spent_usd > 5 * SMALL_CALL + 1024 * 2e-6 * 0.99


def test_a_reply_cut_off_in_the_middle_is_no_vote() -> None:
    backend = ScriptedBackend(
        lambda r: (
            says(prompts.decision(True), flags=("truncated",), finish_reason="length")
            if prompts.is_verification(r.messages)
            else says(r.model)
        )
    )
    answer = ask(backend)
    assert answer.route[0].count.unparsed == 8
    assert answer.answer == "test/large"


# ---------------------------------------------------------------- the other signals


def test_consistency_samples_once_and_reports_the_plurality() -> None:
    texts = iter(["7", "7", "8", "7.", "7"])
    backend = ScriptedBackend(lambda r: says(next(texts) if r.model == "test/small" else "large"))
    answer = ask(backend, profile(signal="consistency", max_votes=5))
    assert calls(backend) == [("test/small", False, 5)]
    assert (answer.answer, answer.confidence) == ("7", 0.8)


@pytest.mark.parametrize(
    ("params", "settings", "sent"),
    [
        ({}, {}, 1.0),
        ({}, {"temperature": 0.7}, 0.7),
        ({}, {"temperature": None}, None),
        ({"temperature": 0}, {}, 1.0),
        ({"temperature": 0}, {"temperature": None}, 0),
    ],
)
@pytest.mark.parametrize("signal", ["votes", "consistency"])
def test_samples_get_the_temperature_of_the_verification_and_single_answers_that_of_the_tier(
    signal: str, params: dict[str, Any], settings: dict[str, Any], sent: float | None
) -> None:
    tier = Tier(name="small", model="openai/gpt-6-luna", params=tuple(params.items()))
    calls = RequestBuilder(profile(signal=signal, **settings))
    vote = calls.for_votes(Question(text="q"), "a", tier, first=0, n=2)[0]
    samples = calls.for_answer(Question(text="q"), tier, n=2)[0]
    request = vote if signal == "votes" else samples
    assert dict(request.params).get("temperature") == sent
    one = calls.for_answer(Question(text="q"), tier)[0]
    assert dict(one.params).get("temperature") == params.get("temperature")


def test_a_scattered_plurality_escalates() -> None:
    texts = iter("abcde")
    backend = ScriptedBackend(lambda r: says(next(texts) if r.model == "test/small" else "large"))
    answer = ask(backend, profile(signal="consistency", max_votes=5))
    assert answer.answer == "large"
    assert backend.calls[-1].n == 1


@pytest.mark.parametrize(("p", "tier"), [(0.9, "small"), (0.2, "large")])
def test_logprob_makes_one_verification_call(p: float, tier: str) -> None:
    first = TokenLogprob("Correct", math.log(p), (("Incorrect", math.log(1 - p)),))

    def reply(request: Request) -> Completion:
        if prompts.is_verification(request.messages):
            return says("Correct", logprobs=(first,))
        return says("17")

    backend = ScriptedBackend(reply)
    answer = ask(backend, profile(signal="logprob"))
    checks = [r for r in backend.calls if prompts.is_verification(r.messages)]
    assert [r.n for r in checks] == [1]
    assert checks[0].param["logprobs"] is True
    assert answer.tier == tier
    assert answer.route[0].confidence == pytest.approx(p)


def test_logprob_of_the_answer_makes_no_extra_call() -> None:
    backend = ScriptedBackend(lambda r: says("17", logprobs=(TokenLogprob("17", math.log(0.8)),)))
    answer = ask(backend, profile(signal="logprob", logprob_of="answer"))
    assert calls(backend) == [("test/small", False, 1)]
    assert backend.calls[0].param["logprobs"] is True
    assert answer.route[0].confidence == pytest.approx(0.8)


def test_a_logprob_verdict_without_log_probabilities_is_no_evidence() -> None:
    backend = ScriptedBackend(lambda r: says("Correct" if prompts.is_verification(r.messages) else r.model))
    assert ask(backend, profile(signal="logprob")).answer == "test/large"


# ---------------------------------------------------------------- long context


class Narrow(Tier):
    """A tier with a window of 2,000 tokens."""

    def context_window(self) -> int:
        return 2000


def test_a_long_context_is_cut_and_the_record_says_so() -> None:
    narrow = Narrow(name="small", model="test/small", params=(("max_tokens", 100),))
    backend = script("++++")
    answer = ask(backend, profile(narrow, LARGE), context="word " * 5000)
    assert "context_cut" in answer.route[0].flags
    assert answer.to_dict()["route"][0]["flags"] == ["context_cut"]
    for request in backend.calls:
        assert prompts.estimate_tokens(request.messages) <= 1900
        assert "9 + 9?" in request.messages[-1].content


# ---------------------------------------------------------------- collect, verify, plan


def test_collect_asks_every_tier_and_scores_every_answer() -> None:
    backend = script("++-+--++")
    trace = asyncio.run(Cascade(profile(), backend).collect(Question(text="9 + 9?", expected=("18",))))
    small, large = trace.steps
    assert (small.score, large.score) == (0.0, 1.0)
    assert small.count == (5, 3, 0)
    assert large.votes == ()
    assert small.answer_cost == pytest.approx(SMALL_CALL)
    assert small.vote_cost == pytest.approx(SMALL_CALL)
    assert trace.to_dict()["tiers"]["small"]["votes"] == [1, 1, 0, 1, 0, 0, 1, 1]


def test_where_one_call_samples_all_votes_the_prompt_is_the_cost_of_the_round() -> None:
    def reply(request: Request) -> Completion:
        if prompts.is_verification(request.messages):
            first = request.first == 0
            return Completion(
                text=prompts.decision(True),
                usage=Usage(input_tokens=100, output_tokens=50, calls=int(first)),
            )
        return says("17")

    step = asyncio.run(Cascade(profile(), ScriptedBackend(reply)).collect(Question(text="?"))).steps[0]
    assert step.round_cost == pytest.approx(800e-6)
    assert step.vote_cost == pytest.approx(100e-6)


@pytest.mark.parametrize(
    ("calls_of_first_and_others", "whole", "one_more"),
    [((1, 1), 750e-6, 150e-6), ((1, 0), 750e-6, 50e-6)],  # five prompts of 100 tokens, or one of 500
    ids=["five calls", "one call"],
)
def test_sampled_answers_are_kept_with_what_one_more_of_them_costs(
    calls_of_first_and_others: tuple[int, int], whole: float, one_more: float
) -> None:
    alone, others = calls_of_first_and_others

    def reply(request: Request) -> Completion:
        told = 100 if others else 500 * (request.first == 0)
        usage = Usage(input_tokens=told, output_tokens=25, calls=alone if request.first == 0 else others)
        return Completion(text=str(request.first % 2), usage=usage)

    cascade = Cascade(profile(signal="consistency", max_votes=5), ScriptedBackend(reply))
    trace = asyncio.run(cascade.collect(Question(text="?", expected=("0",)))).to_dict()
    small, large = trace["tiers"].values()
    assert small["samples"] == ["0", "1", "0", "1", "0"]
    assert (small["answer"], small["score"]) == ("0", 1.0)
    assert (small["cost"], small["sample_cost"]) == pytest.approx((whole, one_more))
    assert "samples" not in large
    assert "sample_cost" not in large


@pytest.mark.parametrize("verdicts", ["++++++++", "--------", "+-+-+-+-", "??+?-?+?"])
def test_a_live_run_decides_as_the_loop_driven_by_its_trace(verdicts: str) -> None:
    answer = ask(script(verdicts))
    run = rollout(default_policy(profile()))
    action, at = next(run).action, 0
    asked = []
    try:
        while True:
            if action.kind == "vote":
                seen = verdicts[at : at + action.votes]
                at += action.votes
                observation = Observation(seen.count("+"), len(seen) - seen.count("?"), len(seen))
            else:
                asked.append(action.tier)
                observation = Observation()
            action = run.send(observation).action
    except StopIteration as done:
        reported = done.value.action.tier
    assert [s.tier for s in answer.route] == [("small", "large")[t] for t in asked]
    assert answer.tier == ("small", "large")[reported]
    assert answer.route[0].count.n_votes == at


def test_verify_counts_the_votes_of_one_tier() -> None:
    backend = script("++-?")
    found = asyncio.run(Cascade(profile(), backend).verify(Question(text="9 + 9?"), "18", SMALL, 4))
    assert (found.count, found.confidence, found.calibrated) == ((2, 1, 1), pytest.approx(2 / 3), False)
    assert found.cost_usd == pytest.approx(4 * SMALL_CALL)
    assert [v.verdict for v in found.votes][3] is Verdict.UNPARSED


@pytest.mark.parametrize(
    "policy",
    [
        AlwaysPolicy(2, 1),
        MajorityPolicy(2, 4),
        ThresholdPolicy.single(tiers=2, votes=4, cut=0.9),
        QuestionPolicy(rewards=((0, 1), (0, 1)), costs=(1, 20), cost_weight=0.01),
        PomdpPolicy(two_tiers()),
    ],
    ids=lambda policy: type(policy).__name__,
)
@pytest.mark.parametrize("tier", [0, 1])
def test_verify_calls_a_share_of_votes_no_chance(policy: Policy[Any], tier: int) -> None:
    cascade = Cascade(profile(), script("++-?"), policy)
    own = cascade.profile.tiers[tier]
    row = asyncio.run(cascade.verify(Question(text="9 + 9?"), "18", own, 4))
    assert row.calibrated is (isinstance(policy, PomdpPolicy) and tier == 0)
    assert (row.confidence == pytest.approx(2 / 3, abs=1e-6)) is not row.calibrated
    assert row.calibrated_on is None  # no fit, no rows


def test_verify_without_a_parsed_vote_is_no_evidence() -> None:
    found = asyncio.run(Cascade(profile(), script("????")).verify(Question(text="?"), "18", SMALL, 4))
    assert (found.confidence, found.verdict) == (None, "none")


def test_verify_by_consistency_counts_the_samples_that_agree() -> None:
    texts = iter(["18", "18.", "17", "18"])
    backend = ScriptedBackend(lambda r: says(next(texts)))
    found = asyncio.run(
        Cascade(profile(signal="consistency"), backend).verify(Question(text="?"), "18", SMALL, 4)
    )
    assert (found.confidence, found.agreeing, found.sampled) == (0.75, 3, 4)


def test_verify_turns_a_failed_call_into_an_error_row() -> None:
    backend = ScriptedBackend(lambda r: RateLimited("slow down"))
    found = asyncio.run(Cascade(profile(), backend).verify(Question(text="?"), "18", SMALL, 4))
    assert found.error.type == "rate_limit"
    assert found.to_dict()["status"] == "error"


@pytest.mark.parametrize("signal", ["votes", "consistency", "logprob"])
def test_a_plan_has_the_calls_of_the_best_and_the_worst_case(signal: str) -> None:
    plan = plan_calls(profile(signal=signal), [Question(text="9 + 9?")] * 10)
    low, worst = {"votes": (5, 10), "consistency": (8, 9), "logprob": (2, 3)}[signal]
    assert (plan["low"]["calls"], plan["worst"]["calls"]) == (10 * low, 10 * worst)
    assert plan["low"]["usd"] < plan["expected"]["usd"] < plan["worst"]["usd"]


def test_a_plan_with_an_unknown_price_knows_calls_but_no_dollars() -> None:
    plan = plan_calls(profile(replace(SMALL, price=None), LARGE), [Question(text="?")])
    assert plan["worst"] == {"calls": 10, "usd": None}
