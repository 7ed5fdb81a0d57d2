"""The result of `bench` in words: what was compared, notes and the verdict. Nothing here prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from automix_cli.data.collection_cost import collection_cost
from automix_cli.data.duplicates import Duplicates
from automix_cli.data.groups import copies_note
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bench import Bench, PolicyOutcome
from automix_cli.evaluation.health import mute_tiers
from automix_cli.evaluation.measures import MEASURE_BY_KEY
from automix_cli.evaluation.payer import CostAndQuality, make_offer
from automix_cli.evaluation.settings import Always, CostWeight
from automix_cli.evaluation.verdict import RoutingVerdict
from automix_cli.views.cells import amount, interval_text, value_with_interval
from automix_cli.views.lines import count_of
from automix_cli.views.payer_lines import offer_lines

_BASELINES = ("single tier", "majority", "mix")


class OutcomesByKind(NamedTuple):
    """The outcomes as tables group them; policies are all that could be used in earnest."""

    baselines: tuple[PolicyOutcome, ...]
    policies: tuple[PolicyOutcome, ...]
    bounds: tuple[PolicyOutcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchView:
    """A comparison with what readers must know about its rows.

    Attributes:
        comparison: the result of `bench`.
        table: the rows.
        source: the file's name; `sha256` its digest.
        notes: which policies were skipped, and why.
        labels_from: the tier whose answers served as labels: then nothing here is accuracy.
        baseline: the tier that costs are compared with; None chooses one.
    """

    comparison: Bench
    table: TraceTable
    source: str
    sha256: str
    notes: tuple[str, ...] = ()
    labels_from: str | None = None
    baseline: str | None = None

    @property
    def measure(self) -> str:
        """What a score is called."""
        return "quality" if self.labels_from is None else f"agreement with {self.labels_from}"

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
        return f"{whole}; {rows} ({seeds}{times})"

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
        if note := copies_note(self.table.grouping):
            yield note
        yield from _duplicates_note(self.comparison.duplicates)
        yield from self._query_router_note()
        yield from self._worse_tier_note()
        yield from self._winners_note()

    def _query_router_note(self) -> Iterator[str]:
        settings = [c.setting for o in self.comparison.outcomes for c in o.choices]
        names = {s.query_router for s in settings if isinstance(s, CostWeight) and s.query_router}
        if names:
            yield f"pomdp+query takes the classes of {', '.join(sorted(names))}, chosen in training"

    def _worse_tier_note(self) -> Iterator[str]:
        result = self.comparison
        small, large = (
            result.outcome(f"always:{tier}").measures["quality"].value or 0
            for tier in (result.small, result.large)
        )
        if len(result.tiers) > 1 and large < small:
            yield f"{result.large} costs more than {result.small} and is worse on these rows"

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
        """Dollars and quality beside the baseline, and when the labelled rows are paid back."""
        result, ours = self.comparison, self.comparison.outcome(self.comparison.headline)
        if len(result.tiers) == 1 or ours.group == "single tier" or ours.verdict is None:
            return []
        points = {
            o.name: CostAndQuality(o.measures["cost"].value, o.measures["quality"].value)
            for o in result.outcomes
        }
        offer = make_offer(
            ours.name if (tier := self._single_tier(ours)) is None else f"always:{tier}",
            points,
            result.tiers,
            result.gains,
            subject=f"Routing by {ours.name}",
            baseline=self.baseline,
            measure=self.measure,
            rows=len(self.table),
            rows_cost=collection_cost(self.table),
        )
        return offer_lines(offer)

    def _single_tier(self, ours: PolicyOutcome) -> str | None:
        """The tier that takes every question, if routing does not pay or no setting of it was chosen."""
        setting = ours.choices[0].setting
        if isinstance(setting, Always) and all(choice.setting == setting for choice in ours.choices):
            return setting.tier
        is_refused = ours.verdict is not None and ours.verdict.kind == "do not route"
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
            return "Not enough rows to tell: at least 20 to learn from and 20 held out are needed."
        setting = ours.choices[0].setting
        if isinstance(setting, Always) and all(choice.setting == setting for choice in ours.choices):
            return self._single_tier_sentence(ours, setting.tier)
        return verdict_sentence(ours.verdict, result.headline, result.single)

    def _single_tier_sentence(self, ours: PolicyOutcome, tier: str) -> str:
        """The verdict where no setting but a single tier meets the objective best."""
        gain, objective = ours.measures["gain_area"], self.comparison.objective
        target = f"{amount(1000 * objective.value)} USD per 1,000"
        if objective.kind == "keep":
            target = f"{objective.value:.0%} of the best tier's quality"
        over = ""
        if gain.value is not None:
            # one digit, as everywhere in sentences; tables have two
            spec = replace(MEASURE_BY_KEY["gain_area"], form="+.1f")
            over = f"; over all settings it gains {value_with_interval(spec, gain)} points"
        return f"Do not route: for {target}, {ours.name} takes {tier} alone{over}."


def _duplicates_note(duplicates: Sequence[Duplicates]) -> Iterator[str]:
    if not any(d.exact or d.near for d in duplicates):
        return
    exact = np.mean([len(d.exact) for d in duplicates])
    near = np.mean([len(d.near) for d in duplicates])
    share = float(np.mean([d.share for d in duplicates]))
    yield (
        f"{exact:.0f} held-out questions also stand in training and {near:.0f} nearly do "
        f"({share:.1%}): what looks at questions looks better than it is"
    )


def verdict_sentence(verdict: RoutingVerdict, name: str, single: str) -> str:
    """Write a verdict in words.

    Example:
        >>> verdict_sentence(RoutingVerdict("route", 0.07, 0.05, 0.09), "pomdp", "large")
        'Route: pomdp gives +7.0 points (95 %: +5.0 to +9.0) over the best random mix of tiers at its cost.'
    """
    interval = f"95 %: {100 * verdict.low:+.1f} to {100 * verdict.high:+.1f}"
    bounds = f"{100 * verdict.edge:+.1f} points ({interval}) over the best random mix of tiers at its cost"
    if verdict.kind == "route":
        return f"Route: {name} gives {bounds}."
    if verdict.kind == "do not route":
        return f"Do not route: use {single}; {name} gives {bounds}."
    more = f"; about {verdict.more_rows:,} more held out would" if verdict.more_rows else ""
    return f"Not enough rows to tell: {name} gives {bounds}{more}."
