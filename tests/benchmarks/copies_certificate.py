"""How often a certificate's promise is broken where every question stands several times in the file.

    python tests/benchmarks/copies_certificate.py [--runs 100] [--cells ×4] [--jobs 2]

As `certificate`, but each question is copied, its answers, votes and scores included, under other
ids. `--certify 0.9` promises that E[q·S_best - S_policy] ≤ 0 fails in at most 10 % of calibrations;
rows are drawn from a model that is known exactly, so the true quality of whatever is certified is
computed. Votes tell right answers from wrong ones, or say nothing: then every policy is a mix of
tiers, and luck alone certifies one. A cell fails where the 95 % binomial interval of its rate lies
above 10 %; the exit status is then 1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from exact import expectation
from known import NAMES, table_of, two_tiers
from msgspec.structs import replace
from runs import (
    binomial_interval,
    is_picked,
    option_parser,
    processes,
    rate_text,
    run_all,
    table_head,
    table_line,
)
from worlds import draw_world, null_world

from automix_cli.evaluation.certificate import certify
from automix_cli.fitting.router_block import Settings

SETTINGS = Settings(max_votes=6)
CONFIDENCE = 0.9


class Cell(NamedTuple):
    """Votes that tell or not, questions, how often each stands in the file, and the share to keep."""

    shows: bool
    questions: int
    copies: int
    keep: float

    @property
    def name(self) -> str:
        """The cell in words."""
        votes = "votes tell" if self.shows else "votes say nothing"
        return f"{votes}, {self.questions:,} questions ×{self.copies}, keep {self.keep}"


class Task(NamedTuple):
    """One run of a cell."""

    cell: Cell
    seed: int


class Outcome(NamedTuple):
    """Whether anything but the best tier was certified, and whether its promise is broken in truth."""

    is_certified: bool
    is_broken: bool


CELLS = (
    Cell(True, 1000, 1, 0.95),
    Cell(True, 1000, 4, 0.95),
    Cell(True, 250, 8, 0.95),
    Cell(False, 400, 1, 0.98),
    Cell(False, 100, 4, 0.98),
    Cell(False, 50, 8, 0.98),
    Cell(False, 250, 4, 0.98),
)


def measure(task: Task) -> Outcome:
    """Certify on copied rows and compute the truth."""
    cell = task.cell
    model, best = (two_tiers(), 0.85) if cell.shows else (null_world(2), 0.82)
    table = table_of(draw_world(model, cell.questions, task.seed, cell.copies), tiers=NAMES[:2])
    proof = certify(table, SETTINGS, keep=cell.keep, confidence=CONFIDENCE, seed=task.seed)
    if not proof.routes:
        return Outcome(False, False)
    policy = proof.fitted.policy(proof.setting.value, SETTINGS)
    score, _ = expectation(policy, replace(model, cost_weight=0.0))
    return Outcome(True, score < cell.keep * best - 1e-12)


def main() -> int:
    """Run and print."""
    args = option_parser(__doc__, runs=100).parse_args()
    print(table_head("cell", "certified", "broken (95 %)", "bar", "CPU s a run"))
    is_met, total = True, 0.0
    with processes(args.jobs) as pool:
        for cell in (cell for cell in CELLS if is_picked(cell.name, args.cells)):
            runs = run_all(pool, measure, [Task(cell, args.seed + k) for k in range(args.runs)])
            broken = sum(o.is_broken for o in runs.results)
            is_kept = binomial_interval(broken, args.runs).low <= 1 - CONFIDENCE
            is_met, total = is_met and is_kept, total + runs.seconds
            certified = f"{sum(o.is_certified for o in runs.results)}/{args.runs}"
            words = "met" if is_kept else "FAILED"
            line = (certified, rate_text(broken, args.runs), words, f"{runs.seconds / args.runs:.2f}")
            print(table_line(cell.name, *line), flush=True)
    print(f"\nseeds from {args.seed}, {total:.0f} CPU seconds")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
