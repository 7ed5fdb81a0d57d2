"""The result of `bench` in words: what was compared, notes and the verdict. Nothing here prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from msgspec import Struct

from automix_cli.data.collection_cost import collection_cost
from automix_cli.data.duplicates import Duplicates
from automix_cli.data.groups import Grouping, copies_note
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.against import Against
from automix_cli.evaluation.bench import Bench, LeftOut, PolicyOutcome
from automix_cli.evaluation.health import mute_tiers, uncompared_note
from automix_cli.evaluation.loss import LossAgainst
from automix_cli.evaluation.measures import MEASURE_BY_KEY
from automix_cli.evaluation.payer import CostAndQuality, Offer, make_offer
from automix_cli.evaluation.policy_entry import shows_signal
from automix_cli.evaluation.settings import Always, CostWeight
from automix_cli.evaluation.verdict import RoutingVerdict
from automix_cli.pomdp.arrays import Ints
from automix_cli.texts import count_of, share_text
from automix_cli.views.beside_words import measure_words, worse_words
from automix_cli.views.cells import interval_text
from automix_cli.views.missed_words import Attainment, compare_with_objective, missed_words
from automix_cli.views.payer_lines import offer_lines
from automix_cli.views.signal_words import signal_words
from automix_cli.views.verdict_words import (
    cheaper_row_words,
    edge_words,
    labels_words,
    measure_of,
    more_rows_words,
    most_lost_words,
    promises_nothing,
    single_tier_words,
    unlike_words,
)
from automix_cli.views.why_not_words import why_not_lines

_BASELINES = ("single tier", "majority", "mix")
_LOOKING = ("rule", "pomdp")  # groups of policies that look at answers


class OutcomesByKind(NamedTuple):
    """The outcomes as tables group them; policies are all that could be used in earnest."""

    baselines: tuple[PolicyOutcome, ...]
    policies: tuple[PolicyOutcome, ...]
    bounds: tuple[PolicyOutcome, ...]


class BenchView(Struct, frozen=True, kw_only=True):
    """A comparison with what readers must know about its rows.

    Attributes:
        comparison: the result of `bench`.
        table: the rows.
        source: the file's name; `sha256` its digest.
        notes: which policies were skipped, and why.
        baseline: the tier that costs are compared with; None chooses one.
        against: the comparison with an earlier run, if there is one.
    """

    comparison: Bench
    table: TraceTable
    source: str
    sha256: str
    notes: tuple[str, ...] = ()
    baseline: str | None = None
    against: Against | None = None

    @property
    def measure(self) -> str:
        """What a score is called."""
        return measure_of(self.table)

    def words(self, text: str) -> str:
        """A text about quality, about agreement where no row has a label."""
        return measure_words(text, self.table)

    def by_kind(self) -> OutcomesByKind:
        """Group the outcomes into baselines, policies and bounds."""
        outcomes = self.comparison.outcomes
        return OutcomesByKind(
            baselines=tuple(o for o in outcomes if o.group in _BASELINES),
            policies=tuple(o for o in outcomes if o.group not in (*_BASELINES, "bound")),
            bounds=tuple(o for o in outcomes if o.group == "bound"),
        )

    def head(self) -> str:
        """Rows, tiers and splits, in a line."""
        partitions = self.comparison.partitions
        rows = f"{len(partitions[0].train):,} learned from, {len(partitions[0].test):,} held out"
        times = f", mean of {len(partitions)} splits" if len(partitions) > 1 else ""
        seeds = f"seed {partitions[0].seed}" + (f" to {partitions[-1].seed}" if len(partitions) > 1 else "")
        whole = f"{self.source}: {count_of(len(self.table), 'row')}, {' → '.join(self.comparison.tiers)}"
        return f"{whole}; {rows} ({seeds}{times}){self._label_words()}"

    def labels_of(self, rows: Ints) -> int:
        """How many of some rows have a label."""
        relative = self.table.relative
        return len(rows) if relative is None else int(relative.has_label[rows].sum())

    def held_out_labels(self) -> dict[str, int]:
        """How many labels stand behind the figures of held-out rows: of the split that has the fewest."""
        fewest = min((p.test for p in self.comparison.partitions), key=self.labels_of)
        return {"labels": self.labels_of(fewest), "rows": len(fewest)}

    def _label_words(self) -> str:
        """The number of labels behind the held-out figures; "" where every row has one."""
        if self.table.relative is None:
            return ""
        own = self.held_out_labels()
        return f"; {own['labels']:,} of {own['rows']:,} rows held out have a label"

    # ------------------------------------------------------------ notes

    def remarks(self) -> list[str]:
        """Everything that puts the figures in doubt or in perspective, a note each."""
        return [f"note: {note}" for note in (*self.notes, *self._notes())]

    def _notes(self) -> Iterator[str]:
        partition = self.comparison.partitions[0]
        other_rows = len(self.table) - len(partition.train) - len(partition.test)
        if other_rows:
            yield f"{count_of(other_rows, 'row')} of neither split (train, test) left out"
        yield from (mute.text for mute in mute_tiers(self.table))
        yield from filter(None, (copies_note(self.table.grouping), uncompared_note(self.table)))
        yield from _duplicates_note(self.comparison.duplicates)
        yield from left_out_notes(self.comparison.left_out)
        yield from self._query_router_note()
        yield from map(signal_words, self.comparison.signals[:1])
        yield from self._other_splits_note()
        yield from self._no_signal_note()
        yield from self._worse_tier_note()
        yield from self._winners_note()

    def _query_router_note(self) -> Iterator[str]:
        settings = [c.setting for o in self.comparison.outcomes for c in o.choices]
        names = {s.query_router for s in settings if isinstance(s, CostWeight) and s.query_router}
        if names:
            yield f"pomdp+query follows {', '.join(sorted(names))}, chosen in training"
        columns = {s.class_column for s in settings if isinstance(s, CostWeight) and s.class_column}
        if columns:
            yield f"pomdp+class takes the classes of {', '.join(sorted(columns))}, chosen in training"

    def _other_splits_note(self) -> Iterator[str]:
        """Say which signals the splits chose, where they are not all the same."""
        names = [comparison.name for comparison in self.comparison.signals]
        if len(set(names)) > 1:
            counts = ", ".join(f"{name} in {names.count(name)}" for name in dict.fromkeys(names))
            yield f"of {len(names)} splits, each chooses its signal in training: {counts}"

    def _no_signal_note(self) -> Iterator[str]:
        """Say how policies that look at answers come to have something to look at."""
        if len(self.comparison.tiers) == 1:
            return
        looking = any(o.group in _LOOKING for o in self.comparison.outcomes)
        if not shows_signal(self.table):
            subject = "no policy looked at an answer"
            if looking and self.table.compares_answers:
                subject = "policies look only at whether answers agree"
            yield (
                f"{subject}, for no votes and no confidence are recorded: collect them "
                "from questions with a profile whose verification.signal is votes, logprob or consistency, "
                "or name a column, --columns TIER.confidence=COLUMN"
            )
        elif not looking and not {"threshold", "pomdp"} & {one.name for one in self.comparison.left_out}:
            yield "no policy looked at an answer, though a signal is recorded: --policies threshold,pomdp do"

    def _worse_tier_note(self) -> Iterator[str]:
        result = self.comparison
        small, large = (
            [result.outcome(f"always:{tier}").measures[key].value or 0 for key in ("quality", "cost")]
            for tier in (result.small, result.large)
        )
        if len(result.tiers) > 1 and large[0] < small[0]:
            more = large[1] > small[1]
            yield worse_words(result.large, result.small, self.table.beside, costs_more=more)

    def _winners_note(self) -> Iterator[str]:
        """Name policies that pay where the headline policy does not: a choice made on held-out rows."""
        ours = self.comparison.outcome(self.comparison.headline).verdict
        if ours is None or ours.kind == "route":
            return
        edge = MEASURE_BY_KEY["edge"]
        names = ", ".join(
            f"{o.name} ({interval_text(edge, o.measures['edge'])})"
            for o in self.by_kind().policies
            if o.verdict is not None and o.verdict.kind == "route"
        )
        if names:
            yield f"above the mix are {names}; picked by looking, so confirm on fresh rows"

    # ------------------------------------------------------------ the verdict

    def payer_lines(self) -> list[str]:
        """Dollars and quality beside the baseline, when labelled rows are paid back, or why not to route."""
        offer, result = self.offer(), self.comparison
        if offer is None:
            return []
        looks = result.outcome(result.headline).group in _LOOKING
        return offer_lines(offer) + (why_not_lines(offer, self.table) if looks else [])

    def offer(self) -> Offer | None:
        """What the headline policy saves beside the baseline; None where nothing routes."""
        result, ours = self.comparison, self.comparison.outcome(self.comparison.headline)
        if len(result.tiers) == 1 or ours.group == "single tier" or ours.verdict is None:
            return None
        points = {
            o.name: CostAndQuality(o.measures["cost"].value, o.measures["quality"].value)
            for o in result.outcomes
        }
        return make_offer(
            ours.name if (tier := self._single_tier(ours)) is None else f"always:{tier}",
            points,
            result.tiers,
            result.gains,
            subject=f"Routing by {ours.name}",
            baseline=self.baseline,
            measure=self.measure,
            rows=len(self.table),
            rows_cost=collection_cost(self.table),
            set_aside_cost=self.table.set_aside_usd,
        )

    def _single_tier(self, ours: PolicyOutcome) -> str | None:
        """The tier that takes every question, if routing does not pay or no setting of it was chosen."""
        setting = ours.choices[0].setting
        if isinstance(setting, Always) and all(choice.setting == setting for choice in ours.choices):
            return setting.tier
        is_refused = ours.verdict is not None and ours.verdict.kind in ("do not route", "single tier")
        return self.comparison.single if is_refused else None

    def sentence(self) -> str:
        """The verdict, with its reason."""
        result = self.comparison
        ours = result.outcome(result.headline)
        if len(result.tiers) == 1:
            return "There is one tier, so there is nothing to route."
        if ours.group == "single tier":
            return "Only single tiers take part, so there is nothing to judge: --policies names who routes."
        if ours.verdict is None:
            why = result.no_verdict or "the interval is undefined"
            return f"Not enough rows to tell: {why}.{self._loss_words()}"
        head = f"{self._verdict_words(ours, ours.verdict)}{self._missed_words()}"
        return f"{head}{self._loss_words()} {self._rows_words()}"

    def reach(self) -> Attainment | None:
        """What the headline policy reached of the objective; None where it does not route, or has no bar."""
        result, ours = self.comparison, self.comparison.outcome(self.comparison.headline)
        if ours.verdict is None or ours.group == "single tier" or self._single_tier(ours) is not None:
            return None
        alone = {tier: result.outcome(f"always:{tier}").measures["quality"].value for tier in result.tiers}
        best = max(alone, key=lambda tier: alone[tier] or 0.0)
        cost, quality = (ours.measures[key] for key in ("cost", "quality"))
        gain = result.gains.get((ours.name, best))
        return compare_with_objective(result.objective, cost, quality, alone[best] or 0.0, gain)

    def _missed_words(self) -> str:
        """Say that the objective was missed on held-out rows; "" where it was not."""
        return missed_words(self.reach(), self.comparison.objective, self.table.beside)

    def _loss_words(self) -> str:
        """The most that can be lost against the baseline; "" where every row has a label, or it is alone."""
        loss, noun = self.comparison.loss, self.table.grouping.noun
        ours = self.comparison.outcome(self.comparison.headline)
        if loss is None or (not loss.differing and self._single_tier(ours) == loss.baseline):
            return ""
        most = most_lost_words(loss, noun)
        splits = len(self.comparison.partitions)  # figures are means over them, and bounds are of one
        one = f", in the split of {splits} where most can be lost" if splits > 1 else ""
        subject = f"{self.comparison.headline}{one}: {most[0].lower()}{most[1:]}"
        labels = labels_words(loss, stands_above=self._tells_loss(loss))
        return f" {subject}.{unlike_words(loss)}{labels}"

    def _tells_loss(self, loss: LossAgainst) -> bool:
        """Whether the lines for a payer say what is lost against the same baseline."""
        offer = self.offer()
        gain = None if offer is None or offer.is_baseline else offer.gain
        is_same = offer is not None and offer.baseline.tier == loss.baseline
        return is_same and gain is not None and gain.low is not None

    def _verdict_words(self, ours: PolicyOutcome, verdict: RoutingVerdict) -> str:
        result, splits = self.comparison, len(ours.choices)
        alone = ours.single_splits
        if verdict.kind == "single tier" and result.objective.kind == "keep" and self._cheapest_is_best():
            return f"Use {result.single}: no tier is better, and none is cheaper."
        if verdict.kind == "single tier":
            times = "in training" if splits == 1 else f"in {alone} of {splits} splits"
            few = promises_nothing(self._smallest("train"))
            return single_tier_words(
                result.single,
                result.objective,
                times,
                result.alternative,
                few,
                self.table.beside,
                self.measure,
                policy=ours.name,
                also=self._cheaper_row(ours),
            )
        also = f"; in {alone} of {count_of(splits, 'split')} a single tier was chosen" if alone else ""
        return verdict_sentence(
            verdict,
            result.headline,
            result.single,
            also,
            noun=self.table.grouping.noun,
            measure=self.measure,
        )

    def _cheaper_row(self, ours: PolicyOutcome) -> str:
        """Name the other policies that are cheaper than the single tier, and good enough."""
        rows = {
            o.name: (o.measures["cost"].value or 0.0, o.measures["quality"].value)
            for o in (*self.by_kind().baselines, *self.by_kind().policies)
            if o.name.startswith("always:") or (o.group in _LOOKING and o.name != ours.name)
        }
        return cheaper_row_words(rows, self.comparison.single, self.comparison.objective)

    def _cheapest_is_best(self) -> bool:
        """Whether one single tier has both the least cost and the highest quality."""
        alone = [self.comparison.outcome(f"always:{tier}").measures for tier in self.comparison.tiers]
        costs, qualities = ([own[key].value or 0.0 for own in alone] for key in ("cost", "quality"))
        return qualities[costs.index(min(costs))] >= max(qualities)

    def _rows_words(self) -> str:
        """What the figures rest on, and why `calibrate` may say otherwise about the same file."""
        train, test = (len(self._smallest(side)) for side in ("train", "test"))
        rests = f"Learned from {count_of(train, self.table.grouping.noun)} and measured on {test:,}"
        same = (
            f"calibrate learns from all {self.table.n_groups:,}, each held out in turn, and may say otherwise"
        )
        return f"{rests}; {same}."

    def _smallest(self, side: Literal["train", "test"]) -> Grouping:
        """The questions to learn from, or those held out, of the split that has the fewest."""
        grouping = self.table.grouping
        return min((grouping.subset(getattr(p, side)) for p in self.comparison.partitions), key=len)


def left_out_notes(left_out: Sequence[LeftOut]) -> Iterator[str]:
    """Name the policies that could not take part, a line for each reason.

    Example:
        >>> names = ("knn", "bound:knn", "bound:kmeans", "bound:multilabel")
        >>> list(left_out_notes([LeftOut(name, "no question texts are recorded") for name in names]))
        ['knn, bound:… (3) left out: no question texts are recorded']
    """
    for why in dict.fromkeys(one.why for one in left_out):
        names = _short_names([one.name for one in left_out if one.why == why])
        yield f"{', '.join(names)} left out: {why}"


def _short_names(names: Sequence[str]) -> Iterator[str]:
    """The names, those of a family of three or more as one."""
    families = [name.partition(":")[0] for name in names]
    for family in dict.fromkeys(families):
        own = [name for name, of in zip(names, families, strict=True) if of == family]
        yield from [f"{family}:… ({len(own)})"] if len(own) >= _FAMILY else own


_FAMILY = 3  # names of policies that are said as one


def _duplicates_note(duplicates: Sequence[Duplicates]) -> Iterator[str]:
    if not any(d.exact or d.near for d in duplicates):
        return
    exact = np.mean([len(d.exact) for d in duplicates])
    near = np.mean([len(d.near) for d in duplicates])
    share = float(np.mean([d.share for d in duplicates]))
    yield (
        f"{exact:.0f} held-out questions also stand in training and {near:.0f} nearly do "
        f"({share_text(share, '.1%')}): what looks at questions looks better than it is"
    )


def verdict_sentence(
    verdict: RoutingVerdict,
    name: str,
    single: str,
    also: str = "",
    noun: str = "question",
    measure: str = "quality",
) -> str:
    """Write a verdict in words.

    Args:
        verdict: on the policy.
        name: of the policy.
        single: the tier to use where it does not pay.
        also: what else is to be said of it.
        noun: what evidence is counted in.
        measure: what a score is called.

    Example:
        >>> verdict_sentence(RoutingVerdict("route", 0.07, 0.05, 0.09), "pomdp", "large")
        'Route: pomdp gives +7.0 points over the best random mix of tiers at its cost (95 %: +5.0 to +9.0).'
    """
    figures = f"{name} gives {edge_words(verdict, measure)}{also}"
    if verdict.kind == "route":
        return f"Route: {figures}."
    if verdict.kind == "do not route":
        return f"Do not route: use {single}; {figures}."
    return f"Not enough rows to tell: {figures}{more_rows_words(verdict.more_rows, noun)}."
