"""The comparison: figures that anyone can recompute, settings that never saw a held-out label."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from known import draw_rows, draw_table, table_of, two_tiers
from rich.console import Console

from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError, UsageError
from automix_cli.evaluation.answer_policies import Pomdp, PomdpQuery
from automix_cli.evaluation.baseline_policies import RandomMix
from automix_cli.evaluation.bench import Bench, bench
from automix_cli.evaluation.crossfit import Crossfit, Curve
from automix_cli.evaluation.families import CostGrid, PomdpFamily
from automix_cli.evaluation.gates import Gate, missed_gates, read_gates
from automix_cli.evaluation.measures import MEASURES
from automix_cli.evaluation.objective import Objective, best_source, choose_each
from automix_cli.evaluation.partition import duplicates_of, partitions_of
from automix_cli.evaluation.play import Run
from automix_cli.evaluation.policies import all_policies, pick_policies
from automix_cli.evaluation.policy_entry import why_unable
from automix_cli.evaluation.query_policies import Query
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.split import Split
from automix_cli.fitting.query_router_kinds import QUERY_ROUTER_KINDS, ClassChoice, ClassSource
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.rules import AssignedPolicy
from automix_cli.views.bench_files import run_lines, summary, summary_csv
from automix_cli.views.bench_markdown import report_markdown
from automix_cli.views.bench_tables import bench_parts
from automix_cli.views.bench_view import BenchView

SETTINGS = Settings(max_votes=6)
FAST = "random-mix,self-consistency,threshold,double-threshold,pomdp:all-at-once,pomdp,oracle"
WORDS = ("red", "green", "blue", "seven", "nine", "river", "stone", "cloud", "paper", "glass")


# Few cost_weights and no repeated folds: the laws are the same, and the tests are quick.
COARSE = Crossfit(few_rows=0, grid=CostGrid(weights=20, many_rows=0))


def compared(
    table: TraceTable,
    names: str = FAST,
    objective: Objective | None = None,
    query_router: ClassChoice = "knn",
    **options: Any,
) -> Bench:
    wanted = objective or Objective("keep", 0.95)
    known = all_policies(table.tiers, query_router, objective=wanted)
    seated = [c for c in pick_policies(names, known) if not why_unable(c, table)]
    options = {"partitions": partitions_of(table, 0.5), "options": COARSE, **options}
    return bench(table, seated, SETTINGS, wanted, **options)


def with_runs(table: TraceTable, names: str = FAST, **options: Any) -> tuple[Bench, list[dict[str, Any]]]:
    lines: list[str] = []
    found = compared(table, names, runs="all", on_run=lambda run: lines.extend(run_lines(run)), **options)
    return found, [json.loads(line) for line in lines]


def view_of(found: Bench, table: TraceTable, **more: Any) -> BenchView:
    return BenchView(comparison=found, table=table, source="rows.jsonl", sha256="0" * 64, **more)


def asking(rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows with questions: the small tier is right on those about colours only."""
    rng = np.random.default_rng(seed)
    found = draw_rows(two_tiers(), rows, seed)
    for i, row in enumerate(found):
        words = rng.choice(WORDS, 6).tolist()
        row["question"] = f"question {i}: {' '.join(words)}?"
        row["tiers"]["small"]["score"] = int(words[0] in WORDS[:3] or rng.random() < 0.3)
        row["dataset"] = "colours" if words[0] in WORDS[:3] else "others"
    return found


@pytest.fixture(scope="module")
def table() -> TraceTable:
    return draw_table(two_tiers(), 400, 0)


@pytest.fixture(scope="module")
def played(table: TraceTable) -> tuple[Bench, list[dict[str, Any]]]:
    return with_runs(table)


# ------------------------------------------------------------------ anyone can recompute it


