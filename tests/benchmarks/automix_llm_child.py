"""Runs inside an environment that holds the package automix-llm; never imports this project.

    python -m venv VENV && VENV/bin/pip install automix-llm==1.0.3
    AUTOMIX_LLM_PYTHON=VENV/bin/python python tests/benchmarks/post_answer.py

Reads one job per line of stdin and answers each with one line of stdout, both JSON. A job
holds training rows (scores of both tiers, share of CORRECT votes) and prices; the answer says,
for each price and each least cost, at which shares the trained package escalates. The package
decides everything; what it computes twice for the same rows is remembered.
"""

import json
import sys
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
from automix import POMDP, Automix  # type: ignore[import-not-found]

GRID = [k / 20 for k in range(20)]


def categorised(frame: pd.DataFrame) -> pd.DataFrame:
    """The column `category` that the package expects, by the paper's script, on these rows alone."""
    small, large = frame.llama13b_f1, frame.llama70b_f1
    frame["category"] = "UNDEFINED"
    frame.loc[(small <= small.quantile(0.1)) & (large <= large.quantile(0.1)), "category"] = "HOPELESS"
    frame.loc[(small == large) & (small != 0), "category"] = "GOOD"
    frame.loc[small < large, "category"] = "NEEDY"
    return frame


class Remembered:
    """The package's POMDP, each rule of which is run once over the same rows."""

    def __init__(self) -> None:
        self.method = POMDP(num_bins=8)
        self.points: list[Any] | None = None
        self.runs: dict[str, pd.Series] = {}

    def generate_points(self, data: pd.DataFrame, verifier_column: str) -> list[Any]:
        if self.points is None:
            self.points = self.method.generate_points(data, verifier_column=verifier_column)
        return self.points

    def run(self, data: pd.DataFrame, param: Any, verifier_column: str) -> pd.Series:
        if str(param) not in self.runs:
            self.runs[str(param)] = self.method.run(data, param, verifier_column=verifier_column)
        return self.runs[str(param)]


class Quick(Automix):  # type: ignore[misc]
    """Measures each rule once per price."""

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


def decide(job: dict[str, Any]) -> list[list[list[bool]]]:
    """Per price, least cost and share: whether the trained package escalates."""
    frame = categorised(
        pd.DataFrame({"llama13b_f1": job["small"], "llama70b_f1": job["large"], "p_ver_13b": job["share"]})
    )
    asked = pd.DataFrame({"p_ver_13b": job["asked"]})
    method, found = Remembered(), []
    for small, large, verifier in job["prices"]:
        mixer = Quick(method, costs=[small, large], verifier_cost=verifier)
        mixer.known = {}
        lines = []
        for least in GRID:
            band = (small + least * (large - small), float("inf"))
            mixer.train(frame, cost_constraint=band)
            lines.append(list(map(bool, method.method.run(asked, mixer.best_param))))
        found.append(lines)
    return found


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(decide(json.loads(line))), flush=True)
