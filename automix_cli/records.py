"""The values that flow through automix, frozen and compared by content.

    Question ─▶ Completion ─▶ Vote … ─▶ Step (one tier visited) ─▶ Trace (the whole run)
                                                                 └▶ Answer (the row `ask` writes)

Each class builds its own JSON form (`to_dict`); the readers of rows are in `data`. Money is
in US dollars, and `None` means *unknown*, which is never the same as 0; time is in seconds.
A value never holds itself, so that Python need not look for cycles among values (`gc=False`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Literal, NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from automix_cli.usage import NO_USAGE, Usage, add_money, total_usage

ASK_SCHEMA = "automix.ask/1"
VERIFY_SCHEMA = "automix.verify/1"

Json = Any
Status = Literal["ok", "error", "skipped", "abstained"]
ServiceTier = Literal["standard", "flex", "priority"]


class Message(NamedTuple):
    """One chat message."""

    role: str
    content: str


class Verdict(Enum):
    """The verdict of one vote on an answer; the value is its form in a trace row."""

    CORRECT = 1
    INCORRECT = 0
    UNPARSED = None


class TokenLogprob(NamedTuple):
    """One generated token with its log-probability (nats) and the likeliest alternatives."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class Completion(Struct, frozen=True, kw_only=True, gc=False):
    """One text returned by a backend.

    `usage` is this completion's share of the request's usage; `cached` is true
    when this run did not pay for it. Where one prompt serves several completions, `prompt` is the
    usage of the whole prompt; None where this completion had a request of its own.
    `service_tier` is the service that the provider says it gave. `flags` report irregularities:
    `truncated` (cut off at max_tokens), `usage_suspect` (missing or absurd counts),
    `usage_corrected` (the server counted one of several completions), `context_cut_by_server`
    (it counted far fewer prompt tokens than were sent).
    """

    text: str
    usage: Usage = NO_USAGE
    finish_reason: str = "stop"
    latency_s: float = 0.0
    logprobs: tuple[TokenLogprob, ...] = ()
    cached: bool = False
    prompt: Usage | None = None
    service_tier: ServiceTier = "standard"
    flags: tuple[str, ...] = ()


class Vote(Struct, frozen=True, kw_only=True, gc=False):
    """One sampled verdict on an answer, with the verifier's reasons (its whole completion)."""

    verdict: Verdict
    reasons: str = ""


class VoteCount(NamedTuple):
    """The votes bought for one answer, counted."""

    correct: int = 0
    incorrect: int = 0
    unparsed: int = 0

    @property
    def parsed(self) -> int:
        """Votes with a readable verdict."""
        return self.correct + self.incorrect

    @property
    def n_votes(self) -> int:
        """All votes that were paid for, including unparsed ones."""
        return self.correct + self.incorrect + self.unparsed

    @property
    def share(self) -> float | None:
        """The share of CORRECT among the parsed votes; None without any.

        Example:
            >>> VoteCount(3, 1, 2).share
            0.75
        """
        return self.correct / self.parsed if self.parsed else None

    def plus(self, other: VoteCount) -> VoteCount:
        """Both counts together.

        Example:
            >>> VoteCount(3, 1, 2).plus(VoteCount(1, 0, 0))
            VoteCount(correct=4, incorrect=1, unparsed=2)
        """
        return VoteCount(
            self.correct + other.correct, self.incorrect + other.incorrect, self.unparsed + other.unparsed
        )

    @classmethod
    def of(cls, verdicts: Iterable[Verdict]) -> VoteCount:
        """Count verdicts.

        Example:
            >>> VoteCount.of([Verdict.CORRECT, Verdict.UNPARSED])
            VoteCount(correct=1, incorrect=0, unparsed=1)
        """
        votes = list(verdicts)
        if not votes:
            return cls()
        return cls(*(votes.count(v) for v in (Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSED)))


class NoId(int):
    """The id of a question that was given none: 0, until its place in the input is known."""


NO_ID = NoId()


class Question(Struct, frozen=True, kw_only=True, gc=False):
    """One input record; `expected` holds its gold answers, any of which is right.

    `history` holds the messages before the question in a chat row; `index` is the
    0-based position in the input, and the id of a row that has none. `columns` are the keys of the
    row that say nothing of question and answer: one of them may name the question's class. They
    are no part of the rows that are written.
    """

    text: str
    id: str | int = NO_ID
    index: int = 0
    context: str | None = None
    choices: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()
    history: tuple[Message, ...] = ()
    metadata: Json = None
    dataset: str | None = None
    split: str | None = None
    columns: Mapping[str, Json] = field(default_factory=dict)

    def material(self, *others: str) -> dict[str, Json]:
        """Context, choices and `others`, where there are any: rows keep them for those who read them."""
        if not others and self.context is None and not self.choices:
            return {}
        row = self.to_dict()
        return {key: row[key] for key in ("context", "choices", *others) if key in row}

    def to_dict(self) -> dict[str, Json]:
        """The JSONL form, without keys that are empty."""
        row: dict[str, Json] = {"id": self.id, "question": self.text}
        if self.context is not None:
            row["context"] = self.context
        if self.choices:
            row["choices"] = list(self.choices)
        if self.expected:
            row["expected"] = self.expected[0] if len(self.expected) == 1 else list(self.expected)
        if self.history:
            row["messages"] = [m._asdict() for m in (*self.history, Message("user", self.text))]
            del row["question"]
        for key in ("metadata", "dataset", "split"):
            if getattr(self, key) is not None:
                row[key] = getattr(self, key)
        return row


