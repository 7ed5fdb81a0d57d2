"""The query-side router in the POMDP's prior: `calibrate` learns and stores it, `ask` uses it."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known import table_of
from msgspec.structs import replace
from profile_files import with_mute_votes
from rich.console import Console
from shell import automix, environment, jsonl
from typer.testing import CliRunner

from automix_cli.backends.base import ScriptedBackend
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.question_facts import facts_of_answer
from automix_cli.cli import app
from automix_cli.data.folds import folds_of
from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError, ProfileError, UsageError
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.calibrate import Calibration, calibrate
from automix_cli.evaluation.crossfit import Crossfit
from automix_cli.evaluation.families import CostGrid
from automix_cli.evaluation.held_out import held_out
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.plan_family import PlanFamily
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.settings import Always, CostWeight, narrow
from automix_cli.fitting.classes import Classes, classes_for
from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import Settings, start_shares
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.tilt import logit, sigmoid
from automix_cli.profile.read import read_profile
from automix_cli.profile.router import query_router, router_policy
from automix_cli.profile.write import room_for_router, write_router
from automix_cli.prompts.messages import decision
from automix_cli.records import Question
from automix_cli.views.calibration_view import CalibrationView
from automix_cli.views.lines import explain_tree

SETTINGS = Settings(max_votes=0)
OBJECTIVE = Objective("budget", 0.007)
CROSSFIT = Crossfit(folds=3, repeats=1)
ROOM = 20_000
WORDS = ("river", "stone", "cloud", "window", "garden", "letter", "candle", "bridge", "market", "winter")
PROFILE = """\
version: 1
tiers:
  - {name: small, model: demo/small}
  - {name: large, model: demo/large}
verification: {max_votes: 0}
"""


def rows(count: int, *, telling: bool, seed: int = 0) -> list[dict[str, Any]]:
    """Poetry is easy and maths is hard for the small tier; the texts say which is which, or do not."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        hard = bool(rng.integers(2))
        topic = ("maths" if hard else "poetry") if telling else "question"
        text = f"{topic} {' '.join(rng.choice(WORDS, 3))}"
        small, large = rng.random() < (0.1 if hard else 0.9), rng.random() < 0.92
        tiers = {"small": {"score": int(small), "cost": 0.001}, "large": {"score": int(large), "cost": 0.01}}
        found.append({"id": i, "question": text, "tiers": tiers})
    return found


def drawn(count: int, *, telling: bool, seed: int = 0) -> TraceTable:
    return table_of(rows(count, telling=telling, seed=seed))


@pytest.fixture(scope="module")
def table() -> TraceTable:
    return drawn(300, telling=True)


def classes(*sources: Any) -> Classes:
    return Classes(sources=sources, room=ROOM)


@pytest.fixture(scope="module")
def found(table: TraceTable) -> Calibration:
    """A plan, because a cost_weight is that of a plan."""
    objective = Objective("cost_weight", 40.0)
    return calibrate(table, SETTINGS, objective, options=CROSSFIT, classes=classes("none", "multilabel"))


def figure(result: Calibration, name: str) -> tuple[float, float]:
    held = next(f for f in result.figures if f.name == name)
    assert held.quality.value is not None
    assert held.cost.value is not None
    return held.quality.value, held.cost.value


# ---------------------------------------------------------------- choosing


def test_where_questions_tell_the_tier_the_router_beats_the_plan_without_it_at_no_more_cost(
    table: TraceTable, found: Calibration
) -> None:
    without = calibrate(table, SETTINGS, OBJECTIVE, options=CROSSFIT)
    (seeing, cost), (mixed, same) = figure(found, "pomdp"), figure(found, "random-mix")
    assert found.query is not None
    assert cost == same
    assert seeing > mixed + 0.1
    assert found.verdict is not None
    assert without.verdict is not None
    assert found.verdict.kind == "route"
    assert without.verdict.edge < 0.02