def recomputed(
    plain: dict[str, Any], runs: list[dict[str, Any]], scores: dict[Any, dict[str, float]]
) -> dict[str, dict[str, Any]]:
    """Figures from the lines of runs.jsonl and the input alone; nothing of the project is used."""
    rows = defaultdict(list)
    for run in runs:
        rows[run["policy"], json.dumps(run["setting"])].append(run)

    def mean(name: str, setting: dict[str, Any], of: Callable[[dict[str, Any]], float]) -> float:
        own = rows[name, json.dumps(setting)]
        return sum(map(of, own)) / len(own)

    def point(name: str, setting: dict[str, Any]) -> tuple[float, float]:
        return mean(name, setting, lambda r: r["cost"]), mean(name, setting, lambda r: r["score"])

    (c0, q0), (c1, q1) = (point(f"always:{t}", {"always": t}) for t in (plain["small"], plain["large"]))
    found: dict[str, dict[str, Any]] = {}
    for name, policy in plain["policies"].items():
        key = policy["chosen"][0]["setting"]
        cost, quality = point(name, key)
        mix = q0 + (min(max(cost, c0), c1) - c0) / (c1 - c0) * (q1 - q0)
        one = found[name] = {"quality": quality, "cost": cost, "edge": 100 * (quality - mix)}
        one["escalated"] = mean(name, key, lambda r: len(r["asked"]) > 1)
        one["votes"] = mean(name, key, lambda r: sum(r["votes"].values()))
        one["hurt"] = mean(name, key, lambda r: r["score"] < scores[r["id"]][r["asked"][0]])
        if cost > c0:
            one["ibc_lift"] = 100 * ((quality - q0) / (cost - c0) / ((q1 - q0) / (c1 - c0)) - 1)
        if policy["group"] == "single tier":
            continue
        inner = {p for p in (point(name, c["setting"]) for c in policy["curve"]) if c0 < p[0] < c1}
        line = [(c0, q0), *sorted(inner), (c1, q1)]
        area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(line)) / (c1 - c0)
        one |= {"gain_area": 100 * (area - (q0 + q1) / 2), "apgr": (area - q0) / (q1 - q0)}
        for half in (50, 80):
            target = q0 + half / 100 * (q1 - q0)
            (a, low), (b, high) = next(pair for pair in pairwise(line) if pair[1][1] >= target)
            one[f"cpt_{half}"] = (a + (target - low) / (high - low) * (b - a) - c0) / (c1 - c0)
    return found


def test_figures_are_recomputed_from_the_runs_and_the_input_alone(
    table: TraceTable, played: tuple[Bench, list[dict[str, Any]]]
) -> None:
    scores = {
        i: dict(zip(table.tiers, row, strict=True)) for i, row in zip(table.ids, table.score, strict=True)
    }
    plain = json.loads(json.dumps(summary(view_of(played[0], table)), allow_nan=False))
    again = recomputed(plain, played[1], scores)
    for name, figures in again.items():
        for figure, value in figures.items():
            assert plain["policies"][name][figure]["value"] == pytest.approx(value, abs=1e-9), (
                name,
                figure,
            )
    assert sum(map(len, again.values())) > 70


def test_savings_are_those_of_the_cheapest_setting_that_reached_parity_in_training(
    table: TraceTable, played: tuple[Bench, list[dict[str, Any]]]
) -> None:
    policy = summary(view_of(played[0], table))["policies"]["pomdp"]
    tiers = [p for n, p in summary(view_of(played[0], table))["policies"].items() if n.startswith("always")]
    best = max(tiers, key=lambda p: p["chosen"][0]["trained"][1])
    reaching = [p for p in policy["curve"] if p["trained"][1] >= 0.95 * best["chosen"][0]["trained"][1]]
    first = min(reaching, key=lambda p: p["trained"][0])
    saved = 1 - first["cost"]["value"] / best["cost"]["value"]
    assert policy["savings_at_95"]["value"] == pytest.approx(saved)
    assert policy["parity_at_95"]["value"] == pytest.approx(
        first["quality"]["value"] / best["quality"]["value"]
    )
    assert 0 < policy["savings_at_95"]["low"] < saved < policy["savings_at_95"]["high"] < 1


