"""Comparisons of policies on drawn rows, as several tests make them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from known import draw_rows, two_tiers, votes

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bench import Bench, bench
from automix_cli.evaluation.crossfit import Crossfit
from automix_cli.evaluation.families import CostGrid
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.partition import partitions_of
from automix_cli.evaluation.policies import all_policies, pick_policies
from automix_cli.evaluation.policy_entry import why_unable
from automix_cli.evaluation.split import Split
from automix_cli.fitting.query_router_kinds import ClassChoice
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.model import Cost, Model, TierModel
from automix_cli.views.bench_files import run_lines
from automix_cli.views.bench_view import BenchView

SETTINGS = Settings(max_votes=6)
FAST = "random-mix,self-consistency,threshold,double-threshold,pomdp:all-at-once,pomdp,oracle"
WORDS = ("red", "green", "blue", "seven", "nine", "river", "stone", "cloud", "paper", "glass")

# Few cost_weights and no repeated folds: the laws are the same, and the tests are quick.
COARSE = Crossfit(few_questions=0, grid=CostGrid(weights=20, many_questions=0))


def compared(
    table: TraceTable,
    names: str = FAST,
    objective: Objective | None = None,
    query_router: ClassChoice = "knn",
    **options: Any,
) -> Bench:
    wanted = objective or Objective("keep", 0.95)
    known = all_policies(table.tiers, query_router, objective=wanted)
    entries = [c for c in pick_policies(names, known) if not why_unable(c, table)]
    options = {"partitions": partitions_of(table, 0.5), "options": COARSE, **options}
    return bench(table, entries, SETTINGS, wanted, **options)


def with_runs(table: TraceTable, names: str = FAST, **options: Any) -> tuple[Bench, list[dict[str, Any]]]:
    """A comparison, and the lines of its runs."""
    lines: list[str] = []
    result = compared(table, names, runs="all", on_run=lambda run: lines.extend(run_lines(run)), **options)
    return result, [json.loads(line) for line in lines]


def view_of(result: Bench, table: TraceTable, **more: Any) -> BenchView:
    return BenchView(comparison=result, table=table, source="rows.jsonl", sha256="0" * 64, **more)


def halves(table: TraceTable, seed: int = 0) -> Split:
    """Half of the rows to learn from, half held out."""
    cut = partitions_of(table, 0.5, seed=seed)[0]
    return Split.of(table, cut.train, cut.test, seed=seed, options=COARSE, settings=SETTINGS)


# ------------------------------------------------------------------ rows


def asking(rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows with questions: the small tier is right on those about colours only."""
    rng = np.random.default_rng(seed)
    drawn = draw_rows(two_tiers(), rows, seed)
    for i, row in enumerate(drawn):
        words = rng.choice(WORDS, 6).tolist()
        row["question"] = f"question {i}: {' '.join(words)}?"
        row["tiers"]["small"]["score"] = int(words[0] in WORDS[:3] or rng.random() < 0.3)
        row["dataset"] = "colours" if words[0] in WORDS[:3] else "others"
    return drawn


def own_split(rows: list[dict[str, Any]], train: int) -> list[dict[str, Any]]:
    return [{**row, "split": "train" if i < train else "test"} for i, row in enumerate(rows)]


def three_tiers() -> Model:
    """A middle tier that lies above the line from small to large, and votes on the two cheap ones."""
    small = TierModel(observation=votes(1.2, 2.5, 4.0, 1.0), max_votes=4, answer=Cost(1.0), vote=Cost(0.1))
    middle = TierModel(observation=votes(1.5, 2.0, 4.0, 1.5), max_votes=4, answer=Cost(4.0), vote=Cost(0.2))
    priors = (0.08, 0.03, 0.04, 0.05, 0.12, 0.08, 0.2, 0.4)
    return Model(tiers=(small, middle, TierModel(answer=Cost(20.0))), priors=(priors,), cost_weight=0.0)


def renamed(rows: list[dict[str, Any]], names: dict[str, str], seed: int) -> list[dict[str, Any]]:
    """The same rows with other names of tiers, and rows and votes in another order."""
    rng = np.random.default_rng(seed)
    mixed = []
    for i in rng.permutation(len(rows)):
        tiers = {}
        for name in sorted(rows[i]["tiers"], key=lambda name: names[name]):
            own = dict(rows[i]["tiers"][name])
            if "votes" in own:
                own["votes"] = [own["votes"][k] for k in rng.permutation(len(own["votes"]))]
            tiers[names[name]] = own
        mixed.append({**rows[i], "tiers": tiers})
    return mixed
