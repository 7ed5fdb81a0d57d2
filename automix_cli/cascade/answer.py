"""One question through the cascade: the policy decides, this module carries out its actions with calls."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from automix_cli import prompts, scoring
from automix_cli.backends.base import Request
from automix_cli.backends.embedding import unpack_vector
from automix_cli.backends.places import first_call
from automix_cli.cascade.failed_attempts import FailedAttempt, open_bill
from automix_cli.cascade.question_facts import planned_tokens
from automix_cli.cascade.requests import (
    RequestBuilder,
    is_verified,
    sample_counts,
)
from automix_cli.cascade.visit import LiveVisit
from automix_cli.data.choice_places import is_place
from automix_cli.errors import NO_ANSWER_ERRORS, BackendError, BudgetError, CacheMiss
from automix_cli.pomdp.problem import Action, Facts, Observation, Policy, Turn, rollout
from automix_cli.profile.model import Tier
from automix_cli.records import (
    Answer,
    Completion,
    Question,
    QuestionReading,
    RowError,
    Status,
    Step,
    Trace,
    VoteCount,
)
from automix_cli.usage import add_money

if TYPE_CHECKING:
    from automix_cli.cascade.cascade import Cascade
    from automix_cli.cascade.vote_watch import VoteWatch
    from automix_cli.fitting.query_router import QueryRouter
    from automix_cli.pomdp.arrays import Floats
    from automix_cli.pomdp.tilt import Logits


class Degrading(Struct):
    """What all questions of a run share under `--on-budget degrade`: whether the cap was reached."""

    cap_reached: bool = False

    def check(self) -> None:
        """Spend no more on votes and larger tiers once the cap was reached.

        Raises:
            BudgetError: it was.
        """
        if self.cap_reached:
            raise BudgetError("--max-cost leaves money for the cheapest tier only")


def row_error(error: BackendError, tier: str) -> RowError:
    """An error of a call, as a row tells it."""
    return RowError(
        type=error.kind,
        message=error.message,
        attempts=error.attempts,
        tier=tier or None,
        fatal=error.fatal,
        hint=error.hint,
    )


class QuestionRun:
    """One question on its way: the visits so far, and how to carry out an action."""

    def __init__(self, cascade: Cascade, question: Question) -> None:
        self.cascade = cascade
        self.profile = cascade.profile
        self.question = question
        self.requests = RequestBuilder(cascade.profile)
        self.visits: list[LiveVisit] = []
        self.bill: list[FailedAttempt] = []
        self.reason = ""
        self.failure: tuple[BackendError, str] | None = None
        self.fallback: LiveVisit | None = None
        self.embedding: LiveVisit | None = None
        self.is_unread = False
        self.reading: QuestionReading | None = None

    # ------------------------------------------------------------ the loop

    async def answer(self) -> Answer:
        """The row of the question; a call that fails makes an error row."""
        start = time.perf_counter()
        self.bill = open_bill()
        policy = self.cascade.active_policy()
        turn: Turn[Any] | None = None
        try:
            facts = await self._facts()
            turn = await self._drive(policy, facts)
        except BudgetError as exc:
            await self._degrade(exc)
        except BackendError as exc:
            self.failure = (exc, self._tier_in_hand())
        return self._row(start, self._outcome(policy, turn))

    def _row(self, start: float, outcome: Mapping[str, Any]) -> Answer:
        """The row of the question that was begun at `start`, made once: a row has many fields."""
        classes = self.cascade.classes
        return Answer(
            question=self.question,
            input_sha=self.cascade.input_sha(self.question),
            profile_sha=self.cascade.profile_sha,
            question_class=None if classes is None else classes.name_of(self.question),
            tells_classes=classes is not None,
            route=self._route(),
            embedding=None if self.embedding is None else self.embedding.step(),
            reason=self.reason,
            failed_usd=self.failed_usd(),
            latency_s=round(time.perf_counter() - max(start, first_call()), 4),
            **outcome,
        )

    async def _degrade(self, stop: BudgetError) -> None:
        """Settle for the answer of the cheapest tier, bought now if need be; else the row is skipped."""
        self.failure = (stop, self._tier_in_hand())
        if self.cascade.degrading is None:
            return
        self.cascade.degrading.cap_reached = True
        visit = next((v for v in self.visits if v.tier is self.profile.tiers[0]), None)
        if visit is None:
            visit = LiveVisit(self.profile.tiers[0])
            self.visits.append(visit)
        if visit.failed:
            return
        try:
            if not visit.answers:
                request, cut = self.requests.for_answer(self.question, visit.tier)
                visit.note(await self.buy(request, visit.answers), cut)
        except NO_ANSWER_ERRORS as exc:
            self._fail(exc)
            return
        except BackendError as exc:
            self.failure = (exc, visit.tier.name)
            return
        visit.answer = visit.answer or visit.answers[0].text.strip()
        visit.action, visit.flags["degraded"] = "report", None
        self.reason = "the budget was reached: the cheapest tier, unverified"
        self.failure, self.fallback = None, visit

    async def _drive(self, policy: Policy[Any], facts: Facts) -> Turn[Any]:
        """Let the policy decide and carry out what it decides, until it reports or abstains."""
        run = rollout(policy, facts)
        try:
            turn = next(run)
            while True:
                observation = await self.observe(turn.action)
                turn = run.send(observation)
                self._leave(policy, turn)
        except StopIteration as stop:
            last: Turn[Any] = stop.value
            self._leave(policy, last)
            return last

    async def _facts(self) -> Facts:
        """What the policy is told of the question."""
        tokens = planned_tokens(self.profile, self.question) if self.cascade.counts_tokens else None
        return Facts(tokens, self.question_class(), await self.read_question())

    def question_class(self) -> int:
        """The class that the question's row names; 0 where the profile tells none apart."""
        classes = self.cascade.classes
        return 0 if classes is None else classes.place(classes.name_of(self.question))

    async def read_question(self) -> Logits:
        """What the profile's query-side router reads in the question; () where there is none.

        Raises:
            BackendError: the embedding it reads could not be bought, and neither will the next one be; or
                there is no money for it, or the cache does not have it. After any other failure the
                question goes on as any other.
            DataError: the embedding is not like those that the router was fitted on.
        """
        query, tier = self.cascade.query, self.cascade.embedder
        if query is None:
            return ()
        if tier is None:
            return self._note_reading(query, query.predict([self.question.text]))
        self.embedding = LiveVisit(tier)
        try:
            completion = await self.cascade.embed(self.question, tier)
        except BackendError as exc:
            if exc.fatal or isinstance(exc, BudgetError | CacheMiss):
                raise
            self.is_unread = True
            return ()
        self.embedding.answers.append(completion)
        vector = unpack_vector(completion.text)
        return self._note_reading(query, query.predict([self.question.text], embeddings=[vector]))

    def _note_reading(self, query: QueryRouter, probs: Floats) -> Logits:
        """Keep what was read for the row; the policy takes it as logits."""
        from automix_cli.pomdp.tilt import logit

        chances = zip((tier.name for tier in self.profile.tiers), probs[0].tolist(), strict=True)
        self.reading = QuestionReading(query.kind, tuple(chances))
        return tuple(logit(probs[0]).tolist())

    def _leave(self, policy: Policy[Any], turn: Turn[Any]) -> None:
        """Write down what was decided about the tier in hand, and why."""
        if turn.action.kind == "vote" or not self.visits:
            return
        visit = self.visits[-1]
        visit.action = turn.action.kind
        other = self.profile.tiers[turn.action.tier]
        visit.reports = other.name if visit.action == "report" and other is not visit.tier else None
        visit.confidence = policy.confidence(turn.belief, self.profile.tiers.index(visit.tier))
        compares = policy.compares and len(self.visits) > 1
        if visit.signal is not None or visit.votes or compares or not self.reason:
            self.reason = policy.reason(turn.belief)

    async def observe(self, action: Action) -> Observation:
        """Carry out an action; a tier that has no answer to this question leaves it to the others."""
        if self.cascade.degrading is not None:
            self.cascade.degrading.check()
        try:
            observation = await self.carry_out(action)
        except NO_ANSWER_ERRORS as exc:
            self._fail(exc)
            return Observation(failed=True)
        if action.kind == "vote" and not self.visits[-1].verifiable:
            return observation._replace(n_votes=observation.n_votes + self._votes_left())
        return observation

    def _votes_left(self) -> int:
        """How many votes more the tier in hand could be asked for; given up, they count as bought."""
        visit = self.visits[-1]
        return max(
            0, sample_counts(self.profile, self.profile.tiers.index(visit.tier)).votes - len(visit.votes)
        )

    def _fail(self, exc: BackendError) -> None:
        """Note that the tier in hand has no answer, and why, in case no other has one either."""
        self.failure = (exc, self._tier_in_hand())
        self.visits[-1].fail(exc)
        self._take_off_bill(exc)

    def _take_off_bill(self, exc: BackendError) -> None:
        """Take a reply without text off the bill of failed attempts: the step has what it cost."""
        if exc.reply is not None and exc.maybe_billed:
            self.bill[:] = [attempt for attempt in self.bill if attempt.reply is not exc.reply]

    def failed_usd(self) -> float | None:
        """What the failed attempts cost, known or at most."""
        return add_money(*(attempt.cost(self._tier_for(attempt.request)) for attempt in self.bill))

    def _tier_for(self, request: Request) -> Tier:
        """The tier that a request was made for."""
        if request.embeds and self.embedding is not None:
            return self.embedding.tier
        return next(
            v.tier
            for v in reversed(self.visits)
            if (v.tier.model, v.tier.api_base) == (request.model, request.api_base)
        )

    def _route(self) -> tuple[Step, ...]:
        """The steps; the first says what was read in the question before it."""
        steps = [v.step() for v in self.visits]
        if steps and self.reading is not None:
            steps[0] = replace(steps[0], reading=self.reading)
        return tuple(steps)

    def _tier_in_hand(self) -> str:
        return self.visits[-1].tier.name if self.visits else ""

    def _outcome(self, policy: Policy[Any], turn: Turn[Any] | None) -> dict[str, Any]:
        """What the finished row says: an answer, an abstention, or an error."""
        if self.fallback is not None:
            visit = self.fallback
            return {"answer": visit.answer, "tier": visit.tier.name, "model": visit.tier.model}
        if turn is not None and turn.action.kind == "report":
            visit = next(v for v in self.visits if v.tier is self.profile.tiers[turn.action.tier])
            confidence = policy.confidence(turn.belief, turn.action.tier)
            return {
                "answer": visit.answer,
                "tier": visit.tier.name,
                "model": visit.tier.model,
                "confidence": None if confidence is None else round(confidence, 6),
            }
        if turn is not None and (self.failure is None or any(v.answer is not None for v in self.visits)):
            return {"status": "abstained"}
        error, tier = self.failure or (BackendError("no tier gave an answer"), self._tier_in_hand())
        status: Status = "skipped" if isinstance(error, BudgetError) else "error"
        return {"status": status, "error": row_error(error, tier)}

    # ------------------------------------------------------------ actions

    async def carry_out(self, action: Action) -> Observation:
        """Ask a tier or buy votes; returns what that showed."""
        start = time.perf_counter()
        if action.kind == "vote":
            visit = self.visits[-1]
            call = self._vote(visit, action.votes)
        else:
            visit = LiveVisit(self.profile.tiers[action.tier])
            if self.is_unread and not self.visits:
                visit.flags["embedding_failed"] = None
            self.visits.append(visit)
            call = self._ask(visit, action.tier)
        try:
            return await call
        finally:
            visit.seconds += time.perf_counter() - max(start, first_call())

    async def _ask(self, visit: LiveVisit, tier: int) -> Observation:
        n = sample_counts(self.profile, tier).answers
        request, cut = self.requests.for_answer(self.question, visit.tier, n=n)
        try:
            visit.note(await self.buy(request, visit.answers), cut)
        except NO_ANSWER_ERRORS as exc:
            if not visit.answers:
                raise
            visit.note(visit.answers, cut)
            visit.lack(exc)  # the samples that came are paid for, and suffice
            self._take_off_bill(exc)
        if n > 1:
            return self._plurality(visit)
        visit.answer = visit.answers[0].text.strip()
        v = self.profile.verification
        if v.signal == "logprob" and v.logprob_of == "answer" and is_verified(self.profile, tier):
            visit.signal = prompts.answer_confidence(visit.answers[0])
        return Observation(signal=visit.signal, joins=self._compare(visit))

    async def buy(self, request: Request, purchases: list[Completion]) -> list[Completion]:
        """All samples of a request; `purchases` gets each as soon as it is paid for, before the next call."""
        completions: list[Completion] = []
        while len(completions) < request.n:
            if completions:
                rest = request.part(request.first + len(completions), request.n - len(completions))
            else:
                rest = request
            more = await self.cascade.backend.complete(rest)
            completions += more
            purchases += more
        return completions

    def _plurality(self, visit: LiveVisit) -> Observation:
        texts = [c.text.strip() for c in visit.answers]
        visit.answer, count = scoring.plurality(texts, self.profile.task.scorer, self.question.choices)
        visit.signal = count / len(texts)
        return Observation(correct=count, parsed=len(texts), n_votes=len(texts), joins=self._compare(visit))

    def _compare(self, visit: LiveVisit) -> int | None:
        """The first tier asked whose answer is equal to the one in hand, its own tier where it is new."""
        answered = [v for v in self.visits if v.answer is not None]
        if len(answered) < 2:
            return None
        texts = [v.answer for v in answered]
        classes = scoring.classes_of(texts, self.profile.task.scorer, self.question.choices)
        first = answered[classes[-1]]
        if first is not visit:
            visit.agrees_with = first.tier.name
        return self.profile.tiers.index(first.tier)

    async def _vote(self, visit: LiveVisit, n: int) -> Observation:
        before, cut = len(visit.checks), False
        visit.rounds.append(before)
        try:
            request, cut = self.requests.for_votes(
                self.question, visit.answer or "", visit.tier, first=len(visit.checks), n=n
            )
            await self.buy(request, visit.checks)
        except NO_ANSWER_ERRORS as exc:  # a verifier that refuses, or says nothing, is no evidence either way
            visit.fail_votes(exc, before + n - len(visit.checks))
            self._take_off_bill(exc)
        checks = visit.checks[before:]
        visit.note(checks, cut)
        votes = prompts.read_votes(checks, n)
        visit.votes += votes
        if self.profile.verification.signal == "logprob":
            visit.signal = prompts.verdict_confidence(checks[0]) if checks else None
            return Observation(n_votes=len(votes), signal=visit.signal)
        count = VoteCount.of([v.verdict for v in votes])
        return Observation(count.correct, count.parsed, count.n_votes)

    def score_answer(self) -> None:
        """Score the answer in hand where the row says what is expected; its latency is that of the answer."""
        visit = self.visits[-1]
        if replies := (*visit.answers, *visit.unusable):
            visit.seconds = max(c.latency_s for c in replies)
        gold, choices = self.question.expected, self.question.choices
        if gold and visit.answer is not None and not is_place(gold, choices):
            visit.score = scoring.score(visit.answer, gold, self.profile.task.scorer, choices)


async def collect_trace(cascade: Cascade, question: Question, watch: VoteWatch | None = None) -> Trace:
    """Ask every tier, buy all votes, score each answer that can be scored.

    A tier that has no answer scores 0 at what that cost, and the others are asked all the same. `watch`
    looks at the votes of each.

    Raises:
        BackendError: when a call fails for a reason that says nothing of the tier, or no vote can be read;
            what was paid for is in the cache, and the error says what that was.
    """
    run = QuestionRun(cascade, question)
    try:
        await _ask_every_tier(run, cascade, watch)
    except BackendError as exc:
        exc.row_usd = add_money(*(v.step().cost_usd for v in run.visits))
        raise
    return Trace(question=question, steps=tuple([v.step() for v in run.visits]))


async def _ask_every_tier(run: QuestionRun, cascade: Cascade, watch: VoteWatch | None) -> None:
    """Ask the tiers one after the other, and buy all votes on each answer."""
    for index in range(len(cascade.profile.tiers)):
        observation = await run.observe(Action("start", index))
        votes = sample_counts(cascade.profile, index).votes
        if votes and not observation.failed:
            await run.carry_out(Action("vote", index, votes))
            if watch is not None:
                watch.look(run.visits[-1])
        run.score_answer()