def test_a_line_of_the_runs_is_shaped_as_documented(
    table: TraceTable, played: tuple[Bench, list[dict[str, Any]]]
) -> None:
    keys = ["policy", "setting", "seed", "id", "tier", "asked", "votes", "score", "cost", "latency"]
    assert all(list(run) == keys for run in played[1])
    ours = [r for r in played[1] if r["policy"] == "pomdp"]
    weights = sorted({r["setting"]["cost_weight"] for r in ours if "cost_weight" in r["setting"]})
    train = table.reseed(0).subset(partitions_of(table, 0.5)[0].train)
    assert weights == sorted(PomdpFamily(settings=SETTINGS, grid=COARSE.grid).with_cost_grid(train).weights)
    escalated = next(r for r in ours if len(r["asked"]) == 2)
    assert escalated["asked"] == ["small", "medium"]
    assert escalated["tier"] in ("small", "medium")
    assert set(escalated["votes"]) <= {"small"}
    assert escalated["latency"] is None


def test_every_policy_is_measured_on_the_same_rows(played: tuple[Bench, list[dict[str, Any]]]) -> None:
    rows = defaultdict(list)
    for run in played[1]:
        rows[run["policy"], json.dumps(run["setting"])].append(run["id"])
    first = next(iter(rows.values()))
    assert len(first) == 200
    assert all(ids == first for ids in rows.values())


def test_the_curve_has_a_known_order_and_the_plans_beat_the_mix(played: tuple[Bench, Any]) -> None:
    found = played[0]
    quality = {o.name: o.measures["quality"].value for o in found.outcomes}
    assert quality["oracle"] == max(quality.values())
    ours = found.outcome("pomdp")
    assert ours.verdict is not None
    assert ours.verdict.kind == "route"
    assert ours.measures["edge"].value > 3
    assert found.outcome("always:small").measures["aiq"] == (None, "a single tier draws no curve", None, None)
    assert sum(s.answers + s.votes for s in ours.spending) == pytest.approx(ours.measures["cost"].value)
    helped = sum(m.after > m.before for m in found.escalated_rows) / 200
    assert helped == pytest.approx(ours.measures["helped"].value)


# ------------------------------------------------------------------ nothing leaks


def own_split(rows: list[dict[str, Any]], train: int) -> list[dict[str, Any]]:
    return [{**row, "split": "train" if i < train else "test"} for i, row in enumerate(rows)]


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
    decided = [[{k: v for k, v in r.items() if k != "score"} for r in some] for some in (runs, others)]
    assert decided[0] == decided[1]
    assert [r["score"] for r in runs] != [r["score"] for r in others]


def test_more_held_out_rows_change_no_decision_on_the_others() -> None:
    rows = own_split(asking(280), 200)
    few, many = (
        with_runs(table_of(r), QUERY, partitions=partitions_of(table_of(r), None))[1]
        for r in (rows[:240], rows)
    )
    known = {row["id"] for row in rows[:240]}
    assert [r for r in many if r["id"] in known] == few


# ------------------------------------------------------------------ splitting


@pytest.mark.parametrize("copies", [1, 4])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.99])
def test_random_splits_keep_all_rows_of_a_question_on_one_side(copies: int, share: float) -> None:
    once = asking(50)
    rows = [row | {"id": f"{row['id']}-{k}"} for k in range(copies) for row in once]
    cut, table = partitions_of(table_of(rows), share, seed=2)[0], table_of(rows)
    alone = partitions_of(table_of(once), share, seed=2)[0]
    assert set(table.texts[cut.train]) == set(table_of(once).texts[alone.train])
    assert not set(table.groups[cut.train]) & set(table.groups[cut.test])
    assert len(cut.train) == copies * min(round(50 * share), 49)
    assert len(cut.train) + len(cut.test) == len(rows)


def test_a_large_question_is_learned_from_only_where_that_comes_nearer_to_the_share() -> None:
    rows = asking(30)
    for row in rows[:21]:
        row["question"] = "one question"
    sizes = {len(partitions_of(table_of(rows), 0.5, seed=seed)[0].train) for seed in range(20)}
    assert sizes <= {*range(5, 10), *range(21, 26)}


