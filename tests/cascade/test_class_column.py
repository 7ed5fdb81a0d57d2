"""Classes that a column names, from `calibrate --class-column` to the rows that `ask` writes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known import table_of
from shell import automix, jsonl

from automix_cli.backends.base import ScriptedBackend
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.jobs import AnswerJob
from automix_cli.cascade.tally import Tally
from automix_cli.data.jsonl import Row
from automix_cli.data.rows import question_from_dict
from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError
from automix_cli.evaluation.bench import bench
from automix_cli.evaluation.calibrate import Calibration, calibrate
from automix_cli.evaluation.crossfit import Crossfit
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.partition import partitions_of
from automix_cli.evaluation.policies import all_policies, pick_policies
from automix_cli.evaluation.replay import replay
from automix_cli.fitting.classes import Classes
from automix_cli.fitting.fit import fit
from automix_cli.fitting.fitted import Fitted
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.problem import Facts, Observation, Policy, rollout
from automix_cli.profile.read import read_profile
from automix_cli.profile.router import named_classes, router_policy
from automix_cli.profile.write import write_router
from automix_cli.records import Answer
from automix_cli.views.calibration_view import CalibrationView
from automix_cli.views.lines import batch_summary, explain_tree

SETTINGS = Settings(max_votes=0, agreement=False)
OBJECTIVE = Objective("budget", 0.007)
CROSSFIT = Crossfit(folds=3, repeats=1)
BY_COLUMN = Classes(sources=("none", "column"))
PROFILE = """\
version: 1
tiers:
  - {name: small, model: demo/small}
  - {name: large, model: demo/large}
verification: {max_votes: 0}
"""


def rows(count: int, *, telling: bool = True, seed: int = 0) -> list[dict[str, Any]]:
    """Poetry is easy and maths is hard for the small tier; the topic says which is which, or does not."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        hard = bool(rng.integers(2))
        topic = "maths" if (hard if telling else rng.integers(2)) else "poetry"
        small, large = rng.random() < (0.1 if hard else 0.9), rng.random() < 0.92
        tiers = {"small": {"score": int(small), "cost": 0.001}, "large": {"score": int(large), "cost": 0.01}}
        where = {"topic": topic} if i % 2 else {"metadata": {"topic": topic}}
        made.append({"id": i, **where, "tiers": tiers})
    return made


def table_with_topics(count: int, **options: Any) -> TraceTable:
    return table_of(rows(count, **options), class_column="topic")


@pytest.fixture(scope="module")
def table() -> TraceTable:
    return table_with_topics(300)


@pytest.fixture(scope="module")
def result(table: TraceTable) -> Calibration:
    return calibrate(table, SETTINGS, OBJECTIVE, options=CROSSFIT, classes=BY_COLUMN)


# ---------------------------------------------------------------- fitting and choosing


def test_all_that_is_in_no_class_gets_the_prior_of_all_rows() -> None:
    made = rows(300)
    for row in made[::5]:
        row.pop("metadata", None)
    table, learn = table_of(made, class_column="topic"), np.arange(300) < 250
    fitted = fit(table.with_named_classes(learn), SETTINGS)
    (pooled,) = fit(table, SETTINGS).priors()
    maths, poetry, others = fitted.priors()
    assert others == pytest.approx(pooled, abs=1e-15)
    assert fitted.rows == 300
    assert poetry[1] + poetry[3] > pooled[1] + pooled[3] + 0.2
    assert maths[1] + maths[3] < pooled[1] + pooled[3] - 0.2


def test_a_class_prior_is_drawn_to_that_of_all_rows_by_kappa(result: Calibration) -> None:
    fitted, counts = result.fitted, np.array(result.fitted.counts)
    pooled = np.array(fitted.priors()[-1])
    for own, prior in zip(counts[:-1], fitted.priors(), strict=False):
        expected = (own + fitted.kappa * pooled) / (own.sum() + fitted.kappa)
        np.testing.assert_allclose(prior, expected, atol=1e-12)


