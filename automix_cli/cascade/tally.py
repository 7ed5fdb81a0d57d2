"""What a batch of rows came to, counted row by row."""

from __future__ import annotations

from msgspec import Struct, field

from automix_cli.cascade.baseline import CostTally
from automix_cli.cascade.verification import Verification
from automix_cli.data.choice_places import is_place
from automix_cli.records import Answer, RowError, Shadow, Step, VoteCount
from automix_cli.scoring import score
from automix_cli.scoring.comparison import OtherScorer, TierAnswer, is_doubtful, other_scorer
from automix_cli.usage import Usage, add_money

_MOST_FIRST = 500  # judged answers that are kept: enough to see that another scorer fits better


class Faults(Struct):
    """Per kind of error: how many rows have it, the first message, and the first advice.

    Rows that were not asked, because one before them was refused for all, are counted apart. What mends
    the error that ends a run is said with that error.
    """

    kinds: dict[str, tuple[int, str]] = field(default_factory=dict)
    hints: dict[str, str] = field(default_factory=dict)
    not_asked: int = 0

    def add(self, error: RowError) -> None:
        """Count one error."""
        if error.fatal and not error.attempts:
            self.not_asked += 1
            return
        count, first = self.kinds.get(error.type, (0, error.message))
        self.kinds[error.type] = (count + 1, first)
        if not error.fatal:
            self.advise(error.type, error.hint)

    def advise(self, kind: str, hint: str) -> None:
        """Note how to mend a kind of error; the first advice stands."""
        if hint:
            self.hints.setdefault(kind, hint)


class ShadowTally(Struct):
    """What the comparisons of a batch with the baseline came to.

    `without_answer` counts rows to which the baseline has no answer, `errors` calls that failed.
    """

    tier: str = ""
    rows: int = 0
    calls: int = 0
    differing: int = 0
    without_answer: int = 0
    errors: int = 0
    first_error: str = ""
    spent_usd: float | None = 0.0

    def add(self, shadow: Shadow) -> None:
        """Count one comparison."""
        self.tier = shadow.tier
        self.rows += 1
        self.calls += 0 if shadow.call is None else shadow.call.calls
        self.differing += shadow.equal is False
        self.spent_usd = add_money(self.spent_usd, shadow.spent_usd)
        if shadow.error is not None:
            self.errors += 1
            self.first_error = self.first_error or shadow.error.message
        elif shadow.equal is None:
            self.without_answer += 1


class ScoreTally(Struct):
    """How many answers could be judged, the sum of their scores, and the first of them."""

    rows: int = 0
    total: float = 0.0
    first: list[TierAnswer] = field(default_factory=list)

    def add(self, row: Answer, scorer: str) -> None:
        """Judge an answer, where its row says what is right."""
        gold, choices = row.question.expected, row.question.choices
        if gold and row.answer is not None and not is_place(gold, choices):
            self.rows += 1
            self.total += score(row.answer, gold, scorer, choices)
            if len(self.first) < _MOST_FIRST:
                self.first.append(TierAnswer(row.tier or "", row.answer, tuple(gold), tuple(choices)))

    def other_scorer(self, scorer: str) -> OtherScorer | None:
        """The scorer that finds many of the first answers right, where this one finds nearly none."""
        return other_scorer(self.first, scorer) if is_doubtful(self.total, self.rows) else None


