"""How long calibrating, planning and deciding take.

    python tests/benchmarks/planning_speed.py [--rows 200000] [--tiers 2 3] [--repeat 3]

Prints one Markdown table, medians with the range seen. `calibrate` is the command itself, start
and all, on generated trace rows (eight votes of every tier but the last, prompts of many
lengths), next to the time in which the standard library's `json` parses the same file. Seconds
are of the processor, so that what else runs on the machine counts little.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from known import votes

from automix_cli.pomdp.final_values import final_tables
from automix_cli.pomdp.histories import tabulate
from automix_cli.pomdp.model import Cost, Model, TierModel
from automix_cli.pomdp.observations import VoteObservations
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Facts, Observation, rollout

WORDS = ("what", "is", "the", "sum", "of", "all", "even", "numbers", "below", "and", "why")


def spread(times: Sequence[float], unit: float = 1.0) -> str:
    """Median and range, in a unit of seconds."""
    low, middle, high = (x / unit for x in (min(times), statistics.median(times), max(times)))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def timed(action: Callable[[], object], repeat: int) -> list[float]:
    """Processor seconds of each run."""
    found = []
    for _ in range(repeat):
        start = time.process_time()
        action()
        found.append(time.process_time() - start)
    return found


# ------------------------------------------------------------------ calibrate


def write_rows(path: Path, rows: int, tiers: int) -> None:
    """Trace rows; every tier but the last has votes."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(20, 900, rows).tolist()
    right = (rng.random((rows, tiers)) < np.linspace(0.6, 0.85, tiers)).tolist()
    chance = np.where(right, rng.beta(4.0, 1.0, (rows, tiers)), rng.beta(1.2, 2.5, (rows, tiers)))
    ballots = (rng.random((rows, tiers, 8)) < chance[:, :, None]).astype(int).tolist()
    with path.open("w", encoding="utf-8") as file:
        for i in range(rows):
            found: dict[str, dict[str, object]] = {}
            for j, dearer in enumerate(np.geomspace(1, 20, tiers).tolist()):
                price = 1e-7 * (tokens[i] + 40) * dearer
                found[f"tier-{j}"] = {"score": int(right[i][j]), "cost": price, "input_tokens": tokens[i]}
                if j < tiers - 1:
                    found[f"tier-{j}"] |= {"votes": ballots[i][j], "vote_cost": price * 1.2}
            text = " ".join(WORDS[(i + k) % len(WORDS)] for k in range(12)) + f" {i}?"
            file.write(json.dumps({"id": f"q{i}", "question": text, "tiers": found}) + "\n")


def write_profile(path: Path, tiers: int) -> Path:
    """A profile with the tiers of the rows; nobody is asked."""
    lines = [f"  - {{name: tier-{j}, model: openai/tier-{j}}}\n" for j in range(tiers)]
    path.write_text(f"version: 1\nname: speed\ntiers:\n{''.join(lines)}", encoding="utf-8")
    return path


def parse(path: Path) -> None:
    """What `json` alone takes."""
    with path.open("rb") as file:
        for line in file:
            json.loads(line)


def run_calibrate(path: Path, profile: Path, target: Path) -> float:
    """Processor seconds of the whole command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "automix_cli", "calibrate", str(path), "--profile", str(profile)]
    command += ["-o", str(target), "--force"]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, env=quiet)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def calibrating(rows: int, tiers: int, repeat: int) -> list[str]:
    """Lines of the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "traces.jsonl"
        write_rows(path, rows, tiers)
        parsing = timed(lambda: parse(path), repeat)
        profile = write_profile(Path(folder) / "speed.yaml", tiers)
        whole = [run_calibrate(path, profile, Path(folder) / f"automix-{k}.yaml") for k in range(repeat)]
    beyond = [x - 2 * statistics.median(parsing) for x in whole]
    return [
        f"| `json` parses {rows:,} rows of {tiers} tiers | {spread(parsing)} s | |",
        f"| `automix calibrate` on them | {spread(whole)} s | |",
        f"| the same, beyond twice the parsing | {spread(beyond)} s | 15 s |",
    ]


# ------------------------------------------------------------------ planning and deciding


def three_tiers() -> Model:
    """Three tiers, eight votes on each but the last."""
    seen = votes(1.2, 2.5, 4.0, 1.0)
    small = TierModel(observation=seen, max_votes=8, answer=Cost(1.0, 0.01), vote=Cost(0.2))
    medium = TierModel(observation=seen, max_votes=8, answer=Cost(5.0, 0.05), vote=Cost(1.0))
    prior = (0.04, 0.01, 0.04, 0.04, 0.13, 0.06, 0.20, 0.48)
    large = TierModel(answer=Cost(20.0, 0.2))
    return Model(tiers=(small, medium, large), priors=(prior,), cost_weight=0.008, mean_tokens=100)


def plan_anew(model: Model) -> None:
    """A plan with nothing remembered from before."""
    tabulate.cache_clear()
    final_tables.cache_clear()
    PomdpPolicy(model).plan(Facts(128.0))


def decisions(policy: PomdpPolicy, questions: int) -> list[float]:
    """Seconds of each decision, with the words that explain it, over simulated questions."""
    rng, found = np.random.default_rng(0), []
    for tokens in rng.integers(20, 900, questions):
        run, seen = rollout(policy, Facts(float(tokens))), None
        chance = float(rng.beta(1.5, 1.5))
        while True:
            start = time.process_time()
            try:
                turn = run.send(seen) if seen else next(run)
            except StopIteration as stop:
                policy.reason(stop.value.belief)
                found.append(time.process_time() - start)
                break
            policy.reason(turn.belief)
            found.append(time.process_time() - start)
            m = turn.action.votes
            seen = Observation(int(rng.binomial(m, chance)), m, m) if m else Observation()
    return found


def planning(repeat: int) -> list[str]:
    """Lines of the table."""
    model = three_tiers()
    assert isinstance(model.tiers[0].observation, VoteObservations)
    cold = timed(lambda: plan_anew(model), 20 * repeat)
    policy = PomdpPolicy(model)
    decisions(policy, 2000)  # plans for the lengths that occur are made once
    each = decisions(policy, 2000)
    tail = float(np.quantile(each, 0.99)) * 1e3
    return [
        f"| planning 3 tiers × 8 votes | {spread(cold, 1e-3)} ms | 20 ms |",
        f"| a decision and its reason | {spread(each, 1e-3)} ms, 99 % below {tail:.2f} ms | 1 ms |",
    ]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description="How long calibrating, planning and deciding take.")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--tiers", type=int, nargs="+", default=[2, 3])
    args = parser.parse_args()
    print("| what | median (range) | limit |\n|---|---|---|")
    calibrated = (line for tiers in args.tiers for line in calibrating(args.rows, tiers, args.repeat))
    for line in (*planning(args.repeat), *calibrated):
        print(line, flush=True)


if __name__ == "__main__":
    main()
