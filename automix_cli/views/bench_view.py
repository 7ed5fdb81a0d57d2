"""What `bench` found, as Rich tables, plain values, CSV and Markdown. Nothing here prints."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from automix_cli.data.jsonl import dumps
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bench import MEASURES, PARITIES, Bench, Outcome, Run
from automix_cli.evaluation.health import examine
from automix_cli.evaluation.metrics import LEVEL, Measure, RoutingVerdict
from automix_cli.evaluation.settings import Always, CostWeight, setting_text
from automix_cli.views.report import count_of, one_line

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = "automix.bench/1"

DEFINITIONS: Mapping[str, str] = {
    "quality": "mean score",
    "cost": "USD per question, votes included",
    "edge": "quality points above the best random mix of single tiers at the same cost",
    "lead": "quality points above the curve of pomdp at the policy's own cost",
    "escalated": "share of questions on which more than one tier was asked",
    "votes": "verification votes bought per question",
    "abstained": "share of questions left without an answer on purpose",
    "helped": "share of questions on which escalating raised the score",
    "hurt": "share of questions on which escalating lowered the score",
    "ibc_lift": "ΔIBC: quality per dollar above the step from small to large, per cent (AutoMix)",
    "aiq": "mean height of the rising hull of the curve (RouterBench); the hull makes it optimistic",
    "apgr": "share of the quality gap recovered, averaged over cost (RouteLLM)",
    "cpt_50": "least cost, as a share of the range, that recovers half of the gap (RouteLLM)",
    "cpt_80": "the same for 80 % of the gap",
    "gain_area": "mean height of the curve above the line from small to large, quality points; no hull",
    **{
        f"savings_at_{p}": f"cost saved by the setting that kept {p} % of the best tier in training"
        for p in PARITIES
    },
    **{f"parity_at_{p}": "share of the best tier's quality that this setting reaches" for p in PARITIES},
    "latency": "seconds of the answers asked for",
    "router_latency": "the policy's own time, as a share of the small tier's latency",
}

_BASELINES = ("single tier", "majority", "mix")
_LEAST_NAME = 12  # characters of a policy's name, before columns make room for it
WIDE = 120  # columns of a terminal, for every column of a table


class Column(NamedTuple):
    """A column of a table: a measure, how it is written, what stands behind it, whether it takes width."""

    head: str
    measure: str
    cell: Callable[[Measure], str]
    reached: str = ""
    wide: bool = False

    def text(self, o: Outcome, best: str | None) -> str:
        """The cell of a policy; the best one is marked."""
        reached = o.measures[self.reached].value if self.reached else None
        behind = "" if reached is None else f" ({reached:.2f})"
        return self.cell(o.measures[self.measure]) + behind + ("*" if best == o.name else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchView:
    """What `bench` found, for people and as JSON.

    Attributes:
        found: the comparison.
        table: the rows.
        source: the file's name; `sha256` its digest.
        notes: who was left out, and why.
        labels_from: the tier whose answers served as labels: then nothing here is accuracy.
    """

    found: Bench
    table: TraceTable
    source: str
    sha256: str
    notes: tuple[str, ...] = ()
    labels_from: str | None = None

    @property
    def measure(self) -> str:
        """What a score is called."""
        return "quality" if self.labels_from is None else f"agreement with {self.labels_from}"

    def parts(self, width: int = WIDE) -> Iterator[str | Table]:
        """Head, both tables, notes, verdict: lines of text and tables, narrower for narrow terminals."""
        yield self.head()
        yield ""
        yield self.points_table(width)
        yield ""
        yield self.curves_table(width)
        yield ""
        remarks = self.remarks()
        yield from [*remarks, ""] if remarks else []
        yield self.sentence()

    # ------------------------------------------------------------ in words

    def head(self) -> str:
        """What was compared on what."""
        cuts, found = self.found.cuts, self.found
        rows = f"{len(cuts[0].train):,} learned from, {len(cuts[0].test):,} held out"
        times = f", mean of {len(cuts)} splits" if len(cuts) > 1 else ""
        seeds = f"seed {cuts[0].seed}" + (f" to {cuts[-1].seed}" if len(cuts) > 1 else "")
        whole = f"{self.source}: {count_of(len(self.table), 'row')}, {' → '.join(found.tiers)}"
        return f"{whole}; {rows} ({seeds}{times})"

    def remarks(self) -> list[str]:
        """Questions on both sides of the split, who was left out, what single tiers show."""
        found = [f"note: {note}" for note in self.notes]
        left = len(self.table) - len(self.found.cuts[0].train) - len(self.found.cuts[0].test)
        if left:
            found.append(f"note: {count_of(left, 'row')} of neither split (train, test) left out")
        twins = [d for d in self.found.duplicates if d.exact or d.near]
        if twins:
            exact, near = (
                np.mean([len(getattr(d, kind)) for d in self.found.duplicates]) for kind in ("exact", "near")
            )
            share = float(np.mean([d.share for d in self.found.duplicates]))
            found.append(
                f"note: {exact:.0f} held-out questions also stand in training and {near:.0f} nearly do "
                f"({share:.1%}): what looks at questions looks better than it is"
            )
        settings = [c.setting for o in self.found.outcomes for c in o.chosen]
        sources = {s.query_router for s in settings if isinstance(s, CostWeight) and s.query_router}
        if sources:
            found.append(
                f"note: pomdp+query takes the classes of {', '.join(sorted(sources))}, chosen in training"
            )
        small, large = (
            self.found.outcome(f"always:{t}").measures["quality"]
            for t in (self.found.small, self.found.large)
        )
        if len(self.found.tiers) > 1 and (large.value or 0) < (small.value or 0):
            found.append(
                f"note: {self.found.large} costs more than {self.found.small} and is worse on these rows"
            )
        return found + self._others()

    def _others(self) -> list[str]:
        """Policies that pay where the one that the verdict is about does not; seen after the fact."""
        ours = self.found.outcome(self.found.headline).verdict
        if ours is None or ours.kind == "route":
            return []
        paying = [o for o in self._by_kind()[1] if o.verdict is not None and o.verdict.kind == "route"]
        names = ", ".join(f"{o.name} ({_range(o.measures['edge'], '+.1f')})" for o in paying)
        return (
            [f"note: above the mix are {names}; picked by looking, so confirm on fresh rows"] if names else []
        )

    def sentence(self) -> str:
        """The verdict, with its reason."""
        found = self.found
        ours = found.outcome(found.headline)
        if len(found.tiers) == 1:
            return "There is one tier, so there is nothing to route."
        if ours.group == "single tier":
            return "Only single tiers take part, so there is nothing to judge: --policies names who routes."
        if ours.verdict is None:
            return "Not enough rows to tell: at least 20 to learn from and 20 held out are needed."
        setting = ours.chosen[0].setting
        if isinstance(setting, Always) and all(chosen.setting == setting for chosen in ours.chosen):
            return self._alone(ours, setting.tier)
        return _judged(ours.verdict, found.headline, found.single)

    def _alone(self, ours: Outcome, tier: str) -> str:
        """The verdict where no setting but a single tier meets the objective best."""
        gain, objective = ours.measures["gain_area"], self.found.objective
        asked = f"{amount(1000 * objective.value)} USD per 1,000"
        if objective.kind == "keep":
            asked = f"{objective.value:.0%} of the best tier's quality"
        over = "" if gain.value is None else f"; over all settings it gains {_both(gain, '+.1f')} points"
        return f"Do not route: for {asked}, {ours.name} takes {tier} alone{over}."

    # ------------------------------------------------------------ tables

    def _by_kind(self) -> list[list[Outcome]]:
        """Baselines, policies, bounds."""
        kinds: tuple[Callable[[str], bool], ...] = (
            lambda g: g in _BASELINES,
            lambda g: g not in (*_BASELINES, "bound"),
            lambda g: g == "bound",
        )
        return [[o for o in self.found.outcomes if is_kind(o.group)] for is_kind in kinds]

    def points_table(self, width: int = WIDE) -> Table:
        """Each policy at the setting that was chosen in training."""
        columns = (
            Column("quality", "quality", lambda m: _number(m, ".3f")),
            Column("quality 95 %", "quality", lambda m: _range(m, ".3f"), wide=True),
            Column("USD/1,000", "cost", lambda m: "–" if m.value is None else amount(1000 * m.value)),
            Column("escal.", "escalated", lambda m: _number(m, ".0%")),
            Column("votes", "votes", lambda m: _number(m, ".1f")),
            Column("helped", "helped", lambda m: _number(m, ".0%"), wide=True),
            Column("hurt", "hurt", lambda m: _number(m, ".0%"), wide=True),
            Column("edge", "edge", lambda m: _number(m, "+.1f")),
            Column("edge 95 %", "edge", lambda m: _range(m, "+.1f")),
        )
        title = (
            f"held out, at the setting chosen in training ({self.measure}; edge: points above a random mix)"
        )
        return self._table(title, columns, width)

    def curves_table(self, width: int = WIDE) -> Table:
        """Each policy over all its settings."""
        columns = (
            Column("ΔIBC %", "ibc_lift", lambda m: _number(m, "+.0f"), wide=True),
            Column("AIQ", "aiq", lambda m: _number(m, ".3f")),
            Column("APGR", "apgr", lambda m: _number(m, ".2f")),
            Column("CPT50", "cpt_50", lambda m: _number(m, ".2f")),
            Column("CPT80", "cpt_80", lambda m: _number(m, ".2f")),
            Column("gain", "gain_area", lambda m: _number(m, "+.2f")),
            Column("gain 95 %", "gain_area", lambda m: _range(m, "+.2f"), wide=True),
            Column("lead", "lead", lambda m: _number(m, "+.1f"), wide=True),
            Column("saves@99", "savings_at_99", lambda m: _number(m, ".0%"), "parity_at_99"),
            Column("saves@95", "savings_at_95", lambda m: _number(m, ".0%"), "parity_at_95"),
        )
        title = "held out, over all settings (gain: mean points above the line small to large; "
        lead = "lead: above pomdp at equal cost; " if width >= WIDE else ""
        return self._table(f"{title}{lead}saves: at parity, and what it reached)", columns, width)

    def _table(self, title: str, columns: Sequence[Column], width: int) -> Table:
        from rich.table import Table

        shown = self._fitting([c for c in columns if width >= WIDE or not c.wide], width)
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        table.add_column("policy", overflow="fold")  # the one that gives way to long names
        for column in shown:
            table.add_column(column.head, justify="right", no_wrap=True)
        best = {c.head: self._best(c.measure) for c in shown if not c.head.endswith("95 %")}
        groups = [group for group in self._by_kind() if group]
        for group in groups:
            for o in group:
                style = "bold" if o.name == self.found.headline else "dim" if o.group == "bound" else None
                table.add_row(o.name, *(c.text(o, best.get(c.head)) for c in shown), style=style)
            if group is not groups[-1]:
                table.add_row("")
        table.caption = "* best of the policies; baselines above, bounds below"
        table.caption_justify = "left"
        return table

    def _fitting(self, columns: list[Column], width: int) -> list[Column]:
        """As many columns as fit beside the names; intervals go first, then the last ones."""
        name = min(max(len(o.name) for o in self.found.outcomes), _LEAST_NAME)
        taken = [
            2 + max(len(c.head), *(len(c.text(o, o.name)) for o in self.found.outcomes)) for c in columns
        ]
        kept = list(zip(columns, taken, strict=True))
        while len(kept) > 1 and name + sum(wide for _, wide in kept) > width:
            kept.remove(next((k for k in reversed(kept) if k[0].head.endswith("95 %")), kept[-1]))
        return [column for column, _ in kept]

    def _best(self, name: str) -> str | None:
        """Who is best in a column, among policies that could be used."""
        if name not in _BETTER:
            return None
        found = [
            (_BETTER[name] * value, -place, o.name)
            for place, o in enumerate(self._by_kind()[1])
            if (value := o.measures[name].value) is not None
        ]
        return max(found)[2] if len(found) > 1 else None

    # ------------------------------------------------------------ plain values

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        found = self.found
        ours = found.outcome(found.headline)
        return {
            "schema": SCHEMA,
            "source": self.source,
            "sha256": self.sha256,
            "rows": len(self.table),
            "tiers": list(found.tiers),
            "small": found.small,
            "large": found.large,
            "measure": self.measure,
            "level": LEVEL,
            "objective": {"kind": found.objective.kind, "value": found.objective.value},
            "splits": [
                {
                    "seed": cut.seed,
                    "train": len(cut.train),
                    "test": len(cut.test),
                    "duplicates": {"exact": len(twins.exact), "near": len(twins.near), "share": twins.share},
                }
                for cut, twins in zip(found.cuts, found.duplicates, strict=True)
            ],
            "policies": {o.name: self._policy(o) for o in found.outcomes},
            "headline": found.headline,
            "verdict": None if ours.verdict is None else ours.verdict._asdict(),
            "sentence": self.sentence(),
            "notes": self.remarks(),
            "definitions": dict(DEFINITIONS),
        }

    def _policy(self, o: Outcome) -> dict[str, Any]:
        repeated = (
            {"by_split": {k: list(v) for k, v in o.by_split.items()}} if len(self.found.cuts) > 1 else {}
        )
        return {
            "group": o.group,
            "chosen": [
                {"setting": c.setting.to_dict(), "trained": list(c.point), "met": c.met} for c in o.chosen
            ],
            **{name: measure_dict(o.measures[name]) for name in MEASURES},
            **repeated,
            "curve": [
                {
                    "setting": p.setting.to_dict(),
                    "trained": list(p.trained),
                    "cost": measure_dict(p.cost),
                    "quality": measure_dict(p.quality),
                }
                for p in o.curve
            ],
            "datasets": {
                name: {key: measure_dict(m) for key, m in part.items()} for name, part in o.slices.items()
            },
            "money": {s.tier: {"answers": s.answers, "votes": s.votes} for s in o.spent},
            "decision_seconds": o.seconds,
            "verdict": None if o.verdict is None else o.verdict._asdict(),
        }

    def to_csv(self) -> str:
        """A line per policy; each measure with its bounds."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(
            ["policy", "group", "setting", *(f"{m}{end}" for m in MEASURES for end in ("", "_low", "_high"))]
        )
        for o in self.found.outcomes:
            bounds = [
                x for m in MEASURES for x in (o.measures[m].value, o.measures[m].low, o.measures[m].high)
            ]
            writer.writerow(
                [
                    o.name,
                    o.group,
                    setting_text(o.chosen[0].setting),
                    *("" if x is None else repr(x) for x in bounds),
                ]
            )
        return out.getvalue()

    def to_markdown(self) -> str:
        """The report."""
        lines = ["# Comparison of routing policies", "", f"**{self.sentence()}**", "", self.head(), ""]
        lines += ["![Cost against quality](frontier.svg)", ""]
        heads = ["policy", "setting", "quality", "USD per 1,000", "escalated", "votes", "edge, points"]
        heads += [
            "ΔIBC %",
            "AIQ",
            "APGR",
            "CPT(50)",
            "CPT(80)",
            "gain area",
            "saves at 99 %",
            "saves at 95 %",
        ]
        lines += [_markdown_row(heads), "|---|---|" + "--:|" * (len(heads) - 2)]
        for group in self._by_kind():
            lines += [_markdown_row(_markdown_cells(o)) for o in group]
        lines += ["", "Every figure is on held-out rows, with a 95 % paired-bootstrap interval.", ""]
        lines += [f"- *{name}*: {text}" for name, text in DEFINITIONS.items()]
        lines += ["", *(f"- {note}" for note in self.remarks())]
        return "\n".join(lines) + "\n" + self._markdown_slices()

    def _markdown_slices(self) -> str:
        ours = self.found.outcome(self.found.headline)
        if not ours.slices:
            return ""
        heads = ("dataset", "quality", "USD per 1,000", "edge, points")
        lines = ["", f"## {ours.name}, by dataset", "", _markdown_row(heads), "|---|--:|--:|--:|"]
        for name, part in ours.slices.items():
            cells = (
                _both(part["quality"], ".3f"),
                _amounts(part["cost"]),
                _both(part["edge"], "+.1f"),
            )
            lines.append(_markdown_row((one_line(name), *cells)))
        return "\n".join(lines) + "\n"

    def health(self, pass_score: float) -> list[dict[str, Any]]:
        """How far each tier's signal can be believed, on all rows."""
        return [
            {
                "tier": h.tier,
                "signal": h.signal,
                "auroc": h.auroc.value,
                "unparsed": h.unparsed,
                "table": [row._asdict() for row in h.table],
            }
            for h in examine(self.table, pass_score)
        ]


