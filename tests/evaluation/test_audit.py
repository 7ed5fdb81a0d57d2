"""What an audit makes of rows: counts, windows, warnings, money, losses; and played beside `replay`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known import draw_rows, table_of, two_tiers
from live_play import play, profile_for
from looks import chance_to_be_caught

from automix_cli.data.answer_rows import AnswerRow, read_answers
from automix_cli.data.draws import uniform
from automix_cli.errors import DataError, UsageError
from automix_cli.evaluation.audit import Audit, FitFacts, audit, drifts_at_every_look
from automix_cli.evaluation.rates import differing_shares
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.sequences import mean_bound, share_bounds
from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import Settings
from automix_cli.views.audit_view import audit_dict, audit_lines, label_row

SMALL, LARGE = 1.0, 20.0


def row(ident: int, equal: Any = "none", *, large: bool = False, **changes: Any) -> dict[str, Any]:
    """A row of `ask`; `equal` compares it with large."""
    route = [{"tier": "small", "answer": "a", "action": "report", "cost_usd": SMALL}]
    if large:
        route.append({"tier": "large", "answer": "a", "action": "report", "cost_usd": LARGE})
    shadow: dict[str, Any] = {"tier": "large", "share": 0.5, "seed": 0, "equal": equal, "answer": "b"}
    shadow["answer_usd"] = LARGE
    if not large:
        shadow |= {"calls": 1, "cost_usd": LARGE, "spent_usd": LARGE}
    return {
        "schema": "automix.ask/1",
        "id": ident,
        "index": ident,
        "status": "ok",
        "question": f"q{ident}",
        "answer": "a",
        "tier": "large" if large else "small",
        "route": route,
        "profile_sha": "p",
        "cost_usd": SMALL + LARGE * large,
        **({} if equal == "none" else {"shadow": shadow}),
        **changes,
    }


def write(path: Path, rows: list[dict[str, Any]]) -> list[AnswerRow]:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return list(read_answers([path]))


@pytest.fixture
def read(tmp_path: Path) -> Any:
    return lambda rows: write(tmp_path / "answers.jsonl", rows)


def fitted(differing: tuple[float, int]) -> dict[str, Any]:
    return {"fitted": {"differing": {"large": list(differing)}, "rates": {"escalated": [0, 1000]}}}


# ---------------------------------------------------------------- counts


def test_rows_are_counted_by_what_the_comparison_found(read: Any) -> None:
    rows = [row(0), row(1, True), row(2, True, large=True), row(3, False), row(4, None)]
    failed = row(5, None)
    failed["shadow"]["error"] = {"type": "timeout"}
    result = audit(read([*rows, failed, row(6, status="error"), row(3, False)]))
    [window] = result.windows
    assert (result.rows, result.incomplete, result.repeats, result.missing) == (6, 1, 1, 1)
    assert (window.bounds.k, window.bounds.n, window.without_answer) == (1, 4, 1)
    assert window.bounds == share_bounds(1, 4)
    assert [r.question.id for r in result.to_label] == [3]


def test_failed_shadow_calls_count_as_differing_in_what_is_said_of_all_rows(read: Any) -> None:
    """A baseline that runs into a timeout on hard questions hides the answers that differ."""
    rows = [row(n, True) for n in range(40)] + [row(n, None) for n in range(40, 50)]
    for own in rows[40:]:
        own["shadow"]["error"] = {"type": "timeout"}
    result = audit(read(rows))
    [window] = result.windows
    assert (window.bounds.k, window.bounds.n, window.missing) == (0, 40, 10)
    assert window.most == share_bounds(10, 50).high
    text = "\n".join(audit_lines(result))
    assert f"at most {100 * window.most:.1f} % of all rows do" in text
    assert "with 10 failed shadow calls counted as differing" in text
    assert f"so at most {100 * window.most:.1f} points are lost" in text
    assert audit_dict(result)["windows"][0]["high"] == window.most


def test_rows_that_were_answered_without_the_draw_are_counted_by_it(read: Any) -> None:
    """The draw can be repeated: what it takes and nobody compared belongs to another time."""
    with_draw = [row(n, True if uniform("shadow", 0, n) < 0.5 else "none") for n in range(100)]
    assert audit(read(with_draw)).omissions == 0
    before = [row(n) for n in range(100, 200)]
    result = audit(read([*before, *with_draw]))
    assert result.omissions == sum(uniform("shadow", 0, n) < 0.5 for n in range(100, 200))
    assert f"{result.omissions} rows that --shadow draws were not compared" in "\n".join(audit_lines(result))


def test_rows_that_come_again_with_a_comparison_are_named(read: Any) -> None:
    with pytest.raises(DataError, match="none of 5 rows was compared with large; 5 rows more, left out"):
        audit(read([*(row(n) for n in range(5)), *(row(n, True) for n in range(5))]))


def test_a_new_window_starts_every_thousand_comparisons(read: Any) -> None:
    result = audit(read([row(i, i % 10 != 0) for i in range(2_300)]))
    assert [(w.bounds.k, w.bounds.n) for w in result.windows] == [(100, 1000), (100, 1000), (30, 300)]
    first = audit_lines(result)[0]
    assert first.startswith("100 of 1,000 rows compared in window 2 differ from large (10.0 %)")


@pytest.mark.parametrize(
    ("rows", "error"),
    [([row(0), row(1)], DataError), ([row(0, True), row(1, True)], UsageError)],
    ids=["no comparison", "two baselines"],
)
def test_rows_that_cannot_be_audited_are_refused(read: Any, rows: Any, error: type[Exception]) -> None:
    if error is UsageError:
        rows[1]["shadow"]["tier"] = "huge"
    with pytest.raises(error):
        audit(read(rows))


@pytest.mark.parametrize(
    ("line", "problem"),
    [('{"id": 1}', "is no row of ask"), ("[1]", "is no row of ask"), ("{", "not JSON"), ('"a"', "is no row")],
)
def test_a_line_that_is_no_row_of_ask_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(f"{json.dumps(row(0, True))}\n{line}\n", "utf-8")
    with pytest.raises(DataError, match=r"answers\.jsonl:2: ") as caught:
        list(read_answers([path]))
    assert problem in caught.value.message


# ---------------------------------------------------------------- warnings


def test_more_differing_rows_than_when_fitted_are_warned_of_and_no_fewer(read: Any) -> None:
    rows = read([row(i, i % 10 != 0) for i in range(400)])
    quiet, loud = (audit(rows, router=fitted(share)) for share in ((100, 1000), (10, 1000)))
    assert not quiet.has_warning
    assert loud.has_warning
    at = loud.windows[0].warning_at
    assert at is not None
    assert 20 < at < 400
    assert any(line.startswith("WARNING: more rows differ") for line in audit_lines(loud))
    assert not any("WARNING" in line for line in audit_lines(quiet))


def test_escalations_are_compared_with_the_fit(read: Any) -> None:
    rows = read([row(i, True, large=i % 2 == 0) for i in range(400)])
    [drift] = audit(rows, router=fitted((1, 1000))).drifts or ()
    assert (drift.name, drift.observed) == ("escalated", 0.5)
    assert audit(rows).drifts is None


@pytest.mark.parametrize("p", [0.02, 0.3])
def test_a_share_that_stays_is_named_at_hardly_any_look(p: float) -> None:
    """With two shares to look at, each may be named for nothing in half a percent of all streams."""
    fit = {"escalated": (round(1000 * p), 1000), "small": (700, 1000)}

    def is_named(k: int, n: int) -> bool:
        return bool(drifts_at_every_look(fit, {"escalated": (k, n), "small": (7, 10)}))

    assert chance_to_be_caught(p, is_named, 120) <= 0.005
    assert is_named(72, 120)  # and one that moves is named


def test_first_votes_are_compared_with_the_fit(read: Any) -> None:
    rows = [row(i, True) for i in range(400)]
    for i, each in enumerate(rows):
        each["route"][0] |= {
            "votes": {"correct": 1, "incorrect": 1, "unparsed": 0},
            "first_vote": int(i % 4 > 0),
        }
    router = {"fitted": {"rates": {"small": [900, 1000]}}}
    [drift] = audit(read(rows), router=router).drifts or ()
    assert (drift.name, drift.observed) == ("small", 0.75)


@pytest.mark.parametrize(
    ("fit", "differing", "saving"),
    [
        ({}, None, None),
        (
            {"differing": {"large": [3, 400]}, "held_out": {"pomdp": [2.0, 0.9], "always:large": [8.0, 1.0]}},
            (3.0, 400.0),
            0.75,
        ),
        ({"written": [6.0, 0.9], "held_out": {"pomdp": [2.0, 0.9], "always:large": [8.0, 1.0]}}, None, 0.25),
        ({"written": [2.0, 0.9], "held_out": {"pomdp": [6.0, 0.9], "always:large": [8.0, 1.0]}}, None, 0.25),
        ({"differing": {"large": "x"}, "held_out": {"pomdp": 3}}, None, None),
        ({"differing": {"large": [5, 4]}, "held_out": {"pomdp": [2.0], "always:large": [0.0]}}, None, None),
        ({"differing": [1], "held_out": None}, None, None),
    ],
)
def test_what_a_profile_tells_of_its_fit_is_read_or_left_alone(fit: Any, differing: Any, saving: Any) -> None:
    facts = FitFacts({"kind": "pomdp", "fitted": fit}, "large")
    assert (facts.differing, facts.saving) == (differing, saving)


# ---------------------------------------------------------------- money


def test_the_saving_is_exact_where_the_baseline_was_asked_everywhere(read: Any) -> None:
    result = audit(read([row(0, True), row(1, True), row(2, True, large=True), row(3, large=True)]))
    savings = result.savings
    assert savings.cost == 4 * SMALL + 2 * LARGE
    assert (savings.shadow, savings.baseline, savings.error) == (2 * LARGE, 4 * LARGE, 0.0)
    assert savings.saving == -4 * SMALL
    assert "NOT saved" in "\n".join(audit_lines(result))


def test_an_unknown_price_makes_the_saving_unknown(read: Any) -> None:
    rows = [row(0, True), row(1)]
    rows[0]["shadow"] |= {"answer_usd": None, "cost_usd": None}
    savings = audit(read(rows)).savings
    assert (savings.saving, savings.baseline) == (None, None)


def test_the_saving_is_unbiased_and_its_interval_covers_it(read: Any) -> None:
    rng = np.random.default_rng(1)
    costs, asked = rng.gamma(2.0, 5.0, 200), rng.random(200) < 0.3
    costs[asked] *= 3  # harder questions are dearer
    errors, covers = [], 0
    for seed in range(30):
        rows = []
        for i in range(200):
            draw = uniform("shadow", seed, i) < 0.2
            each = row(i, True if draw else "none", large=bool(asked[i]))
            each["route"][-1]["cost_usd"] = costs[i] if asked[i] else SMALL
            if draw:
                each["shadow"]["answer_usd"] = costs[i]
            rows.append(each)
        savings = audit(read(rows)).savings
        errors.append((savings.baseline or 0.0) - costs.sum())
        covers += abs(errors[-1]) <= (savings.error or 0.0)
    assert abs(np.mean(errors)) < 3 * np.std(errors) / math.sqrt(30)
    assert covers >= 30 * 0.85


# ---------------------------------------------------------------- losses


def test_scores_of_differing_rows_bound_the_loss_and_rows_without_count_both_ways(read: Any) -> None:
    rows = [row(i, i >= 4) for i in range(200)]
    for i, (small, large) in enumerate([(0.0, 1.0), (1.0, 0.0), (1.0, 1.0)]):
        rows[i]["tiers"] = {"small": {"score": small}, "large": {"score": large}}
    result = audit(read(rows))
    loss = result.windows[0].loss
    assert loss is not None
    assert (loss.differing, loss.with_scores) == (4, 3)
    rest = [0.0] * 196
    assert loss.high == mean_bound(np.array([1.0, -1.0, 0.0, 1.0, *rest]))
    assert loss.low == -mean_bound(-np.array([1.0, -1.0, 0.0, -1.0, *rest]))
    assert [r.question.id for r in result.to_label] == [3]


def test_rows_that_say_what_is_expected_are_scored(read: Any) -> None:
    rows = read([row(0, False, expected="b"), row(1, False, expected="a"), row(2, False)])
    loss = audit(rows, scorer="exact").windows[0].loss
    assert loss is not None
    assert (loss.differing, loss.with_scores) == (3, 2)
    assert audit(rows).windows[0].loss is None


def test_a_row_to_label_holds_both_answers_and_its_chance_to_be_drawn(read: Any) -> None:
    [each] = audit(read([row(0, False)])).to_label
    assert label_row(each, "large") == {
        "id": 0,
        "question": "q0",
        "tiers": {"small": {"answer": "a"}, "large": {"answer": "b"}},
        "drawn": "chosen",
        "inclusion": 0.5,
    }


def test_where_most_answers_differ_in_words_the_bound_says_so(read: Any) -> None:
    lines = audit_lines(audit(read([row(i, i % 4 == 0) for i in range(100)])))
    assert lines[0].startswith("75 of 100 rows compared differ from large")
    assert "says little" in lines[2]


# ---------------------------------------------------------------- beside replay


def played(tmp_path: Path, seed: int = 0) -> tuple[Audit, dict[str, float]]:
    """An audit of a router on live rows, and what `replay` expects of the same rows."""
    rows, rng = draw_rows(two_tiers(), 500, seed), np.random.default_rng(seed)
    for each, tokens in zip(rows, rng.integers(10, 31, len(rows)), strict=True):
        each["tiers"]["large"] = each["tiers"].pop("medium")
        for name, cell in each["tiers"].items():
            cell["answer"] = "right" if cell["score"] else f"wrong by {name}"
        each["tiers"]["large"]["cost"] = float(tokens)
    table = table_of(rows, tiers=("small", "large"), compare="exact")
    settings = Settings(max_votes=6)
    parameters = fit(table, settings)
    policy = parameters.policy(0.01, settings)
    run = replay(policy, table)
    shares = differing_shares(table, run)
    router = {
        "kind": "pomdp",
        "cost_weight": 0.01,
        **parameters.to_dict(),
        "fitted": {"differing": {name: [hits, cases] for name, hits, cases in shares}},
    }
    answers = play(rows, profile_for(("small", "large"), router), share=0.4, seed=seed)
    result = audit(write(tmp_path / "played.jsonl", answers), router=router)
    baseline = float(table.cost[:, 1].sum())
    expected = {
        "cost": float(run.cost.sum()),
        "baseline": baseline,
        "differing": shares[1].hits / shares[1].cases,
        "escalated": float(run.escalated.mean()),
    }
    return result, expected


def test_an_audit_of_live_rows_finds_what_replay_expects(tmp_path: Path) -> None:
    result, expected = played(tmp_path)
    savings, [window] = result.savings, result.windows
    assert 0.05 < expected["escalated"] < 0.95
    assert savings.cost == pytest.approx(expected["cost"], rel=0.03)  # the order of votes is drawn
    assert savings.error
    assert abs((savings.baseline or 0) - expected["baseline"]) <= 1.5 * savings.error
    saving = expected["baseline"] - expected["cost"] - (savings.shadow or 0.0)
    assert abs((savings.saving or 0) - saving) <= 1.5 * savings.error + 0.03 * expected["cost"]
    assert window.bounds.low <= expected["differing"] <= window.bounds.high
    assert 0 < window.bounds.k < window.bounds.n < 500
    assert not result.has_warning
    assert audit_dict(result)["windows"][0]["n"] == window.bounds.n