class Tally(Struct):
    """What a batch of answers came to.

    `first_votes` counts, per tier, the first vote on every answer that was verified; `mute` the rows
    on which it gave no answer; `without_class` those that name none of the classes that the router
    tells apart; `costs` compares the rows that were run to their end with the baseline. `scores` are those
    of the answers to rows that say what is right, by `scorer`; without one nothing is judged.
    """

    rows: int = 0
    ok: int = 0
    abstained: int = 0
    skipped: int = 0
    degraded: int = 0
    errors: int = 0
    escalated: int = 0
    cost_usd: float | None = 0.0
    spent_usd: float | None = 0.0
    usage: Usage = field(default_factory=Usage)
    votes: VoteCount = field(default_factory=VoteCount)
    faults: Faults = field(default_factory=Faults)
    tier_cost: dict[str, float | None] = field(default_factory=dict)
    first_votes: dict[str, VoteCount] = field(default_factory=dict)
    mute: dict[str, int] = field(default_factory=dict)
    without_class: int = 0
    costs: CostTally = field(default_factory=CostTally)
    shadow: ShadowTally = field(default_factory=ShadowTally)
    scorer: str = ""
    scores: ScoreTally = field(default_factory=ScoreTally)

    def add(self, row: Answer) -> None:
        """Count one row."""
        if self.scorer and row.status == "ok":
            self.scores.add(row, self.scorer)
        self.rows += 1
        self.ok += row.status == "ok"
        self.abstained += row.status == "abstained"
        self.skipped += row.status == "skipped"
        self.degraded += any("degraded" in step.flags for step in row.route)
        self.errors += row.status == "error"
        self.escalated += row.escalated and row.status in ("ok", "abstained")
        self.without_class += row.tells_classes and row.question_class is None
        self.cost_usd = add_money(self.cost_usd, row.cost_usd)
        self.spent_usd = add_money(self.spent_usd, row.spent_usd)
        self.usage = self.usage + row.usage
        self.costs.add(row)
        if row.shadow is not None:
            self.shadow.add(row.shadow)
        if row.error is not None:
            self.faults.add(row.error)
        for step in row.route:
            self._add_step(step)

    def _add_step(self, step: Step) -> None:
        self.tier_cost[step.tier] = add_money(self.tier_cost.get(step.tier, 0.0), step.cost_usd)
        if step.failed:
            self.mute[step.tier] = self.mute.get(step.tier, 0) + 1
        for kind, hint in step.hints:
            self.faults.advise(kind, hint)
        if step.votes:
            self.votes = self.votes.plus(step.count)
            first = VoteCount.of(step.votes[:1])
            self.first_votes[step.tier] = self.first_votes.get(step.tier, VoteCount()).plus(first)

    @property
    def answered(self) -> int:
        """Rows that were run to their end."""
        return self.ok + self.abstained

    @property
    def is_partial(self) -> bool:
        """Whether rows failed, were skipped or not asked: those left are mostly the easy ones."""
        return self.answered < self.rows

    @property
    def escalated_share(self) -> float | None:
        """Share of the rows run to their end that went beyond their first tier."""
        return self.escalated / self.answered if self.answered else None

    def rates(self) -> dict[str, tuple[int, int]]:
        """(hits, cases) of what a fitted router expects: escalations, and first votes that say CORRECT.

        Empty where rows are missing: those that would have gone on fail or are skipped more often.
        """
        if self.is_partial:
            return {}
        first = {tier: (count.correct, count.parsed) for tier, count in self.first_votes.items()}
        return {"escalated": (self.escalated, self.answered), **first}


class CheckTally(Struct):
    """What a batch of verifications came to; `below` counts the answers not found correct.

    `earlier_rows` counts those that an earlier run finished; they are in `below` and in nothing else.
    """

    rows: int = 0
    earlier_rows: int = 0
    skipped: int = 0
    errors: int = 0
    below: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    cost_usd: float | None = 0.0
    spent_usd: float | None = 0.0
    faults: Faults = field(default_factory=Faults)

    def add(self, row: Verification) -> None:
        """Count one row."""
        self.rows += 1
        if row.status == "skipped":
            self.skipped += 1
        elif row.error is not None:
            self.errors += 1
            self.faults.add(row.error)
        else:
            self.below += row.verdict != "correct"
            self.verdicts[row.verdict] = self.verdicts.get(row.verdict, 0) + 1
        self.cost_usd = add_money(self.cost_usd, row.cost_usd)
        self.spent_usd = add_money(self.spent_usd, row.spent_usd)

    def add_earlier(self, verdict: str) -> None:
        """Count one row of an earlier run."""
        self.earlier_rows += 1
        self.below += verdict != "correct"