def run_lines(run: Run) -> Iterator[str]:
    """The lines of `runs.jsonl` of one policy at one setting: a row each, in the order of the table.

    Whatever many rows share is written out once, because there may be millions of them.
    """
    out, table = run.outcome, run.table
    setting = ",".join(f"{dumps(key)}:{dumps(value)}" for key, value in run.setting.to_dict().items())
    start = f'{{"policy":{dumps(run.policy)},"setting":{{{setting}}},"seed":{run.seed}'
    tiers = [*(dumps(name) for name in table.tiers), "null"]  # the last for -1: abstained
    kinds: dict[tuple[int, bytes, bytes], str] = {}
    whole = zip(
        table.ids[out.rows],
        out.tier.tolist(),
        out.asked,
        out.votes,
        out.score.tolist(),
        out.cost.tolist(),
        out.latency.tolist(),
        strict=True,
    )
    for ident, tier, asked, votes, score, cost, latency in whole:
        key = tier, asked.tobytes(), votes.tobytes()
        if key not in kinds:
            kinds[key] = _done(tiers, tier, asked.tolist(), votes.tolist())
        seconds = "null" if latency != latency else repr(latency)
        done = f'{kinds[key]},"score":{score!r},"cost":{cost!r},"latency":{seconds}'
        yield f'{start},"id":{dumps(ident)},{done}}}\n'


