"""Runs inside an environment that holds the package automix-llm; never imports this project.

    python -m venv VENV && VENV/bin/pip install automix-llm==1.0.3
    AUTOMIX_LLM_PYTHON=VENV/bin/python python tests/benchmarks/post_answer.py

Reads one job per line of stdin and answers each with one line of stdout, both JSON. A job
holds training rows (scores of both tiers, share of CORRECT votes), prices (small, large, all
votes of a row) and least costs; the answer says, per least cost, at which of the shares `asked`
the trained package escalates. The package decides everything; what it would compute twice for
the same rows is remembered.
"""

import json
import sys
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
from automix import POMDP, Automix  # type: ignore[import-not-found]

MOST = 64  # training sets remembered


class Remembered:
    """The package's POMDP on one set of rows, each rule of which is run once."""

    def __init__(self, small: list[float], large: list[float], share: list[float]) -> None:
        self.rows = pd.DataFrame({"llama13b_f1": small, "llama70b_f1": large, "p_ver_13b": share})
        self.rows["category"] = _categories(self.rows)
        self.method = POMDP(num_bins=8)
        self.points = self.method.generate_points(self.rows, verifier_column="p_ver_13b")
        self.runs: dict[str, pd.Series] = {}

    def generate_points(self, data: pd.DataFrame, verifier_column: str) -> list[Any]:
        return list(self.points)

    def run(self, data: pd.DataFrame, param: Any, verifier_column: str) -> pd.Series:
        if str(param) not in self.runs:
            self.runs[str(param)] = self.method.run(data, param, verifier_column=verifier_column)
        return self.runs[str(param)]


def _categories(rows: pd.DataFrame) -> pd.Series:
    """The column that the package expects, by the paper's script, percentiles on these rows alone."""
    small, large = rows.llama13b_f1, rows.llama70b_f1
    found = pd.Series("UNDEFINED", index=rows.index)
    found[(small <= small.quantile(0.1)) & (large <= large.quantile(0.1))] = "HOPELESS"
    found[(small == large) & (small != 0)] = "GOOD"
    found[small < large] = "NEEDY"
    return found


class Quick(Automix):  # type: ignore[misc]
    """The package's trainer; measures each rule once."""

    known: dict[Any, Any]

    def compute_performance_cost(
        self, data: Any, to_retry: Any, costs: Any = None, verifier_cost: Any = None
    ) -> Any:
        if id(to_retry) not in self.known:
            self.known[id(to_retry)] = super().compute_performance_cost(data, to_retry, costs, verifier_cost)
        return self.known[id(to_retry)]

    def get_slm_llm_slope_perf(self, data: Any, costs: Any = None, verifier_cost: Any = None) -> Any:
        if "slope" not in self.known:
            self.known["slope"] = super().get_slm_llm_slope_perf(data, costs, verifier_cost)
        return self.known["slope"]


KNOWN: dict[str, Remembered] = {}


def decide(job: dict[str, Any]) -> list[list[bool]]:
    """Per least cost and share: whether the trained package escalates."""
    key = json.dumps(job["rows"])
    if key not in KNOWN:
        if len(KNOWN) == MOST:
            KNOWN.pop(next(iter(KNOWN)))
        KNOWN[key] = Remembered(*job["rows"])
    method, asked = KNOWN[key], pd.DataFrame({"p_ver_13b": job["asked"]})
    small, large, verifier = job["prices"]
    mixer = Quick(method, costs=[small, large], verifier_cost=verifier)
    mixer.known, found = {}, []
    for least in job["least"]:
        mixer.train(method.rows, cost_constraint=(least, float("inf")))
        found.append(list(map(bool, method.method.run(asked, mixer.best_param))))
    return found


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(decide(json.loads(line))), flush=True)
