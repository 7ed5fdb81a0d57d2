"""The result of `calibrate` as Rich renderables and plain values. Nothing here prints.

This is not part of `report` because it imports `evaluation`, which `ask` does not load.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from automix_cli.data.collection_cost import collection_cost
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.calibrate import Calibration, Figures
from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.frontier import Point
from automix_cli.evaluation.health import (
    PairAgreement,
    agreements_of,
    alarms,
    examine,
    mute_tiers,
)
from automix_cli.evaluation.payer import CostAndQuality, Offer, make_offer
from automix_cli.evaluation.reliability import ReliabilityRow
from automix_cli.pomdp.observations import ConfidenceObservations, ConsistencyObservations, NoObservations
from automix_cli.pomdp.plan import Plan, PlanRow
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Facts
from automix_cli.pomdp.rules import QuestionPolicy
from automix_cli.texts import count_of, share_text
from automix_cli.views.beside_words import answer_words
from automix_cli.views.calibration_notes import row_warnings
from automix_cli.views.calibration_words import (
    calibration_sentence,
    careful_cost,
    certificate_dict,
    fold_plans_sentence,
    router_name,
    start_reader_words,
)
from automix_cli.views.cells import bounds_texts, left_out
from automix_cli.views.first_moves_words import plan_sentence
from automix_cli.views.payer_lines import offer_lines
from automix_cli.views.plan_words import bins_words, comparison_words, condition_words, overlap_words, ranges
from automix_cli.views.signal_words import signal_dict, signal_words
from automix_cli.views.verdict_words import (
    alternative_dict,
    label_counts_words,
    loss_dict,
    measure_of,
    verdict_dict,
)
from automix_cli.views.why_not_words import why_not_lines

if TYPE_CHECKING:
    from rich.table import Table


CALIBRATION_WIDE = 100  # columns of a terminal, for every column of the table of figures
_CALIBRATION_COLUMNS = (
    (CALIBRATION_WIDE, (0, 1, 2, 3, 4, 5, 6)),
    (80, (0, 1, 2, 4, 5, 6)),
    (60, (0, 2, 4, 5)),
    (0, (0, 2)),
)


class CalibrationView(Struct, frozen=True):
    """The result of `calibrate`, for people and as JSON.

    `baseline` is the tier that costs are compared with; None chooses one.
    """

    calibration: Calibration
    table: TraceTable
    source: str
    baseline: str | None = None

    @property
    def measure(self) -> str:
        """What a score is called."""
        return measure_of(self.table)

    def parts(self, width: int = CALIBRATION_WIDE) -> Iterator[str | Table]:
        """Head, plan, figures, health, notes, verdict: lines and tables, narrower for narrow terminals."""
        yield f"{self.source}: {count_of(len(self.table), 'row')}, {' → '.join(self.calibration.tiers)}"
        yield ""
        yield from self.plan_lines()
        yield f"in words: {self.plan_sentence()}"
        lines = self.start_line(), self.signal_line(), self.class_line(), self.query_line()
        yield from filter(None, lines)
        yield ""
        if self.calibration.figures:
            yield self.figures_table(width)
            yield ""
        yield from self.health_lines()
        yield from self.notes()
        yield ""
        yield from self.payer_lines()
        yield from [folds] if (folds := self.fold_plans()) else []
        yield self.sentence()

    # ------------------------------------------------------------ the plan

    def plan_lines(self) -> list[str]:
        """The plan in words, tier by tier: the actions and the vote counts at which they are taken."""
        policy = self.calibration.policy()
        if isinstance(policy, QuestionPolicy):
            return ["plan: ask the tier that the query router names, no votes"]
        if not isinstance(policy, PomdpPolicy):
            return [f"plan: always {self.calibration.router()['tier']}, no votes"]
        if self.calibration.query is not None:
            return self._plans_by_start(policy)
        sizes = [sum(counts) for counts in self.calibration.fitted.counts]
        groups: dict[tuple[str, ...], list[int]] = {}
        for cell in range(len(sizes)):
            lines = tuple(self._plan_words(policy.plan(Facts(question_class=cell))))
            groups.setdefault(lines, []).append(cell)
        texts, share_of = [], {lines: sum(sizes[k] for k in own) for lines, own in groups.items()}
        for lines in sorted(groups, key=lambda lines: -share_of[lines]):
            part = share_text(share_of[lines] / sum(sizes), ".0%")
            share = f" for {part} of questions" if len(groups) > 1 else ""
            texts += [f"plan{share}{self._class_words(groups[lines]) if share else ''}: {lines[0]}"]
            texts += lines[1:]
        return [*texts, *([f"  ({policy.limitation})"] if policy.limitation else [])]

    def plan_sentence(self) -> str:
        """The plan in one sentence, as far as one can tell it."""
        result = self.calibration
        own = result.fitted.tiers[0].observation
        samples = own.k if isinstance(own, ConsistencyObservations) else 0
        starts = None if result.query is None else {s.tier: s.share for s in result.starts}
        policy, signal = result.policy(), self.table.signals[0]
        own_classes = () if result.fitted.classes is None else result.fitted.classes.names
        return plan_sentence(policy, result.tiers, signal, samples, starts=starts, classes=own_classes)

    def _class_words(self, cells: Sequence[int]) -> str:
        """The names of classes in brackets; "" where they have none."""
        classes = self.calibration.fitted.classes
        if classes is None:
            return ""
        names = [classes.names[k] if k < len(classes.names) else "all others" for k in cells]
        more = f", {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        return f" ({', '.join(names[:_MOST_NAMES])}{more})"

    def _plans_by_start(self, policy: PomdpPolicy) -> list[str]:
        """Each question has a plan of its own: show those of typical ones, by where they start."""
        lines: list[str] = []
        starts = [(s.share, s.typical) for s in self.calibration.starts] or [(1.0, Facts())]
        for share, typical in sorted(starts, key=lambda start: -start[0]):
            first, *rest = self._plan_words(policy.plan(typical))
            part = f" for {share_text(share, '.0%')} of questions, of a typical one"
            of = part if len(starts) > 1 else " of a typical question"
            lines += [f"plan{of}: {first}", *rest]
        return [*lines, *([f"  ({policy.limitation})"] if policy.limitation else [])]

    def start_line(self) -> str:
        """At which tiers questions start, and what that saves; "" where all start at the cheapest."""
        small = self.calibration.tiers[0]
        starts = self.calibration.starts
        if not starts:
            return ""
        where = ", ".join(f"{s.tier} in {share_text(s.share, '.0%')} of questions" for s in starts)
        saving = _dollars(1000 * sum(s.saving for s in starts))
        whose = start_reader_words(self.calibration)
        return f"starts at {where}{whose}; the calls of {small} that are skipped save {saving} USD per 1,000"

    def _plan_words(self, plan: Plan) -> Iterator[str]:
        first = plan.action(plan.start)
        yield f"start at {self.calibration.tiers[first.tier]}" if first.kind == "start" else "abstain"
        rows = [row for row in plan.rows() if row.probability >= _LEAST_CHANCE_IN_WORDS]
        for tier, name in enumerate(self.calibration.tiers):
            own = [row for row in rows if row.tier == tier]
            if own:
                yield f"  {name}: {'; '.join(self._clauses(own))}{overlap_words(own, self.calibration.tiers)}"

    def signal_line(self) -> str:
        """Which of the rows' signals the plan looks at, and by how much it gains more than with others."""
        return "" if self.calibration.signal is None else signal_words(self.calibration.signal)

    def class_line(self) -> str:
        """The column whose classes set the prior, or that none does; the figures of all that were tried."""
        result, column = self.calibration, self.table.class_column
        if column is None or not result.choices:
            return ""
        classes, fitted = result.named_classes, result.fitted
        if classes is None:
            return f"classes by {column.name}: not used ({self._comparison()})"
        rows = f"{fitted.rows - self._rows_without_class():,} of {count_of(fitted.rows, 'row')}"
        shrinkage = f"drawn to the prior of all by {fitted.kappa:.3g} rows"
        return (
            f"classes by {column.name}: {count_of(len(classes.names), 'class')} with {rows}, "
            f"{shrinkage} ({self._comparison()})"
        )

    def _rows_without_class(self) -> int:
        return round(sum(self.calibration.fitted.counts[-1]))

    def _comparison(self) -> str:
        """What each source of classes comes to."""
        each = [
            f"{source} {share_text(choice.point.quality, '.3f')} at {_dollars(1000 * choice.point.cost)}"
            for source, choice in self.calibration.choices
        ]
        return f"cross-fitted {self.measure} and USD per 1,000: {', '.join(each)}"

    def query_line(self) -> str:
        """The query-side router that reads the questions, and the figures of all that were tried."""
        result = self.calibration
        if all(source in ("none", "column") for source, _ in result.choices):
            return ""
        comparison = self._comparison()
        if result.query is None:
            single = result.router()["kind"] == "always"
            sources = [source for source, _ in result.choices]
            why = "one tier takes every question" if single else "it says nothing of these questions"
            return f"query router: none{'' if 'none' in sources else f', for {why}'} ({comparison})"
        embeddings = f" on embeddings of {result.query.embed_model}" if result.query.embed_model else ""
        trust = "" if result.kind != "pomdp" else f", followed by {result.fitted.trust:g}"
        return f"query router: {result.query.kind}{embeddings}{trust} ({comparison})"

    def _clauses(self, rows: list[PlanRow]) -> list[str]:
        """One clause per action, with the counts at which it is taken: `buy 2 votes at 1/1`."""
        by_action: dict[str, list[PlanRow]] = {}
        for row in rows:
            by_action.setdefault(self._action_words(row), []).append(row)
        names = self.calibration.tiers
        return [
            " ".join(filter(None, (what, comparison_words(where, rows, names), self._condition(where))))
            for what, where in by_action.items()
        ]

    def _action_words(self, row: PlanRow) -> str:
        action, names = row.action, self.calibration.tiers
        if action.kind == "vote":
            return f"buy {count_of(action.votes, 'vote')}"
        if action.kind == "escalate":
            return f"go to {names[action.tier]}"
        if action.kind == "report" and action.tier != row.tier:
            return f"report {names[action.tier]}"
        return action.kind

    def _condition(self, rows: list[PlanRow]) -> str:
        """The counts correct/parsed, or the confidence, as ranges; "" before any evidence."""
        counts_of_rows = [row.counts for row in rows]
        tier = self.calibration.fitted.tiers[rows[0].tier]
        if isinstance(tier.observation, NoObservations) or not any(
            c.n_votes or c.parsed for c in counts_of_rows
        ):
            return ""
        if isinstance(tier.observation, ConfidenceObservations):
            at_once = any(not c.n_votes and not c.parsed for c in counts_of_rows)
            return condition_words(bins_words(counts_of_rows, tier.observation.cuts), at_once=at_once)
        at_once = any(not c.n_votes for c in counts_of_rows)
        by_parsed: dict[int, set[int]] = {}
        for c in counts_of_rows:
            if c.n_votes:
                by_parsed.setdefault(c.parsed, set()).add(c.value)
        counts = [f"{r}/{n}" for n, values in sorted(by_parsed.items()) for r in ranges(values)]
        return condition_words(counts, at_once=at_once)

    # ------------------------------------------------------------ the figures

    def figures_table(self, width: int = CALIBRATION_WIDE) -> Table:
        """Held-out quality and cost of the router and of everything it is compared with."""
        from rich.table import Table

        heads = (self.measure.split()[0], "", "USD per 1,000", "", "escalated", "votes", "abstained")
        rows = [(f.name, self._cells(f)) for f in self.calibration.figures]
        blank = {k for k in range(len(heads)) if not any(cells[k] for _, cells in rows)}
        places = next(places for least, places in _CALIBRATION_COLUMNS if width >= least)
        columns = [k for k in places if k not in blank]
        bounds = ", 95 % intervals" if 1 in columns else ""
        where = "held out, means over folds"
        if self.calibration.is_certified:
            where = "questions of the certificate"
        table = Table(title=f"{where} ({self.measure}{bounds})", title_justify="left", box=None)
        table.add_column("policy", overflow="fold")  # the one that gives way to long names
        for k in columns:
            table.add_column(heads[k], justify="right", no_wrap=True)
        for name, cells in rows:
            is_own = name == "pomdp"
            own, style = (router_name(self.calibration), "bold") if is_own else (name, None)
            table.add_row(own, *(cells[k] for k in columns), style=style)
        words = (*heads[:1], f"interval of {heads[0]}", heads[2], "interval of USD", *heads[4:])
        absent = left_out(word for k, word in enumerate(words) if k not in places and k not in blank)
        empty = ", ".join(word for k, word in enumerate(words) if k in blank)
        is_withheld = any(f.quality.value is None for f in self.calibration.figures)
        labels = label_counts_words(self.calibration.loss, len(self.table), is_withheld=is_withheld)
        nothing = f"left out, as nothing stands there: {empty}" if empty else ""
        table.caption = "\n".join(filter(None, (labels, absent, nothing)))
        table.caption_justify = "left"
        return table

    def _cells(self, f: Figures) -> tuple[str, ...]:
        """The cells of a policy, one per column."""
        acts = f.name in ("pomdp", "threshold")
        return (
            "" if f.quality.value is None else share_text(f.quality.value, ".3f"),
            _range(f.quality, 1, 3),
            _dollars(1000 * (f.cost.value or 0)),
            _range(f.cost, 1000, None),
            share_text(f.escalated, ".0%") if acts else "",
            f"{f.votes:.1f}" if acts else "",
            share_text(f.abstained, ".0%") if f.abstained else "",
        )

    # ------------------------------------------------------------ health, notes, verdict

    def health_lines(self) -> list[str]:
        """How often tiers give no answer or agree, and how well their signals tell right from wrong."""
        lines, tiers = [mute.text for mute in mute_tiers(self.table)], list(self.table.tiers)
        for h in examine(self.table, self.calibration.settings.pass_score):
            why = self._words(h.auroc.reason)
            auc = f"AUROC: {why}" if h.auroc.value is None else f"AUROC {share_text(h.auroc.value, '.2f')}"
            absent = "unparsed" if h.signal == "votes" else "not recorded"
            text = f"verifier {h.tier} ({h.signal}): {auc}, {share_text(h.unparsed, '.1%')} {absent}"
            if h.auroc_next is not None and h.auroc_next.value is not None:
                following = tiers[tiers.index(h.tier) + 1]
                own = f"AUROC {share_text(h.auroc_next.value, '.2f')} for whether {following}"
                does = "is right" if self.table.beside is None else "agrees"
                text += f"; among its {self._words('wrong answers')} {own} {does}"
            lines.append(text)
            verb = "right" if self.table.beside is None else "agrees"
            lines.append(f"  {verb} by confidence: " + "  ".join(_reliability_cell(r) for r in h.table))
        return lines + [pair.text for pair in self._agreements()]

    def _agreements(self) -> tuple[PairAgreement, ...]:
        """How often neighbouring tiers agree, where the plan looks at it."""
        if self.calibration.fitted.agreement is None:
            return ()
        return agreements_of(self.table, self.calibration.settings.pass_score)

    def notes(self) -> list[str]:
        """Notes of the fit, alarms of the plan, and warnings about the rows."""
        lines = [f"note: {self._words(note)}" for note in self.calibration.fitted.notes]
        policy = self.calibration.policy()
        if isinstance(policy, PomdpPolicy):
            plans = [
                policy.plan(Facts(question_class=cell)) for cell in range(len(self.calibration.fitted.counts))
            ]
            tiers = self.calibration.tiers
            messages = dict.fromkeys(a for plan in plans for a in alarms(plan.rows(), tiers, policy.cuts))
            lines += [f"alarm: {a}" for a in messages]
        return lines + [f"note: {text}" for text in row_warnings(self.table, self.calibration)]

    def _words(self, text: str) -> str:
        return answer_words(text, self.table.beside)

    def payer_lines(self) -> list[str]:
        """Dollars and quality beside the baseline, when labelled rows are paid back, or why not to route."""
        offer = self._offer()
        if offer is None:
            return []
        result = self.calibration
        looks = result.kind == "pomdp" and not result.settings.value_of_time
        return offer_lines(offer) + (why_not_lines(offer, self.table) if looks else [])

    def _offer(self) -> Offer | None:
        result, router = self.calibration, self.calibration.router()
        if len(result.tiers) == 1 or not result.figures:
            return None
        policies = {f.name: CostAndQuality(f.cost.value, f.quality.value) for f in result.figures}
        own = f"always:{router['tier']}" if router["kind"] == "always" else "pomdp"
        if own == "pomdp":
            policies[own] = policies[own]._replace(cost=careful_cost(result))
        return make_offer(
            own,
            policies,
            result.tiers,
            result.gains,
            baseline=self.baseline,
            measure=self.measure,
            rows=len(self.table),
            rows_cost=collection_cost(self.table),
            set_aside_cost=self.table.set_aside_usd,
        )

    def fold_plans(self) -> str:
        """What the folds planned, and what the plan that is written comes to; "" where they plan alike."""
        is_compared = self._offer() is not None
        return fold_plans_sentence(self.calibration, self.measure) if is_compared else ""

    def sentence(self) -> str:
        """The verdict, with its reason, and what can be said of the objective on new rows."""
        is_free = bool((self.table.cost == 0).all())
        return calibration_sentence(self.calibration, self.table.grouping, is_free=is_free)

    def to_dict(self) -> dict[str, Any]:
        """Everything above as plain values."""
        result = self.calibration
        return {
            "source": self.source,
            "rows": len(self.table),
            "questions": self.table.grouping.n_questions,
            "groups": self.table.n_groups,
            "tiers": list(result.tiers),
            "measure": self.measure,
            "plan": self.plan_lines(),
            "setting": result.choice.setting.to_dict(),
            "query_router": None if result.query is None else result.query.kind,
            "classes": self._classes_dict(),
            "signal": None if result.signal is None else signal_dict(result.signal),
            "trust": None if result.query is None or result.kind != "pomdp" else result.fitted.trust,
            "starts": {s.tier: {"share": s.share, "saving_per_1000": 1000 * s.saving} for s in result.starts},
            "compared": {
                source: {
                    "quality": None if result.lacks_labels else c.point.quality,
                    "cost": c.point.cost,
                    "met": c.is_met,
                }
                for source, c in result.choices
            },
            "figures": {f.name: _figure(f) for f in result.figures},
            "health": [
                {"tier": h.tier, "signal": h.signal, "auroc": h.auroc.value, "unparsed": h.unparsed}
                for h in examine(self.table, result.settings.pass_score)
            ],
            "agreements": [pair._asdict() for pair in self._agreements()],
            "mute": {m.tier: {"failed": m.failed, "rows": m.rows} for m in mute_tiers(self.table)},
            "notes": self.notes(),
            "verdict": verdict_dict(result.verdict),
            "loss": loss_dict(result.loss),
            "objective": {
                "kind": result.objective.kind,
                "value": result.objective.value,
                "sure": result.objective.sure if result.objective.kind == "keep" else None,
                "chance_met": result.chance_met,
            },
            "single_folds": list(result.single_folds),
            "fold_plans": result.n_plans,
            "written": dict(zip(Point._fields, result.written_figures, strict=True))
            if result.figures
            else None,
            "alternative": alternative_dict(result.alternative),
            "certificate": None if result.certificate is None else certificate_dict(result.certificate),
            "labels": {"usd": collection_cost(self.table), "set_aside_usd": _usd(self.table.set_aside_usd)},
            "payer": self.payer_lines(),
            "sentence": self.sentence(),
        }

    def _classes_dict(self) -> dict[str, Any] | None:
        """The column of classes, how many rows are in each, and what draws their priors to that of all."""
        classes, fitted = self.calibration.named_classes, self.calibration.fitted
        if classes is None:
            return None
        rows = dict(zip(classes.names, (round(sum(own)) for own in fitted.counts), strict=False))
        others = self._rows_without_class()
        return {"column": classes.column, "rows": rows, "others": others, "kappa": fitted.kappa}


