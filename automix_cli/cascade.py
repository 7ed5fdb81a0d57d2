"""Live runs: the policy of `rollout` decides, this module carries out its actions with calls.

    answer    one question through the cascade: the row `ask` writes
    verify    one answer that somebody already has, checked by a tier
    collect   every tier's answer and all its votes: a trace that can be replayed

Everything that costs money goes through one `Backend`. Nothing here knows a terminal, a
file or a command.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from automix_cli import prompts, scoring
from automix_cli.backend import Backend, Request
from automix_cli.catalog import model_problem
from automix_cli.embedding import embedding_request, unpacked
from automix_cli.errors import (
    BackendError,
    BudgetError,
    CacheMiss,
    ContentFiltered,
    ContextTooLong,
    DataError,
    NoText,
)
from automix_cli.pomdp import Action, Facts, History, MajorityPolicy, Observation, Policy
from automix_cli.pomdp import Visit as PlannedVisit
from automix_cli.profile import Profile, Tier, VerificationSettings
from automix_cli.records import (
    Answer,
    Completion,
    Question,
    RowError,
    Status,
    Step,
    Trace,
    Usage,
    Verdict,
    Verification,
    Vote,
    add_money,
    total_usage,
)
from automix_cli.rollout import Turn, rollout

if TYPE_CHECKING:
    from automix_cli.fitting import Settings
    from automix_cli.routers import QueryRouter

TOP_LOGPROBS = 5  # what every server that gives log-probabilities is willing to give
MAX_TOKENS = 1024  # of a tier whose profile sets none: every call needs a bound that a budget can count on


def input_sha(question: Question) -> str:
    """A short hash of everything in a row that its answer depends on.

    Example:
        >>> input_sha(Question(text="2 + 2?", id=1)) == input_sha(Question(text="2 + 2?", id=2))
        True
    """
    parts = [question.text, question.context, question.choices, question.history]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


# ---------------------------------------------------------------- requests of a tier


def sampling(verification: VerificationSettings) -> dict[str, Any]:
    """The parameters that make samples of one prompt differ, which nothing but votes need.

    More and more hosted models refuse a temperature: `temperature: null` leaves it to the provider.

    Example:
        >>> sampling(VerificationSettings())
        {'temperature': 1.0}
    """
    return {} if verification.temperature is None else {"temperature": verification.temperature}


@dataclass(frozen=True, slots=True)
class Calls:
    """Builds the requests that one profile sends: for answers, and for votes on them."""

    profile: Profile

    def for_answer(self, question: Question, tier: Tier, *, n: int = 1) -> tuple[Request, bool]:
        """The request for `n` answers, and whether the context had to be cut."""
        verification = self.profile.verification
        params: dict[str, Any] = {"max_tokens": MAX_TOKENS, **dict(tier.params)}
        if verification.signal == "consistency" and n > 1:
            params |= sampling(verification)
        if verification.signal == "logprob" and verification.logprob_of == "answer":
            params["logprobs"] = True
        instruction = self.profile.task.instruction
        return self._fitted(lambda q: prompts.answer_messages(q, instruction), question, tier, params, n, 0)

    def for_votes(
        self, question: Question, answer: str, tier: Tier, *, first: int, n: int
    ) -> tuple[Request, bool]:
        """The request for votes number `first` … `first + n - 1`, and whether the context had to be cut."""
        verification = self.profile.verification
        own: dict[str, Any] = {"max_tokens": MAX_TOKENS, **dict(tier.params)}
        # A tier that needs room to reason before it answers needs it to verify as well.
        params = {**own, "max_tokens": max(int(own["max_tokens"]), verification.max_tokens)}
        if verification.signal == "logprob":
            params |= {"temperature": 0, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
        else:
            params |= sampling(verification)
        return self._fitted(
            lambda q: prompts.verification_messages(q, answer, verification.examples),
            *(question, tier, params, n, first),
        )

    def _fitted(
        self, build: Any, question: Question, tier: Tier, params: dict[str, Any], n: int, first: int
    ) -> tuple[Request, bool]:
        window = tier.context_window()
        room = None if window is None else max(1, window - int(params["max_tokens"]))
        messages, cut = prompts.fit_window(build, question, room)
        request = Request(
            model=tier.model,
            messages=messages,
            params=tuple(sorted(params.items())),
            n=n,
            first=first,
            api_base=tier.api_base,
            api_key_env=tier.api_key_env,
            timeout=self.profile.limits.timeout,
        )
        return request, cut


def list_cost(tier: Tier, completions: Iterable[Completion]) -> float | None:
    """List price of completions in dollars; None when the tier's price is unknown and any were bought."""
    usage = total_usage(c.usage for c in completions)
    price = tier.list_price()
    if usage == Usage():
        return 0.0
    return None if price is None else price.of(usage)


