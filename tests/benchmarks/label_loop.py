"""The whole loop of few labels, in a real terminal: bound, labels, verdict, profile.

    python tests/benchmarks/label_loop.py [--rows N] [--labels 28] [--width 80]

The rows of a recorded set are written without a label, and `automix` is run on them in tmux as by a person:
`calibrate --baseline`, then `label`, whose keys are pressed by what the hidden labels say, then `calibrate`
with the labels. It prints what each command said, seconds, keystrokes, and what all labels say of the loss.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from recorded import DATA, Recorded

from automix_cli.data.label_cards import AnswerCard
from automix_cli.data.label_file import LabelsOfRows, labelled_rows
from automix_cli.data.labelled import TableOptions, read_data
from automix_cli.data.relative import TableReader
from automix_cli.evaluation.label_plan import LabelPlan
from automix_cli.evaluation.objective import Objective
from automix_cli.fitting.router_block import Settings

SET = Recorded("zeroeval_gsm8k", "ensemble5-small", "claude-3-5-sonnet-20241022")
PROFILE = """\
task: {scorer: numeric}
tiers:
  - {name: small, model: openai/small, price: {input: 0.1, output: 0.4}}
  - {name: large, model: openai/large, price: {input: 3, output: 15}}
"""
PATIENCE = 300.0
BOUND = "automix calibrate rows.jsonl --baseline large"
LABEL = "automix label rows.jsonl --baseline large -n {labels}"
VERDICT = "automix calibrate rows.jsonl --baseline large --labels rows.labels.jsonl"


class Part(NamedTuple):
    """One command: its seconds, the keys that were pressed, and its last screen."""

    command: str
    seconds: float
    keys: int
    screen: str


def write_rows(folder: Path, n: int | None) -> dict[str, tuple[float, float]]:
    """The rows without a label, a profile; and the scores of small and large that are hidden, by id."""
    truth = {}
    with SET.path.open(encoding="utf-8") as lines, (folder / "rows.jsonl").open("w") as file:
        for number, row in enumerate(map(json.loads, lines)):
            if n is not None and number >= n:
                break
            small, large = row["tiers"][SET.small], row["tiers"][SET.large]
            truth[row["id"]] = small["correct"], large["correct"]
            tiers = {
                "small": {
                    "answer": small["answer"],
                    "votes": small["votes"],
                    "cost": 0.0002,
                    "vote_cost": 0.00002,
                },
                "large": {"answer": large["answer"], "cost": 0.004},
            }
            file.write(f"{json.dumps({'id': row['id'], 'question': row['question'], 'tiers': tiers})}\n")
    (folder / "automix.yaml").write_text(PROFILE)
    return truth


class Terminal:
    """A terminal of tmux with a shell in a folder; counts the keys that are pressed."""

    def __init__(self, folder: Path, width: int) -> None:
        self.name, self.keys = f"automix-{os.getpid()}", 0
        command = folder / "bin" / "automix"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m automix_cli "$@"\n')
        command.chmod(0o755)
        root = str(Path(__file__).parents[2])
        size = ("-x", str(width), "-y", "40")
        path, package = shlex.quote(f"{command.parent}:{os.environ['PATH']}"), shlex.quote(root)
        start = f"cd {shlex.quote(str(folder))}; export PATH={path} PYTHONPATH={package} PS1='$ '; exec sh"
        self._tmux("-f", "/dev/null", "new-session", "-d", "-s", "loop", *size, start)
        self.enter("PS1='$ '")
        self.keys = 0

    def _tmux(self, *args: str) -> str:
        ran = subprocess.run(("tmux", "-L", self.name, *args), capture_output=True, text=True, check=True)
        return ran.stdout

    @property
    def screen(self) -> str:
        """What is to be seen."""
        return self._tmux("capture-pane", "-p", "-t", "loop").rstrip()

    def press(self, keys: str) -> None:
        """Press keys."""
        self.keys += len(keys)
        self._tmux("send-keys", "-t", "loop", "-l", keys)

    def enter(self, command: str) -> None:
        """Type a command on an empty screen."""
        self._tmux("send-keys", "-t", "loop", "clear", "Enter")
        time.sleep(0.2)
        self.press(command)
        self.keys += 1
        self._tmux("send-keys", "-t", "loop", "Enter")
        time.sleep(0.2)

    def wait_for(self, words: str) -> None:
        """Wait until the screen ends with words."""
        end = time.monotonic() + PATIENCE
        while not self.screen.endswith(words):
            if time.monotonic() > end:
                raise SystemExit(f"waited for {words!r} in vain:\n{self.screen}")
            time.sleep(0.05)

    def close(self) -> None:
        """End the shell."""
        self._tmux("kill-server")


def run_command(terminal: Terminal, command: str) -> Part:
    """Run a command to its end."""
    start, before = time.monotonic(), terminal.keys
    terminal.enter(command)
    terminal.wait_for("\n$")
    return Part(command, time.monotonic() - start, terminal.keys - before, terminal.screen)


def run_label(terminal: Terminal, command: str, folder: Path, truth: dict[str, tuple[float, float]]) -> Part:
    """Label every row by one key, as the hidden labels say."""
    start, before = time.monotonic(), terminal.keys
    terminal.enter(command)
    terminal.wait_for("q quit")
    rows = [json.loads(line) for line in (folder / "rows.labels.jsonl").read_text("utf-8").splitlines()]
    for number, row in enumerate(rows, 1):
        terminal.press(_key(row, truth[row["id"]]))
        while f"\n{number} of {len(rows)} ·" not in terminal.screen:
            time.sleep(0.02)
        terminal.wait_for("q quit" if number < len(rows) else "\n$")
    return Part(command, time.monotonic() - start, terminal.keys - before, terminal.screen)


def _key(row: dict[str, Any], scores: tuple[float, float]) -> str:
    """The key that a person who knows would press."""
    right = {tier for tier, score in zip(("small", "large"), scores, strict=True) if score >= 0.5}
    card = AnswerCard.of(row, "numeric", 0)
    places = [k for k, answer in enumerate(card.answers) if right & set(answer.tiers)]
    return "n" if not places else "b" if len(places) == 2 else str(places[0] + 1)


def true_loss(folder: Path, truth: dict[str, tuple[float, float]], labels: LabelsOfRows) -> float:
    """Points lost on the rows by the policy that is fitted with some labels, out of fold."""
    rows, options = labelled_rows(read_data(folder / "rows.jsonl"), TableOptions(), labels)
    table = TableReader(rows, options, "rows.jsonl", "numeric").table_beside("large", say=lambda text: None)
    plan = LabelPlan.of(table, Settings(), Objective(), 0)
    scores = np.array([truth[ident] for ident in table.ids])
    return 100 * float((plan.reports * (scores[:, [1]] - scores)).sum(axis=1).mean())


def main() -> None:
    """Run the loop and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--labels", type=int, default=28)
    parser.add_argument("--width", type=int, default=80)
    args = parser.parse_args()
    if not SET.path.exists():
        sys.exit(f"no recorded sets at hand in {DATA}: set AUTOMIX_DATA")
    if shutil.which("tmux") is None:
        sys.exit("tmux is not installed")
    with tempfile.TemporaryDirectory(prefix="automix-loop-") as name:
        folder = Path(name)
        truth = write_rows(folder, args.rows)
        terminal = Terminal(folder, args.width)
        try:
            parts = [
                run_command(terminal, BOUND),
                run_label(terminal, LABEL.format(labels=args.labels), folder, truth),
                run_command(terminal, VERDICT),
            ]
        finally:
            terminal.close()
        own = LabelsOfRows.read(folder / "rows.labels.jsonl")
        losses = [true_loss(folder, truth, labels) for labels in (LabelsOfRows("", {}), own)]
        for part in parts:
            print(f"$ {part.command}\n{part.screen}\n[{part.seconds:.0f} s, {part.keys} keys]\n")
        print("by all labels {:.2f} points are lost by the first plan, {:.2f} by the second".format(*losses))
        seconds, keys = sum(part.seconds for part in parts), sum(part.keys for part in parts)
        print(
            f"in all: {seconds / 60:.1f} minutes without reading, {keys} keys, {args.labels} of them labels"
        )


if __name__ == "__main__":
    main()