_MOST_NAMES = 4  # of classes with one plan, in the plan in words
_LEAST_CHANCE_IN_WORDS = 0.002  # histories rarer than this are left out of the plan in words


def _range(m: Measure, scale: float, digits: int | None) -> str:
    if m.low is None or m.high is None or m.low == m.high:
        return ""
    if digits:
        return "–".join(bounds_texts(m.low, m.high, f".{digits}f"))
    low, high = (_dollars(scale * x) for x in (m.low, m.high))
    return f"{low}–{high}" if low != high else ""  # narrower than its digits


def _dollars(amount: float) -> str:
    """Four significant digits, never as a power of ten.

    Example:
        >>> _dollars(20000.0), _dollars(0.0047125), _dollars(0.0)
        ('20,000', '0.004712', '0')
    """
    if amount >= 1000:
        return f"{amount:,.0f}"
    return f"{amount:.4g}" if amount >= 1e-4 or amount == 0 else f"{amount:.8f}"


def _reliability_cell(row: ReliabilityRow) -> str:
    return f"{share_text(row.confidence, '.2f')}→{share_text(row.right, '.2f')} ({row.rows})"


def _usd(usd: float) -> float | None:
    """Dollars as JSON knows them: null where they are unknown."""
    return None if math.isnan(usd) else usd


def _figure(f: Figures) -> dict[str, Any]:
    def interval(m: Measure) -> dict[str, float | None]:
        return {"value": m.value, "low": m.low, "high": m.high}

    return {
        "quality": interval(f.quality),
        "cost": interval(f.cost),
        "escalated": f.escalated,
        "abstained": f.abstained,
        "votes": f.votes,
    }
