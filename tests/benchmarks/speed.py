"""How fast automix starts, and how much it adds to the calls of a batch, beside other programs.

    python tests/benchmarks/speed.py [--only ask,batch] [--pairs 5] [--peers FOLDER] [--scale 1.0]

Prints one Markdown table. A line compares automix with something else: both run in turn, `--pairs` times,
each in a process of its own, and the table has medians and ranges of the ratios within the pairs, for seconds
of the processor (user and system) and of the clock. `--only` takes keys of lines and prefixes of them.
Generated rows, a calibrated profile, caches and a server on 127.0.0.1 are made anew and removed at the end. A
batch of calls fills a cache on disk, empty at its start, with the leases that keep two processes apart.
`--peers` names a folder for environments of other programs, which are installed there when they are missing;
without it their lines are skipped. `--scale` makes all batches smaller or larger.

`--only fit` runs `speed_fit.py` for calibrating, comparing and planning: it has a table of its own. Without
`--only` it comes last.
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
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
AT_ONCE = 64


class Used(NamedTuple):
    """Seconds of processor and clock, and the most memory in KiB."""

    cpu: float
    wall: float
    memory: int = 0

    def per(self, units: float) -> Used:
        """The same for each of some units."""
        return Used(self.cpu / units, self.wall / units, self.memory)


class Pair(NamedTuple):
    """Two ratios of one pair of runs, None where seconds of a kind say nothing, and a note for the table."""

    cpu: float | None
    wall: float | None
    note: str = ""


class Skip(Exception):
    """A line cannot be measured here, and why."""


@dataclass(frozen=True)
class Line:
    """A line of the table: `pair` makes one pair of runs; `bar` is met from below unless `is_least`."""

    key: str
    what: str
    against: str
    bar: float
    pair: Callable[[Kit], Pair]
    is_least: bool = False


def run(command: Sequence[object], env: dict[str, str] | None = None) -> Used:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=env,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{command}: {errors.read().decode(errors='replace')[-2000:]}")
    return Used(usage.ru_utime + usage.ru_stime, time.perf_counter() - start, usage.ru_maxrss)


# ---------------------------------------------------------------- what the lines need


@dataclass
class Kit:
    """Files, servers and environments, each made when it is first needed."""

    folder: Path
    stack: ExitStack
    peers: Path | None = None
    scale: float = 1.0
    _rows: dict[int, Path] = field(default_factory=dict)

    @cached_property
    def env(self) -> dict[str, str]:
        """The environment of automix: a cache of its own, compiled modules, no key."""
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "LC_ALL")}
        return kept | {"PYTHONPATH": str(ROOT), "AUTOMIX_CACHE_DIR": str(self.folder / "cache")}

    def count(self, number: int) -> int:
        """A number of rows, at the scale."""
        return max(AT_ONCE, round(number * self.scale))

    def rows(self, count: int) -> Path:
        """A file of questions."""
        if count not in self._rows:
            path = self._rows[count] = self.folder / f"rows-{count}.jsonl"
            lines = (
                json.dumps({"id": i, "question": f"What is {i} * 23?", "expected": str(i * 23)})
                for i in range(count)
            )
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return self._rows[count]

    @contextmanager
    def _serve(self, wait_ms: float) -> Iterator[str]:
        command = [sys.executable, HERE / "speed_server.py", wait_ms]
        with subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
            process.communicate()

    @cached_property
    def fast_server(self) -> str:
        """A server that answers at once."""
        return self.stack.enter_context(self._serve(0))

    @cached_property
    def slow_server(self) -> str:
        """A server that answers after 200 ms."""
        return self.stack.enter_context(self._serve(200))

    def profile(self, server: str, backend: str = "direct") -> Path:
        """A profile of two tiers on a server."""
        path = self.folder / f"{server.rpartition(':')[2]}-{backend}.yaml"
        tiers = "".join(
            f'  - {{name: {name}, model: openai/{name}, api_base: "{server}/v1", backend: {backend}, '
            f"price: {{input: {price}, output: {2 * price}}}}}\n"
            for name, price in (("small", 1), ("large", 10))
        )
        router = "router: {kind: majority}\n"  # votes on every answer of the small tier
        path.write_text(f"version: 1\nname: speed\ntiers:\n{tiers}{router}", encoding="utf-8")
        return path

    @cached_property
    def calibrated(self) -> Path:
        """A calibrated profile of two tiers, whose answer to `QUESTION` is cached."""
        path = self.folder / "calibrated.yaml"
        run(self.automix("calibrate", self.rows(300), "--profile", "demo", "-o", path), self.env)
        run(self.automix("ask", "--profile", path, QUESTION), self.env)
        return path

    def empty_cache(self) -> dict[str, str]:
        """The environment with a cache that holds nothing yet."""
        return self.env | {"AUTOMIX_CACHE_DIR": tempfile.mkdtemp(prefix="cache-", dir=self.folder)}

    def automix(self, *words: object) -> list[object]:
        """A command of automix."""
        return [sys.executable, "-m", "automix_cli", *words]

    def batch(self, profile: Path, rows: Path, *options: object) -> list[object]:
        """A batch, whose rows go nowhere that is kept."""
        out = self.folder / "out.jsonl"
        words = ("--profile", profile, "-i", rows, "-o", out, "--force", "--quiet", "-j", AT_ONCE)
        return self.automix("ask", *words, *options)

    def litellm_calls(self, calls: int) -> Used:
        """Calls of bare LiteLLM to the fast server, without its import."""
        command = [
            sys.executable,
            HERE / "speed_peers.py",
            "litellm",
            f"{self.fast_server}/v1",
            calls,
            AT_ONCE,
        ]
        text = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
        return Used(**json.loads(text.splitlines()[-1]))

    @cached_property
    def llm(self) -> Path:
        """The `llm` command in an environment of its own, with the fast server as a model.

        Raises:
            Skip: no folder for it was named.
        """
        if self.peers is None:
            raise Skip("--peers FOLDER installs `llm`")
        home, python = self.peers / "llm", self.peers / "llm" / "bin" / "python"
        if not (home / "bin" / "llm").exists():
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "-q", "llm"], check=True)
        settings = f'- model_id: loop\n  model_name: m\n  api_base: "{self.fast_server}/v1"\n'
        (self.folder / "extra-openai-models.yaml").write_text(settings, encoding="utf-8")
        return home / "bin" / "llm"


QUESTION = "What is 17 * 23?"


def ratios(ours: Used, theirs: Used, note: str = "") -> Pair:
    """How many times what the other takes."""
    return Pair(ours.cpu / theirs.cpu, ours.wall / theirs.wall, note)


def gains(ours: Used, theirs: Used, note: str = "") -> Pair:
    """How many times as much is done in a second."""
    return Pair(theirs.cpu / ours.cpu, theirs.wall / ours.wall, note)


# ---------------------------------------------------------------- start-up


PLAIN_APP = """
import typer
app = typer.Typer(rich_markup_mode=None)
@app.command()
def hello(name: str = "x") -> None: ...
app()
"""


def ask_for_help(kit: Kit) -> Pair:
    """`--help` beside that of a plain app."""
    plain = kit.folder / "plain.py"
    plain.write_text(PLAIN_APP, encoding="utf-8")
    ours = run(kit.automix("--help"), kit.env)
    return ratios(ours, run([sys.executable, plain, "--help"], kit.env), f"{ours.cpu:.2f} s CPU")


def ask_cached(kit: Kit) -> Pair:
    """An answer from the cache beside the imports that it cannot do without."""
    ours = run(kit.automix("ask", "--profile", kit.calibrated, QUESTION), kit.env)
    return ratios(ours, run([sys.executable, "-c", "import typer, yaml, sqlite3"]), f"{ours.cpu:.2f} s CPU")


def ask_live(kit: Kit) -> Pair:
    """One call beside one call of `llm`."""
    theirs = [kit.llm, "-m", "loop", "--no-stream", "--key", "none", "--no-log", QUESTION]
    profile = kit.profile(kit.fast_server)
    ours = run(kit.automix("ask", "--profile", profile, "--tier", "small", "--no-cache", QUESTION), kit.env)
    other = run(theirs, {**os.environ, "LLM_USER_PATH": str(kit.folder)})
    return ratios(ours, other, f"{ours.cpu:.2f} s CPU against {other.cpu:.2f}")


# ---------------------------------------------------------------- batches


def batch_direct(kit: Kit) -> Pair:
    """Rows of the whole command beside calls of LiteLLM alone, whose import is not counted."""
    rows, calls = kit.count(6_000), kit.count(600)
    command = kit.batch(kit.profile(kit.fast_server), kit.rows(rows), "--tier", "small")
    ours, theirs = run(command, kit.empty_cache()).per(rows), kit.litellm_calls(calls).per(calls)
    return gains(ours, theirs, f"{ours.cpu * 1e3:.2f} ms CPU a row against {theirs.cpu * 1e3:.2f}")


def batch_litellm(kit: Kit) -> Pair:
    """Rows through LiteLLM beside calls of LiteLLM alone; both import it."""
    count = kit.count(1_000)
    profile = kit.profile(kit.fast_server, "litellm")
    ours = run(kit.batch(profile, kit.rows(count), "--tier", "small"), kit.empty_cache())
    peer = [sys.executable, HERE / "speed_peers.py", "litellm", f"{kit.fast_server}/v1", count, AT_ONCE]
    return gains(ours, run(peer), f"{ours.cpu / count * 1e3:.2f} ms CPU a row")


def _to_ideal(kit: Kit, rows: int, *options: object) -> Pair:
    """The time that the calls of a batch need at least beside the time that they take."""
    span(kit.slow_server)
    command = kit.batch(kit.profile(kit.slow_server), kit.rows(rows), *options)
    used, (calls, seconds) = run(command, kit.empty_cache()), span(kit.slow_server)
    ideal = calls * 0.2 / AT_ONCE
    return Pair(None, ideal / seconds, f"{calls:,} calls, {used.cpu / calls * 1e3:.2f} ms CPU a call")


def span(server: str) -> tuple[int, float]:
    """Calls to a server since the last time, and the seconds from the first to the last."""
    with urllib.request.urlopen(f"{server}/span") as reply:
        row = json.load(reply)
    return row["calls"], row["seconds"]


def batch_slow(kit: Kit) -> Pair:
    """One tier, one call a row."""
    return _to_ideal(kit, kit.count(6_400), "--tier", "small")


def batch_votes(kit: Kit) -> Pair:
    """Two tiers: an answer, votes on it, another answer where they say no."""
    return _to_ideal(kit, kit.count(3_200))


def batch_cached(kit: Kit) -> Pair:
    """A batch whose answers are all cached beside bare reads of a diskcache."""
    rows = kit.rows(kit.count(20_000))
    command = kit.batch(kit.profile(kit.fast_server), rows, "--tier", "small")
    marker, bare = kit.folder / f"{rows.name}.filled", kit.folder / "bare"
    if not marker.exists():
        run(command, kit.env)
        run([sys.executable, HERE / "speed_peers.py", "fill", bare, rows])
        marker.touch()
    ours = run(command, kit.env)
    theirs = run([sys.executable, HERE / "speed_peers.py", "read", bare, rows, kit.folder / "bare.jsonl"])
    return ratios(ours, theirs, f"{ours.cpu:.2f} s CPU")


def memory(kit: Kit) -> Pair:
    """Memory of ten times as many rows; in both columns, since it has nothing to do with seconds."""
    few, many = (
        run(
            kit.batch(kit.profile(kit.fast_server), kit.rows(kit.count(n)), "--tier", "small"),
            kit.empty_cache(),
        )
        for n in (10_000, 100_000)
    )
    ratio = many.memory / few.memory
    return Pair(ratio, ratio, f"{many.memory / 1024:.0f} MB against {few.memory / 1024:.0f}")


LINES = (
    Line("help", "`automix --help`", "a plain Typer app", 1.3, ask_for_help),
    Line("ask-cached", "`ask`, cached answer", "`import typer, yaml, sqlite3`", 2.5, ask_cached),
    Line("ask-live", "`ask --tier`, one call", "`llm`, one call", 0.45, ask_live),
    Line("batch-direct", "batch, 0 ms server, calls a second", "bare `acompletion`", 10, batch_direct, True),
    Line(
        "batch-litellm",
        "batch through LiteLLM, calls a second",
        "bare `acompletion`",
        0.85,
        batch_litellm,
        True,
    ),
    Line("batch-slow", "batch, 200 ms server, 64 at once, one tier", "the ideal", 0.93, batch_slow, True),
    Line("batch-votes", "the same with votes and escalation", "the ideal", 0.90, batch_votes, True),
    Line("batch-cached", "cached batch of 20,000 rows", "bare diskcache reads", 5, batch_cached),
    Line("memory", "memory of a batch of 100,000 rows", "10,000 rows", 1.1, memory),
)


# ---------------------------------------------------------------- the table


def spread(values: Sequence[float | None]) -> str:
    """Median and range; a dash where a kind of seconds says nothing."""
    known = [v for v in values if v is not None]
    if not known:
        return "–"
    return f"{statistics.median(known):.2f} ({min(known):.2f} to {max(known):.2f})"


def row_of(line: Line, pairs: Sequence[Pair]) -> str:
    """A line of the table."""
    bar = f"{'≥' if line.is_least else '≤'} {line.bar:g}"
    cpu, wall = (spread([getattr(p, kind) for p in pairs]) for kind in ("cpu", "wall"))
    return f"| {line.what} | {line.against} | {bar} | {cpu} | {wall} | {pairs[-1].note} |"


def measure(line: Line, kit: Kit, pairs: int) -> str:
    """Make the pairs of a line; the first run of all, which may fill caches, does not count."""
    try:
        if not line.key.startswith(("batch", "memory")):
            line.pair(kit)
        return row_of(line, [line.pair(kit) for _ in range(pairs)])
    except Skip as exc:
        return f"| {line.what} | {line.against} | | skipped | | {exc} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How fast automix is beside other programs.")
    parser.add_argument("--only", default="", help="keys of lines, or how they begin, with commas between")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--peers", type=Path, help="folder for environments of other programs")
    parser.add_argument("--scale", type=float, default=1.0, help="of the batches")
    args = parser.parse_args()
    heads = tuple(args.only.split(","))
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(ROOT / "automix_cli")], check=True)
    print("| what | against | bar | CPU | wall | |\n|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        kit = Kit(Path(folder), stack, args.peers and args.peers.resolve(), args.scale)
        for line in LINES:
            if line.key.startswith(heads):
                print(measure(line, kit, args.pairs), flush=True)
    if "fit".startswith(heads):
        print(flush=True)
        subprocess.run([sys.executable, str(HERE / "speed_fit.py")], check=True)


if __name__ == "__main__":
    main()
