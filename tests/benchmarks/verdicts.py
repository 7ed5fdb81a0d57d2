"""The verdict of `calibrate` on recorded answers whose truth is known: route, or do not.

    python tests/benchmarks/verdicts.py

Prints one Markdown table; a test holds the same cases.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from recorded import VERDICTS

from automix_cli.evaluation.calibrate import calibrate
from automix_cli.fitting.router_block import Settings


def main() -> None:
    """Run and print."""
    print("| set | rows | verdict | edge (points) | 95 % interval | expected |")
    print("|---|---|---|---|---|---|")
    for case in VERDICTS:
        if not case.recorded.path.exists():
            print(f"{case.recorded.name} is not at hand: set AUTOMIX_DATA", file=sys.stderr)
            continue
        table = case.table()
        judged = calibrate(table, Settings(max_votes=max(table.max_votes))).verdict
        assert judged is not None, "enough rows by construction"
        edge, low, high = (100 * x for x in (judged.edge, judged.low, judged.high))
        bounds = f"{low:+.2f} to {high:+.2f}"
        row = (case.words, len(table), judged.kind, f"{edge:+.2f}", bounds, case.expected)
        print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
