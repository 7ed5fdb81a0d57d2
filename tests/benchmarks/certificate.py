"""How often a certified promise is broken, and how often a policy is certified, with known truth.

    python tests/benchmarks/certificate.py [--repetitions 500]

Rows are drawn from a model that is known exactly, so the true quality of whatever is certified
is computed, not sampled. `--certify 0.9` promises that E[q·S_best - S_policy] ≤ 0 fails in at
most 10 % of calibrations.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from exact import expectation
from known import draw_table, two_tiers
from msgspec.structs import replace

from automix_cli.evaluation.certificate import certify
from automix_cli.evaluation.reliability import wilson
from automix_cli.fitting.router_block import Settings

SETTINGS = Settings(max_votes=6)
BEST = 0.85  # of the large tier, exactly
CONFIDENCE = 0.9


def repetition(rows: int, keep: float, seed: int) -> tuple[bool, bool, int | None]:
    """(a routed policy was certified, its promise is broken in truth, labels said to be needed)."""
    model = two_tiers()
    found = certify(draw_table(model, rows, seed), SETTINGS, keep=keep, confidence=CONFIDENCE, seed=seed)
    if not found.routes:
        return False, False, found.labels
    weight = found.setting.value
    score, _ = expectation(found.fitted.policy(weight, SETTINGS), replace(model, cost_weight=0.0))
    return True, score < keep * BEST, None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=500)
    args = parser.parse_args()
    print("| rows | keep | repetitions | certified | broken | broken, 95 % interval |")
    print("|--:|--:|--:|--:|--:|---|")
    for rows, keep, times in ((4000, 0.95, args.repetitions), (1500, 0.98, args.repetitions // 5)):
        found = [repetition(rows, keep, seed) for seed in range(times)]
        certified, broken = sum(c for c, _, _ in found), sum(b for _, b, _ in found)
        low, high = wilson(broken, times)
        shares = f"{certified / times:.1%} | {broken / times:.1%} | {low:.1%}–{high:.1%}"
        print(f"| {rows} | {keep} | {times} | {shares} |", flush=True)
    declined = [repetition(40, 0.98, seed) for seed in range(20)]
    labels = sorted(n for _, _, n in declined if n is not None)
    named = f"{labels[0]:,} to {labels[-1]:,} labels"
    print(f"\n40 rows, keep 0.98: declined in {len(labels)} of 20, naming {named}")


if __name__ == "__main__":
    main()
