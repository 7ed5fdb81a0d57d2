"""The `router:` block: every kind is accepted and runs, or is refused in one sentence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known import NAMES, draw_table, two_tiers
from shell import automix, environment

from automix_cli.cascade.estimate import plan_calls
from automix_cli.errors import DataError, ProfileError
from automix_cli.fitting.features import Quantised, fit_text_features
from automix_cli.fitting.fit import fit
from automix_cli.fitting.query_router import Clusters, Linear, Neighbours, QueryRouter
from automix_cli.fitting.query_router_kinds import QUERY_ROUTER_KINDS
from automix_cli.fitting.router_block import ROUTER_KINDS, UNCALIBRATED_KINDS, Settings, policy_from_router
from automix_cli.pomdp.problem import rollout
from automix_cli.profile.read import read_profile
from automix_cli.profile.router import router_policy
from automix_cli.profile.router_layout import router_problems
from automix_cli.records import Question

TIERS = ("small", "large")

FITTED = fit(draw_table(two_tiers(), 200, 0), Settings()).to_dict()
OBSERVATIONS = dict(zip(TIERS, FITTED["observations"].values(), strict=True))


def reading(kind: str) -> dict[str, Any]:
    """A query-side router that finds all questions alike."""
    features = fit_text_features(["one", "one"], 1)
    axes = Quantised.of(np.ones((features.width, 1)))
    model = {
        "kmeans": Clusters(axes, np.zeros((1, 1)), np.array([[0.3, 0.9]])),
        "knn": Neighbours(axes, np.ones((1, 1), np.int8), np.ones((1, 2), bool), np.array([0.5, 0.5]), 1),
    }.get(kind, Linear(Quantised.of(np.zeros((features.width, 2))), np.array([-1.0, 2.0])))
    has_rules = isinstance(model, Linear)
    return QueryRouter(
        kind=kind,
        seed=0,
        features=features,
        model=model,
        rewards=np.array([[0.0, 1.0], [0.0, 1.0]]),
        costs=np.array([1.0, 20.0]),
        targets=dict.fromkeys(("prediction", "sorted"), np.zeros(3)) if has_rules else {},
    ).to_dict()


LIVE: dict[str, dict[str, Any]] = {
    "pomdp": {"cost_weight": 0.01, "prior": FITTED["prior"], "observations": OBSERVATIONS},
    "pomdp+query": {
        "cost_weight": 0.01,
        "prior": FITTED["prior"],
        "observations": OBSERVATIONS,
        "trust": 1.0,
        "query": reading("separate"),
    },
    **{kind: {"cost_weight": 0.01, "query": reading(kind)} for kind in QUERY_ROUTER_KINDS},
    "threshold": {"cut": 0.5},
    "double-threshold": {"low": 0.25, "cut": 0.75},
    "self-consistency": {},
    "always": {"tier": "large"},
}


def profile_with(folder: Path, kind: str, **block: Any) -> Path:
    path = folder / "p.yaml"
    path.write_text(f"extends: demo\nrouter: {json.dumps({'kind': kind, **block})}\n")
    return path


def test_each_kind_has_an_example_here() -> None:
    assert set(ROUTER_KINDS) == {*LIVE, *UNCALIBRATED_KINDS}


@pytest.mark.parametrize("kind", UNCALIBRATED_KINDS)
def test_a_kind_that_learns_nothing_is_no_policy_of_a_block(kind: str) -> None:
    with pytest.raises(DataError, match=f"a router of kind {kind} has learned nothing from rows"):
        policy_from_router({"kind": kind}, Settings(), TIERS)


@pytest.mark.parametrize("kind", LIVE)
def test_a_live_kind_is_accepted_by_check_and_answers_a_question(kind: str, tmp_path: Path) -> None:
    path = profile_with(tmp_path, kind, **LIVE[kind])
    assert automix("profile", "check", path).out == f"{path}: ok (2 tiers, router {kind})\n"
    ran = automix("ask", "--profile", path, "--json", "What is 17 * 23?", cwd=tmp_path)
    assert (ran.code, ran.rows[0]["status"]) == (0, "ok")


@pytest.mark.parametrize(
    ("kind", "key"), [(kind, key) for kind in LIVE for key in ROUTER_KINDS[kind].keys], ids=" ".join
)
@pytest.mark.parametrize("is_null", [False, True], ids=["missing", "null"])
def test_a_missing_key_is_named(kind: str, key: str, is_null: bool) -> None:
    block = {"kind": kind, **LIVE[kind], key: None}
    if not is_null:
        del block[key]
    with pytest.raises(DataError, match=f"a router of kind {re.escape(kind)} needs the key {key}$"):
        policy_from_router(block, Settings(), TIERS)


def test_all_missing_keys_are_named() -> None:
    with pytest.raises(DataError, match=r"needs the key low and the key cut$"):
        policy_from_router({"kind": "double-threshold"}, Settings(), TIERS)


@pytest.mark.parametrize("kind", LIVE)
def test_keys_are_declared_exactly_where_a_block_cannot_do_without(kind: str) -> None:
    block = {key: value for key, value in LIVE[kind].items() if key in ROUTER_KINDS[kind].keys}
    policy = policy_from_router({"kind": kind, **block}, Settings(), TIERS)
    assert next(rollout(policy)).action.kind == "start"


def test_an_unknown_kind_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(DataError, match=r"unknown kind of router 'treshold'.*threshold"):
        policy_from_router({"kind": "treshold"}, Settings(), TIERS)


def test_a_router_that_was_fitted_on_other_tiers_is_refused() -> None:
    block = {"kind": "pomdp", **LIVE["pomdp"], "observations": FITTED["observations"]}
    assert tuple(FITTED["observations"]) == NAMES[:2] != TIERS
    with pytest.raises(DataError, match="the router was fitted on small, medium"):
        policy_from_router(block, Settings(), TIERS)


def test_the_list_of_kinds_and_the_profile_load_without_numpy() -> None:
    code = (
        "import sys, automix_cli.profile.model as m; from automix_cli.fitting.router_block import *; "
        "policy_from_router({'kind': 'threshold', 'cut': 0.5}, Settings(), ('a', 'b')); "
        "assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"token_scale": "x"}, "token_scale: expected a number above 0"),
        ({"token_scale": -1}, "token_scale: expected a number above 0"),
        ({"fitted": [1]}, "fitted: expected a mapping"),
        ({"fitted": {"rates": {"escalated": "nope"}}}, "fitted.rates.escalated: expected hits and cases"),
        ({"fitted": {"rates": {"escalated": [116, 0]}}}, "fitted.rates.escalated: expected hits and cases"),
        ({"observations": {n: o | {"right": [-96.0, 96]} for n, o in OBSERVATIONS.items()}}, "sum of scores"),
        ({"observations": {n: o | {"right": [96.0, 20]} for n, o in OBSERVATIONS.items()}}, "sum of scores"),
    ],
)
def test_numbers_that_nobody_could_have_counted_are_refused(change: dict[str, Any], problem: str) -> None:
    block = {"kind": "pomdp", **LIVE["pomdp"], **change}
    with pytest.raises(DataError, match=re.escape(problem)):
        policy_from_router(block, Settings(), TIERS)


MISTAKES = {
    "a key": ("cost_wieght: 2", "5: router.cost_wieght: unknown key; did you mean cost_weight?"),
    "a key of another kind": ("votes: 2", "5: router.votes: unknown key; known are kind, fitted,"),
    "too many votes": (
        "observations: {small: {max_votes: 800}}",
        "5: router.observations.small.max_votes: expected a whole number from 0 to 64, got 800",
    ),
    "a key of a tier": (
        "observations:\n    small:\n      max_vote: 8",
        "7: router.observations.small.max_vote: unknown key; did you mean max_votes?",
    ),
    "no such signal": (
        "observations: {small: {observation: {signal: vots}}}",
        "5: router.observations.small.observation.signal: expected one of votes, logprob, consistency, none, "
        'got "vots"; did you mean votes?',
    ),
    "a key of another signal": (
        "observations: {small: {observation: {signal: none, cuts: []}}}",
        "5: router.observations.small.observation.cuts: unknown key; known are signal",
    ),
    "a tier with a dot": (
        "observations: {gpt-4.1: {failed: 2}}",
        "5: router.observations.gpt-4.1.failed: expected a number from 0 to 1, got 2",
    ),
    "agreement": (
        "agreement: {pairs: [[], [[0.5, 1.5]]], groups: [0, 0], one_right: 0}",
        "5: router.agreement.pairs[1][0][1]: expected a number from 0 to 1, got 1.5",
    ),
}
HEAD = "tiers: [{name: small, model: demo/small}, {name: large, model: demo/large}]\nrouter:\n  kind: pomdp\n"


@pytest.mark.parametrize(("lines", "problem"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_block_is_refused_with_file_and_line_where_the_block_is_used(
    lines: str, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"{HEAD}  cost_weight: 1\n  {lines}\n")
    profile = read_profile(path, trusted=True, origin="named")  # `calibrate` can read and mend it
    with pytest.raises(ProfileError) as caught:
        router_policy(profile)
    assert problem in caught.value.message
    assert caught.value.message.startswith(str(path))
    assert caught.value.hint == "automix calibrate writes it anew"


def test_what_is_wrong_in_the_numbers_of_a_block_names_its_file_once(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    block = {**LIVE["pomdp"], "agreement": {"pairs": [[]], "groups": [0, 0], "one_right": 0}}
    path.write_text(f"{HEAD}" + "".join(f"  {key}: {json.dumps(block[key])}\n" for key in block))
    with pytest.raises(DataError) as caught:
        router_policy(read_profile(path, trusted=True, origin="named"))
    problem = "router: agreement: tier j needs a pair with each of the j tiers before it"
    assert caught.value.message == f"{path}:3: {problem}"


@pytest.mark.parametrize("kind", LIVE)
def test_no_block_that_calibrate_writes_has_a_key_that_is_refused(kind: str) -> None:
    extra = {"token_scale": 1.1, "value_of_time": 2.0, "fitted": {"rows": 3}}
    assert router_problems({"kind": kind, **LIVE[kind], **extra}) == ""


@pytest.mark.parametrize("kind", QUERY_ROUTER_KINDS)
@pytest.mark.parametrize(("weight", "calls"), [(0.01, (1, 1, 1)), (1.0, (1, 1, 2))], ids=["large", "small"])
def test_a_dry_run_reads_the_question_and_foresees_no_votes_that_nobody_buys(
    kind: str, weight: float, calls: tuple[int, ...], tmp_path: Path
) -> None:
    path = profile_with(tmp_path, kind, **{**LIVE[kind], "cost_weight": weight})
    if kind == "knn":  # in the example all neighbours say that small is right
        calls = (1, 1, 2)
    plan = plan_calls(read_profile(path, trusted=True, origin="named"), [Question(text="What is 2 + 2?")])
    assert tuple(plan[name]["calls"] for name in ("low", "expected", "worst")) == calls
    assert plan["assumes"].startswith("expected: 0% of answers escalated")