def test_random_splits_depend_on_questions_and_seeds_and_not_on_the_order_of_the_file() -> None:
    rows = draw_rows(two_tiers(), 101, 0)
    forth, back = table_of(rows), table_of(rows[::-1])
    cut, other = partitions_of(forth, 0.2, seed=3)[0], partitions_of(back, 0.2, seed=3)[0]
    assert set(forth.ids[cut.train]) == set(back.ids[other.train])
    assert len(cut.train) == 20
    assert sorted([*cut.train, *cut.test]) == list(range(101))
    assert set(partitions_of(forth, 0.2, seed=4)[0].train) != set(cut.train)


def test_rows_that_bring_their_own_split_keep_it_unless_asked_otherwise() -> None:
    rows = own_split(draw_rows(two_tiers(), 30, 0), 10)
    rows[0]["split"] = "validation"
    table = table_of(rows)
    cut = partitions_of(table, None)[0]
    assert (list(cut.train), list(cut.test)) == (list(range(1, 10)), list(range(10, 30)))
    assert len(partitions_of(table, 0.5)[0].train) == 15
    notes = view_of(compared(table, "oracle", partitions=[cut]), table).remarks()
    assert "note: 1 row of neither split (train, test) left out" in notes
    for row in rows:
        row["split"] = "test"
    assert len(partitions_of(table_of(rows), None)[0].train) == 15
    with pytest.raises(UsageError, match="bring their own"):
        partitions_of(table, None, repeat=3)
    assert [c.seed for c in partitions_of(table, 0.5, repeat=3, seed=7)] == [7, 8, 9]


def test_questions_on_both_sides_of_the_split_are_reported() -> None:
    rows = own_split(asking(60), 30)
    rows[40]["question"] = rows[3]["question"].upper()
    table = table_of(rows)
    twins = duplicates_of(table, partitions_of(table, None)[0])
    assert [(t.test, t.train) for t in twins.exact] == [(10, 3)]
    assert duplicates_of(table, partitions_of(table, None)[0], near_rows=0).exact == twins.exact
    found = compared(table, "oracle", partitions=partitions_of(table, None))
    assert any("1 held-out question" in note for note in view_of(found, table).remarks())


def test_repeated_splits_are_averaged_and_their_values_kept(table: TraceTable) -> None:
    cuts = partitions_of(table, 0.5, repeat=3)
    found = compared(table, "threshold,pomdp", partitions=cuts)
    singles = [compared(table, "threshold,pomdp", partitions=[cut]) for cut in cuts]
    ours, alone = found.outcome("pomdp"), [s.outcome("pomdp").measures["quality"] for s in singles]
    assert ours.by_split["quality"] == pytest.approx([m.value for m in alone])
    quality = ours.measures["quality"]
    assert quality.value == pytest.approx(np.mean([m.value for m in alone]))
    assert quality.low is not None
    assert quality.low < quality.value < quality.high
    assert quality.high - quality.low < np.mean([m.high - m.low for m in alone])
    assert len(ours.choices) == 3


# ------------------------------------------------------------------ who takes part


def test_names_stand_for_their_rules_and_single_tiers_are_always_there() -> None:
    known = all_policies(("a", "b"))
    names = [c.name for c in pick_policies("multilabel, pomdp", known)]
    assert names == [
        "always:a",
        "always:b",
        *(f"multilabel:{r}" for r in ("argmax", "random", "prediction", "sorted")),
        "pomdp",
    ]
    assert len(pick_policies("all", known)) == len(known)
    with pytest.raises(UsageError, match="did you mean threshold"):
        pick_policies("treshold", known)


def test_who_cannot_take_part_says_why(table: TraceTable) -> None:
    mute = table_of([{"tiers": {"a": {"score": 1, "cost": 1}, "b": {"score": 0, "cost": 2}}}])
    why = {c.name: why_unable(c, mute) for c in all_policies(("a", "b"))}
    assert why["threshold"] == "no votes and no confidence are recorded"
    assert why["knn"] == "no question texts are recorded"
    assert why["pomdp"] == why["oracle"] == why["always:a"] == ""
    assert why_unable(RandomMix(), mute.pick(["a"])).startswith("there is one tier")