def paid_cost(tier: Tier, completions: Iterable[Completion]) -> float | None:
    """What this run paid for completions: the list price of those that no cache served."""
    return list_cost(tier, [c for c in completions if not c.cached])


def estimated_tokens(profile: Profile, question: Question) -> float:
    """Prompt tokens of a question, before any call."""
    return float(prompts.estimate_tokens(prompts.answer_messages(question, profile.task.instruction)))


# ---------------------------------------------------------------- one tier, live


@dataclass(slots=True)
class Visit:
    """A tier while it is being asked: grows with every call, ends as a `Step`."""

    tier: Tier
    answers: list[Completion] = field(default_factory=list)
    checks: list[Completion] = field(default_factory=list)
    votes: list[Vote] = field(default_factory=list)
    answer: str | None = None
    signal: float | None = None
    confidence: float | None = None
    action: str = ""
    score: float | None = None
    seconds: float = 0.0
    flags: dict[str, None] = field(default_factory=dict)

    def note(self, completions: Sequence[Completion], cut: bool) -> None:
        """Keep the flags of completions, each once, in the order met."""
        self.flags |= dict.fromkeys(flag for c in completions for flag in c.flags)
        if cut:
            self.flags["context_cut"] = None

    def step(self) -> Step:
        """The visit as a record."""
        everything = [*self.answers, *self.checks]
        round_cost, vote_cost = _split_round(self.tier, self.checks)
        sampled = self.answers if len(self.answers) > 1 else []
        return Step(
            tier=self.tier.name,
            model=self.tier.model,
            answer=self.answer,
            votes=tuple(v.verdict for v in self.votes),
            samples=tuple(c.text for c in sampled),
            confidence=self.signal if self.confidence is None else round(self.confidence, 6),
            score=self.score,
            action=self.action,
            calls=sum(c.usage.calls for c in everything),
            usage=total_usage(c.usage for c in everything),
            answer_usage=total_usage(c.usage for c in self.answers),
            cost_usd=list_cost(self.tier, everything),
            spent_usd=paid_cost(self.tier, everything),
            answer_cost=list_cost(self.tier, self.answers),
            vote_cost=vote_cost,
            round_cost=round_cost,
            sample_cost=_split_round(self.tier, sampled)[1],
            latency_s=round(self.seconds, 4),
            flags=tuple(self.flags),
        )


def _split_round(tier: Tier, checks: Sequence[Completion]) -> tuple[float | None, float | None]:
    """What a round of votes (or of sampled answers) costs once, for its prompt, and for each of them.

    Where each was a call of its own, the prompt is part of it.
    """
    price, usage = tier.list_price(), total_usage(c.usage for c in checks)
    if price is None or not checks:
        return None, None
    if usage.calls >= len(checks):
        return None, price.of(usage) / len(checks)
    prompt = price.of(replace(usage, output_tokens=0, reasoning_tokens=0))
    return prompt / max(1, usage.calls), (price.of(usage) - prompt) / len(checks)


# ---------------------------------------------------------------- failed attempts that may cost

_bill: ContextVar[list[Request]] = ContextVar("bill")


def note_maybe_billed(request: Request) -> None:
    """Put an attempt that failed, but may be charged for, on the bill of the row it was made for."""
    with contextlib.suppress(LookupError):
        _bill.get().append(request)


def worst_cost(tier: Tier, request: Request) -> float | None:
    """The most a request can cost in dollars; None when the price is unknown."""
    price = tier.list_price()
    if price is None:
        return None
    longest = request.n * request.max_tokens
    return price.of(Usage(input_tokens=prompts.estimate_tokens(request.messages), output_tokens=longest))


# ---------------------------------------------------------------- the cascade


@dataclass(slots=True)
class Degrading:
    """What all questions of a run share under `--on-budget degrade`: whether the cap has been met."""

    met: bool = False

    def check(self) -> None:
        """Spend no more on votes and larger tiers once the cap has been met.

        Raises:
            BudgetError: it has.
        """
        if self.met:
            raise BudgetError("--max-cost leaves money for the cheapest tier only")