class QuestionReading(NamedTuple):
    """What a query-side router read in a question before any call: P(right) by the name of each tier."""

    router: str
    right: tuple[tuple[str, float], ...]

    def to_dict(self) -> dict[str, Json]:
        """The `question` of a step."""
        return {"router": self.router, "right": {name: round(p, 4) for name, p in self.right}}


class Step(Struct, frozen=True, kw_only=True, gc=False):
    """One visited tier: its answer, the observations of that answer, and the cost.

    `votes` are in the order in which they were bought. `cost_usd` is the list price of all
    completions of the step, `spent_usd` the amount that this run paid for them; `answer_cost`,
    `vote_cost` (per vote) and `round_cost` (per round) split it for replay; `sample_cost` is
    the cost of one more sampled answer.
    `agrees_with` is the first tier asked with an equal answer; None where the answer is new.
    `action` is the decision that followed: report, escalate or abstain; `reports` is the tier whose
    earlier answer was reported then, None where it was the answer of this step. `failed` is the kind of
    failure of a tier that gave no answer (`context_length`, `content_filter`, `no_text`); such a
    step scores 0, at the cost of what was billed. `hints` says how to mend what failed, by kind; it is
    not part of a row.
    """

    tier: str
    model: str | None = None
    answer: str | None = None
    agrees_with: str | None = None
    failed: str | None = None
    votes: tuple[Verdict, ...] = ()
    samples: tuple[str, ...] = ()
    confidence: float | None = None
    score: float | None = None
    action: str = ""
    reports: str | None = None
    calls: int = 0
    usage: Usage = NO_USAGE
    answer_usage: Usage = NO_USAGE
    cost_usd: float | None = 0.0
    spent_usd: float | None = 0.0
    answer_cost: float | None = None
    vote_cost: float | None = None
    round_cost: float | None = None
    sample_cost: float | None = None
    latency_s: float | None = None
    flags: tuple[str, ...] = ()
    hints: tuple[tuple[str, str], ...] = ()
    reading: QuestionReading | None = None

    @property
    def count(self) -> VoteCount:
        """The votes, counted."""
        return VoteCount.of(self.votes)

    def to_route(self) -> dict[str, Json]:
        """An element of an answer row's `route`."""
        row: dict[str, Json] = {"tier": self.tier, "answer": self.answer}
        if self.reading is not None:
            row["question"] = self.reading.to_dict()
        if self.agrees_with:
            row["agrees_with"] = self.agrees_with
        if self.failed:
            row["failed"] = self.failed
        if self.votes:
            row |= {"votes": self.count._asdict(), "first_vote": self.votes[0].value}
        if self.samples:
            row["samples"] = len(self.samples)
        if self.confidence is not None:
            row["confidence"] = self.confidence
        row |= {
            "action": self.action,
            **({"reports": self.reports} if self.reports else {}),
            "calls": self.calls,
            "cost_usd": self.cost_usd,
            "latency_s": self.latency_s,
        }
        if self.flags:
            row["flags"] = list(self.flags)
        return row

    def to_trace(self) -> dict[str, Json]:
        """A value of a trace row's `tiers`, without unknown values."""
        row: dict[str, Json] = {
            "failed": self.failed,
            "answer": self.answer,
            "score": self.score,
            "votes": [v.value for v in self.votes] or None,
            "samples": list(self.samples) or None,
            "confidence": self.confidence,
            "cost": self.answer_cost,
            "vote_cost": self.vote_cost,
            "round_cost": self.round_cost,
            "sample_cost": self.sample_cost,
            "input_tokens": self.answer_usage.input_tokens or None,
            "output_tokens": self.answer_usage.output_tokens or None,
            "latency": self.latency_s,
        }
        return {key: value for key, value in row.items() if value is not None}


class Trace(Struct, frozen=True, kw_only=True):
    """One question with the recorded step of each tier: a row that `collect` writes and `replay` reads."""

    question: Question
    steps: tuple[Step, ...] = ()

    def step(self, tier: str) -> Step | None:
        """The step of a tier, if it was visited."""
        return next((s for s in self.steps if s.tier == tier), None)

    def to_dict(self) -> dict[str, Json]:
        """The trace row (JSONL)."""
        return {**self.question.to_dict(), "tiers": {s.tier: s.to_trace() for s in self.steps}}