def test_a_random_mix_is_as_far_along_the_hull_as_its_share(table: TraceTable) -> None:
    cut = partitions_of(table, 0.5)[0]
    split = Split.of(table, cut.train, cut.test, seed=0, options=COARSE, settings=SETTINGS)
    trained = RandomMix().train(split)
    asked = [trained.play(setting, None).tier for setting in trained.curve.settings]
    assert [s.share for s in trained.curve.settings] == [k / 20 for k in range(21)]
    assert (asked[0] == 0).all()
    assert (asked[-1] == 1).all()
    assert np.mean(asked[10]) == pytest.approx(0.5, abs=0.1)
    assert all((b >= a).all() for a, b in pairwise(asked))


def test_an_assigned_tier_is_asked_and_reported(table: TraceTable) -> None:
    cells = np.arange(len(table)) % 2
    seen = replay(AssignedPolicy(len(table.tiers)), table, question_classes=cells)
    assert (seen.tier == cells).all()
    assert (seen.cost == table.cost[np.arange(len(table)), cells]).all()


def test_a_query_side_router_that_sees_what_matters_beats_the_mix() -> None:
    """And the verdict is about it, because without votes `pomdp` has no answers to judge."""
    rows = asking(400)
    for row in rows:
        del row["tiers"]["small"]["votes"]
    found = compared(table_of(rows), "multilabel:argmax,bound:multilabel,pomdp")
    routed = found.outcome("multilabel:argmax").measures
    assert routed["gain_area"].low > 0
    bound = found.outcome("bound:multilabel").measures
    assert bound["quality"].value >= routed["quality"].value
    assert found.headline == "multilabel:argmax"
    assert missed_gates(read_gates("votes>0"), found)[0].startswith("pomdp.votes is 0")
    assert set(found.outcome("always:small").slices) == {"colours", "others"}


@pytest.mark.parametrize("mute", [False, True], ids=["telling words", "no word tells"])
def test_the_router_of_the_prior_is_chosen_in_training_and_stands_in_the_setting(mute: bool) -> None:
    """As `calibrate` chooses it: where all questions are alike, no router serves better than none."""
    rows = asking(300)
    table = table_of([{**row, "question": "the same?"} for row in rows] if mute else rows)
    cut = partitions_of(table, 0.5)[0]
    split = Split.of(table, cut.train, cut.test, seed=0, options=COARSE, settings=SETTINGS)
    objective = Objective("keep", 0.95)
    curves: dict[ClassSource, Curve] = {"none": Pomdp().train(split).curve}
    for kind in QUERY_ROUTER_KINDS:
        curves[kind] = PomdpQuery(kind, objective).train(split).curve
    each = choose_each(curves, table.tiers, split.alone.points(), objective)
    best = best_source(each, split.alone.points(), objective)
    assert (best == "none") == mute
    auto = PomdpQuery("auto", objective).train(split)
    assert auto.curve.points == curves[best].points
    assert {setting.query_router for setting in auto.curve.settings} == {best}
    same = PomdpQuery(best, objective).train(split)
    for named, setting in list(zip(auto.curve.settings, same.curve.settings, strict=True))[::7]:
        assert auto.play(named, None).cost.tolist() == same.play(setting, None).cost.tolist()


def test_a_row_decided_alone_is_decided_as_among_others() -> None:
    table = table_of(asking(200))
    cut = partitions_of(table, 0.5)[0]
    split = Split.of(table, cut.train, cut.test, seed=0, options=COARSE, settings=SETTINGS)
    for rule in ("argmax", "random", "prediction"):
        trained = Query("multilabel", rule).train(split)
        for setting in trained.curve.settings[::8]:
            whole = trained.play(setting, None)
            assert [trained.play(setting, np.array([i])).tier[0] for i in range(10)] == whole.tier[
                :10
            ].tolist()


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
    found = compared(table, "all")
    plain = summary(view_of(found, table))
    json.dumps(plain, allow_nan=False)
    for policy in plain["policies"].values():
        for spec in MEASURES:
            cell = policy[spec.key]
            assert cell["value"] is not None or cell["reason"], spec.key
            assert (cell["low"] is None) == (cell["high"] is None)
            assert cell["low"] is not None or cell["reason"], spec.key
    assert plain["sentence"]
    summary_csv(view_of(found, table))
    report_markdown(view_of(found, table))