@dataclass(frozen=True, slots=True)
class Cascade:
    """A profile, a policy and a backend: answers, verifies and collects.

    With `degrading`, a question that the budget stops is answered by the cheapest tier, unverified, if
    that still fits; so is every question after it.

    Example:
        >>> import asyncio
        >>> from automix_cli.backend import ScriptedBackend
        >>> from automix_cli.profile import profile_of_models
        >>> verdict = prompts.decision(True)
        >>> backend = ScriptedBackend(lambda r: verdict if prompts.is_verification(r.messages) else "4")
        >>> cascade = Cascade(profile_of_models(["demo/small", "demo/large"]), backend)
        >>> asyncio.run(cascade.answer(Question(text="2 + 2?"))).answer
        '4'
    """

    profile: Profile
    backend: Backend
    policy: Policy[Any] | None = None
    degrading: Degrading | None = None
    query: QueryRouter | None = field(init=False, repr=False, compare=False)
    classless: Policy[Any] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "query", query_router(self.profile))
        pooled = None if self.embedder is None else router_policy(without_classes(self.profile))
        object.__setattr__(self, "classless", pooled)

    async def answer(self, question: Question) -> Answer:
        """Run one question through the cascade.

        A call that fails makes an error row with the route and the money so far; only an
        error of automix itself is raised.
        """
        return await _Run(self, question).answer()

    async def collect(self, question: Question) -> Trace:
        """Ask every tier, buy all votes, score each answer that can be scored.

        Raises:
            BackendError: when a call fails; what was paid for is in the cache.
        """
        run = _Run(self, question)
        for index in range(len(self.profile.tiers)):
            await run.carry_out(Action("start", index))
            if run.is_verified(index) and self.votes_per_answer:
                await run.carry_out(Action("vote", index, self.votes_per_answer))
            run.finish()
        return Trace(question=question, steps=tuple(v.step() for v in run.visits))

    async def verify(self, question: Question, answer: str, tier: Tier, votes: int) -> Verification:
        """Have `tier` check an answer with `votes` votes (samples, for `consistency`)."""
        return await _Check(self, question, answer, tier, votes).run()

    @property
    def embedder(self) -> Tier | None:
        """The model whose embeddings the query-side router reads; None where it reads none."""
        return None if self.query is None or self.query.embed_model is None else embedder_of(self.profile)

    async def embed(self, question: Question, tier: Tier) -> Completion:
        """Buy the embedding of a question.

        Raises:
            BackendError: it could not be had.
        """
        request = embedding_request(question.text, tier, self.profile.limits.timeout)
        return (await self.backend.complete(request))[0]

    @property
    def votes_per_answer(self) -> int:
        """How many votes one answer may get."""
        v = self.profile.verification
        if v.signal == "votes":
            return v.max_votes
        return 1 if v.signal == "logprob" and v.logprob_of == "verdict" else 0

    @property
    def samples_per_answer(self) -> int:
        """How many answers are sampled where one is reported (Self-Consistency), else 1."""
        v = self.profile.verification
        return v.max_votes if v.signal == "consistency" else 1

    def active_policy(self) -> Policy[Any]:
        """The policy given, or the uncalibrated default for this profile's signal."""
        if self.policy is not None:
            return self.policy
        return default_policy(self.profile)


def row_error(error: BackendError, tier: str) -> RowError:
    """An error of a call, as a row tells it."""
    return RowError(
        type=error.kind,
        message=error.message,
        attempts=error.attempts,
        tier=tier or None,
        fatal=error.fatal,
    )


def default_policy(profile: Profile) -> MajorityPolicy:
    """Escalate when fewer than half of the parsed votes say CORRECT (DESIGN: uncalibrated default)."""
    v = profile.verification
    batch = v.batch if v.signal == "votes" else (1,)
    most = {"votes": v.max_votes, "logprob": 1, "consistency": v.max_votes}[v.signal]
    return MajorityPolicy(tiers=len(profile.tiers), max_votes=most, batch=batch)