def _done(tiers: Sequence[str], tier: int, asked: Sequence[bool], votes: Sequence[int]) -> str:
    """The tier reported, the tiers asked and the votes bought, as JSON."""
    names = ",".join(name for name, was in zip(tiers, asked, strict=False) if was)
    bought = ",".join(f"{name}:{n}" for name, n in zip(tiers, votes, strict=False) if n)
    return f'"tier":{tiers[tier]},"asked":[{names}],"votes":{{{bought}}}'


# 1 where more is better, -1 where less is
_BETTER = {
    "quality": 1,
    "cost": -1,
    "edge": 1,
    "ibc_lift": 1,
    "aiq": 1,
    "apgr": 1,
    "cpt_50": -1,
    "cpt_80": -1,
    "gain_area": 1,
    "savings_at_99": 1,
    "savings_at_95": 1,
}


def _judged(v: RoutingVerdict, name: str, single: str) -> str:
    """A verdict in words.

    Example:
        >>> _judged(RoutingVerdict("route", 0.07, 0.05, 0.09), "pomdp", "large")
        'Route: pomdp gives +7.0 points (95 %: +5.0 to +9.0) over the best random mix of tiers at its cost.'
    """
    interval = f"95 %: {100 * v.low:+.1f} to {100 * v.high:+.1f}"
    bounds = f"{100 * v.edge:+.1f} points ({interval}) over the best random mix of tiers at its cost"
    if v.kind == "route":
        return f"Route: {name} gives {bounds}."
    if v.kind == "do not route":
        return f"Do not route: use {single}; {name} gives {bounds}."
    more = f"; about {v.more_rows:,} more held out would" if v.more_rows else ""
    return f"Not enough rows to tell: {name} gives {bounds}{more}."


