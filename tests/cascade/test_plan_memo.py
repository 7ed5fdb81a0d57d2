"""Decisions that were kept: the same as the policy's own, without the policy."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known import draw_table, two_tiers
from models import random_model, with_agreement, with_failures
from shell import COMMAND, automix, environment

from automix_cli.backends.store import Store, survey
from automix_cli.cascade.plan_memo import MOST_TURNS, PlanMemo, keep_memo, memo_key, open_memo
from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Action, Facts, Observation, Policy
from automix_cli.pomdp.rules import MajorityPolicy


def refuse() -> Policy[Any]:
    raise AssertionError("the policy was made")


def turns(policy: Policy[Any], observations: int, seed: int) -> Iterator[tuple[Any, ...]]:
    """All that a policy says of one question whose observations are drawn."""
    rng = np.random.default_rng(seed)
    belief, tier = policy.begin(Facts(float(seed + 1))), 0
    for _ in range(observations):
        action = policy.action(belief)
        tier = max(action.tier, tier)
        yield action, policy.reason(belief), [policy.confidence(belief, t) for t in range(tier)]
        if action.final:
            return
        if action.kind == "vote":
            correct = int(rng.integers(0, action.votes + 1))
            observation = Observation(correct, action.votes, action.votes)
        else:
            observation = Observation(joins=action.tier)
        belief = policy.update(belief, action, observation)


@pytest.mark.parametrize("kind", ["plain", "failures", "agreement"])
@pytest.mark.parametrize("seed", range(8))
def test_a_memo_says_what_the_policy_says_and_once_it_is_kept_needs_no_policy(seed: int, kind: str) -> None:
    model = random_model(seed, tiers=2 + seed % 2, votes_only=True)
    model = {"failures": with_failures, "agreement": with_agreement}.get(kind, lambda m, _: m)(model, seed)
    policy, tiers = PomdpPolicy(model), len(model.tiers)
    memo = PlanMemo(lambda: policy, tiers)
    said = [list(turns(policy, 9, number)) for number in range(6)]
    assert [list(turns(memo, 9, number)) for number in range(6)] == said
    kept = PlanMemo(refuse, tiers, memo.to_text())
    assert [list(turns(kept, 9, number)) for number in range(6)] == said
    assert (memo.is_new, kept.is_new) == (True, False)
    assert kept.compares == policy.compares


def test_what_is_new_is_decided_by_the_policy() -> None:
    majority = MajorityPolicy(tiers=2, max_votes=4)
    memo = PlanMemo(lambda: majority, 2)
    list(turns(memo, 9, 0))
    kept = PlanMemo(lambda: majority, 2, memo.to_text())
    assert list(turns(kept, 9, 1)) == list(turns(majority, 9, 1))
    assert kept.is_new


def test_a_memo_keeps_its_newest_decisions() -> None:
    memo = PlanMemo(lambda: MajorityPolicy(tiers=2, max_votes=0), 2)
    for tokens in range(MOST_TURNS + 5):
        assert memo.action(memo.begin(Facts(float(tokens)))) == Action("start", 0)
    kept = PlanMemo(refuse, 2, memo.to_text())
    assert kept.action(kept.begin(Facts(float(MOST_TURNS + 4)))) == Action("start", 0)
    with pytest.raises(AssertionError, match="the policy was made"):
        kept.action(kept.begin(Facts(4.0)))


def test_a_memo_is_no_completion_and_is_cleared_with_them(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    memo = open_memo(store, "name", lambda: MajorityPolicy(tiers=2, max_votes=0), 2)
    memo.action(memo.begin(Facts()))
    keep_memo(store, "name", memo)
    assert survey(store.folder).entries == 0
    assert open_memo(store, "name", refuse, 2).action(memo.begin(Facts())) == Action("start", 0)
    assert store.clear() == 0
    assert store.get_memo("name") == ""
    store.close()


@pytest.mark.parametrize("change", ["cost_weight", "votes", "tiers"])
def test_decisions_of_another_policy_have_another_name(change: str) -> None:
    router = {"kind": "pomdp", "cost_weight": 1.0}
    name = memo_key(router, Settings(), ("small", "large"))
    other = {
        "cost_weight": (router | {"cost_weight": 2.0}, Settings(), ("small", "large")),
        "votes": (router, Settings(max_votes=4), ("small", "large")),
        "tiers": (router, Settings(), ("small", "huge")),
    }[change]
    assert memo_key(*other) != name


def test_a_calibrated_answer_from_the_cache_needs_no_plan(tmp_path: Path) -> None:
    block = fit(draw_table(two_tiers(), 200, 0), Settings()).to_dict()
    observations = dict(zip(("small", "large"), block["observations"].values(), strict=True))
    router = {"kind": "pomdp", "cost_weight": 0.01, "prior": block["prior"], "observations": observations}
    path = tmp_path / "p.yaml"
    path.write_text(f"extends: demo\nrouter: {json.dumps(router)}\n")
    command = ["ask", "--profile", str(path), "--json", "What is 17 * 23?"]
    first = json.loads(automix(*command).out)
    code = (
        "import sys; sys.argv = ['automix', *sys.argv[1:]]\n"
        "from automix_cli.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "unused = {'numpy', 'litellm', 'aiohttp', 'rich', 'automix_cli.backends.wordings'}\n"
        "assert not unused & set(sys.modules), unused & set(sys.modules)\n"
    )
    ran = subprocess.run(
        [COMMAND[0], "-c", code, *command], capture_output=True, env=environment(), text=True
    )
    assert ran.returncode == 0, ran.stderr
    again = json.loads(ran.stdout)
    volatile = {"spent_usd", "latency_s", "route"}
    assert {k: v for k, v in again.items() if k not in volatile} == {
        k: v for k, v in first.items() if k not in volatile
    }
    assert [step["action"] for step in again["route"]] == [step["action"] for step in first["route"]]
    path.write_text(f"extends: demo\nrouter: {json.dumps(router | {'prior': {}})}\n")
    assert "the router block cannot be read" in automix(*command).err