class _Run:
    """One question on its way: the visits so far, and how to carry out an action."""

    def __init__(self, cascade: Cascade, question: Question) -> None:
        self.cascade = cascade
        self.profile = cascade.profile
        self.question = question
        self.calls = Calls(cascade.profile)
        self.visits: list[Visit] = []
        self.reason = ""
        self.failure: tuple[BackendError, str] | None = None
        self.fallback: Visit | None = None
        self.embedding: Visit | None = None
        self.unread = False

    # ------------------------------------------------------------ the loop

    async def answer(self) -> Answer:
        started = time.perf_counter()
        billed: list[Request] = []
        _bill.set(billed)
        base = Answer(
            question=self.question,
            input_sha=input_sha(self.question),
            profile_sha=self.profile.sha,
        )
        policy = self.cascade.active_policy()
        turn: Turn[Any] | None = None
        try:
            facts = await self._facts()
            policy = self.policy_for(policy)
            turn = await self._drive(policy, facts)
        except BudgetError as exc:
            await self._degrade(exc)
        except BackendError as exc:
            self.failure = (exc, self._tier_in_hand())
        row = replace(
            base,
            route=tuple(v.step() for v in self.visits),
            embedding=None if self.embedding is None else self.embedding.step(),
            reason=self.reason,
            failed_usd=add_money(*(worst_cost(self._tier_for(r), r) for r in billed)),
            latency_s=round(time.perf_counter() - started, 4),
        )
        return self._closed(row, policy, turn)

    async def _degrade(self, stop: BudgetError) -> None:
        """Settle for the answer of the cheapest tier, bought now if need be; else the row is skipped."""
        self.failure = (stop, self._tier_in_hand())
        if self.cascade.degrading is None:
            return
        self.cascade.degrading.met = True
        visit = next((v for v in self.visits if v.tier is self.profile.tiers[0]), None)
        if visit is None:
            visit = Visit(self.profile.tiers[0])
            self.visits.append(visit)
        try:
            if not visit.answers:
                request, cut = self.calls.for_answer(self.question, visit.tier)
                visit.note(await self.buy(request, visit.answers), cut)
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
                observation = await self._observe(turn.action)
                turn = run.send(observation)
                self._leave(policy, turn)
        except StopIteration as done:
            last: Turn[Any] = done.value
            self._leave(policy, last)
            return last

    async def _facts(self) -> Facts:
        """Prompt tokens as the fit counted them; it says how far the estimate is off (`token_scale`)."""
        scale = (self.profile.router or {}).get("token_scale")
        tokens = None if scale is None else scale * estimated_tokens(self.profile, self.question)
        return Facts(tokens, await self.cell())

    async def cell(self) -> int:
        """The question's class, read by the profile's query-side router; 0 where it has none.

        Raises:
            BackendError: the embedding it reads could not be had, nor will the next one be; or there is
                no money for it, or the cache does not have it. Any other failure makes the question
                `unread`: it goes on without a class.
            DataError: the embedding is not like those that the router was fitted on.
        """
        query, tier = self.cascade.query, self.cascade.embedder
        if query is None:
            return 0
        if tier is None:
            return int(query.read([self.question.text]).cells[0])
        self.embedding = Visit(tier)
        try:
            bought = await self.cascade.embed(self.question, tier)
        except BackendError as exc:
            if exc.fatal or isinstance(exc, BudgetError | CacheMiss):
                raise
            self.unread = True
            return 0
        self.embedding.answers.append(bought)
        return int(query.read([self.question.text], embeddings=[unpacked(bought.text)]).cells[0])

    def policy_for(self, policy: Policy[Any]) -> Policy[Any]:
        """The policy, or for a question of unknown class the one that knows no classes."""
        return self.cascade.classless or policy if self.unread else policy

    def _leave(self, policy: Policy[Any], turn: Turn[Any]) -> None:
        """Write down what was decided about the tier in hand, and why."""
        if turn.action.kind == "vote" or not self.visits:
            return
        visit = self.visits[-1]
        visit.action = turn.action.kind
        visit.confidence = policy.confidence(turn.belief, self.profile.tiers.index(visit.tier))
        if visit.signal is not None or visit.votes or not self.reason:
            self.reason = policy.reason(turn.belief)

    async def _observe(self, action: Action) -> Observation:
        """Carry out an action; a tier that cannot serve this question leaves it to the others."""
        if self.cascade.degrading is not None:
            self.cascade.degrading.check()
        try:
            return await self.carry_out(action)
        except (ContextTooLong, ContentFiltered) as exc:
            self._set_aside(exc)
            return Observation(failed=True)

    def _set_aside(self, exc: BackendError) -> None:
        """Note why the tier in hand could not do this, in case no other can do it either."""
        self.failure = (exc, self._tier_in_hand())
        self.visits[-1].flags[exc.kind] = None

    def _tier_for(self, request: Request) -> Tier:
        """The tier that a request was made for."""
        if request.embeds and self.embedding is not None:
            return self.embedding.tier
        return next(
            v.tier
            for v in reversed(self.visits)
            if (v.tier.model, v.tier.api_base) == (request.model, request.api_base)
        )

    def _tier_in_hand(self) -> str:
        return self.visits[-1].tier.name if self.visits else ""

    def _closed(self, row: Answer, policy: Policy[Any], turn: Turn[Any] | None) -> Answer:
        """The finished row: an answer, an abstention, or an error."""
        if self.fallback is not None:
            visit = self.fallback
            return replace(row, answer=visit.answer, tier=visit.tier.name, model=visit.tier.model)
        if turn is not None and turn.action.kind == "report":
            visit = next(v for v in self.visits if v.tier is self.profile.tiers[turn.action.tier])
            confidence = policy.confidence(turn.belief, turn.action.tier)
            return replace(
                row,
                answer=visit.answer,
                tier=visit.tier.name,
                model=visit.tier.model,
                confidence=None if confidence is None else round(confidence, 6),
            )
        if turn is not None and self.failure is None:
            return replace(row, status="abstained")
        error, tier = self.failure or (BackendError("no tier gave an answer"), self._tier_in_hand())
        status: Status = "skipped" if isinstance(error, BudgetError) else "error"
        return row.with_error(row_error(error, tier), status)

    # ------------------------------------------------------------ actions

    async def carry_out(self, action: Action) -> Observation:
        """Ask a tier or buy votes; returns what was seen."""
        started = time.perf_counter()
        if action.kind == "vote":
            visit = self.visits[-1]
            observe = self._vote(visit, action.votes)
        else:
            visit = Visit(self.profile.tiers[action.tier])
            if self.unread and not self.visits:
                visit.flags["embedding_failed"] = None
            self.visits.append(visit)
            observe = self._ask(visit, action.tier)
        try:
            return await observe
        finally:
            visit.seconds += time.perf_counter() - started

    def is_verified(self, tier: int) -> bool:
        """Whether answers of this tier get a signal: all but the last one's do."""
        return tier < len(self.profile.tiers) - 1 or self.profile.verification.last_tier

    async def _ask(self, visit: Visit, tier: int) -> Observation:
        n = self.cascade.samples_per_answer if self.is_verified(tier) else 1
        request, cut = self.calls.for_answer(self.question, visit.tier, n=n)
        visit.note(await self.buy(request, visit.answers), cut)
        if n > 1:
            return self._plurality(visit)
        visit.answer = visit.answers[0].text.strip()
        v = self.profile.verification
        if v.signal == "logprob" and v.logprob_of == "answer" and self.is_verified(tier):
            visit.signal = prompts.answer_confidence(visit.answers[0])
        return Observation(signal=visit.signal)

    async def buy(self, request: Request, kept: list[Completion]) -> list[Completion]:
        """All samples of a request; each is kept as soon as it is paid for, whatever the next one does."""
        bought: list[Completion] = []
        while len(bought) < request.n:
            rest = request.part(request.first + len(bought), request.n - len(bought))
            more = await self.cascade.backend.complete(rest)
            bought += more
            kept += more
        return bought

    def _plurality(self, visit: Visit) -> Observation:
        texts = [c.text.strip() for c in visit.answers]
        visit.answer, count = scoring.plurality(texts, self.profile.task.scorer, self.question.choices)
        visit.signal = count / len(texts)
        return Observation(correct=count, parsed=len(texts), bought=len(texts))

    async def _vote(self, visit: Visit, n: int) -> Observation:
        request, cut = self.calls.for_votes(
            self.question, visit.answer or "", visit.tier, first=len(visit.checks), n=n
        )
        before = len(visit.checks)
        try:
            await self.buy(request, visit.checks)
        except (ContextTooLong, ContentFiltered, NoText) as exc:
            self._set_aside(exc)  # a verifier that refuses, or says nothing, is no evidence either way
        checks = visit.checks[before:]
        visit.note(checks, cut)
        votes = [prompts.read_vote(c) for c in checks]
        votes += [Vote(verdict=Verdict.UNPARSED)] * (n - len(checks))
        visit.votes += votes
        if self.profile.verification.signal == "logprob":
            visit.signal = prompts.verdict_confidence(checks[0]) if checks else None
            return Observation(bought=len(votes), signal=visit.signal)
        correct = sum(v.verdict is Verdict.CORRECT for v in votes)
        parsed = sum(v.verdict is not Verdict.UNPARSED for v in votes)
        return Observation(correct, parsed, len(votes))

    def finish(self) -> None:
        """Score the answer in hand where the row says what is expected; its latency is that of the answer."""
        visit = self.visits[-1]
        visit.seconds = max(c.latency_s for c in visit.answers)
        if self.question.expected and visit.answer is not None:
            visit.score = scoring.score(
                visit.answer, self.question.expected, self.profile.task.scorer, self.question.choices
            )