def test_the_column_is_taken_where_it_pays_and_none_where_it_does_not(result: Calibration) -> None:
    assert result.named_classes is not None
    assert result.named_classes.names == ("maths", "poetry")
    assert result.verdict is not None
    assert result.verdict.kind == "route"
    blank = table_with_topics(150, telling=False)
    other = calibrate(blank, SETTINGS, OBJECTIVE, options=CROSSFIT, classes=BY_COLUMN)
    assert other.named_classes is None
    assert "classes" not in other.router()
    assert CalibrationView(other, blank, "rows").class_line().startswith("classes by topic: not used (")


def test_the_report_says_the_classes_their_plans_and_what_they_bring(
    table: TraceTable, result: Calibration
) -> None:
    view = CalibrationView(result, table, "rows")
    line = view.class_line()
    assert line.startswith("classes by topic: 2 classes with 300 of 300 rows, drawn to the prior of all by ")
    assert "none 0." in line
    assert "column 0." in line
    assert view.query_line() == ""
    plan = "\n".join(view.plan_lines())
    assert "(poetry" in plan
    assert "(maths" in plan
    classes = view.to_dict()["classes"]
    assert classes["column"] == "topic"
    assert classes["rows"]["maths"] + classes["rows"]["poetry"] + classes["others"] == 300


def test_bench_plays_the_classes_of_held_out_rows(table: TraceTable) -> None:
    entries = pick_policies("pomdp,pomdp+class", all_policies(table.tiers, "none", (), OBJECTIVE, "topic"))
    partitions = tuple(partitions_of(table, 0.5))
    compared = bench(table, entries, SETTINGS, OBJECTIVE, partitions=partitions, options=CROSSFIT)
    assert compared.headline == "pomdp+class"
    areas = {o.name: o.measures["gain_area"].value for o in compared.outcomes}
    assert areas["pomdp+class"] > (areas["pomdp"] or 0) + 0.1
    (choice,) = compared.outcome("pomdp+class").choices
    assert choice.setting.to_dict()["class_column"] == "topic"


def tier_of(policy: Policy[Any], facts: Facts) -> int:
    """The tier whose answer is reported where answers show nothing."""
    loop = rollout(policy, facts)
    try:
        next(loop)
        while True:
            loop.send(Observation())
    except StopIteration as stop:
        tier: int = stop.value.action.tier
    return tier


def test_replay_of_classes_is_what_rollout_does(table: TraceTable, result: Calibration) -> None:
    classes, policy = result.named_classes, result.policy()
    assert classes is not None
    assert table.class_column is not None
    with_classes = table.with_named_classes(np.ones(300, bool))
    run = replay(policy, with_classes)
    for i, name in enumerate(table.class_column.values):
        assert run.reports[i, tier_of(policy, Facts(None, classes.place(name)))] == 1
    assert len(set(map(tuple, run.reports))) == 2


# ---------------------------------------------------------------- the profile


