"""How long a comparison of 200,000 rows takes, and how much memory.

    python tests/benchmarks/bench_speed.py [ROWS]

Draws recorded rows of two tiers with eight votes, writes them to a temporary file and runs
`automix bench FILE --runs chosen` with every policy that looks at answers in a process of its
own. The aim: under two minutes and under 2 GB on two cores.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
POLICIES = "random-mix,self-consistency,threshold,double-threshold,paper-pomdp,pomdp:all-at-once,pomdp,oracle"


def write_rows(path: Path, rows: int) -> None:
    """Rows whose small tier is right in 60 % and knows it, whose large tier is right in 85 %."""
    rng = np.random.default_rng(0)
    right = rng.random((rows, 2)) < (0.6, 0.85)
    chance = np.where(right[:, 0], rng.beta(4, 1, rows), rng.beta(1.2, 2.5, rows))
    votes = (rng.random((rows, 8)) < chance[:, None]).astype(int).tolist()
    costs = rng.gamma(4, 0.25, (rows, 2)).round(4).tolist()
    with path.open("w", encoding="utf-8") as file:
        for i, ((a, b), (c, d), bag) in enumerate(zip(right.tolist(), costs, votes, strict=True)):
            small = {"score": int(a), "votes": bag, "cost": c, "vote_cost": 0.1}
            file.write(
                json.dumps({"id": i, "tiers": {"small": small, "large": {"score": int(b), "cost": 20 * d}}})
            )
            file.write("\n")


def main() -> None:
    """Run once and print seconds and the most memory used."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "traces.jsonl", Path(folder) / "out"
        write_rows(path, rows)
        command = ["bench", path, "--policies", POLICIES, "--runs", "chosen", "-o", out]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "automix_cli", *map(str, command)], check=True, cwd=ROOT)
        seconds = time.perf_counter() - start
        lines = sum(1 for _ in (out / "runs.jsonl").open("rb"))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"\n{rows:,} rows: {seconds:.1f} s ({used.ru_utime + used.ru_stime:.1f} s of work), ", end="")
    print(f"{used.ru_maxrss / 2**20:.2f} GB at most, {lines:,} lines of runs")


if __name__ == "__main__":
    main()