class _Check:
    """One answer that somebody already has, checked by one tier."""

    def __init__(self, cascade: Cascade, question: Question, answer: str, tier: Tier, votes: int) -> None:
        self.run_of = _Run(cascade, question)
        self.cascade = cascade
        self.question = question
        self.answer = answer
        self.index = cascade.profile.tiers.index(tier)
        self.votes = votes
        self.visit = Visit(tier, answer=answer)
        self.run_of.visits.append(self.visit)

    async def run(self) -> Verification:
        """The verification; a call that fails makes an error row."""
        try:
            seen = await self._observe()
            confidence, calibrated = await self._confidence(seen)
        except BackendError as exc:
            return self._row(error=row_error(exc, self.visit.tier.name))
        return self._row(
            confidence=None if confidence is None else round(confidence, 6),
            calibrated=calibrated,
            sampled=len(self.visit.answers) or None,
            agreeing=seen.correct if self.visit.answers else None,
        )

    async def _observe(self) -> Observation:
        if self.cascade.profile.verification.signal == "consistency":
            return await self._agreement()
        n = self.votes if self.cascade.profile.verification.signal == "votes" else 1
        return await self.run_of.carry_out(Action("vote", self.index, n))

    async def _agreement(self) -> Observation:
        """How many of k answers that the tier samples itself are equivalent to the given one."""
        request, cut = self.run_of.calls.for_answer(self.question, self.visit.tier, n=max(2, self.votes))
        self.visit.note(await self.run_of.buy(request, self.visit.answers), cut)
        task = self.cascade.profile.task
        same = sum(
            scoring.equivalent(c.text.strip(), self.answer, task.scorer, self.question.choices)
            for c in self.visit.answers
        )
        return Observation(same, len(self.visit.answers), len(self.visit.answers))

    async def _confidence(self, seen: Observation) -> tuple[float | None, bool]:
        """The posterior under a calibrated policy, else the signal itself; None without evidence."""
        if seen.signal is None and not seen.parsed:
            return None, False
        policy = self.cascade.policy
        if policy is None:
            return (seen.correct / seen.parsed if seen.signal is None else seen.signal), False
        facts = Facts(cell=await self.run_of.cell())
        policy = self.run_of.policy_for(policy)
        belief = policy.begin(facts)
        belief = policy.update(belief, Action("start", self.index), Observation())
        belief = policy.update(belief, Action("vote", self.index, seen.bought), seen)
        return policy.confidence(belief, self.index), True

    def _row(self, **found: Any) -> Verification:
        visits = [self.visit, self.run_of.embedding]
        paid = [visit.step() for visit in visits if visit is not None]
        return Verification(
            question=self.question,
            answer=self.answer,
            tier=self.visit.tier.name,
            signal=self.cascade.profile.verification.signal,
            votes=tuple(self.visit.votes),
            usage=total_usage(s.usage for s in paid),
            cost_usd=add_money(*(s.cost_usd for s in paid)),
            spent_usd=add_money(*(s.spent_usd for s in paid)),
            flags=(*paid[0].flags, *(["embedding_failed"] if self.run_of.unread else [])),
            **found,
        )