def test_where_the_small_tier_is_better_the_verdict_is_not_to_route() -> None:
    found = compared(CASES["small better"](), "threshold,pomdp")
    assert found.outcome("pomdp").verdict.kind == "do not route"
    assert found.single == "small"
    sentence = view_of(found, CASES["small better"]()).sentence()
    assert sentence.startswith("Do not route: for 95% of the best tier's quality, pomdp takes small alone")


def test_few_rows_and_one_tier_have_no_verdict() -> None:
    few, one = CASES["five rows"](), CASES["one tier"]()
    assert compared(few).outcome("pomdp").verdict is None
    assert view_of(compared(few), few).sentence().startswith("Not enough rows")
    assert view_of(compared(one), one).sentence() == "There is one tier, so there is nothing to route."


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


# ------------------------------------------------------------------ gates


@pytest.mark.parametrize(
    ("text", "gates"),
    [
        ("quality>=0.8", (Gate("", "quality", ">=", 0.8),)),
        (
            " savings_at_95 >= .3 , quality>0",
            (Gate("", "savings_at_95", ">=", 0.3), Gate("", "quality", ">", 0.0)),
        ),
        ("always:a.b.cost<1e-3", (Gate("always:a.b", "cost", "<", 0.001),)),
        ("pomdp+query.edge<=-1.5", (Gate("pomdp+query", "edge", "<=", -1.5),)),
    ],
)
def test_gates_are_read(text: str, gates: tuple[Gate, ...]) -> None:
    assert read_gates(text) == gates


@pytest.mark.parametrize(
    "text", ["", "quality", "quality=0.8", "quality>=high", "quality>=0.8,", "quality>=nan", "a b>=1"]
)
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_gates(text)


def test_figures_that_do_not_exist_are_refused_with_what_was_meant() -> None:
    with pytest.raises(UsageError, match="did you mean quality"):
        read_gates("qualty>=1")


def test_gates_hold_or_say_by_how_much_they_do_not(played: tuple[Bench, Any]) -> None:
    found = played[0]
    assert missed_gates(read_gates("quality>0.5,oracle.quality>=0.5,cost<1e9"), found) == []
    missed = missed_gates(read_gates("quality>=1.01,always:small.aiq>=0"), found)
    assert missed[0].startswith("pomdp.quality is 0.")
    assert missed[0].endswith("not >= 1.01")
    assert missed[1] == "always:small.aiq is undefined: a single tier draws no curve"
    with pytest.raises(UsageError, match="no policy 'nobody' took part"):
        missed_gates(read_gates("nobody.quality>=0"), found)


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


def test_an_abstention_is_counted_and_has_no_tier(table: TraceTable) -> None:
    dear = table.with_costs({"medium": 1000.0})
    runs: list[Run] = []
    settings = replace(SETTINGS, abstain_value=0.5)
    seated = pick_policies("pomdp", all_policies(dear.tiers))
    found = bench(
        dear,
        seated,
        settings,
        Objective("budget", 3.0),
        partitions=partitions_of(dear, 0.5),
        runs="chosen",
        on_run=runs.append,
    )
    assert found.outcome("pomdp").measures["abstained"].value > 0.1
    lines = [json.loads(line) for run in runs if run.policy == "pomdp" for line in run_lines(run)]
    assert {line["score"] for line in lines if line["tier"] is None} == {0.5}


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


def test_narrow_terminals_get_fewer_columns(table: TraceTable, played: tuple[Bench, Any]) -> None:
    view = view_of(played[0], table)
    for width in (80, 120):
        for part in bench_parts(view, width):
            if not isinstance(part, str):
                measured = part.__rich_measure__(Console(width=500), Console(width=500).options)
                assert measured.maximum <= width
