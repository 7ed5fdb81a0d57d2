"""What `calibrate` and `bench` tell a payer is made of their own figures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from known import draw_rows, draw_table, two_tiers
from msgspec.structs import replace
from shell import Ran, automix, jsonl

from automix_cli.data.collection_cost import collection_cost
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.calibrate import Calibration, calibrate
from automix_cli.evaluation.crossfit import Crossfit
from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.objective import Objective
from automix_cli.fitting.router_block import Settings
from automix_cli.views.calibration_view import CalibrationView

SETTINGS = Settings(max_votes=6)
ONCE = Crossfit(repeats=1)


# ---------------------------------------------------------------- calibrate


@pytest.fixture(scope="module")
def table() -> TraceTable:
    return draw_table(two_tiers(), 300, 0)


@pytest.fixture(scope="module")
def routed(table: TraceTable) -> Calibration:
    return calibrate(table, SETTINGS, Objective("budget", 12.0), options=ONCE)


def view(result: Calibration, table: TraceTable, baseline: str | None = None) -> CalibrationView:
    return CalibrationView(result, table, "rows.jsonl", baseline)


def test_calibrate_compares_its_held_out_cost_with_that_of_the_baseline(
    routed: Calibration, table: TraceTable
) -> None:
    figures = {f.name: f for f in routed.figures}
    ours, large = figures["pomdp"], figures["always:medium"]
    gain = routed.gains["pomdp", "medium"]
    saved = large.cost.value - ours.cost.value
    back = collection_cost(table) / saved
    assert view(routed, table).payer_lines() == [
        f"Routing: ${1000 * ours.cost.value:,.2f} per 1,000 questions instead of "
        f"${1000 * large.cost.value:,.2f} with medium ({100 * saved / large.cost.value:.0f} % cheaper) at "
        f"{gain.value:+.1f} points of quality (95 %: {gain.low:+.1f} to {gain.high:+.1f}).",
        f"The 300 labelled rows cost ${collection_cost(table):,.2f} (all answers and votes): paid back after "
        f"{int(-(-back // 1)):,} questions.",
    ]


@pytest.mark.parametrize(("times", "told"), [(1.2, 1.2), (0.8, 1.0), (50.0, 50.0)])
def test_what_a_payer_reads_is_of_what_is_written_where_it_is_the_dearer(
    routed: Calibration, table: TraceTable, times: float, told: float
) -> None:
    ours, large = (
        next(f.cost.value for f in routed.figures if f.name == n) for n in ("pomdp", "always:medium")
    )
    point = routed.choice.point._replace(cost=times * ours)
    own = replace(routed, choice=routed.choice._replace(point=point))
    first, *rest = view(own, table).payer_lines()
    assert first.startswith(f"Routing: ${1000 * told * ours:,.2f} per 1,000 questions instead of ")
    assert (" cheaper)" in first) == (told * ours < large) == bool(rest)
    if rest:
        back = collection_cost(table) / (large - told * ours)
        assert rest[0].endswith(f"paid back after {int(-(-back // 1)):,} questions.")


def test_gains_are_differences_of_figures_and_their_intervals_are_paired(routed: Calibration) -> None:
    quality = {f.name: f.quality for f in routed.figures}
    for (name, tier), gain in routed.gains.items():
        other = quality[f"always:{tier}"]
        assert gain.value == pytest.approx(100 * (quality[name].value - other.value))
    assert routed.gains["always:small", "small"] == Measure(0.0, "", 0.0, 0.0)
    gain, ours, medium = routed.gains["pomdp", "medium"], quality["pomdp"], quality["always:medium"]
    unpaired = 100 * ((ours.high - ours.low) ** 2 + (medium.high - medium.low) ** 2) ** 0.5
    assert gain.high - gain.low < 0.9 * unpaired


def test_another_baseline_gives_another_comparison(routed: Calibration, table: TraceTable) -> None:
    [line] = view(routed, table, "small").payer_lines()
    assert re.search(r"instead of \$1,000.00 with small \(.* times as dear\) at \+", line)


def test_payer_lines_stand_before_the_verdict_and_in_json(routed: Calibration, table: TraceTable) -> None:
    shown = view(routed, table)
    parts = [part for part in shown.parts() if isinstance(part, str)]
    means = "The held-out figures (table and dollars above, verdict below) are means over 5 routers, each "
    assert parts[-4:-2] == shown.payer_lines()
    assert parts[-2].startswith(means)
    assert parts[-1] == shown.sentence()
    assert shown.to_dict()["payer"] == shown.payer_lines()


def test_where_a_single_tier_is_written_its_price_is_given(routed: Calibration, table: TraceTable) -> None:
    refused = replace(routed, verdict=routed.verdict._replace(kind="do not route"), single="medium")
    cost = next(f.cost.value for f in routed.figures if f.name == "always:medium")
    price, reason = view(refused, table).payer_lines()
    assert price == f"No routing: medium alone costs ${1000 * cost:,.2f} per 1,000 questions."
    assert reason.startswith("Why: small and 6 votes cost 0.11 × what medium costs, with one vote 0.06 ×; ")
    cheaper = view(replace(refused, single="small"), table).payer_lines()
    assert cheaper[0].startswith(
        "small alone: $1,000.00 per 1,000 questions instead of $20,000.00 with medium"
    )
    assert cheaper[1].startswith("The 300 labelled rows cost")


def test_one_tier_and_too_few_rows_have_nothing_to_compare(table: TraceTable) -> None:
    few = table.subset(np.arange(5))
    assert view(calibrate(few, SETTINGS), few).payer_lines() == []
    one = table.pick(["small"])
    assert view(calibrate(one, SETTINGS, options=ONCE), one).payer_lines() == []


# ---------------------------------------------------------------- bench


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("payer") / "traces.jsonl"
    path.write_text(jsonl(*draw_rows(two_tiers(), 120, 0)), encoding="utf-8")
    return path


def bench(traces: Path, *args: str) -> Ran:
    return automix("bench", traces, "--policies", "self-consistency", *args)


def test_bench_compares_the_headline_policy_with_the_baseline(traces: Path) -> None:
    [plain] = bench(traces, "--json").rows
    ours, medium = (plain["policies"][name] for name in ("self-consistency", "always:medium"))
    gain = 100 * (ours["quality"]["value"] - medium["quality"]["value"])
    cost = (
        f"Routing by self-consistency: ${1000 * ours['cost']['value']:,.2f} per 1,000 questions instead of "
    )
    assert plain["payer"][0].startswith(f"{cost}${1000 * medium['cost']['value']:,.2f} with medium (")
    assert f" cheaper) at {gain:+.1f} points of quality (95 %: " in plain["payer"][0]
    assert plain["payer"][1].startswith("The 120 labelled rows cost $")
    points = [plain["verdict"][key] for key in ("edge", "low", "high")]
    assert points == pytest.approx([ours["edge"][key] for key in ("value", "low", "high")])
    shown = bench(traces).out.splitlines()
    assert shown[-3:-1] == plain["payer"]


@pytest.mark.parametrize("command", ["bench", "calibrate"])
def test_a_baseline_that_is_no_tier_is_refused_with_those_there_are(traces: Path, command: str) -> None:
    ran = automix(command, traces, "--baseline", "medum")
    assert (ran.code, ran.out) == (2, "")
    assert (
        ran.err
        == "automix: --baseline: no tier 'medum'; did you mean medium?\n  the tiers are small, medium\n"
    )


@pytest.mark.parametrize("command", ["bench", "calibrate"])
def test_a_baseline_is_checked_before_tiers_are_asked(tmp_path: Path, command: str) -> None:
    (tmp_path / "rows.jsonl").write_text(jsonl({"question": "What is 2 + 3?", "expected": "5"}))
    ran = automix(command, tmp_path / "rows.jsonl", "--profile", "demo", "--baseline", "medium", cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "automix: --baseline: no tier 'medium'\n  the tiers are small, large\n"
