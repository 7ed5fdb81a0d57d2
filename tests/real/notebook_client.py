"""Runs the cells of `cells.json` in a kernel of Jupyter; prints what each shows, and the versions.

PYTHON notebook_client.py cells.json
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

PACKAGES = ("ipykernel", "nbclient", "ipython")


def shown(cell: Any) -> str:
    """What stands below a cell: its value, its streams, or the name of its error."""
    return "".join(
        {"stream": output.get("text"), "error": output.get("ename")}.get(output.output_type)
        or output.data["text/plain"]
        for output in cell.outputs
    )


def main() -> None:
    """Run all cells, also after one that raises."""
    sources = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True).execute()
    nbformat.validate(notebook)
    row = {"shown": [shown(cell) for cell in notebook.cells]}
    print(json.dumps({**row, "versions": {name: version(name) for name in PACKAGES}}))


main()
