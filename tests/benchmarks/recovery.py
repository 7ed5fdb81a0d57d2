"""Regret of what is learned from rows drawn from a known model.

    python tests/benchmarks/recovery.py [--seeds 20]

Prints, per model and number of rows, the mean over seeds of 100·(V* - V^π) at the cost_weight
where the optimum escalates about 40 % of questions, with its standard error and the worst seed.
V is exact under the true model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "fitting"))

from test_recovery import TRUTHS, regret, weighed

from automix_cli.pomdp.policy import PomdpPolicy

ROWS = (50, 200, 1000, 5000)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description="Regret of what is learned from rows.")
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    print(f"| model | escalates | {' | '.join(f'{rows:,} rows' for rows in ROWS)} |")
    print("|---|---|" + "---|" * len(ROWS))
    for name, model in TRUTHS.items():
        truth, cells = weighed(model()), []
        for rows in ROWS:
            lost = np.array([regret(truth, rows, seed) for seed in range(seeds)])
            spread = lost.std(ddof=1) / np.sqrt(seeds)
            cells.append(f"{lost.mean():.3f} ± {spread:.3f} (worst {lost.max():.2f})")
        share = PomdpPolicy(truth).forecast().escalated
        print(f"| {name} | {share:.0%} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