def test_where_questions_tell_nothing_auto_takes_none() -> None:
    blank = drawn(150, telling=False)
    wanted = classes_for("auto", blank, room=60_000, pass_score=0.5, seed=0)
    result = calibrate(blank, SETTINGS, OBJECTIVE, options=CROSSFIT, classes=wanted)
    assert result.query is None
    assert {source for source, _ in result.choices} == set(wanted.sources)
    view = CalibrationView(result, blank, "rows")
    assert view.query_line().startswith("query router: none (cross-fitted quality and USD per 1,000: none 0.")
    assert "query" not in result.router()


def test_a_router_that_was_named_and_not_kept_is_accounted_for() -> None:
    blank = drawn(150, telling=False)
    wanted = classes_for("knn", blank, room=60_000, pass_score=0.5, seed=0)
    result = calibrate(blank, SETTINGS, OBJECTIVE, options=CROSSFIT, classes=wanted)
    single = replace(result, query=None, choice=result.choice._replace(setting=Always("small")))
    line = CalibrationView(single, blank, "rows").query_line()
    assert line.startswith("query router: none, for one tier takes every question (cross-fitted")


def test_the_report_names_the_router_the_figures_and_a_plan_for_each_start(
    table: TraceTable, found: Calibration
) -> None:
    view = CalibrationView(found, table, "rows")
    said = "\n".join(view.plan_lines())
    assert "of questions, of a typical one: start at small" in said
    assert "of questions, of a typical one: start at large" in said
    assert view.query_line().startswith(f"query router: multilabel, followed by {found.fitted.trust:g} (")
    assert found.fitted.trust > 0.5
    assert {"none", "multilabel"} == set(view.to_dict()["compared"])


def test_labels_and_texts_of_held_out_rows_change_nothing_that_was_learned(table: TraceTable) -> None:
    """Each fold's decisions come from a router that saw no row of it."""
    learn = np.arange(len(table)) >= 100
    (seen,) = classes("multilabel").of(table, learn)
    mixed = table_of([*rows(300, telling=True, seed=9)[:100], *rows(300, telling=True)[100:]])
    (again,) = classes("multilabel").of(mixed, learn)
    assert seen.router is not None
    assert again.router is not None
    assert seen.router.to_dict() == again.router.to_dict()
    assert seen.table.question_logits is not None
    assert again.table.question_logits is not None
    assert (seen.table.question_logits[learn] == again.table.question_logits[learn]).all()
    others = again.router.predict(list(mixed.texts[:100]))
    assert sigmoid(again.table.question_logits[~learn]) == pytest.approx(others, abs=1e-12)


def test_held_out_figures_are_those_of_a_router_fitted_without_the_fold(table: TraceTable) -> None:
    family = PlanFamily(settings=SETTINGS, grid=CostGrid(fixed=(20.0,)))
    (held,) = held_out(
        table,
        family,
        [Objective("cost_weight", 20.0)],
        options=CROSSFIT,
        seed=0,
        resamples=Resamples.of_table(table, 0, draws=50),
        classes=classes("multilabel"),
    ).runs
    fold = folds_of(table, CROSSFIT.folds, 0)
    (seen,) = classes("multilabel").of(table, fold != 1)
    policy = family.policy(seen.table.subset(fold != 1), CostWeight(20.0))
    run = replay(policy, seen.table, fold == 1)
    np.testing.assert_array_equal(held.score[fold == 1], run.score)
    np.testing.assert_array_equal(held.cost[fold == 1], run.cost)


@pytest.mark.parametrize("count", [1, 12, 20])
def test_few_rows_are_legal_and_read_no_question(count: int) -> None:
    few = drawn(count, telling=True)
    wanted = classes_for("auto", few, room=60_000, pass_score=0.5, seed=0)
    result = calibrate(few, SETTINGS, Objective("cost_weight", 30.0), classes=wanted)
    assert result.query is None
    json.dumps(CalibrationView(result, few, "rows").to_dict(), allow_nan=False)


def test_rows_without_questions_and_profiles_without_room_are_refused() -> None:
    bare = table_of([{k: v for k, v in row.items() if k != "question"} for row in rows(30, telling=True)])
    with pytest.raises(UsageError, match="record none"):
        classes_for("knn", bare, room=60_000, pass_score=0.5, seed=0)
    with pytest.raises(UsageError, match="no room"):
        classes_for("knn", drawn(30, telling=True), room=15_000, pass_score=0.5, seed=0)


