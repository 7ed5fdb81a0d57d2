"""The plan whose prior a query-side router sets, beside that router alone, on recorded sets with texts.

    python tests/benchmarks/question_prior.py [--splits 10] [--rows 2000] [--only NAME ...]

For `separate:argmax` and for `knn`: gain areas in quality points above the mix of single tiers, of the
router alone and of `pomdp+query` with the same router, on the same splits, half of the rows for training.
Standard errors are over the splits, of the difference in pairs. Of larger sets `--rows` questions are
drawn. It ends with an error where the plan is behind its router by more than two standard errors.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from agreement import FOUR_O, MINI, SONNET, Cell, Line, areas_of_each, table_of_lines
from recorded import DATA

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.crossfit import Crossfit
from automix_cli.fitting.query_router_kinds import QueryRouterKind
from automix_cli.fitting.router_block import Settings

ONE_DIVISION = Crossfit(repeats=1)  # in training, where settings are measured
ROUTERS: dict[str, QueryRouterKind] = {"separate:argmax": "separate", "knn": "knn"}
CELLS = (
    Cell("routellm_gsm8k", ("mixtral-8x7b-instruct", "gpt-4-1106-preview"), (1, 20)),
    Cell("routellm_mmlu", ("mixtral-8x7b-instruct", "gpt-4-1106-preview"), (1, 20)),
    Cell("llmrouter_9llms", ("qwen2.5-7b-instruct", "llama-3.1-nemotron-51b-instruct"), (1, 20)),
    Cell("mmlupro_confidence", (MINI, FOUR_O), (1, 20)),
    Cell("cruxeval_output", ("Qwen2.5-7B-Instruct", FOUR_O), (1, 20)),
    Cell("zeroeval_math_l5", ("Qwen2.5-7B-Instruct", "o1-mini-2024-09-12"), (1, 20)),
    Cell("zeroeval_gsm8k", ("Meta-Llama-3-8B-Instruct", SONNET), (1, 20), "numeric"),
    Cell("openai_gsm8k_gpt3", ("gpt3-6b-ft", "gpt3-175b-ft"), (1, 20)),
    Cell("evouna_nq", ("chatgpt-3.5", "gpt-4"), (1, 20)),
    Cell("routerarena_haiku_flash", ("claude-3-haiku-20240307", "gemini-2.0-flash-001"), (1, 20)),
    Cell("zeroeval_math_l5", ("Qwen2.5-7B-Instruct", MINI, "o1-mini-2024-09-12"), (1, 2, 20)),
    Cell("cruxeval_output", ("ensemble5-small", FOUR_O), (1, 20), votes=True),
)


def some_rows(table: TraceTable, most: int) -> TraceTable:
    """The table, or so many of its rows, drawn with a fixed seed."""
    if len(table) <= most:
        return table
    return table.subset(np.sort(np.random.default_rng(0).permutation(len(table))[:most]))


def measure(cell: Cell, splits: int, rows: int) -> dict[str, Line]:
    """Per router: itself, and the plan whose prior it sets."""
    table, lines = some_rows(cell.table(), rows), {}
    settings = Settings(max_votes=max(table.max_votes))
    for rule, kind in ROUTERS.items():
        start = time.process_time()
        areas = areas_of_each(
            table, (rule, "pomdp+query"), settings, splits, query_router=kind, options=ONE_DIVISION
        )
        lines[rule] = Line(f"{cell}, {len(table):,} rows", areas[rule], areas["pomdp+query"])
        print(f"{rule}, {time.process_time() - start:.0f} s:", file=sys.stderr)
        print(*list(table_of_lines([lines[rule]], rule))[2:], file=sys.stderr, flush=True)
    return lines


def is_behind(line: Line) -> bool:
    """Whether the plan is behind its router by more than two paired standard errors."""
    gain = line.after - line.before
    return bool(gain.mean() < -2 * gain.std(ddof=1) / np.sqrt(len(gain)))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--only", nargs="*", metavar="NAME")
    args = parser.parse_args()
    if not DATA.exists():
        sys.exit("no recorded sets at hand: set AUTOMIX_DATA")
    cells = [cell for cell in CELLS if not args.only or cell.name in args.only]
    each = [measure(cell, args.splits, args.rows) for cell in cells]
    print(f"{args.splits} splits, half of the rows for training\n")
    for rule in ROUTERS:
        print("\n".join(table_of_lines([lines[rule] for lines in each], f"`pomdp+query` of {rule}")), "\n")
    behind = [f"{line.cell} ({rule})" for lines in each for rule, line in lines.items() if is_behind(line)]
    sys.exit(f"behind the router alone: {'; '.join(behind)}" if behind else 0)


if __name__ == "__main__":
    main()
