"""What a million questions take, and a hundred million: cores, hours, dollars, disk and memory.

    python tests/benchmarks/scale.py [--scale 1.0] [--update]

Measures what this machine takes for a call, a row that is read, a row that is merged, and prints these
numbers and what follows from them; `--update` writes both into docs/scale.md. The server is on 127.0.0.1 and
answers at once, so that a call is what automix itself does for it. `--scale` makes the runs smaller.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "scale.md"


@dataclass(frozen=True)
class Numbers:
    """What was measured."""

    start_s: float
    call_ms: float
    read_us: float
    merge_us: float
    entry_bytes: float
    row_bytes: float
    base_mb: float
    id_bytes: float


@dataclass(frozen=True)
class Run:
    """A run to be planned; the last five are assumptions."""

    rows: float
    cores: int
    calls: float = 3.0
    latency_s: float = 1.0
    at_once: int = 64
    usd_per_1000: float = 1.0
    usd_per_core_hour: float = 0.05


@dataclass(frozen=True)
class Plan:
    """What a run takes."""

    core_hours: float
    hours: float
    calls_usd: float
    cores_usd: float
    cache_gb: float
    answers_gb: float
    memory_mb: float


def plan(run: Run, numbers: Numbers) -> Plan:
    """What a run takes, with one shard on each core; the formula of docs/scale.md."""
    work = run.rows * run.calls * numbers.call_ms / 1e3
    reading = run.cores * run.rows * numbers.read_us / 1e6
    merging = run.rows * numbers.merge_us / 1e6
    waiting = run.rows * run.calls * run.latency_s / (run.cores * run.at_once)
    busy = (work + reading) / run.cores + numbers.start_s
    core_hours = (work + reading + merging + run.cores * numbers.start_s) / 3600
    return Plan(
        core_hours=core_hours,
        hours=(max(busy, waiting) + merging) / 3600,
        calls_usd=run.rows * run.usd_per_1000 / 1000,
        cores_usd=core_hours * run.usd_per_core_hour,
        cache_gb=run.rows * run.calls * numbers.entry_bytes / 1e9,
        answers_gb=run.rows * numbers.row_bytes / 1e9,
        memory_mb=numbers.base_mb + run.rows * numbers.id_bytes / 1e6,
    )


RUNS = (Run(1e6, 1), Run(1e6, 8), Run(1e8, 32), Run(1e8, 100))


# ---------------------------------------------------------------- the page

WORDS = {
    "start_s": ("starting and ending a shard", "s of a core", 1),
    "call_ms": ("a call, its row written", "ms of a core", 2),
    "read_us": ("a row of another shard, checked and passed over", "µs of a core", 0),
    "merge_us": ("a row merged", "µs of a core", 0),
    "entry_bytes": ("a call in the cache", "bytes", 0),
    "row_bytes": ("a row of answers", "bytes", 0),
    "base_mb": ("memory of a process", "MB", 0),
    "id_bytes": ("memory for a row of the input", "bytes", 0),
}


def measured_table(numbers: Numbers) -> str:
    """The measured numbers as Markdown."""
    rows = (
        f"| {what} | {getattr(numbers, key):,.{digits}f} | {unit} |"
        for key, (what, unit, digits) in WORDS.items()
    )
    return "\n".join(["| what | measured | unit |", "|---|--:|---|", *rows])


def read_measured_table(text: str) -> Numbers:
    """The numbers of such a table."""
    keys = {what: key for key, (what, _, _) in WORDS.items()}
    lines = re.findall(r"^\| (.+?) \| ([\d.,]+) \| .+ \|$", text, re.M)
    return Numbers(**{keys[what]: float(value.replace(",", "")) for what, value in lines if what in keys})


def planned_table(numbers: Numbers) -> str:
    """What follows from the numbers, as Markdown."""
    head = (
        "| questions | cores | hours | core hours | models | cores | cache | answers | memory a process |\n"
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    return "\n".join([head, *(_line(run, plan(run, numbers)) for run in RUNS)])


def _line(run: Run, it: Plan) -> str:
    cells = (
        f"{run.rows:,.0f}",
        f"{run.cores}",
        f"{it.hours:,.1f}",
        f"{it.core_hours:,.1f}",
        f"${it.calls_usd:,.0f}",
        f"${it.cores_usd:,.2f}",
        f"{it.cache_gb:,.1f} GB",
        f"{it.answers_gb:,.1f} GB",
        f"{it.memory_mb:,.0f} MB",
    )
    return f"| {' | '.join(cells)} |"


def with_tables(page: str, numbers: Numbers) -> str:
    """The page with both tables in their places."""
    for name, table in (("measured", measured_table(numbers)), ("planned", planned_table(numbers))):
        place = re.compile(rf"(<!-- {name}: .*? -->\n\n).*?(\n\n<!-- end -->)", re.S)
        assert place.search(page), name
        page = place.sub(lambda match, table=table: match[1] + table + match[2], page)
    return page


# ---------------------------------------------------------------- measuring


def measure(scale: float) -> Numbers:
    """Measure on this machine."""
    from speed import Kit, run

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kit = Kit(folder, stack, scale=scale)
        profile, few, many = kit.profile(kit.fast_server), kit.rows(64), kit.rows(kit.count(4000))
        out, cache = folder / "out.jsonl", folder / "cache"
        run(
            kit.batch(profile, few, "--tier", "small", "--shard", "0/1"), kit.env
        )  # compiles, makes the cache
        before = folder_size(cache)
        short = run(kit.batch(profile, few, "--tier", "small", "--no-cache"), kit.env)
        long = run(kit.batch(profile, many, "--tier", "small", "--shard", "0/1"), kit.env)
        calls = kit.count(4000) - 64
        merging = run(kit.automix("merge", out, "-o", folder / "merged.jsonl"), kit.env)
        row_bytes = (folder / "merged.jsonl").stat().st_size / kit.count(4000)
        other = kit.rows(kit.count(100_000))
        reading = run(kit.batch(profile, other, "--tier", "small", "--shard", "0/100000"), kit.env)
        start = short.cpu - 64 * (long.cpu - short.cpu) / calls
        help_cpu = run(kit.automix("merge", "--help"), kit.env).cpu
        rows = kit.count(100_000)
        return Numbers(
            start_s=start,
            call_ms=1e3 * (long.cpu - short.cpu) / calls,
            read_us=1e6 * (reading.cpu - start) / rows,
            merge_us=1e6 * (merging.cpu - help_cpu) / kit.count(4000),
            entry_bytes=(folder_size(cache) - before) / calls,
            row_bytes=row_bytes,
            base_mb=long.memory / 1024,
            id_bytes=max(8.0, 1024 * (reading.memory - short.memory) / rows),
        )


def folder_size(folder: Path) -> int:
    """The bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Measure, print, and write into the page where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--update", action="store_true", help="write docs/scale.md")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    numbers = measure(options.scale)
    print(json.dumps(asdict(numbers)))
    print(measured_table(numbers), planned_table(numbers), sep="\n\n")
    if options.update:
        rounded = read_measured_table(
            measured_table(numbers)
        )  # what the page shows, the page is computed from
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), rounded), encoding="utf-8")


if __name__ == "__main__":
    main()
