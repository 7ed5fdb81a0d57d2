"""The package automix-llm on a file of trace rows: read, train, evaluate. Never imports this project.

    VENV/bin/python tests/benchmarks/automix_llm_whole.py ROWS

Runs in an environment of its own, see `speed_fit.py`, which times it as a whole process.
"""

import json
import sys

import pandas as pd  # type: ignore[import-untyped]
from automix import POMDP, Automix  # type: ignore[import-not-found]
from automix_llm_child import _categories

with open(sys.argv[1], encoding="utf-8") as file:
    cells = [json.loads(line)["tiers"] for line in file]
rows = pd.DataFrame(
    {
        "llama13b_f1": [float(cell["tier-0"]["score"]) for cell in cells],
        "llama70b_f1": [float(cell["tier-1"]["score"]) for cell in cells],
        "p_ver_13b": [sum(cell["tier-0"]["votes"]) / len(cell["tier-0"]["votes"]) for cell in cells],
    }
)
rows["category"] = _categories(rows)
package = Automix(POMDP(num_bins=8), costs=[1, 20], verifier_cost=1)
package.train(rows)
print(package.evaluate(rows))
