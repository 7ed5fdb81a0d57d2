"""`Automix` in a notebook: a kernel of Jupyter, whose event loop runs while a cell does."""

import json
from pathlib import Path

import pytest
from environment import server_python
from shell import ROOT
from test_clients_of_serve import run

pytestmark = pytest.mark.real

NOTEBOOK = ("ipykernel", "nbclient", str(ROOT))
CELLS = {
    "from automix_cli import Automix\nautomix = Automix.from_profile('demo', no_cache=True)": "",
    "automix.ask('What is 17 * 23?').answer": "'391'",
    "(await automix.aask('What is 6 * 7?')).answer": "'42'",
    "automix.ask('')": "DataError",
    "[row.answer for row in automix.ask_many(f'What is {n} * 23?' for n in (2, 3))]": "['46', '69']",
    "[row.answer async for row in automix.aask_many(['What is 6 * 7?'])]": "['42']",
    "from concurrent.futures import ThreadPoolExecutor\n"
    "with ThreadPoolExecutor(20) as pool:\n"
    "    rows = list(pool.map(automix.ask, (f'What is {n} * 23?' for n in range(2, 22))))\n"
    "[int(row.answer) for row in rows] == [23 * n for n in range(2, 22)]": "True",
    "automix.close()": "",
    "await automix.aask('What is 6 * 7?')": "UsageError",
}


def test_a_notebook(server_folder: Path, tmp_path: Path) -> None:
    python = server_python(server_folder, NOTEBOOK)
    (tmp_path / "cells.json").write_text(json.dumps(list(CELLS)))
    script = Path(__file__).with_name("notebook_client.py")
    printed = run(python, script, "cells.json", folder=tmp_path, PYTHONPATH=str(ROOT))
    row = json.loads(printed)
    print(row["versions"])
    assert row["shown"] == list(CELLS.values())