@pytest.fixture(scope="module")
def path(result: Calibration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "automix.yaml"
    path.write_text(PROFILE)
    write_router(path, result.router())
    return path


def test_a_profile_gives_back_the_classes_and_the_policy(result: Calibration, path: Path) -> None:
    profile = read_profile(path, trusted=True, origin="named")
    assert profile.router is not None
    assert named_classes(profile) == result.named_classes
    assert Fitted.from_dict(profile.router) == result.fitted
    assert router_policy(profile) == result.policy()


@pytest.mark.parametrize("call", ["answer", "verify"])
def test_a_single_question_whose_class_is_a_list_is_refused_before_any_call(call: str, path: Path) -> None:
    profile = read_profile(path, trusted=True, origin="named")
    backend = ScriptedBackend(lambda request: "4")
    cascade = Cascade(profile, backend, router_policy(profile))
    question = question_from_dict({"question": "2 + 2?", "topic": ["maths"]})
    job = cascade.answer(question) if call == "answer" else cascade.verify(question, "4", profile.tiers[0], 1)
    with pytest.raises(DataError, match="topic: a class is text"):
        asyncio.run(job)
    assert backend.calls == []


BROKEN = {
    "no column": ({"names": ["a", "b"]}, "cannot be read"),
    "a name twice": ({"column": "topic", "names": ["a", "a"]}, "different names"),
    "a number for a name": ({"column": "topic", "names": [1, 2]}, "different names"),
    "too few": ({"column": "topic", "names": ["a"]}, "names 1 classes and has 3 priors"),
}


@pytest.mark.parametrize(("classes", "problem"), BROKEN.values(), ids=BROKEN)
def test_classes_that_do_not_fit_their_priors_say_how_to_write_them_anew(
    classes: dict[str, Any], problem: str, result: Calibration
) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        Fitted.from_dict({**result.router(), "classes": classes})
    assert caught.value.hint == "automix calibrate writes it anew"


LIVE = {
    "a field": ({"topic": "poetry"}, "small", "poetry"),
    "metadata": ({"metadata": {"topic": "maths"}}, "large", "maths"),
    "an unknown class": ({"topic": "zoo"}, None, None),
    "no class": ({}, None, None),
}


def answer(path: Path, row: dict[str, Any]) -> Answer:
    profile = read_profile(path, trusted=True, origin="named")
    cascade = Cascade(profile, ScriptedBackend(lambda request: "an answer"), router_policy(profile))
    return asyncio.run(cascade.answer(question_from_dict({"question": "?", **row})))


@pytest.mark.parametrize(("row", "tier", "name"), LIVE.values(), ids=LIVE)
def test_a_live_row_starts_as_the_plan_of_its_class_says_and_names_the_class(
    path: Path, result: Calibration, row: dict[str, Any], tier: str | None, name: str | None
) -> None:
    own = answer(path, row)
    pooled = result.tiers[result.policy().action(result.policy().begin(Facts(None, 2))).tier]
    assert own.route[0].tier == (tier or pooled)
    assert own.to_dict()["class"] == name
    shown = [str(branch.label) for branch in explain_tree(own).children]
    assert shown[0].startswith(f"class {name or 'none that the router knows'}")
    tally = Tally()
    tally.add(own)
    assert any("in no class" in line for line in batch_summary(tally, 1.0)) is (name is None)


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, "x" * 101], ids=["a list", "an object", "too long"])
def test_a_class_that_calibration_would_refuse_makes_an_error_row(path: Path, value: Any) -> None:
    profile = read_profile(path, trusted=True, origin="named")
    cascade = Cascade(profile, ScriptedBackend(lambda request: "an answer"), router_policy(profile))
    question = question_from_dict({"question": "?", "topic": value})
    row = asyncio.run(AnswerJob(cascade).work(Row(index=0, line=7, question=question)))
    assert isinstance(row, Answer)
    assert row.error is not None
    assert row.error.message.startswith("line 7: topic: a class ")
    assert row.route == ()


def test_a_row_whose_class_has_changed_is_another_input(path: Path, tmp_path: Path) -> None:
    poetry, maths = (answer(path, {"topic": topic}) for topic in ("poetry", "maths"))
    assert poetry.input_sha != maths.input_sha
    assert answer(path, {"metadata": {"topic": "maths"}}).input_sha == maths.input_sha
    none = answer(path, {})
    assert answer(path, {"topic": "zoo"}).input_sha == none.input_sha
    (tmp_path / "plain.yaml").write_text(PROFILE)
    assert answer(tmp_path / "plain.yaml", {"topic": "maths"}).input_sha == none.input_sha


def test_a_profile_without_classes_names_none(path: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text(PROFILE)
    own = answer(tmp_path / "plain.yaml", {"topic": "maths"})
    assert own.to_dict()["class"] is None
    assert not any(str(branch.label).startswith("class") for branch in explain_tree(own).children)


# ---------------------------------------------------------------- from a shell


def test_calibrate_writes_classes_and_ask_uses_them(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_text(jsonl(*rows(120)))
    (tmp_path / "automix.yaml").write_text(PROFILE)
    args = ("calibrate", "traces.jsonl", "--profile", "./automix.yaml", "--cost-weight", "30", "--folds", "3")
    ran = automix(*args, "--class-column", "topic", "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.rows[0]["classes"]["column"] == "topic"
    stored = read_profile(tmp_path / "automix.yaml", trusted=True, origin="named").router
    assert stored is not None
    assert json.loads(json.dumps(stored["classes"])) == {"column": "topic", "names": ["maths", "poetry"]}


def test_a_promise_tells_no_classes_apart(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_text(jsonl(*rows(30)))
    args = ("calibrate", "traces.jsonl", "--class-column", "topic", "--certify", "0.9")
    refused = automix(*args, cwd=tmp_path)
    assert refused.code == 2
    assert "tells no classes apart" in refused.err
