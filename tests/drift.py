"""Shows what third parties have changed: the contract tests on other versions than the pinned ones.

    python tests/drift.py             on the newest versions that the package index offers
    python tests/drift.py --lowest    on the lowest versions that pyproject.toml allows
    python tests/drift.py --all       all tests, not the contract tests alone

Makes a fresh virtual environment in a temporary folder, installs the project and its extras there
without constraints.txt, and prints the versions that differ from it, a smoke run, and one line for
each test that fails. Needs only Python and the package index. Exit 0: all is well; 1: something
drifted; 2: the versions cannot be installed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = "test,routers"
QUESTION, ANSWER = "What is 17 * 23?", "391"


class Failure(NamedTuple):
    """A test that fails, and why in one line."""

    test: str
    reason: str


class Outcome(NamedTuple):
    """What a run of the tests came to."""

    count: int
    skipped: int
    failures: tuple[Failure, ...]


def canonical(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(text: str) -> dict[str, set[str]]:
    """The versions that the text of constraints.txt names for each package: several where markers differ."""
    pins: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE):
        pins.setdefault(canonical(name), set()).add(version)
    return pins


def lowest(project: dict[str, object]) -> Iterator[str]:
    """A pin of each direct requirement to its lower bound, from the table `project` of pyproject.toml."""
    extras = project["optional-dependencies"]
    for requirement in (*project["dependencies"], *(line for extra in extras.values() for line in extra)):
        if bound := re.match(r"([\w.-]+)\s*>=\s*([\w.]+)", requirement):
            yield f"{bound[1]}=={bound[2]}"


def differences(pins: dict[str, set[str]], versions: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Package, pinned and present version of each package whose version is none of its pins."""
    for name, version in sorted(versions.items()):
        if version not in pins.get(name, ()):
            yield name, " or ".join(sorted(pins.get(name, {"not pinned"}))), version


def outcome(report: Path) -> Outcome:
    """Read the report that pytest writes in JUnit's form."""
    cases = list(ElementTree.parse(report).iter("testcase"))
    failures = [
        Failure(f"{case.get('classname')}::{case.get('name')}", reason(fault))
        for case in cases
        if (fault := next((part for part in case if part.tag in ("failure", "error")), None)) is not None
    ]
    return Outcome(len(cases), sum(case.find("skipped") is not None for case in cases), tuple(failures))


def reason(fault: ElementTree.Element) -> str:
    """The first line that says what went wrong, at most 160 characters."""
    lines = re.findall(r"^E\s+(.+)$", fault.text or "", re.MULTILINE)
    return (lines or [*(fault.get("message") or "").splitlines(), "no reason given"])[0][:160]


