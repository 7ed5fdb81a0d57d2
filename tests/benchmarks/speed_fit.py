"""How long `calibrate`, `bench` and planning take beside something that anyone can run.

    python -m venv VENV && VENV/bin/pip install automix-llm==1.0.3
    AUTOMIX_LLM_PYTHON=VENV/bin/python python tests/benchmarks/speed_fit.py [--only peer tiers bench plan]

Prints one Markdown table of ratios. The two sides of a line run in turn, as whole processes of one
thread each (`plan`: in one process), start and all, on the same generated rows; of each pair the
ratio is taken, and of the ratios the median and the range, for processor seconds and for the clock.

peer: `calibrate` beside automix-llm's train and evaluate, two tiers of eight votes.
tiers: `calibrate` on three tiers beside two. bench: `bench --policies all` on 100,000 rows beside
10,000. plan: planning three tiers of eight votes with agreement beside the same without.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from models import with_agreement
from msgspec.structs import replace
from planning_speed import plan_anew, three_tiers, write_profile, write_rows
from runs import ONE_THREAD

HERE = Path(__file__).parent
PEER_ROWS = (1_000, 10_000, 50_000)


class Effort(NamedTuple):
    """What one run took: processor seconds, seconds of the clock, and the most memory in MB."""

    cpu: float
    wall: float
    memory: float = 0.0


class Line(NamedTuple):
    """One comparison: words, the bar in words, and both sides."""

    what: str
    bar: str
    ours: Callable[[], Effort]
    other: Callable[[], Effort]


def run(command: Sequence[str]) -> Effort:
    """Run a command to its end in a process of its own."""
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(HERE.parents[1])}
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)}\n{errors}")
    return Effort(used.ru_utime + used.ru_stime, time.perf_counter() - start, used.ru_maxrss / 1024)


def automix(*arguments: str) -> Effort:
    """Run the command of this tree."""
    return run([sys.executable, "-m", "automix_cli", *arguments])


class Files:
    """Generated rows and profiles in a folder, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def rows(self, count: int, tiers: int) -> Path:
        """Trace rows."""
        path = self.folder / f"rows-{count}-{tiers}.jsonl"
        if not path.exists():
            write_rows(path, count, tiers)
        return path

    def rows_without_texts(self, count: int) -> Path:
        """Trace rows of two tiers without their questions."""
        path = self.folder / f"rows-{count}-without-texts.jsonl"
        if not path.exists():
            with (
                self.rows(count, 2).open(encoding="utf-8") as source,
                path.open("w", encoding="utf-8") as file,
            ):
                for line in source:
                    row = json.loads(line)
                    del row["question"]
                    file.write(json.dumps(row) + "\n")
        return path

    def calibrate(self, count: int, tiers: int) -> Effort:
        """Calibrate on rows, and write the profile."""
        profile = write_profile(self.folder / f"profile-{tiers}.yaml", tiers)
        target = str(self.folder / f"written-{tiers}.yaml")
        rows = str(self.rows(count, tiers))
        return automix("calibrate", rows, "--profile", str(profile), "-o", target, "--force")

    def bench(self, count: int) -> Effort:
        """Compare all policies on rows without texts."""
        profile = write_profile(self.folder / "profile-2.yaml", 2)
        rows = str(self.rows_without_texts(count))
        return automix("bench", rows, "--profile", str(profile), "--policies", "all", "--json")


def planning(compares: bool) -> Effort:
    """Plan a model of three tiers, nothing remembered."""
    model = replace(three_tiers(), agreement=None)
    model = with_agreement(model, 0) if compares else model
    start, clock = time.process_time(), time.perf_counter()
    for _ in range(5):
        plan_anew(model)
    return Effort(time.process_time() - start, time.perf_counter() - clock)


def lines(files: Files, which: Sequence[str]) -> Iterator[Line]:
    """The comparisons that were asked for."""
    peer = os.environ.get("AUTOMIX_LLM_PYTHON")
    if "peer" in which and not peer:
        print("automix-llm is left out: AUTOMIX_LLM_PYTHON names no Python that has it", file=sys.stderr)
    bars = ("at most 2", "at most 0.5", "at most 0.2")
    for count, bar in zip(PEER_ROWS if "peer" in which and peer else (), bars, strict=False):
        yield Line(
            f"`calibrate`, {count:,} rows, beside automix-llm",
            bar,
            lambda count=count: files.calibrate(count, 2),  # type: ignore[misc]
            lambda count=count: run(  # type: ignore[misc]
                [str(peer), str(HERE / "automix_llm_whole.py"), str(files.rows(count, 2))]
            ),
        )
    if "tiers" in which:
        three, two = (lambda: files.calibrate(10_000, 3)), (lambda: files.calibrate(10_000, 2))
        yield Line("`calibrate`, 10,000 rows, three tiers beside two", "at most 3", three, two)
    if "bench" in which:
        many, few = (lambda: files.bench(100_000)), (lambda: files.bench(10_000))
        words = "`bench --policies all`, 100,000 rows beside 10,000"
        yield Line(words, "at most 8, under 1,000 MB", many, few)
    if "plan" in which:
        words = "planning 3 tiers × 8 votes, with agreement beside without"
        yield Line(words, "at most 3", lambda: planning(True), lambda: planning(False))


def ratio(pairs: Sequence[tuple[float, float]]) -> str:
    """The median of the ratios, and their range."""
    ratios = [ours / other for ours, other in pairs]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def row(line: Line, pairs: int) -> str:
    """Run a comparison, and put it into a line of the table."""
    runs = [(line.ours(), line.other()) for _ in range(pairs)]
    cpu = ratio([(ours.cpu, other.cpu) for ours, other in runs])
    wall = ratio([(ours.wall, other.wall) for ours, other in runs])
    seconds = statistics.median(ours.cpu for ours, _ in runs)
    memory = max(ours.memory for ours, _ in runs)
    size = f"{memory:,.0f} MB" if memory else ""
    return f"| {line.what} | {cpu} | {wall} | {line.bar} | {seconds:.2f} s | {size} |"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description="How long calibrating, comparing and planning take.")
    choices = ("peer", "tiers", "bench", "plan")
    parser.add_argument("--only", nargs="+", choices=choices, default=list(choices))
    parser.add_argument("--pairs", type=int, default=5, metavar="N")
    args = parser.parse_args()
    print("| what | processor, ratio | clock, ratio | bar | ours | memory |\n|---|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for line in lines(Files(Path(folder)), args.only):
            print(row(line, args.pairs), flush=True)


if __name__ == "__main__":
    main()