# ---------------------------------------------------------------- the profile


@pytest.fixture(scope="module")
def written(found: Calibration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "automix.yaml"
    path.write_text(PROFILE)
    write_router(path, found.router())
    return path


def test_a_profile_file_gives_back_the_same_policy_and_the_same_router(
    table: TraceTable, found: Calibration, written: Path
) -> None:
    profile = read_profile(written, trusted=True, origin="named")
    router, policy = query_router(profile), router_policy(profile)
    assert profile.router is not None
    assert profile.router["kind"] == "pomdp+query"
    assert written.stat().st_size < 64 * 1024
    assert router is not None
    assert found.query is not None
    assert isinstance(policy, PomdpPolicy)
    texts = list(table.texts)
    assert (router.predict(texts) == found.query.predict(texts)).all()
    assert policy == found.policy()


@pytest.mark.parametrize("kind", ["multilabel", "separate", "kmeans", "knn"])
def test_every_kind_keeps_within_the_room_of_a_profile_that_says_much(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "automix.yaml"
    path.write_text(PROFILE + "# " + "x" * 30_000 + "\n")
    profile, wordy = read_profile(path, trusted=True, origin="named"), drawn(120, telling=True)
    wordy.texts[:] = [
        f"{text} {i} {' '.join(f'w{i}x{k}' for k in range(40))}" for i, text in enumerate(wordy.texts)
    ]
    wanted = classes_for(kind, wordy, room=room_for_router(path, profile), pass_score=0.5, seed=0)
    (seen,) = wanted.of(wordy, np.ones(len(wordy), dtype=bool))
    assert seen.router is not None
    fitted = fit(seen.table, SETTINGS)
    write_router(
        path,
        {
            "kind": "pomdp+query",
            "cost_weight": 1.0,
            "trust": 1.0,
            **fitted.to_dict(),
            "query": seen.router.to_dict(),
        },
    )
    assert query_router(read_profile(path, trusted=True, origin="named")) is not None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"query": {"version": 2, "kind": "knn"}}, "cannot be read"),
        ({"query": {"kind": "knn"}}, "has version an older one, and this automix reads 2"),
        ({"query": {"version": 9}}, "has version 9, and this automix reads 2"),
        ({"kind": "pomdp"}, "of kind pomdp reads no question, and this one has .*: an earlier automix"),
        ({"kind": "separate"}, "the block is of kind separate, and its query-side router of multilabel"),
        ({"observations": {"small": {}}}, "was fitted on 2 tiers, and the plan on 1"),
    ],
)
def test_a_router_that_cannot_be_used_says_how_to_write_it_anew(
    change: dict[str, Any], problem: str, found: Calibration, tmp_path: Path
) -> None:
    path = tmp_path / "automix.yaml"
    path.write_text(PROFILE)
    write_router(path, {**found.router(), **change})
    with pytest.raises(DataError, match=problem) as caught:
        query_router(read_profile(path, trusted=True, origin="named"))
    assert caught.value.hint == "automix calibrate writes it anew"


# ---------------------------------------------------------------- routers that look at the question alone


@pytest.mark.parametrize("kind", ["multilabel", "separate", "kmeans", "knn"])
def test_a_router_alone_is_written_run_and_replayed_alike(
    kind: Any, table: TraceTable, tmp_path: Path
) -> None:
    objective = Objective("cost_weight", 20.0)
    result = calibrate(table, SETTINGS, objective, options=CROSSFIT, classes=classes(kind), kind=kind)
    (tmp_path / "automix.yaml").write_text(PROFILE)
    write_router(tmp_path / "automix.yaml", result.router())
    profile = read_profile(tmp_path / "automix.yaml", trusted=True, origin="named")
    router, policy = query_router(profile), router_policy(profile)
    assert profile.router is not None
    assert router is not None
    assert (profile.router["kind"], router.kind) == (kind, kind)
    (seen,) = classes(kind).of(table, np.ones(len(table), dtype=bool))
    probs = sigmoid(seen.table.question_logits)
    chosen = replay(policy, seen.table).asks.argmax(axis=1)
    assert (chosen == router.choose(probs, cost_weight=20.0)).all()
    cascade = Cascade(profile, ScriptedBackend(lambda request: "an answer"), policy)
    for topic, tier in (("maths", "large"), ("poetry", "small")):
        text = f"{topic} river stone cloud"
        row = asyncio.run(cascade.answer(Question(text=text)))
        (step,) = row.to_dict()["route"]
        chances = dict(zip(("small", "large"), router.predict([text])[0].round(4), strict=True))
        assert (step["tier"], step["question"]) == (tier, {"router": kind, "right": chances})
        assert row.confidence == pytest.approx(chances[tier], abs=1e-4)
        assert "by the question alone" in row.reason