class RowError(Struct, frozen=True, kw_only=True):
    """The reason why a row has no answer.

    Not part of the row: after a `fatal` one every row would fail, and `hint` says how to mend it.
    """

    type: str
    message: str
    attempts: int = 0
    tier: str | None = None
    fatal: bool = False
    hint: str = ""

    def to_dict(self) -> dict[str, Json]:
        """The `error` object of a row."""
        return {"type": self.type, "message": self.message, "attempts": self.attempts, "tier": self.tier}


class Shadow(Struct, frozen=True, kw_only=True):
    """What the baseline says to a question that was drawn to be compared with it.

    `equal` tells whether row and baseline answer alike; None where the baseline has no answer: `failed`
    says why, or `error` that the call failed. `answer_usd` is the list price of its answer, `call` the
    call made for the comparison alone, None where the route holds that answer, `failed_usd` as in `Answer`.
    """

    tier: str
    share: float
    seed: int
    equal: bool | None = None
    answer: str | None = None
    answer_usd: float | None = None
    failed: str | None = None
    call: Step | None = None
    failed_usd: float | None = 0.0
    error: RowError | None = None

    @property
    def spent_usd(self) -> float | None:
        """The amount that this run paid for the comparison."""
        return add_money(self.failed_usd, 0.0 if self.call is None else self.call.spent_usd)

    def to_dict(self) -> dict[str, Json]:
        """The `shadow` object of a row."""
        keys = ("tier", "share", "seed", "equal", "answer", "answer_usd")
        row: dict[str, Json] = {key: getattr(self, key) for key in keys}
        if self.failed:
            row["failed"] = self.failed
        if self.call is not None:
            row |= {"calls": self.call.calls, "cost_usd": self.call.cost_usd, "spent_usd": self.spent_usd}
        if self.error is not None:
            row["error"] = self.error.to_dict()
        return row


class Answer(Struct, frozen=True, kw_only=True, gc=False):
    """The row that `ask` writes: an answer, the route to it, its list price and the amount paid.

    `embedding` is the embedding call of a query-side router. It is not part of the route, but
    usage, list price and amount paid include it. `question_class` is the class whose prior was used,
    None for that of all questions; `tells_classes`, which is no part of the row, whether there are others.
    `shadow` compares the row with the baseline: the amount paid includes it, cost and usage do not.
    """

    question: Question
    status: Status = "ok"
    answer: str | None = None
    tier: str | None = None
    model: str | None = None
    confidence: float | None = None
    reason: str = ""
    route: tuple[Step, ...] = ()
    embedding: Step | None = None
    shadow: Shadow | None = None
    failed_usd: float | None = 0.0
    latency_s: float = 0.0
    error: RowError | None = None
    input_sha: str = ""
    profile_sha: str = ""
    question_class: str | None = None
    tells_classes: bool = False

    @property
    def escalated(self) -> bool:
        """Whether more than one tier was called."""
        return len(self.route) > 1

    @property
    def usage(self) -> Usage:
        """Tokens and calls over the route."""
        return total_usage([s.usage for s in self._charged_steps])

    @property
    def cost_usd(self) -> float | None:
        """List price of every completion behind the row, cached or not."""
        return add_money(*[s.cost_usd for s in self._charged_steps])

    @property
    def spent_usd(self) -> float | None:
        """The amount that this run paid, including failed attempts that may have been billed."""
        shadow = 0.0 if self.shadow is None else self.shadow.spent_usd
        return add_money(self.failed_usd, shadow, *[s.spent_usd for s in self._charged_steps])

    @property
    def _charged_steps(self) -> tuple[Step, ...]:
        return self.route if self.embedding is None else (self.embedding, *self.route)

    def with_error(self, error: RowError, status: Status = "error") -> Answer:
        """The same row as a failed one, with the route and the cost so far."""
        return replace(self, status=status, error=error, answer=None, tier=None, model=None, confidence=None)

    def to_dict(self) -> dict[str, Json]:
        """The `automix.ask/1` row."""
        return {
            "schema": ASK_SCHEMA,
            "id": self.question.id,
            "index": self.question.index,
            "status": self.status,
            "question": self.question.text,
            "answer": self.answer,
            "tier": self.tier,
            "model": self.model,
            "escalated": self.escalated,
            "confidence": self.confidence,
            "class": self.question_class,
            "reason": self.reason,
            "route": [s.to_route() for s in self.route],
            "usage": self.usage.to_dict(),
            "cost_usd": self.cost_usd,
            "spent_usd": self.spent_usd,
            "latency_s": self.latency_s,
            "error": self.error.to_dict() if self.error else None,
            "metadata": {} if self.question.metadata is None else self.question.metadata,
            "input_sha": self.input_sha,
            "profile_sha": self.profile_sha,
            **({} if self.shadow is None else {"shadow": self.shadow.to_dict()}),
            **self.question.material(*([] if self.shadow is None else ["expected"])),
        }