# ---------------------------------------------------------------- calibrated profiles


def settings_of(profile: Profile) -> Settings:
    """What the profile decides and no data changes, as the fitting needs it."""
    from automix_cli.fitting import Settings

    v, task = profile.verification, profile.task
    return Settings(
        max_votes=v.max_votes,
        batch=v.batch,
        abstain_value=task.abstain_value,
        last_tier=v.last_tier,
        value_of_time=float((profile.router or {}).get("value_of_time", 0.0)),
        pass_score=task.pass_score,
    )


def router_policy(profile: Profile) -> Policy[Any] | None:
    """The policy that the profile's `router:` block holds; None when it is uncalibrated.

    Raises:
        DataError: the block cannot be read, or was fitted on other tiers.
    """
    if profile.router is None:
        return None
    from automix_cli.calibration import policy_from_router

    return policy_from_router(profile.router, settings_of(profile), [t.name for t in profile.tiers])


def query_router(profile: Profile) -> QueryRouter | None:
    """The query-side router whose classes the profile's prior knows; None where it has none.

    Raises:
        DataError: it cannot be read, or knows other classes than the prior.
    """
    router = profile.router or {}
    if router.get("query") is None:
        return None
    from automix_cli.routers import QueryRouter

    hint = "automix calibrate writes it anew"
    try:
        query = QueryRouter.from_dict(router["query"])
    except DataError as exc:
        raise DataError(exc.message, hint=hint) from exc
    known = len(router.get("prior", {}).get("counts", ()))
    if query.n_cells != known:
        problem = f"the query-side router tells {query.n_cells} classes apart, and the prior knows {known}"
        raise DataError(problem, hint=hint)
    return query


