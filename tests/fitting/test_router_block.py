"""The `router:` block: every kind is accepted and runs, or is refused in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from known import NAMES, draw_table, two_tiers
from shell import automix, environment

from automix_cli.errors import DataError
from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import ROUTER_KINDS, Settings, policy_from_router
from automix_cli.pomdp.problem import rollout

TIERS = ("small", "large")

FITTED = fit(draw_table(two_tiers(), 200, 0), Settings()).to_dict()
OBSERVATIONS = dict(zip(TIERS, FITTED["observations"].values(), strict=True))

LIVE: dict[str, dict[str, Any]] = {
    "pomdp": {"cost_weight": 0.01, "prior": FITTED["prior"], "observations": OBSERVATIONS},
    "threshold": {"cut": 0.5},
    "double-threshold": {"low": 0.25, "cut": 0.75},
    "self-consistency": {},
    "always": {"tier": "large"},
}


def profile_with(folder: Path, kind: str, **block: Any) -> Path:
    path = folder / "p.yaml"
    path.write_text(f"extends: demo\nrouter: {json.dumps({'kind': kind, **block})}\n")
    return path


def test_each_kind_has_an_example_here_exactly_if_it_runs() -> None:
    assert {kind for kind, entry in ROUTER_KINDS.items() if entry.build} == set(LIVE)


@pytest.mark.parametrize("kind", LIVE)
def test_a_live_kind_is_accepted_by_check_and_answers_a_question(kind: str, tmp_path: Path) -> None:
    path = profile_with(tmp_path, kind, **LIVE[kind])
    assert automix("profile", "check", path).out == f"{path}: ok (2 tiers, router {kind})\n"
    ran = automix("ask", "--profile", path, "--json", "What is 17 * 23?", cwd=tmp_path)
    assert (ran.code, ran.rows[0]["status"]) == (0, "ok")


@pytest.mark.parametrize("kind", sorted(set(ROUTER_KINDS) - set(LIVE)))
def test_a_kind_that_does_not_run_is_refused_in_one_sentence(kind: str, tmp_path: Path) -> None:
    ran = automix("profile", "check", profile_with(tmp_path, kind))
    assert (ran.code, ran.out) == (2, "")
    assert (
        f"p.yaml:2: router: automix bench compares routers of kind {kind}, but ask cannot run one" in ran.err
    )
    assert "automix calibrate" in ran.err


@pytest.mark.parametrize(
    ("kind", "key"), [(kind, key) for kind in LIVE for key in ROUTER_KINDS[kind].keys], ids=" ".join
)
@pytest.mark.parametrize("is_null", [False, True], ids=["missing", "null"])
def test_a_missing_key_is_named(kind: str, key: str, is_null: bool) -> None:
    block = {"kind": kind, **LIVE[kind], key: None}
    if not is_null:
        del block[key]
    with pytest.raises(DataError, match=f"a router of kind {kind} needs the key {key}$"):
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
