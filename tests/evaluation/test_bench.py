"""The comparison: figures that anyone can recompute, settings that never saw a held-out label."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from comparisons import (
    COARSE,
    SETTINGS,
    asking,
    compared,
    own_split,
    renamed,
    three_tiers,
    view_of,
    with_runs,
)
from known import draw_rows, draw_table, table_of, two_tiers
from msgspec.structs import replace
from rich.console import Console

from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError, UsageError
from automix_cli.evaluation.bench import Bench, bench
from automix_cli.evaluation.bootstrap import split_resamples
from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.measures import MEASURES
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.partition import partitions_of
from automix_cli.evaluation.play import Run
from automix_cli.evaluation.policies import all_policies, pick_policies
from automix_cli.evaluation.policy_entry import Group, Need, TrainedPolicy
from automix_cli.evaluation.settings import Always
from automix_cli.evaluation.split import Split
from automix_cli.fitting.query_router_kinds import ClassChoice
from automix_cli.pomdp.arrays import Floats
from automix_cli.views.bench_files import run_lines, summary, summary_csv
from automix_cli.views.bench_markdown import report_markdown
from automix_cli.views.bench_tables import bench_parts
from automix_cli.views.page import page


@pytest.fixture(scope="module")
def table() -> TraceTable:
    return draw_table(two_tiers(), 400, 0)


@pytest.fixture(scope="module")
def played(table: TraceTable) -> tuple[Bench, list[dict[str, Any]]]:
    return with_runs(table)


# ------------------------------------------------------------------ anyone can recompute it


class Recomputed:
    """Figures from the lines of runs.jsonl alone; of the project only the draws of the rows are used.

    `weights` (D×n) says how often each held-out row is in each resample.
    """

    def __init__(self, plain: dict[str, Any], runs: list[dict[str, Any]], weights: Floats) -> None:
        self.plain, self.rows = plain, defaultdict(list)
        for run in runs:
            self.rows[run["policy"], json.dumps(run["setting"])].append(run)
        self.means = np.vstack([np.ones(weights.shape[1]), weights])
        self.means = self.means / self.means.sum(axis=1, keepdims=True)

    def point(self, name: str, setting: dict[str, Any]) -> Floats:
        """Mean cost and score of a setting, over all rows and in each resample: (1 + D)×2."""
        own = self.rows[name, json.dumps(setting)]
        return self.means @ np.array([[run["cost"], run["score"]] for run in own])

    def tiers(self) -> list[Floats]:
        return [self.point(f"always:{tier}", {"always": tier}) for tier in self.plain["tiers"]]

    def chosen(self, name: str) -> Floats:
        return self.point(name, self.plain["policies"][name]["chosen"][0]["setting"])

    def curve(self, name: str) -> list[Floats]:
        return [self.point(name, p["setting"]) for p in self.plain["policies"][name]["curve"]]

    def edge(self, name: str) -> Floats:
        """Points above the best mix of single tiers, over all rows and in each resample."""
        tiers, own = self.tiers(), self.chosen(name)
        return np.array([100 * (q - height([t[d] for t in tiers], c)) for d, (c, q) in enumerate(own)])

    def gain(self, name: str) -> Floats:
        """Mean height of the curve above the mix; with two tiers above the line between them."""
        tiers, curve = self.tiers(), self.curve(name)
        return np.array([gain([t[d] for t in tiers], [p[d] for p in curve]) for d in range(len(self.means))])

    def over_rows(self, name: str, of: Any) -> float:
        own = self.rows[name, json.dumps(self.plain["policies"][name]["chosen"][0]["setting"])]
        return sum(map(of, own)) / len(own)


def height(tiers: list[Floats], cost: float) -> float:
    """The best quality of a mix of two tiers that costs at most so much; at least the cheapest is asked."""
    best = max((q for c, q in tiers if c <= cost), default=min(map(tuple, tiers))[1])
    for c, q in tiers:
        for dear, better in tiers:
            if c <= cost < dear:
                best = max(best, q + (cost - c) / (dear - c) * (better - q))
    return best


def gain(tiers: list[Floats], curve: list[Floats]) -> float:
    (c0, q0), (c1, q1) = tiers[0], tiers[-1]
    by_cost: dict[float, list[float]] = defaultdict(list)
    for c, q in curve:
        if c0 < c < c1:
            by_cost[round(c, 10)].append(q)
    inner = [(c, sum(q) / len(q)) for c, q in sorted(by_cost.items())]
    end = q1 if len(tiers) == 2 else height(tiers, c1)
    base = [(c0, q0), (c1, q1)]
    if len(tiers) > 2:
        base = [(c, height(tiers, c)) for c in sorted({c0, c1, *(c for c, _ in tiers if c0 < c < c1)})]
    return 100 * (area([(c0, q0), *inner, (c1, end)]) - area(base)) / (c1 - c0)


def area(line: list[tuple[float, float]]) -> float:
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(line))


def recomputed(
    table: TraceTable, result: Bench, runs: list[dict[str, Any]]
) -> tuple[dict[str, Any], Recomputed]:
    plain = json.loads(json.dumps(summary(view_of(result, table)), allow_nan=False))
    (partition,) = result.partitions
    (resamples,) = split_resamples([partition.test], table, partition.seed)
    assert resamples is not None
    return plain["policies"], Recomputed(plain, runs, resamples.counts)


def corrected(values: Floats) -> Any:
    """A figure and its draws: corrected for their bias, with a normal interval."""
    value, deviation = 2 * values[0] - values[1:].mean(), 1.96 * values[1:].std()
    return pytest.approx({"value": value, "low": value - deviation, "high": value + deviation}, abs=1e-9)


def percentiles(values: Floats) -> Any:
    low, high = np.quantile(values[1:], (0.025, 0.975))
    return pytest.approx({"value": values[0], "low": low, "high": high}, abs=1e-9)


@pytest.mark.parametrize("name", ["threshold", "pomdp", "random-mix", "always:small", "oracle"])
def test_cost_quality_edge_and_gain_area_are_recomputed_from_the_lines_they_name(
    table: TraceTable, played: tuple[Bench, list[dict[str, Any]]], name: str
) -> None:
    policies, lines = recomputed(table, *played)
    assert policies[name]["cost"] == percentiles(lines.chosen(name)[:, 0])
    assert policies[name]["quality"] == percentiles(lines.chosen(name)[:, 1])
    assert policies[name]["edge"] == corrected(lines.edge(name))
    if name != "always:small":
        assert policies[name]["gain_area"] == percentiles(lines.gain(name))


def test_with_three_tiers_edge_and_gain_area_are_recomputed_from_the_lines_they_name() -> None:
    table = draw_table(three_tiers(), 240, 0)
    names = ["threshold", "pomdp", "random-mix"]
    policies, lines = recomputed(table, *with_runs(table, ",".join(names)))
    for name in names:
        assert policies[name]["edge"] == corrected(lines.edge(name))
        assert policies[name]["gain_area"] == corrected(lines.gain(name))
    assert policies["threshold"]["gain_area"]["value"] > 1
    assert policies["random-mix"]["gain_area"]["value"] < 0.5, "a mix through the middle tier gains nothing"


def test_what_is_counted_per_row_is_recomputed_from_the_lines_and_the_input(
    table: TraceTable, played: tuple[Bench, list[dict[str, Any]]]
) -> None:
    policies, lines = recomputed(table, *played)
    scores = {
        i: dict(zip(table.tiers, row, strict=True)) for i, row in zip(table.ids, table.score, strict=True)
    }

    def change(run: dict[str, Any], sign: int) -> float:
        """The chance that the answer reported scores more (or less) than that of the tier asked first."""
        own = scores[run["id"]]
        first = next(iter(run["asked"]))
        return sum(p for tier, p in run["report"].items() if sign * (own[tier] - own[first]) > 0)

    for name in ("self-consistency", "threshold", "pomdp", "pomdp:all-at-once"):
        again = {
            "votes": lines.over_rows(name, lambda run: sum(run["votes"].values())),
            "escalated": lines.over_rows(name, lambda run: sum(run["asked"].values()) - 1),
            "helped": lines.over_rows(name, lambda run: change(run, 1)),
            "hurt": lines.over_rows(name, lambda run: change(run, -1)),
        }
        assert {key: policies[name][key]["value"] for key in again} == pytest.approx(again, abs=1e-9)
    assert policies["pomdp"]["helped"]["value"] > policies["pomdp"]["hurt"]["value"] > 0


def test_savings_are_those_of_the_cheapest_setting_that_reached_parity_in_training(
    table: TraceTable, played: tuple[Bench, list[dict[str, Any]]]
) -> None:
    policies = summary(view_of(played[0], table))["policies"]
    policy = policies["pomdp"]
    tiers = [p for name, p in policies.items() if name.startswith("always")]
    best = max(tiers, key=lambda p: p["chosen"][0]["trained"][1])
    reaching = [p for p in policy["curve"] if p["trained"][1] >= 0.95 * best["chosen"][0]["trained"][1]]
    first = min(reaching, key=lambda p: p["trained"][0])
    saved = 1 - first["cost"]["value"] / best["cost"]["value"]
    assert policy["savings_at_95"]["value"] == pytest.approx(saved)
    assert policy["parity_at_95"]["value"] == pytest.approx(
        first["quality"]["value"] / best["quality"]["value"]
    )
    assert 0 < policy["savings_at_95"]["low"] < saved < policy["savings_at_95"]["high"] < 1


# ------------------------------------------------------------------ the lines


def test_a_line_of_the_runs_is_shaped_as_documented(played: tuple[Bench, list[dict[str, Any]]]) -> None:
    names = ("policy", "setting", "role", "seed", "id", "key")
    keys = [*names, "report", "asked", "votes", "escalated", "score", "cost", "latency"]
    assert all([key for key in run if key != "choice"] == keys for run in played[1])
    choices = [run["policy"] for run in played[1] if "choice" in run]
    assert len(choices) == len(set(choices))
    assert {"pomdp", "threshold"} <= set(choices)
    assert not any(name.startswith("always:") for name in choices)
    for run in played[1]:
        assert sum(run["report"].values()) == pytest.approx(1, abs=1e-12)
        assert set(run["report"]) <= set(run["asked"])
        assert all(x > 0 for key in ("report", "asked", "votes") for x in run[key].values())
        assert run["latency"] is None
    ours = [r for r in played[1] if r["policy"] == "pomdp" and "chosen" in r["role"]]
    assert len(ours) == 200
    assert {tier for run in ours for tier in run["votes"]} == {"small"}
    assert any(0 < run["report"].get("small", 0) < 1 for run in ours), "the order of votes is not known"
    assert all(run["asked"]["small"] == 1 for run in ours)


def test_roles_name_the_lines_of_the_point_and_of_the_curve(
    table: TraceTable, played: tuple[Bench, list[dict[str, Any]]]
) -> None:
    roles: dict[str, dict[str, str]] = defaultdict(dict)
    for run in played[1]:
        assert roles[run["policy"]].setdefault(json.dumps(run["setting"]), run["role"]) == run["role"]
    for name, policy in summary(view_of(played[0], table))["policies"].items():
        chosen = {json.dumps(policy["chosen"][0]["setting"])}
        curve = {json.dumps(point["setting"]) for point in policy["curve"]}
        assert {s for s, role in roles[name].items() if role.startswith("chosen")} == chosen
        assert {s for s, role in roles[name].items() if role.endswith("curve")} == curve
    path = [json.loads(s).get("cost_weight") for s in roles["pomdp"]]
    whole = compared(table, "pomdp").outcome("pomdp")
    assert {c.setting.to_dict().get("cost_weight") for c in whole.curve} < set(path)
    assert 0.0 in path, "the plan that spends most is there, whether or not it is of use"
    assert set(roles["pomdp"].values()) == {"chosen+curve", "curve", "path"}
    assert "path" not in roles["threshold"].values()


def test_every_policy_is_measured_on_the_same_rows(played: tuple[Bench, list[dict[str, Any]]]) -> None:
    rows = defaultdict(list)
    for run in played[1]:
        rows[run["policy"], json.dumps(run["setting"])].append(run["id"])
    first = next(iter(rows.values()))
    assert len(first) == 200
    assert all(ids == first for ids in rows.values())


def test_the_curve_has_a_known_order_and_the_plans_beat_the_mix(played: tuple[Bench, Any]) -> None:
    result = played[0]
    quality = {o.name: o.measures["quality"].value for o in result.outcomes}
    assert quality["oracle"] == max(quality.values())
    ours = result.outcome("pomdp")
    assert ours.verdict is not None
    assert ours.verdict.kind == "route"
    assert ours.measures["edge"].value > 3
    assert result.outcome("always:small").measures["aiq"] == (
        None,
        "a single tier draws no curve",
        None,
        None,
    )
    assert sum(s.answers + s.votes for s in ours.spending) == pytest.approx(ours.measures["cost"].value)
    helped = sum(m.chance for m in result.escalated_rows if m.after > m.before) / 200
    assert helped == pytest.approx(ours.measures["helped"].value)
    worth = [m.chance * abs(m.after - m.before) for m in result.escalated_rows]
    assert worth == sorted(worth, reverse=True)


def test_an_abstention_is_counted_and_reports_no_tier(table: TraceTable) -> None:
    dear = table.with_costs({"medium": 1000.0})
    runs: list[Run] = []
    settings = replace(SETTINGS, abstain_value=0.5)
    result = bench(
        dear,
        pick_policies("pomdp", all_policies(dear.tiers)),
        settings,
        Objective("budget", 3.0),
        partitions=partitions_of(dear, 0.5),
        runs="chosen",
        on_run=runs.append,
    )
    lines = [json.loads(line) for run in runs if run.policy == "pomdp" for line in run_lines(run)]
    abstained = sum(1 - sum(line["report"].values()) for line in lines) / len(lines)
    assert result.outcome("pomdp").measures["abstained"].value == pytest.approx(abstained, abs=1e-9)
    assert abstained > 0.1


# ------------------------------------------------------------------ neither names nor order matter


def test_names_of_tiers_and_the_order_of_rows_and_votes_change_no_figure() -> None:
    rows = [{**row, "question": f"question {row['id']}"} for row in draw_rows(two_tiers(), 240, 1)]
    names = {"small": "zeta", "medium": "alpha"}
    one = compared(table_of(rows, tiers=("small", "medium")))
    other = compared(table_of(renamed(rows, names, 5), tiers=("zeta", "alpha")))
    for first, second in zip(one.outcomes, other.outcomes, strict=True):
        for key in first.measures.keys() - {"router_latency"}:
            assert first.measures[key].value == pytest.approx(second.measures[key].value, abs=1e-9), key
        assert (first.verdict is None) == (second.verdict is None)
        assert first.verdict is None or first.verdict.kind == second.verdict.kind


# ------------------------------------------------------------------ nothing leaks


QUERY = "random-mix,threshold,pomdp,kmeans,knn,pomdp+query"


@pytest.mark.parametrize(("names", "query_router"), [(QUERY, "knn"), ("pomdp+query", "auto")])
def test_shuffled_labels_of_held_out_rows_change_no_setting_and_no_decision(
    names: str, query_router: ClassChoice
) -> None:
    rows = own_split(asking(260), 200)
    shuffled = [json.loads(json.dumps(row)) for row in rows]
    for row, other in zip(shuffled[200:], reversed(rows[200:]), strict=True):
        for tier in row["tiers"]:
            row["tiers"][tier]["score"] = other["tiers"][tier]["score"]
    (one, runs), (two, others) = (
        with_runs(table_of(r), names, query_router=query_router, partitions=partitions_of(table_of(r), None))
        for r in (rows, shuffled)
    )
    assert [o.choices for o in one.outcomes] == [o.choices for o in two.outcomes]
    assert [[p.training for p in o.curve] for o in one.outcomes] == [
        [p.training for p in o.curve] for o in two.outcomes
    ]
    hidden = ("score", "choice")  # the choice is told with its held-out results
    decided = [[{k: v for k, v in r.items() if k not in hidden} for r in some] for some in (runs, others)]
    assert decided[0] == decided[1]
    assert [r["score"] for r in runs] != [r["score"] for r in others]


def test_more_held_out_rows_change_no_decision_on_the_others() -> None:
    rows = own_split(asking(280), 200)
    few, many = (
        with_runs(table_of(r), QUERY, partitions=partitions_of(table_of(r), None))[1]
        for r in (rows[:240], rows)
    )
    known = {row["id"] for row in rows[:240]}
    few, many = ([{k: v for k, v in r.items() if k != "choice"} for r in own] for own in (few, many))
    assert [r for r in many if r["id"] in known] == few


# ------------------------------------------------------------------ repeated splits


@pytest.fixture(scope="module")
def repeated(table: TraceTable) -> Bench:
    return compared(table, "threshold,pomdp", partitions=partitions_of(table, 0.5, repeat=3))


def test_repeated_splits_are_averaged_and_their_values_kept(table: TraceTable, repeated: Bench) -> None:
    alone = [
        compared(table, "threshold,pomdp", partitions=[cut]).outcome("pomdp") for cut in repeated.partitions
    ]
    ours = repeated.outcome("pomdp")
    assert ours.by_split["quality"] == pytest.approx([o.measures["quality"].value for o in alone])
    quality = ours.measures["quality"]
    assert quality.value == pytest.approx(np.mean([o.measures["quality"].value for o in alone]))
    assert quality.low is not None
    assert quality.low < quality.value < quality.high
    widths = [o.measures["quality"].high - o.measures["quality"].low for o in alone]
    assert quality.high - quality.low < np.mean(widths)
    assert ours.choices == tuple(o.choices[0] for o in alone)


def test_the_edge_over_splits_is_the_mean_of_the_corrected_ones(repeated: Bench) -> None:
    ours = repeated.outcome("pomdp")
    edge = ours.measures["edge"]
    assert edge.value == pytest.approx(np.mean(ours.by_split["edge"]))
    assert edge.high - edge.value == pytest.approx(edge.value - edge.low), "a normal interval"


def test_the_summary_has_the_settings_of_every_split(table: TraceTable, repeated: Bench) -> None:
    plain = summary(view_of(repeated, table))
    assert [s["questions"] for s in plain["splits"]] == [{"train": 200, "test": 200}] * 3
    for name, policy in plain["policies"].items():
        outcome = repeated.outcome(name)
        assert [c["setting"] for c in policy["chosen"]] == [c.setting.to_dict() for c in outcome.choices]
        settings = [[point["setting"] for point in curve] for curve in policy["curve_by_split"]]
        assert settings == [[p.setting.to_dict() for p in curve] for curve in outcome.curves]
        assert len(settings) == 3
        assert policy["curve"] == policy["curve_by_split"][0]
    assert len({json.dumps(policy["curve_by_split"][k]) for k in range(3)}) > 1


# ------------------------------------------------------------------ who is left out


@dataclass(frozen=True)
class Unable:
    """A policy that cannot be trained on some split."""

    error: Exception
    seeds: tuple[int, ...] = (0,)
    name: str = "unable"
    group: Group = "rule"
    needs: tuple[Need, ...] = ()

    def train(self, split: Split) -> TrainedPolicy:
        if split.seed in self.seeds:
            raise self.error
        return next(e for e in all_policies(split.train.tiers) if e.name == "random-mix").train(split)


def with_unable(table: TraceTable, names: str, unable: Unable, repeat: int = 1) -> Bench:
    entries = (*pick_policies(names, all_policies(table.tiers)), unable)
    wanted = Objective("keep", 0.95)
    cuts = partitions_of(table, 0.5, repeat=repeat)
    return bench(table, entries, SETTINGS, wanted, partitions=cuts, options=COARSE)


@pytest.mark.parametrize("seeds", [(0,), (2,)])
@pytest.mark.parametrize("error", [DataError("no row of it"), UsageError("it handles one tier")])
def test_a_policy_that_cannot_play_is_left_out_with_its_reason(
    table: TraceTable, error: DataError, seeds: tuple[int, ...]
) -> None:
    rows = table.subset(np.arange(120))
    result = with_unable(rows, "threshold", Unable(error, seeds), repeat=3)
    assert [o.name for o in result.outcomes] == ["always:small", "always:medium", "threshold"]
    assert result.left_out == (("unable", error.message),)
    view = view_of(result, rows)
    assert f"note: unable left out: {error.message}" in view.remarks()
    assert summary(view)["left_out"] == [{"name": "unable", "why": error.message}]
    assert f"unable left out: {error.message}" in report_markdown(view)


def test_the_only_policy_that_was_asked_for_fails_as_it_fails(table: TraceTable) -> None:
    with pytest.raises(DataError, match="no row of it"):
        with_unable(table.subset(np.arange(60)), "always:small", Unable(DataError("no row of it")))


def test_an_error_of_the_program_itself_is_not_taken_for_a_reason(table: TraceTable) -> None:
    with pytest.raises(ZeroDivisionError):
        with_unable(table.subset(np.arange(60)), "threshold", Unable(ZeroDivisionError()))


# ------------------------------------------------------------------ degenerate rows

CASES: dict[str, Any] = {
    "free small tier": lambda: draw_table(two_tiers(), 120, 0).with_costs({"small": 0.0}, {"small": 0.0}),
    "all free": lambda: draw_table(two_tiers(), 120, 0).with_costs(
        {"small": 0.0, "medium": 0.0}, {"small": 0.0}
    ),
    "equal costs": lambda: draw_table(two_tiers(), 120, 0).with_costs({"small": 2.0, "medium": 2.0}),
    "small better": lambda: table_of(
        [
            {
                "tiers": {
                    "small": {"score": 1, "votes": [1, 1], "cost": 1, "vote_cost": 0.1},
                    "large": {"score": i % 2, "cost": 9},
                }
            }
            for i in range(80)
        ]
    ),
    "one class": lambda: table_of(
        [
            {
                "tiers": {
                    "small": {"score": 1, "votes": [1, 0], "cost": 1, "vote_cost": 0.1},
                    "large": {"score": 1, "cost": 9},
                }
            }
            for _ in range(60)
        ]
    ),
    "nothing right": lambda: table_of(
        [
            {
                "tiers": {
                    "small": {"score": 0, "votes": [1, 0], "cost": 1, "vote_cost": 0.1},
                    "large": {"score": 0, "cost": 9},
                }
            }
            for _ in range(60)
        ]
    ),
    "one row": lambda: draw_table(two_tiers(), 1, 0),
    "two rows": lambda: draw_table(two_tiers(), 2, 0),
    "five rows": lambda: draw_table(two_tiers(), 5, 0),
    "one tier": lambda: draw_table(two_tiers(), 50, 0).pick(["small"]),
    "no signal": lambda: table_of(
        [{"tiers": {"a": {"score": i % 2, "cost": 1}, "b": {"score": 1, "cost": 2}}} for i in range(50)]
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_degenerate_rows_give_null_with_a_reason_and_never_nan(name: str) -> None:
    table = CASES[name]()
    result = compared(table, "all")
    plain = summary(view_of(result, table))
    json.dumps(plain, allow_nan=False)
    for policy in plain["policies"].values():
        for spec in MEASURES:
            cell = policy[spec.key]
            assert cell["value"] is not None or cell["reason"], spec.key
            assert (cell["low"] is None) == (cell["high"] is None)
            assert cell["low"] is not None or cell["reason"], spec.key
    assert plain["sentence"]
    summary_csv(view_of(result, table))
    report_markdown(view_of(result, table))


def test_a_quality_of_which_every_row_is_alike_has_the_exact_interval_of_so_many_questions() -> None:
    table = CASES["one class"]()
    plain = summary(view_of(compared(table, "all"), table))
    least = 0.025 ** (1 / plain["splits"][0]["questions"]["test"])
    for policy in plain["policies"].values():
        assert policy["quality"] == {"value": 1.0, "low": pytest.approx(least), "high": 1.0}
        assert all(point["quality"]["low"] == pytest.approx(least) for point in policy["curve"])
    text = "\n".join(
        part for part in bench_parts(view_of(compared(table, "all"), table)) if isinstance(part, str)
    )
    assert "\nedge 95 % left out: none has a width on these rows\n" in text


def test_no_held_out_row_and_unknown_costs_are_refused() -> None:
    rows = own_split(draw_rows(two_tiers(), 10, 0), 10)
    table = table_of(rows)
    empty = partitions_of(table, 0.5)[0]._replace(test=np.empty(0, dtype=np.intp))
    with pytest.raises(DataError, match="no row is held out"):
        compared(table, partitions=[empty])
    for row in rows:
        del row["tiers"]["medium"]["cost"]
    with pytest.raises(DataError, match="no cost is recorded for medium"):
        compared(table_of(rows))


# ------------------------------------------------------------------ the verdict


def test_where_only_a_single_tier_was_chosen_there_is_no_verdict_about_any_policy() -> None:
    table = CASES["small better"]()
    result = compared(table, "threshold,pomdp")
    ours = result.outcome("pomdp")
    assert ours.verdict.kind == "single tier"
    assert (result.single, result.alternative) == ("small", None)
    assert view_of(result, table).sentence().startswith("Use small: no tier is better, and none is cheaper.")


def test_where_nothing_cheaper_was_found_the_tier_is_named_with_what_was_asked_for() -> None:
    rows = draw_rows(two_tiers(), 220, 0)
    for row in rows:  # votes that say nothing
        row["tiers"]["small"]["votes"] = [int(row["id"]) % 2] * 6
    table = table_of(rows)
    result = compared(table, "threshold,pomdp", Objective("keep", 0.98))
    assert result.outcome("pomdp").verdict.kind == "single tier"
    sentence = view_of(result, table).sentence()
    assert sentence.startswith(
        "Use medium: for 98 % of the best tier's quality with probability 80 %, "
        "no cheaper setting of pomdp was found"
    )
    assert "nor does routing surely pay with --keep" in sentence


def test_a_setting_that_does_what_a_single_tier_does_is_no_evidence_about_a_policy(
    table: TraceTable,
) -> None:
    cheap = table.with_costs({"small": 30.0, "medium": 20.0}, {"small": 1.0}).subset(np.arange(160))
    for row in (0, 1):
        cheap.score[:, row] = row
    result = compared(cheap, "oracle,random-mix")
    assert result.outcome("oracle").verdict.kind == "single tier"
    assert result.outcome("oracle").single_splits == 1
    assert compared(table, "oracle").outcome("oracle").single_splits == 0


def test_what_lower_shares_save_is_said_where_the_one_asked_for_takes_a_single_tier(
    table: TraceTable,
) -> None:
    result = compared(table, "pomdp", Objective("keep", 1.0, 0.99))
    ours = result.outcome("pomdp")
    assert ours.choices[0].setting == Always("medium")
    assert ours.verdict.kind == "single tier"
    other = result.alternative
    assert other is not None
    asked_for = compared(table, "pomdp", Objective("keep", other.keep, 0.99)).outcome("pomdp")
    edge, cost = asked_for.measures["edge"], asked_for.measures["cost"]
    dear = result.outcome("always:medium").measures["cost"].value
    assert other.saving == pytest.approx(1 - cost.value / dear)
    assert [100 * x for x in other.edge] == pytest.approx([edge.value, edge.low, edge.high])
    words = view_of(result, table).sentence()
    assert f"With --keep {other.keep:g} routing saves {100 * other.saving:.0f} % of the best tier's" in words
    assert summary(view_of(result, table))["alternative"]["keep"] == other.keep


def test_the_verdict_says_where_what_was_asked_for_was_missed(
    table: TraceTable, played: tuple[Bench, Any]
) -> None:
    met = played[0]
    ours = met.outcome("pomdp").measures
    best = max(met.outcome(f"always:{tier}").measures["quality"].value for tier in met.tiers)
    share = ours["quality"].value / best
    for keep in (share - 0.001, share + 0.001):
        view = view_of(replace(met, objective=Objective("keep", keep)), table)
        is_missed = (
            f"But --keep {keep:g} was missed: on these rows it keeps {100 * share:.3g} %" in view.sentence()
        )
        assert is_missed == (keep > share)
        assert summary(view)["reach"]["is_met"] == (keep < share)
        assert summary(view)["reach"]["share"] == pytest.approx(share)


def test_the_verdict_line_says_what_it_rests_on_and_why_calibrate_may_differ(
    table: TraceTable, played: tuple[Bench, Any]
) -> None:
    sentence = view_of(played[0], table).sentence()
    assert re.match(r"Route: pomdp gives \+\d\.\d points over the best random mix of tiers", sentence)
    assert sentence.endswith(
        "Learned from 200 questions and measured on 200; calibrate learns from all 400, each held out in "
        "turn, and may say otherwise."
    )


@pytest.mark.parametrize(
    ("rows", "share", "why"),
    [
        (59, 0.5, "held out are 29 questions, and at least 30 are needed"),
        (60, 0.25, "to learn from are 15 questions, and at least 20 are needed"),
        (5, 0.5, "to learn from are 2 questions, and at least 20 are needed"),
    ],
)
def test_too_few_questions_have_no_verdict_and_the_sentence_says_which(
    rows: int, share: float, why: str
) -> None:
    table = draw_table(two_tiers(), rows, 0)
    result = compared(table, "threshold,pomdp", partitions=partitions_of(table, share))
    assert {o.verdict for o in result.outcomes} == {None}
    assert view_of(result, table).sentence() == f"Not enough rows to tell: {why}."


def test_copies_of_one_question_are_not_taken_for_many() -> None:
    rows = [{**row, "question": "the same?" if row["id"] < 40 else str(row["id"])} for row in asking(200)]
    table = table_of(rows)
    cuts = [cut for cut in partitions_of(table, 0.5, repeat=9) if 0 in cut.test][:1]
    result = compared(table, "threshold,pomdp", partitions=cuts)
    assert result.outcome("pomdp").verdict is None
    assert "one question has 40 of" in view_of(result, table).sentence()


def test_one_tier_leaves_nothing_to_judge() -> None:
    one = CASES["one tier"]()
    assert view_of(compared(one), one).sentence() == "There is one tier, so there is nothing to route."


def test_where_no_policy_looks_at_an_answer_a_note_says_what_would_give_it_something_to_see(
    table: TraceTable,
) -> None:
    def note(rows: TraceTable, names: str) -> str:
        remarks = view_of(compared(rows, names), rows).remarks()
        return next((text for text in remarks if " look" in text), "")

    assert "verification.signal" in note(CASES["no signal"](), "all")
    assert "--columns" in note(CASES["no signal"](), "all")
    assert "no policy looked at an answer" in note(CASES["no signal"](), "all")
    made = draw_rows(two_tiers(), 80, 0)
    for i, row in enumerate(made):
        for cell in row["tiers"].values():
            cell.pop("votes", None)
            cell["answer"] = str(i % 3 if cell["score"] else -1)
    words = "note: policies look only at whether answers agree, for no votes"
    assert note(table_of(made, compare="exact"), "pomdp").startswith(words)
    for row in made[:20]:
        del row["tiers"]["medium"]["answer"]
    words = "note: nothing looks at whether answers of tiers agree: medium's are recorded on 60 of 80 rows"
    assert note(table_of(made, compare="exact"), "random-mix").startswith(words)
    few = table.subset(np.arange(80))
    assert note(few, "random-mix").endswith("--policies threshold,pomdp do")
    assert note(few, "threshold") == ""


# ------------------------------------------------------------------ intervals


def test_intervals_hold_the_value_and_paired_differences_are_tighter(
    table: TraceTable, played: tuple[Bench, Any]
) -> None:
    for outcome in played[0].outcomes:
        for name in ("quality", "cost", "edge", "escalated"):
            m = outcome.measures[name]
            assert m.low <= m.value + 1e-12, (outcome.name, name)
            assert m.high >= m.value - 1e-12, (outcome.name, name)
    ours = played[0].outcome("pomdp").measures
    assert ours["edge"].high - ours["edge"].low < 100 * math.sqrt(2) * (
        ours["quality"].high - ours["quality"].low
    )


def test_the_same_seed_gives_the_same_figures(table: TraceTable, played: tuple[Bench, Any]) -> None:
    again = compared(table)
    for one, two in zip(played[0].outcomes, again.outcomes, strict=True):
        first, second = ({k: v for k, v in o.measures.items() if k != "router_latency"} for o in (one, two))
        assert first == second


def test_a_very_narrow_terminal_still_reads_names_and_whole_figures(
    table: TraceTable, played: tuple[Bench, Any]
) -> None:
    text = StringIO()
    console = Console(width=40, file=text)
    for part in bench_parts(view_of(played[0], table), 40):
        if not isinstance(part, str):
            console.print(part)
    assert "…" not in text.getvalue()
    assert re.search(r"^always:small +0\.\d{3}", text.getvalue(), re.MULTILINE)


def test_a_column_that_shows_nothing_is_left_out_and_its_reason_said_once(
    table: TraceTable, played: tuple[Bench, Any]
) -> None:
    text = "\n".join(map(str, bench_parts(view_of(played[0], table))))
    assert "left out: " not in text
    keys = [f"{name}_at_{level}" for name in ("savings", "parity") for level in (95, 99)]
    blank = {key: Measure(None, "nobody") for key in keys}
    outcomes = tuple(replace(o, measures={**o.measures, **blank}) for o in played[0].outcomes)
    parts = list(bench_parts(view_of(replace(played[0], outcomes=outcomes), table)))
    assert "saves@99, saves@95 left out: nobody" in parts
    heads = [str(column.header) for part in parts if not isinstance(part, str) for column in part.columns]
    assert "ΔIBC %" in heads
    assert "saves@99" not in heads
    shown = page(view_of(replace(played[0], outcomes=outcomes), table), SETTINGS)
    own = json.loads(re.search(r'id="data">(.*?)</script>', shown, re.DOTALL)[1])["tables"][1]
    assert own["absent"] == ["saves at 99\xa0% left out: nobody", "saves at 95\xa0% left out: nobody"]
    money = json.loads(re.search(r'id="data">(.*?)</script>', shown, re.DOTALL)[1])["money"]
    assert all(any(row["parts"][k] for row in money["rows"]) for k in range(len(money["keys"])))
    assert not [head for head in own["heads"] if head["name"].startswith("saves")]
    assert {len(row["cells"]) for row in own["rows"]} == {len(own["heads"])}


def test_narrow_terminals_get_fewer_columns(table: TraceTable, played: tuple[Bench, Any]) -> None:
    view = view_of(played[0], table)
    for width in (80, 120):
        for part in bench_parts(view, width):
            if not isinstance(part, str):
                measured = part.__rich_measure__(Console(width=500), Console(width=500).options)
                assert measured.maximum <= width