class Fresh:
    """A fresh virtual environment with the project in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        # Versions come from the index alone: no constraints and no packages of the caller.
        unwanted = ("PYTHONPATH", "VIRTUAL_ENV", "PIP_CONSTRAINT", "AUTOMIX_PROFILE")
        self.environment = {name: value for name, value in os.environ.items() if name not in unwanted}
        self.environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"

    def install(self, pins: list[str]) -> str:
        """Install the project with these pins; returns what went wrong, or nothing."""
        venv.create(self.bin.parent, with_pip=True, symlinks=os.name != "nt")
        constraints = self.folder / "pins.txt"
        constraints.write_text("\n".join(pins), encoding="utf-8")
        done = self.run("-m", "pip", "install", "-q", "-c", str(constraints), f"{ROOT}[{EXTRAS}]", cwd=ROOT)
        return done.stderr if done.returncode else ""

    def versions(self) -> dict[str, str]:
        """Every package and its version, but the project and what installs it."""
        rows = json.loads(self.run("-m", "pip", "list", "--format=json").stdout)
        found = {canonical(row["name"]): row["version"] for row in rows}
        return {name: found[name] for name in found.keys() - {"automix-cli", "pip", "setuptools", "wheel"}}

    def smoke(self) -> Iterator[Failure]:
        """Ask and calibrate with the demo tiers, away from the source: what fails, if anything does."""
        rows, profile = str(ROOT / "profiles" / "demo-questions.jsonl"), str(self.folder / "automix.yaml")
        asked = self.run("-m", "automix_cli", "ask", "--profile", "demo", QUESTION)
        if asked.returncode or asked.stdout.strip() != ANSWER:
            yield Failure("automix ask --profile demo", last_line(asked))
        fitted = self.run("-m", "automix_cli", "calibrate", rows, "--profile", "demo", "-o", profile)
        if fitted.returncode:
            yield Failure("automix calibrate --profile demo", last_line(fitted))

    def test(self, everything: bool) -> Outcome:
        """Run the contract tests, or all."""
        report = self.folder / "report.xml"
        chosen = () if everything else ("-m", "contract")
        options = ("-q", "-p", "no:cacheprovider", f"--junitxml={report}")
        done = self.run("-m", "pytest", *options, *chosen, cwd=ROOT)
        if done.returncode not in (0, 1) or not report.exists():
            return Outcome(0, 0, (Failure("pytest", last_line(done)),))
        return outcome(report)

    def run(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the environment's Python; by default in the temporary folder and with its own cache."""
        own = {} if cwd else {"HOME": str(self.folder), "XDG_CACHE_HOME": str(self.folder)}
        return subprocess.run(
            [str(self.bin / "python"), *words],
            cwd=cwd or self.folder,
            env=self.environment | own,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that a process wrote, after its exit code."""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return f"exit {done.returncode}: {lines[-1].strip('= ') if lines else 'no output'}"


def say_versions(versions: dict[str, str]) -> None:
    """Print the versions that differ from constraints.txt."""
    pins = pinned((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    rows = list(differences(pins, versions))
    print(f"  {len(rows)} of {len(versions)} versions differ from constraints.txt{':' if rows else ''}")
    for name, pin, version in rows:
        print(f"    {name:<26} {pin:<20} now {version}", flush=True)


def say_failures(failures: tuple[Failure, ...]) -> None:
    """Print each failure on a line."""
    for failure in failures:
        print(f"    {failure.test}: {failure.reason}", flush=True)


def check(fresh: Fresh, everything: bool) -> int:
    """Smoke run and tests in an environment that is ready; returns the exit code."""
    say_versions(fresh.versions())
    smoke = tuple(fresh.smoke())
    print(f"  smoke run (ask, calibrate): {'drifted:' if smoke else 'well'}", flush=True)
    say_failures(smoke)
    start = time.monotonic()
    result = fresh.test(everything)
    kind = "all tests" if everything else "contract tests"
    well = max(0, result.count - result.skipped - len(result.failures))
    print(
        f"  {kind}: {well} well, {len(result.failures)} drifted, {result.skipped} left out"
        f" ({time.monotonic() - start:.0f} s)"
    )
    say_failures(result.failures)
    return 1 if smoke or result.failures else 0


def main() -> int:
    """Print what drifted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--lowest", action="store_true", help="the lowest versions that pyproject.toml allows"
    )
    parser.add_argument("--all", action="store_true", help="all tests, not the contract tests alone")
    options = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = sorted(set(lowest(project))) if options.lowest else []
    # A time limit of whoever runs this ends it by SIGTERM: the temporary folder goes all the same.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    words = "lowest versions that pyproject.toml allows" if options.lowest else "newest versions of the index"
    print(f"drift: {words}, Python {sys.version.split()[0]}", flush=True)
    with tempfile.TemporaryDirectory(prefix="automix-drift-", ignore_cleanup_errors=True) as folder:
        fresh = Fresh(Path(folder))
        if trouble := fresh.install(pins):
            print("  cannot be installed:", *trouble.splitlines()[-12:], sep="\n    ")
            return 2
        return check(fresh, options.all)


if __name__ == "__main__":
    sys.exit(main())