def without_classes(profile: Profile) -> Profile:
    """The profile with a prior for all classes of questions together, and no query-side router."""
    router = dict(profile.router or {})
    router.pop("query", None)
    prior = router["prior"]
    pooled = [sum(column) for column in zip(*prior["counts"], strict=True)]
    return replace(profile, router={**router, "prior": {**prior, "counts": [pooled]}})


def embedder_of(profile: Profile) -> Tier | None:
    """The embedding model that the profile's router reads, as the profile reaches it; None for none.

    Raises:
        DataError: what the router names is no model.
    """
    query = (profile.router or {}).get("query") or {}
    features = query.get("features") if isinstance(query, Mapping) else None
    model = features.get("model") if isinstance(features, Mapping) else None
    if not isinstance(model, str) or not model:
        return None
    if problem := model_problem(model):
        hint = "automix calibrate writes it anew"
        raise DataError(f"the query-side router reads embeddings of no known model: {problem}", hint=hint)
    return profile.embedder(model)


def fingerprint(profile: Profile) -> dict[str, Any]:
    """What a router is fitted to, apart from the rows; `differences` compares it later."""
    v = profile.verification
    return {
        "models": [t.model for t in profile.tiers],
        "prompt_sha256": prompts.prompt_sha(profile.task.instruction, v.examples),
        "signal": v.signal if v.signal != "logprob" else f"logprob of the {v.logprob_of}",
        "votes": [v.max_votes, list(v.batch), v.temperature],
    }


def differences(profile: Profile) -> list[str]:
    """In words, what is no longer as it was when the router was fitted."""
    fitted = (profile.router or {}).get("fitted", {})
    names = {
        "models": "the models",
        "prompt_sha256": "the prompts",
        "signal": "the signal",
        "votes": "the vote settings",
    }
    now = fingerprint(profile)
    return [name for key, name in names.items() if key in fitted and fitted[key] != now[key]]


# ---------------------------------------------------------------- what it would cost

_EXPECTED_ESCALATED = 1 / 3
_EXPECTED_OUTPUT = 1 / 8  # of max_tokens
_LEAST_OUTPUT = 8  # tokens


def plan_calls(profile: Profile, questions: Iterable[Question]) -> dict[str, Any]:
    """Calls and dollars to expect for `questions`, without asking anybody.

    `low`: every answer of the first tier is reported after the fewest votes that can
    settle it. `worst`: every tier is asked and gets all its votes, and every completion is
    as long as it may be. `expected` assumes what stands under `assumes`. An unknown price
    makes the dollars None.
    """
    sums = {name: [0.0, 0.0] for name in ("low", "expected", "worst")}
    embedder = embedder_of(profile)
    called = profile.tiers if embedder is None else (*profile.tiers, embedder)
    known = all(tier.list_price() is not None for tier in called)
    count = 0
    for question in questions:
        count += 1
        parts = [_plan_one(profile, question)]
        if embedder is not None:
            parts.append(_plan_embedding(embedder, question))
        for name, per_question in chain.from_iterable(part.items() for part in parts):
            for i, amount in enumerate(per_question):
                sums[name][i] += amount
    return {
        "questions": count,
        "profile": profile.name,
        "policy": "uncalibrated" if profile.router is None else profile.router.get("kind", "calibrated"),
        **{
            name: {"calls": round(calls), "usd": usd if known else None}
            for name, (calls, usd) in sums.items()
        },
        "assumes": f"expected: {_EXPECTED_ESCALATED:.0%} of answers escalated, 1/8 of max_tokens written; "
        "each vote counted as a call of its own",
    }


def plan_embeddings(plan: dict[str, Any], tier: Tier, questions: Iterable[Question]) -> dict[str, Any]:
    """A plan with the embeddings of the questions besides; equal ones are embedded once."""
    texts = {q.text: q for q in questions}
    bills = [_plan_embedding(tier, question) for question in texts.values()]
    known, told = tier.list_price() is not None, {**plan}
    for name in ("low", "expected", "worst"):
        calls, usd = plan[name]["calls"], plan[name]["usd"]
        more = math.fsum(bill[name][1] for bill in bills) if known else None
        told[name] = {"calls": calls + len(texts), "usd": add_money(usd, more)}
    return {**told, "embeddings": len(texts), "assumes": f"{plan['assumes']}; {len(texts):,} embeddings"}