def test_where_the_router_s_own_rule_does_better_than_any_plan_it_is_written_and_runs(
    table: TraceTable, tmp_path: Path
) -> None:
    result = calibrate(table, SETTINGS, OBJECTIVE, options=CROSSFIT, classes=classes("multilabel"))
    setting = narrow(result.choice.setting, CostWeight)
    assert setting.rule == "argmax"
    assert result.router()["kind"] == "multilabel"
    (tmp_path / "automix.yaml").write_text(PROFILE)
    write_router(tmp_path / "automix.yaml", result.router())
    profile = read_profile(tmp_path / "automix.yaml", trusted=True, origin="named")
    router, policy = query_router(profile), router_policy(profile)
    assert router is not None
    asks = replay(policy, replace(table, question_logits=logit(router.predict(list(table.texts))))).asks
    cascade = Cascade(profile, ScriptedBackend(lambda request: "an answer"), policy)
    for row in range(0, 300, 30):
        answer = asyncio.run(cascade.answer(Question(text=table.texts[row])))
        (step,) = answer.to_dict()["route"]
        assert asks[row].tolist() == [step["tier"] == "small", step["tier"] == "large"]
    view = CalibrationView(result, table, "rows")
    shares = {start.tier: start.share for start in result.starts}
    assert [shares.get(tier, 0.0) for tier in table.tiers] == pytest.approx(asks.mean(axis=0))
    assert "(by the router that is written, on these rows)" in view.start_line()
    assert view.plan_lines() == ["plan: ask the tier that the query router names, no votes"]
    assert view.to_dict()["trust"] is None


def test_the_row_of_a_plan_says_what_was_read_in_the_question(written: Path) -> None:
    profile = read_profile(written, trusted=True, origin="named")
    cascade = Cascade(profile, ScriptedBackend(lambda request: "an answer"), router_policy(profile))
    row = asyncio.run(cascade.answer(Question(text="maths river stone cloud")))
    (step,) = row.to_dict()["route"]
    assert step["question"]["router"] == "multilabel"
    assert step["question"]["right"]["small"] < 0.3
    assert facts_of_answer(cascade, row).logits == pytest.approx(
        logit(cascade.query.predict([row.question.text])[0])
    )
    explained = Console(width=200, file=io.StringIO())
    explained.print(explain_tree(row))
    assert "read multilabel, chance to be right: small 0." in explained.file.getvalue()


def test_the_report_says_where_questions_start_and_what_that_saves(
    table: TraceTable, found: Calibration
) -> None:
    shares = {start.tier: start.share for start in found.starts}
    assert sum(shares.values()) == pytest.approx(1)
    (large,) = (start for start in found.starts if start.tier == "large")
    assert large.saving == pytest.approx(0.001 * shares["large"])  # an answer of small costs 0.001
    line = CalibrationView(found, table, "rows").start_line()
    assert f"large in {shares['large']:.0%} of questions" in line
    assert "the calls of small that are skipped save" in line
    (first, *rest) = _by_share(shares)
    words = f"starts at {', '.join([f'{first} of questions', *rest])}, by what is read in them; where nothing"
    assert CalibrationView(found, table, "rows").plan_sentence().startswith(words)
    assert start_shares(found.router()) == pytest.approx(shares, abs=1e-4)
    without = calibrate(table, SETTINGS, OBJECTIVE, options=CROSSFIT)
    assert start_shares(without.router()) is None
    small = replace(without, starts=())
    assert CalibrationView(small, table, "rows").start_line() == ""


