"""How often an audit warns for nothing, how soon of a swapped tier, and whether its saving is true.

    python tests/benchmarks/audit.py [--splits 30] [--plain-splits 400] [--only NAME ...]

Rows of recorded sets play as live traffic: a router is calibrated on a random half of them, the other half
is the stream, and every row of it is compared with the large tier and looked at.

- bounds: the exact chance that a share is outside at any look of a window, for a few shares;
- false warnings: over splits, at any look at the half, by the rule of `audit` and by the plain one (the
  lower bound exceeds the share of the fit, taken for exact); and over more splits in which the router is
  fitted but not calibrated, at the cost_weight `--weight`;
- swapped tier: a 2B model answers in place of the small tier. Its votes are those of the tier that it
  replaces ("old votes"), or what the five voters think of its answers ("own votes"). Rows of the half
  are drawn with replacement until `audit` warns; median and ninth decile of the comparisons that took;
- saving: the estimate from a fifth of the rows beside the recorded costs, over draws.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from live_play import play, profile_for
from looks import chance_to_be_caught
from msgspec.structs import replace
from recorded import DATA

from automix_cli import scoring
from automix_cli.data.answer_rows import AnswerRow, read_answers
from automix_cli.data.read_traces import read_table
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.audit import WINDOW, audit, drifts_at_every_look
from automix_cli.evaluation.calibrate import Calibration, calibrate
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.partition import partitions_of
from automix_cli.evaluation.rates import differing_shares
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.sequences import share_bounds, share_rise
from automix_cli.fitting.drift import fitted_rates
from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.problem import Policy

SETTINGS = Settings(max_votes=5)
OBJECTIVE = Objective("keep", 0.95, 0.8)
VOTERS = (
    *("Qwen2-7B-Instruct", "Meta-Llama-3-8B-Instruct", "Phi-3.5-mini-instruct", "gemma-2-9b-it"),
    *("Qwen2.5-7B-Instruct", "Mistral-Nemo-Instruct-2407"),
)
INTRUDER = "gemma-2-2b-it"
CHAR = 1e-6  # dollars a character of the large tier
MOST_COMPARISONS = 1_000


class LiveSet(NamedTuple):
    """A recorded set of a small and a large tier, and how answers are compared."""

    name: str
    large: str
    scorer: str
    small: str = "ensemble5-small"

    def rows(self) -> list[dict[str, Any]]:
        """Trace rows of small and large; a large answer costs by its length, a small one a twentieth."""
        with (DATA / f"{self.name}.jsonl").open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        chars = [row["tiers"][self.large]["out_chars"] for row in rows]
        small_usd = CHAR * float(np.mean(chars)) / 20
        return [self._row(row, small_usd) for row in rows]

    def _row(self, row: dict[str, Any], small_usd: float) -> dict[str, Any]:
        small, large = row["tiers"][self.small], row["tiers"][self.large]
        own = {"cost": small_usd, "vote_cost": small_usd / 10, "votes": small["votes"]}
        tiers = {
            "small": {"score": small["correct"], "answer": _text(small), **own},
            "large": {**_judged(large), "cost": CHAR * large["out_chars"]},
        }
        intruder = row["tiers"][INTRUDER]
        voters = [_text(row["tiers"][name]) for name in VOTERS if name in row["tiers"]][:5]
        votes = [int(scoring.equivalent(_text(intruder), text, self.scorer)) for text in voters]
        return {
            "id": row["id"],
            "gold": row.get("gold"),
            "tiers": tiers,
            "old votes": {**_judged(intruder), **own},
            "own votes": {**_judged(intruder), **own, "votes": votes},
        }


def _judged(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {"score": cell["correct"], "answer": _text(cell)}


def _text(cell: Mapping[str, Any]) -> str:
    return cell.get("answer") or "no answer"


SETS = (
    LiveSet("zeroeval_gsm8k", "claude-3-5-sonnet-20241022", "numeric"),
    LiveSet("cruxeval_output", "gpt-4o-mini-2024-07-18", "exact"),
    LiveSet("zeroeval_math_l5", "o1-mini-2024-09-12", "exact"),
)


class Half(NamedTuple):
    """A router calibrated on one half of a set, and the other half to play."""

    calibration: Calibration
    stream: TraceTable
    places: np.ndarray

    @property
    def router(self) -> dict[str, Any]:
        """The `router:` block."""
        return self.calibration.router()


def halves(live: LiveSet, rows: Sequence[Mapping[str, Any]], seed: int) -> Half:
    """Calibrate on a random half."""
    table = read_table(enumerate(rows, 1), tiers=("small", "large"), compare=live.scorer)
    [cut] = partitions_of(table, 0.5, seed=seed)
    calibration = calibrate(table.subset(cut.train), SETTINGS, OBJECTIVE, seed=seed)
    return Half(calibration, table.subset(cut.test), cut.test)


# ---------------------------------------------------------------- bounds


def bounds_line() -> str:
    """How often the bounds of a share are ever wrong in a window."""
    chances = []
    for p in (0.005, 0.02, 0.05, 0.1):
        chance = chance_to_be_caught(p, lambda k, n, p=p: not _is_within(p, k, n), WINDOW)
        chances.append(f"{chance:.1%} at {p:.1%}")
    return f"bounds ever wrong in {WINDOW:,} looks: {', '.join(chances)}"


def _is_within(p: float, k: int, n: int) -> bool:
    bounds = share_bounds(k, n)
    return bounds.low <= p <= bounds.high


# ---------------------------------------------------------------- false warnings


class Warnings(NamedTuple):
    """Shares of differing rows, fitted and played, and whether each rule warned."""

    fitted: float
    played: float
    rule: bool
    plain: bool


def calibrated_warnings(half: Half, seed: int) -> Warnings | None:
    """Play the stream once with a router that was calibrated."""
    hits, cases = half.router["fitted"]["differing"]["large"]
    return false_warnings(half.calibration.policy(), (hits, cases), half.stream, seed)


def fitted_warnings(live: LiveSet, rows: list[dict[str, Any]], weight: float, seed: int) -> Warnings | None:
    """Play one half once with a router that was fitted on the other, at a given cost_weight."""
    table = read_table(enumerate(rows, 1), tiers=("small", "large"), compare=live.scorer)
    [cut] = partitions_of(table, 0.5, seed=seed)
    training = table.subset(cut.train)
    policy = fit(training, SETTINGS).policy(weight, SETTINGS)
    share = differing_shares(training, replay(policy, training))[1]
    return false_warnings(policy, (share.hits, share.cases), table.subset(cut.test), seed)


def false_warnings(
    policy: Policy[Any], share: tuple[float, float], stream: TraceTable, seed: int
) -> Warnings | None:
    """Play a stream once; None where the router never routes."""
    run = replay(policy, stream)
    rng = np.random.default_rng(seed)
    same = stream.first_equal == stream.first_equal[:, [1]]
    chances = 1 - (run.reports * same).sum(axis=1)
    if not chances.any() and not share[0]:
        return None
    differs = (rng.random(len(chances)) < chances)[rng.permutation(len(chances))]
    counts = list(enumerate(np.cumsum(differs).tolist(), 1))
    rule = any(k >= 3 and share_rise(k, n, *share) >= 50 for n, k in counts if differs[n - 1])
    exact = share[0] / share[1]
    plain = any(k >= 3 and share_bounds(k, n).low > exact for n, k in counts if differs[n - 1])
    return Warnings(exact, float(differs.mean()), rule, plain)


# ---------------------------------------------------------------- live rows


def live_rows(
    live: LiveSet, rows: list[dict[str, Any]], router: Mapping[str, Any], share: float, seed: int = 0
) -> list[AnswerRow]:
    """The rows that `ask --shadow` would write."""
    profile = profile_for(("small", "large"), router, SETTINGS.max_votes)
    profile = replace(profile, task=replace(profile.task, scorer=live.scorer))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "answers.jsonl"
        answers = play(rows, profile, share=share, seed=seed)
        path.write_text("".join(f"{json.dumps(row)}\n" for row in answers), "utf-8")
        return list(read_answers([path]))


def again(rows: Sequence[AnswerRow], rng: np.random.Generator, count: int) -> Iterator[AnswerRow]:
    """Rows drawn with replacement, each with an id of its own."""
    for i, at in enumerate(rng.integers(0, len(rows), count)):
        yield replace(rows[at], question=replace(rows[at].question, id=i))


def comparisons_until_warning(half: Half, rows: Sequence[AnswerRow], seed: int) -> float:
    """After how many comparisons `audit` warns of differing rows; infinite where it does not."""
    stream = again(rows, np.random.default_rng(seed), MOST_COMPARISONS)
    at = audit(stream, router=half.router).windows[0].warning_at
    return np.inf if at is None else at


def rows_until_drift(half: Half, rows: Sequence[AnswerRow], seed: int) -> float:
    """After how many rows votes or escalations have moved, looked at every fifty."""
    stream = list(again(rows, np.random.default_rng(seed), MOST_COMPARISONS))
    for count in range(50, len(stream) + 1, 50):
        votes = [
            step.first_vote for row in stream[:count] for step in row.route[:1] if step.first_vote is not None
        ]
        rates = {
            "escalated": (sum(len(row.route) > 1 for row in stream[:count]), count),
            "small": (sum(votes), len(votes)),
        }
        if drifts_at_every_look(fitted_rates(half.router), rates):
            return count
    return np.inf


def quantiles(values: Sequence[float]) -> str:
    """Median and ninth decile."""
    ordered = sorted(values)
    picks = [ordered[int(q * (len(ordered) - 1))] for q in (0.5, 0.9)]
    return " / ".join(f"{pick:.0f}" if np.isfinite(pick) else f"> {MOST_COMPARISONS:,}" for pick in picks)


def swapped(live: LiveSet, rows: list[dict[str, Any]], half: Half, kind: str, repeats: int) -> str:
    """What it takes to notice that another model answers in place of the small tier."""
    changed = [{**rows[i], "tiers": {**rows[i]["tiers"], "small": rows[i][kind]}} for i in half.places]
    answers = live_rows(live, changed, half.router, 1.0)
    share = np.mean([row.comparison is not None and row.comparison.equal is False for row in answers])
    warned = quantiles([comparisons_until_warning(half, answers, seed) for seed in range(repeats)])
    drifted = quantiles([rows_until_drift(half, answers, seed) for seed in range(repeats)])
    return f"{kind}: {share:.1%} differ; warning after {warned} comparisons, drift after {drifted} rows"


def savings(live: LiveSet, rows: list[dict[str, Any]], half: Half, repeats: int) -> str:
    """The saving as an audit estimates it from a fifth of the rows, beside what was recorded."""
    own = [rows[i] for i in half.places]
    run = replay(half.calibration.policy(), half.stream)
    truth, cost = float(half.stream.cost[:, 1].sum()), float(run.cost.sum())
    covers, errors = 0, []
    for seed in range(repeats):
        result = audit(live_rows(live, own, half.router, 0.2, seed)).savings
        assert result.baseline is not None
        if result.error is None:
            continue  # too few rows were drawn of those that are not escalated
        assert result.saving is not None
        assert result.shadow is not None
        gap = result.saving + result.shadow - (truth - cost)
        covers += abs(gap) <= result.error
        errors.append(100 * result.error / truth)
    width = f"± {np.mean(errors):.1f} points"
    return f"replay saves {1 - cost / truth:.1%}; within the interval ({width}) in {covers} of {len(errors)}"


def main() -> None:
    """Print a block a set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=30)
    parser.add_argument("--plain-splits", type=int, default=400)
    parser.add_argument("--weight", type=float, default=800.0)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=[live.name for live in SETS])
    options = parser.parse_args()
    print(bounds_line(), flush=True)
    for live in SETS:
        if live.name not in options.only:
            continue
        rows = live.rows()
        first = halves(live, rows, 0)
        print(f"{live.name} → {live.large}, {len(first.stream)} rows a stream")
        print(f"  saving: {savings(live, rows, first, options.repeats)}")
        for kind in ("old votes", "own votes"):
            print(f"  swapped, {swapped(live, rows, first, kind, options.repeats)}", flush=True)
        results = [calibrated_warnings(halves(live, rows, seed), seed) for seed in range(options.splits)]
        print(f"  calibrated: {summary(results)}", flush=True)
        results = [fitted_warnings(live, rows, options.weight, seed) for seed in range(options.plain_splits)]
        print(f"  fitted alone: {summary(results)}", flush=True)


def summary(results: Sequence[Warnings | None]) -> str:
    """The means over splits that route."""
    routed = [result for result in results if result is not None]
    if not routed:
        return "no split routes"
    means = [np.mean([getattr(r, name) for r in routed]) for name in Warnings._fields]
    words = "differ {:.2%} when fitted, {:.2%} played; false warnings {:.1%}, by the plain rule {:.1%}"
    return f"{len(routed)} splits, {words.format(*means)}"


if __name__ == "__main__":
    main()