NO_CALLS = {
    **{name: {"calls": 0, "usd": 0.0} for name in ("low", "expected", "worst")},
    "assumes": "tiers are not asked: the rows are traces",
}
"""The plan for rows that hold traces."""


def plan_collection(profile: Profile, questions: Sequence[Question]) -> dict[str, Any]:
    """The same for asking every tier every question and buying all votes: low is that with short replies."""
    plan = plan_calls(replace(profile, router=None), questions)
    short = usual = longest = 0.0
    for question in questions:
        for tier, index in zip(profile.tiers, range(len(profile.tiers)), strict=True):
            answers, votes = _bought(
                profile, index < len(profile.tiers) - 1 or profile.verification.last_tier
            )
            ask, _ = Calls(profile).for_answer(question, tier, n=answers)
            check, _ = Calls(profile).for_votes(question, "", tier, first=0, n=1)
            short += answers * _cost_of(tier, ask, None) + votes * _cost_of(tier, check, None)
            usual += sum(k * _cost_of(tier, r, _EXPECTED_OUTPUT) for k, r in ((answers, ask), (votes, check)))
            longest += answers * _cost_of(tier, ask, 1.0) + votes * _cost_of(tier, check, 1.0)
    calls, known = plan["worst"]["calls"], plan["worst"]["usd"] is not None
    bills = {"low": short, "expected": usual, "worst": longest}
    return {
        **plan,
        "policy": "every tier, all votes",
        **{name: {"calls": calls, "usd": usd if known else None} for name, usd in bills.items()},
        "assumes": "expected: 1/8 of max_tokens written; each vote counted as a call of its own",
    }


def _plan_one(profile: Profile, question: Question) -> dict[str, tuple[float, float]]:
    """(calls, dollars) of one question: low, expected, worst."""
    calls = Calls(profile)
    policy = default_policy(profile)
    low, expected, worst = [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]
    reach = 1.0
    for index, tier in enumerate(profile.tiers):
        verified = index < len(profile.tiers) - 1 or profile.verification.last_tier
        answers, most = _bought(profile, verified)
        fewest = policy.action(History((PlannedVisit(0),))).votes if most > 1 else most
        ask, _ = calls.for_answer(question, tier, n=answers)
        check, _ = calls.for_votes(question, "", tier, first=0, n=1)
        for share, votes, bill, output in (
            (float(index == 0), fewest, low, None),
            (reach, (fewest + most) / 2, expected, _EXPECTED_OUTPUT),
            (1.0, most, worst, 1.0),
        ):
            bill[0] += share * (answers + votes)
            bill[1] += share * (answers * _cost_of(tier, ask, output) + votes * _cost_of(tier, check, output))
        reach *= _EXPECTED_ESCALATED
    return {"low": (low[0], low[1]), "expected": (expected[0], expected[1]), "worst": (worst[0], worst[1])}


def _plan_embedding(tier: Tier, question: Question) -> dict[str, tuple[float, float]]:
    """(calls, dollars) of one embedding: low, expected, worst."""
    request = embedding_request(question.text, tier, 1.0)
    most = _cost_of(tier, request, 1.0)
    return {"low": (1.0, _cost_of(tier, request, None)), "expected": (1.0, most), "worst": (1.0, most)}


def _bought(profile: Profile, verified: bool) -> tuple[int, int]:
    """How many answers and at most how many votes a visited tier costs."""
    v = profile.verification
    if not verified:
        return 1, 0
    if v.signal == "consistency":
        return v.max_votes, 0
    return 1, (v.max_votes if v.signal == "votes" else int(v.logprob_of == "verdict"))


def samples_of(profile: Profile) -> tuple[int, ...]:
    """How many answers are sampled of each tier, 0 where one is asked for."""
    last = len(profile.tiers) - 1
    bought = [_bought(profile, j < last or profile.verification.last_tier)[0] for j in range(last + 1)]
    return tuple(n if n > 1 else 0 for n in bought)


def _cost_of(tier: Tier, request: Request, output: float | None) -> float:
    """Dollars of one completion whose length is a share of max_tokens (None: next to nothing)."""
    price = tier.list_price()
    if price is None:
        return 0.0
    most, told = request.max_tokens, prompts.estimate_tokens(request.messages)
    if output is None:  # and at the low end a token is worth five bytes rather than three
        return price.of(Usage(input_tokens=told * 3 // 5, output_tokens=min(most, _LEAST_OUTPUT)))
    return price.of(Usage(input_tokens=told, output_tokens=math.ceil(most * output)))
