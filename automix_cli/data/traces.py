"""Recorded traces as arrays: one table that every policy is fitted on and replayed on.

    rows (dicts) ─▶ read_table ─▶ TraceTable ─▶ replay, fitting, metrics
    flat rows ─▶ ColumnMapping ─┘   (see `columns`)

Only the numbers of CORRECT, INCORRECT and unparsed votes are read: recorded votes have no
order, because that of a file is often sorted and would leak. NaN stands for "not recorded" in
every array and is refused in the input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from automix_cli.data.collection_cost import row_costs
from automix_cli.data.groups import Grouping, Keys
from automix_cli.data.question_classes import ClassColumn, NamedClasses
from automix_cli.data.samples import Samples
from automix_cli.errors import DataError, UsageError, did_you_mean
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.signals import RecordedSignal

if TYPE_CHECKING:
    from automix_cli.data.recorded_signals import UnreadConfidence
    from automix_cli.data.relative import RelativeScores

Objects = NDArray[np.object_]


# ---------------------------------------------------------------- the table


class RecordedVotes(NamedTuple):
    """The votes recorded for one tier on n rows. They have no order.

    Attributes:
        kinds: K×3, the different numbers of CORRECT, INCORRECT and unparsed votes.
        code: n, which of them each row holds.
    """

    kinds: NDArray[np.int16]
    code: Ints

    @classmethod
    def of(cls, votes: NDArray[np.int16]) -> RecordedVotes:
        """Group rows (n×3) that hold the same votes."""
        wide = votes.astype(np.int64)
        numbers = (wide[:, 0] << 32) + (wide[:, 1] << 16) + wide[:, 2]
        _, first, code = np.unique(numbers, return_index=True, return_inverse=True)
        return cls(votes[first], code.astype(np.intp))

    @property
    def counts(self) -> Ints:
        """How many votes each row holds."""
        return np.asarray(self.kinds.sum(axis=1, dtype=np.intp)[self.code])


class Embeddings(NamedTuple):
    """The embeddings of the questions of n rows, for query-side routers.

    `vectors` is n×D; `cost` (USD) and `latency` (seconds, when they were made) are n each.
    """

    model: str
    vectors: Floats
    cost: Floats
    latency: Floats

    def take(self, rows: Ints | NDArray[np.bool_]) -> Embeddings:
        """The embeddings of some rows (indices or a mask)."""
        return Embeddings(self.model, self.vectors[rows], self.cost[rows], self.latency[rows])


class TraceTable(Struct, frozen=True, kw_only=True, eq=False):
    """n recorded rows with what each of N tiers did on them.

    Attributes:
        tiers: the tiers' names, cheapest first; columns of all n×N arrays.
        ids, texts, datasets, splits: per row; a text is "" and the others None where not recorded.
        grouping: which question each row asks; rows of one question stay together.
        score: n×N, 0..1.
        failed: n×N, where the tier gave no answer; the score is 0 there.
        answer_classes: n×N, equal numbers in a row for equal answers; -1 where no answer is recorded.
        confidence: n×N, 0..1, the continuous signal, or the plurality's share of the samples.
        cost, vote_cost, round_cost: n×N, USD of an answer, of one vote, of the prompt of a round.
        latency: n×N, seconds of an answer.
        input_tokens: n×N, prompt tokens of the answer as the tier counted them.
        votes: n×N×3, the numbers of CORRECT, INCORRECT and unparsed votes.
        sample_counts: n×N, how many answers were sampled.
        samples: per tier, its judged samples; empty where there are none, or the table was read
            without a scorer.
        set_aside_usd: what rows cost that were set aside; NaN where that is not known.
        most_votes: per tier, the most votes that may be planned for; None for as many as its rows hold.
        recorded_votes: per tier, its votes, rows of equal ones together.
        signals: per tier, the signal that a policy observes of an answer; see `with_signal`.
        signal_name: of the signal that was chosen among several; "" where none was chosen.
        class_column: the class that each row names, where a column of classes was read.
        question_classes: n, the class of each row, a query-side router's or a named one; None where
            all are alike.
        n_classes: how many classes there are.
        named_classes: the names of the classes, where they come from the class column; the last of
            `n_classes` is then that of all rows without a prior of their own.
        confidences: n×N per key, other numbers that show how sure a tier is; see `recorded_signals`.
        unread_confidences: what stands under these keys and is no such number, in all rows of the file.
        question_logits: n×N, log p/(1 - p) of each tier's chance to be right, as a query-side router
            reads it in the question; None without one.
        embeddings: the questions' embeddings, where there are any; see `with_embedding_fee`.
        look: how often the number of rows to label was fixed anew, after labels had been looked at.
        inclusion: n, the chance with which a row was drawn to be labelled, NaN for unknown; None for all.
        relative: what answers are worth beside a baseline's, where not every row has a label; `score` then
            says which answers are equal to it.
        fee: n×2, USD and seconds that a row takes before the first tier is called; None for none.
    """

    tiers: tuple[str, ...]
    ids: Objects
    texts: Objects
    datasets: Objects
    splits: Objects
    grouping: Grouping
    score: Floats
    failed: NDArray[np.bool_]
    answer_classes: NDArray[np.int16]
    confidence: Floats
    cost: Floats
    vote_cost: Floats
    round_cost: Floats
    latency: Floats
    input_tokens: Floats
    votes: NDArray[np.int16]
    sample_counts: NDArray[np.int16]
    recorded_votes: tuple[RecordedVotes, ...]
    signals: tuple[RecordedSignal, ...]
    class_column: ClassColumn | None = None
    question_classes: Ints | None = None
    n_classes: int = 1
    named_classes: NamedClasses | None = None
    signal_name: str = ""
    confidences: Mapping[str, Floats] = field(default_factory=dict)
    unread_confidences: tuple[UnreadConfidence, ...] = ()
    question_logits: Floats | None = None
    embeddings: Embeddings | None = None
    look: int = 1
    inclusion: Floats | None = None
    relative: RelativeScores | None = None
    fee: Floats | None = None
    samples: tuple[Samples | None, ...] = ()
    set_aside_usd: float = 0.0
    most_votes: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def groups(self) -> Ints:
        """The question that each row asks, n of 0..G-1, in the order of `group_keys`."""
        return self.grouping.groups

    @property
    def group_keys(self) -> Keys:
        """A key of each of the G questions that depends on its content only."""
        return self.grouping.keys

    @property
    def n_groups(self) -> int:
        """How many questions there are: what limits on rows count."""
        return len(self.grouping)

    @property
    def max_votes(self) -> tuple[int, ...]:
        """The fewest votes on any row with an answer, per tier: a plan for these rows may buy no more."""
        answered = ~self.failed
        own = [_fewest(votes.counts[answered[:, j]]) for j, votes in enumerate(self.recorded_votes)]
        return tuple(own) if self.most_votes is None else tuple(map(min, own, self.most_votes))

    @property
    def fewest_samples(self) -> tuple[int, ...]:
        """The fewest judged samples on any row with an answer, per tier."""
        if not self.samples or not len(self):
            return (0,) * len(self.tiers)
        return tuple(
            0 if samples is None else _fewest(samples.counts[~self.failed[:, j]])
            for j, samples in enumerate(self.samples)
        )

    @property
    def worth(self) -> Floats:
        """n×N, what reporting an answer is worth: its score, or what is known of that beside a baseline."""
        return self.score if self.relative is None else self.relative.worth

    @property
    def beside(self) -> str | None:
        """The tier that answers are compared with, where not every row has a label; else None."""
        return None if self.relative is None else self.relative.baseline

    @property
    def has_some_labels(self) -> bool:
        """Whether rows are compared with a baseline, and some of them have a label."""
        return self.relative is not None and bool(self.relative.has_label.any())

    @property
    def mean_cost(self) -> Floats:
        """Mean recorded cost of an answer per tier; NaN where none is recorded."""
        return _means(self.cost)

    @property
    def missing(self) -> dict[str, int]:
        """Rows without a score, per tier."""
        absent = np.isnan(self.score).sum(axis=0)
        return dict(zip(self.tiers, (int(a) for a in absent), strict=True))

    @property
    def prompt_tokens(self) -> Floats:
        """Prompt tokens of each question, from the first tier in order that recorded them."""
        tokens = np.full(len(self), np.nan)
        for j in range(len(self.tiers)):
            tokens = np.where(np.isnan(tokens), self.input_tokens[:, j], tokens)
        return tokens

    @property
    def compares_answers(self) -> bool:
        """Whether there are answers to compare: nine in ten of every tier's, where it did not fail.

        An answer that is not recorded is equal to no other.
        """
        answered = ~self.failed
        is_recorded = (self.answer_classes >= 0) & answered
        return len(self.tiers) > 1 and all(
            np.count_nonzero(is_recorded[:, j]) >= _MOST_ANSWERS * np.count_nonzero(answered[:, j])
            for j in range(len(self.tiers))
        )

    @property
    def first_equal(self) -> Ints:
        """n×N, the first tier with an equal answer, itself where the answer is new; -1 where it failed."""
        own = np.arange(len(self.tiers))
        classes = np.where(self.answer_classes < 0, len(own) + own, self.answer_classes)
        equal = (classes[:, :, None] == classes[:, None, :]) & ~self.failed[:, None, :]
        return np.where(self.failed, -1, equal.argmax(axis=2)).astype(np.intp)

    def subset(self, rows: Ints | NDArray[np.bool_]) -> TraceTable:
        """The table of some rows (indices or a mask)."""
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows  # found once, not in every column
        per_row = {name: getattr(self, name).take(rows, axis=0) for name in _PER_ROW}
        per_row["grouping"] = self.grouping.subset(rows)
        if self.embeddings is not None:
            per_row["embeddings"] = self.embeddings.take(rows)
        if self.fee is not None:
            per_row["fee"] = self.fee[rows]
        if self.inclusion is not None:
            per_row["inclusion"] = self.inclusion[rows]
        if self.relative is not None:
            per_row["relative"] = self.relative.take(rows)
        if self.class_column is not None:
            per_row["class_column"] = self.class_column.take(rows)
        if self.question_logits is not None:
            per_row["question_logits"] = self.question_logits[rows]
        recorded_votes = tuple(v._replace(code=v.code[rows]) for v in self.recorded_votes)
        question_classes = None if self.question_classes is None else self.question_classes[rows]
        return replace(
            self,
            recorded_votes=recorded_votes,
            question_classes=question_classes,
            samples=tuple(s and s.subset(rows) for s in self.samples),
            confidences={key: column.take(rows, axis=0) for key, column in self.confidences.items()},
            **per_row,
        )

    def without_rows(self, others: NDArray[np.bool_]) -> TraceTable:
        """The table without the rows of a mask; what they cost is kept."""
        usd = self.set_aside_usd + float(row_costs(self)[others].sum())
        return replace(self.subset(~others), set_aside_usd=usd)

    def with_vote_limit(self) -> TraceTable:
        """The table of whose parts none is planned for more votes than every row of the whole holds."""
        return replace(self, most_votes=self.max_votes)

    def with_named_classes(self, learn: Ints | NDArray[np.bool_]) -> TraceTable:
        """The table with the classes of its class column, as far as the rows in the mask can tell them apart.

        Without a column, or where no class has enough questions, all rows are alike.
        """
        column = self.class_column
        if column is None:
            return self
        classes = NamedClasses.of(column.take(learn), self.groups[learn])
        if not classes.names:
            return self
        places = classes.places(column.values.tolist())
        return replace(self, question_classes=places, n_classes=len(classes), named_classes=classes)

    def with_embedding_fee(self) -> TraceTable:
        """The table with each row charged for its embedding."""
        if self.embeddings is None:
            return self
        return replace(self, fee=np.column_stack([self.embeddings.cost, self.embeddings.latency]))

    def pick(self, tiers: Sequence[str]) -> TraceTable:
        """The table of these tiers, in this order.

        Raises:
            UsageError: for a name that is not in the table, or is given twice.
        """
        if len(set(tiers)) != len(tiers) or not tiers:
            raise UsageError(f"--tiers: expected different names, got {', '.join(tiers) or 'nothing'}")
        at = [tier_index(name, self.tiers, "--tiers") for name in tiers]
        per_tier = {name: getattr(self, name)[:, at] for name in _PER_TIER}
        return replace(
            self,
            tiers=tuple(tiers),
            recorded_votes=tuple(self.recorded_votes[j] for j in at),
            signals=tuple(self.signals[j] for j in at),
            samples=tuple(self.samples[j] for j in at) if self.samples else (),
            most_votes=self.most_votes and tuple(self.most_votes[j] for j in at),
            confidences={key: column[:, at] for key, column in self.confidences.items()},
            **per_tier,
        )

    def by_majority(self, tier: str, k: int) -> TraceTable:
        """The table with a tier's score and cost replaced by those of MAJ@k.

        The score is the expectation over the order of the samples. The latency stays that of one
        answer: samples are taken in parallel.

        Raises:
            UsageError: for a tier that is not in the table, or has fewer samples on some row.
        """
        j = tier_index(tier, self.tiers, "--policies")
        samples = self.samples[j] if self.samples else None
        if samples is None or self.fewest_samples[j] < k:
            raise UsageError(f"some row has fewer than {k} samples of {tier}")
        score, cost = self.score.copy(), self.cost.copy()
        answered = ~self.failed[:, j]
        score[answered, j] = samples.plurality_scores(k)[answered]
        cost[answered, j] = samples.costs(k, cost[:, j])[answered]
        # The answer is the plurality's, which depends on which samples are drawn.
        classes = np.full_like(self.answer_classes, -1)
        return replace(self, score=score, cost=cost, answer_classes=classes)

    def with_costs(
        self, costs: Mapping[str, float], vote_costs: Mapping[str, float] | None = None
    ) -> TraceTable:
        """The table with other costs of an answer, or of a vote, for some tiers.

        Raises:
            UsageError: for a name that is not in the table.
        """
        cost, vote_cost, round_cost = self.cost.copy(), self.vote_cost.copy(), self.round_cost.copy()
        samples = list(self.samples)
        for name, dollars in costs.items():
            j = tier_index(name, self.tiers, "--costs")
            cost[:, j] = dollars
            if samples:
                samples[j] = _without_cost(samples[j])
        for name, dollars in (vote_costs or {}).items():
            j = tier_index(name, self.tiers, "--vote-costs")
            vote_cost[:, j], round_cost[:, j] = dollars, 0.0
        return replace(self, cost=cost, vote_cost=vote_cost, round_cost=round_cost, samples=tuple(samples))

    def with_signal(self, signal: RecordedSignal | None) -> TraceTable:
        """The table with the signal that policies observe; None picks one for each tier.

        `votes`: the votes, which are bought. `logprob`: the confidence, which comes with the
        answer. `verdict`: the confidence of the verdict's tokens, bought as one vote.
        `consistency`: how many of the samples agree, which comes with the answer. None picks
        `consistency` where every row has samples, else `votes` where every row has some, else
        `logprob`. The confidence is never used beside votes, because it is often their share.
        """
        if signal is not None:
            return replace(self, signals=(signal,) * len(self.tiers))
        return replace(self, signals=tuple(self._recorded_signal(j) for j in range(len(self.tiers))))

    def _recorded_signal(self, j: int) -> RecordedSignal:
        answered = ~self.failed[:, j]
        if answered.any() and (self.sample_counts[answered, j] > 1).all():
            return "consistency"
        return "votes" if self.max_votes[j] else "logprob"

    def require_scores(self, *, drop: bool = False) -> TraceTable:
        """The table of the rows with a score for every tier; a tier that failed has scored 0.

        Raises:
            DataError: when there is no such row, or some row is incomplete and `drop` is false.
        """
        complete = np.asarray(~np.isnan(self.score).any(axis=1))
        if complete.all() and len(self):
            return self
        counts = ", ".join(f"{name} {count}" for name, count in self.missing.items() if count)
        problem = f"{int((~complete).sum())} of {len(self)} rows do not score every tier"
        if not complete.any():
            raise DataError(f"{problem}; without a score: {counts or 'none'}")
        if not drop:
            raise DataError(
                f"{problem}; without a score: {counts}",
                hint="--drop-incomplete leaves them out; --tiers picks the tiers to compare",
            )
        return self.without_rows(~complete)

    def without_short_rows(self, most: int) -> tuple[TraceTable, int]:
        """Set up to 1 % of the rows aside that hold fewer votes than the rest, and count them.

        A plan may buy no more votes than the row with the fewest holds: some short rows would lower
        that number for all.

        Args:
            most: the most votes that a plan buys; what a row holds beyond does not matter.
        """
        short = np.zeros(len(self), dtype=bool)
        most_short = int(_FEW_SHORT_ROWS * len(self))
        for j in range(len(self.tiers)):
            votes_held = np.minimum(self.recorded_votes[j].counts, most)
            votes_held = np.where(self.failed[:, j], most, votes_held)
            usual = int(np.partition(votes_held, most_short)[most_short]) if len(votes_held) else 0
            short |= votes_held < usual
        count = int(short.sum())
        if not 0 < count <= most_short:
            return self, 0
        rest = self.without_rows(short)
        # A tier whose votes a few rows lack was read as one without votes.
        return (rest.with_signal(None) if self.signals == self.with_signal(None).signals else rest), count

    def require_costs(self) -> None:
        """Check that the cost of an answer is known for every tier.

        Raises:
            DataError: naming the tiers without any; unknown is never 0.
        """
        unknown = [t for t, mean in zip(self.tiers, self.mean_cost, strict=True) if np.isnan(mean)]
        if unknown:
            example = ",".join(f"{name}=1" for name in unknown)
            raise DataError(f"no cost is recorded for {', '.join(unknown)}", hint=f"--costs {example}")


_MOST_ANSWERS = 0.9  # of a tier's, to compare answers at all
_FEW_SHORT_ROWS = 0.01  # of the rows

_PER_TIER = (
    "score",
    "failed",
    "answer_classes",
    "confidence",
    "cost",
    "vote_cost",
    "round_cost",
    "latency",
    "input_tokens",
    "votes",
    "sample_counts",
)
_PER_ROW = ("ids", "texts", "datasets", "splits", *_PER_TIER)


def _without_cost(samples: Samples | None) -> Samples | None:
    return samples and samples._replace(cost=np.full_like(samples.cost, np.nan))


def _fewest(counts: Ints | NDArray[np.int16]) -> int:
    return int(counts.min()) if len(counts) else 0


def _means(values: Floats) -> Floats:
    """Column means of the recorded values; NaN, without a warning, where there are none."""
    is_recorded = ~np.isnan(values)
    counts = is_recorded.sum(axis=0)
    sums = np.where(is_recorded, values, 0.0).sum(axis=0)
    means: Floats = np.divide(sums, counts, out=np.full(values.shape[1], np.nan), where=counts > 0)
    return means


def tier_index(name: str, names: Sequence[str], option: str) -> int:
    """The position of a tier.

    Raises:
        UsageError: naming `option` and the nearest tier, for a name that is not among `names`.
    """
    if name in names:
        return list(names).index(name)
    raise UsageError(
        f"{option}: no tier {name!r}{did_you_mean(name, names)}", hint=f"the tiers are {', '.join(names)}"
    )
