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

from automix_cli.errors import DataError
from automix_cli.fitting.features import Quantised, fit_text_features
from automix_cli.fitting.fit import fit
from automix_cli.fitting.query_router import Clusters, Linear, Neighbours, QueryRouter
from automix_cli.fitting.query_router_kinds import QUERY_ROUTER_KINDS
from automix_cli.fitting.router_block import ROUTER_KINDS, UNCALIBRATED_KINDS, Settings, policy_from_router
from automix_cli.pomdp.problem import rollout

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