def measure_dict(m: Measure) -> dict[str, Any]:
    """A measure as plain values; the reason only where something is missing."""
    row: dict[str, Any] = {"value": m.value, "low": m.low, "high": m.high}
    return {**row, "reason": m.reason} if m.reason and (m.value is None or m.low is None) else row


def _number(m: Measure, form: str) -> str:
    return "–" if m.value is None else f"{m.value:{form}}"


def amount(dollars: float) -> str:
    """Dollars in four digits, without an exponent however dear.

    Example:
        >>> amount(0.0041666), amount(1.79), amount(20123.4)
        ('0.004167', '1.79', '20,123')
    """
    return f"{dollars:,.0f}" if abs(dollars) >= 1000 else f"{dollars:.4g}"


def _amounts(m: Measure) -> str:
    """Dollars per 1,000 questions, with their interval."""
    if m.value is None:
        return "–"
    bounds = "" if m.low is None or m.high is None else f" ({amount(1000 * m.low)}–{amount(1000 * m.high)})"
    return amount(1000 * m.value) + bounds


def _range(m: Measure, form: str) -> str:
    if m.low is None or m.high is None:
        return ""
    between = " to " if "+" in form else "–"
    return f"{m.low:{form}}{between}{m.high:{form}}"


def _both(m: Measure, form: str) -> str:
    bounds = _range(m, form)
    return _number(m, form) + (f" ({bounds})" if bounds else "")


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _markdown_cells(o: Outcome) -> tuple[str, ...]:
    m = o.measures
    return (
        o.name,
        setting_text(o.chosen[0].setting),
        _both(m["quality"], ".3f"),
        _amounts(m["cost"]),
        _number(m["escalated"], ".0%"),
        _number(m["votes"], ".1f"),
        _both(m["edge"], "+.1f"),
        _both(m["ibc_lift"], "+.0f"),
        _both(m["aiq"], ".3f"),
        _both(m["apgr"], ".2f"),
        _both(m["cpt_50"], ".2f"),
        _both(m["cpt_80"], ".2f"),
        _both(m["gain_area"], "+.2f"),
        *(
            f"{_both(m[f'savings_at_{p}'], '.0%')}, reaching {_number(m[f'parity_at_{p}'], '.2f')}"
            for p in PARITIES
        ),
    )