def _by_share(shares: dict[str, float]) -> list[str]:
    return [f"{name} for {share:.0%}" for name, share in sorted(shares.items(), key=lambda own: -own[1])]


def test_a_profile_says_at_which_tiers_its_questions_start(
    written: Path, found: Calibration, table: TraceTable
) -> None:
    shown = CliRunner().invoke(app, ["profile", "show", str(written)]).stdout
    assert f"# plan: {CalibrationView(found, table, 'rows').plan_sentence()}" in shown.replace("\n#  ", "")


def test_progress_comes_to_the_whole(table: TraceTable) -> None:
    shares: list[float] = []
    both = classes("none", "kmeans")
    calibrate(table, SETTINGS, OBJECTIVE, options=CROSSFIT, classes=both, advance=shares.append)
    assert len(shares) == 8
    assert sum(shares) == pytest.approx(1)


# ---------------------------------------------------------------- from a shell


ASK = """
import asyncio, json, sys
from pathlib import Path
from automix_cli.backends.base import ScriptedBackend
from automix_cli.cascade.cascade import Cascade
from automix_cli.profile.router import router_policy
from automix_cli.profile.read import read_profile
from automix_cli.records import Question

profile = read_profile(Path(sys.argv[1]), trusted=True, origin="named")
cascade = Cascade(profile, ScriptedBackend(lambda request: "an answer"), router_policy(profile))
for text in sys.argv[2:]:
    print(asyncio.run(cascade.answer(Question(text=text))).route[0].tier)
print(sorted({"sklearn", "scipy"} & set(sys.modules)))
"""


def test_ask_reads_the_question_with_numpy_alone_and_starts_where_its_plan_says(written: Path) -> None:
    questions = ("maths river stone cloud", "poetry river stone cloud")
    args = [sys.executable, "-c", ASK, str(written), *questions]
    ran = subprocess.run(args, env=environment(), capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[:3] == ["large", "small", "[]"]


def test_verify_starts_from_the_prior_of_the_question(written: Path) -> None:
    profile = with_mute_votes(read_profile(written, trusted=True, origin="named"), "small")
    cascade = Cascade(profile, ScriptedBackend(lambda request: decision(True)), router_policy(profile))
    found = {
        topic: asyncio.run(
            cascade.verify(Question(text=f"{topic} river stone cloud"), "an answer", profile.tiers[0], 2)
        )
        for topic in ("maths", "poetry")
    }
    assert all(check.calibrated for check in found.values())
    assert (found["maths"].confidence or 0) < 0.3
    assert (found["poetry"].confidence or 0) > 0.7


def test_calibrate_writes_a_router_that_ask_understands(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_text(jsonl(*rows(200, telling=True)))
    (tmp_path / "automix.yaml").write_text(PROFILE)
    args = ("calibrate", "traces.jsonl", "--profile", "./automix.yaml", "--cost-weight", "30", "--folds", "3")
    ran = automix(*args, "--query-router", "multilabel", "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    (told,) = ran.rows
    assert told["query_router"] == "multilabel"
    stored = read_profile(tmp_path / "automix.yaml", trusted=True, origin="named").router
    assert stored is not None
    assert json.loads(json.dumps(stored["query"]))["kind"] == "multilabel"


def test_what_cannot_work_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_text(jsonl(*rows(30, telling=True)))
    args = ("calibrate", "traces.jsonl", "--query-router", "auto", "--certify", "0.9")
    refused = automix(*args, cwd=tmp_path)
    assert refused.code == 2
    assert "looks at no question" in refused.err


def test_without_scikit_learn_calibrate_says_how_to_install_it(
    table: TraceTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from automix_cli.fitting import fit_query_router
    from automix_cli.library.calibration import _check_router

    monkeypatch.setattr(fit_query_router, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed"):
        _check_router("auto", None)
    _check_router("none", 0.9)


def test_a_query_router_that_is_none_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "automix.yaml"
    path.write_text(PROFILE + "router:\n  kind: pomdp\n  query: 7\n")
    with pytest.raises(ProfileError, match=r"automix.yaml:8: router.query: expected a query-side router"):
        read_profile(path, trusted=True, origin="named")
