"""Processor seconds of `automix calibrate` and `automix bench`, of one or several source trees.

    python tests/benchmarks/calibrate_cpu.py [--rows 1000] [--tree BEFORE AFTER] [--repeat 3]

Each tree runs the commands in child processes, start and all, one thread each, on the same
generated trace rows: eight votes of every tier but the last, prompts of many lengths, or of one.
Prints one Markdown table, medians with the range.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from planning_speed import spread, write_profile, write_rows
from runs import ONE_THREAD, table_head, table_line


def cpu_seconds(tree: Path, command: Sequence[str]) -> float:
    """Processor seconds of one command of a tree."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(tree)}
    process = subprocess.run(
        [sys.executable, "-m", "automix_cli", *command],
        cwd=tree,  # with -m, Python looks into the working directory first
        env=environment,
        capture_output=True,
        text=True,
    )
    if process.returncode:
        sys.exit(f"{tree}: automix {' '.join(command)}\n{process.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def with_one_length(source: Path, target: Path) -> None:
    """The same rows without token counts, every call of a tier at its mean cost."""
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    names = list(rows[0]["tiers"])
    costs = {name: sum(row["tiers"][name]["cost"] for row in rows) / len(rows) for name in names}
    for row in rows:
        for name, cell in row["tiers"].items():
            del cell["input_tokens"]
            cell["cost"] = costs[name]
            if "vote_cost" in cell:
                cell["vote_cost"] = 1.2 * costs[name]
    target.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def commands(path: Path, profile: Path, folder: Path, policies: str, router: str) -> dict[str, list[str]]:
    """What is measured, in words and as arguments."""
    common = [str(path), "--profile", str(profile), "--force"]
    named = "" if router == "none" else f" --query-router {router}"
    written = ["-o", str(folder / "written.yaml"), *named.split()]
    return {
        f"calibrate{named}": ["calibrate", *common, *written],
        f"bench --policies {policies}": ["bench", *common, "--policies", policies, "--json"],
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000, metavar="N")
    parser.add_argument("--tiers", type=int, nargs="+", default=[2, 3], metavar="N")
    parser.add_argument("--tree", type=Path, nargs="+", default=[Path(__file__).parents[2]], metavar="PATH")
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    parser.add_argument("--lengths", nargs="+", choices=("many", "one"), default=["many", "one"])
    parser.add_argument("--policies", default="all", metavar="A,B", help="of bench [all]")
    parser.add_argument("--query-router", default="none", metavar="KIND", help="of calibrate [none]")
    parser.add_argument("--only", choices=("calibrate", "bench"), help="one of the two commands")
    args = parser.parse_args()
    trees = [tree.resolve() for tree in args.tree]
    print(table_head("command", "rows", "tiers", "lengths", *(f"{tree.name}, CPU s" for tree in trees)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for tiers in args.tiers:
            files = {"many": folder / "many.jsonl", "one": folder / "one.jsonl"}
            write_rows(files["many"], args.rows, tiers)
            with_one_length(files["many"], files["one"])
            profile = write_profile(folder / "speed.yaml", tiers)
            for lengths in args.lengths:
                for words, command in commands(
                    files[lengths], profile, folder, args.policies, args.query_router
                ).items():
                    if args.only and not words.startswith(args.only):
                        continue
                    # Trees take turns, so that a busy hour of the machine counts for all of them.
                    turns = [[cpu_seconds(tree, command) for tree in trees] for _ in range(args.repeat)]
                    columns = [spread(seconds) for seconds in zip(*turns, strict=True)]
                    print(table_line(words, f"{args.rows:,}", tiers, lengths, *columns), flush=True)


if __name__ == "__main__":
    main()
