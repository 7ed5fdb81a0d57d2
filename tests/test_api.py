"""Opening and closing a run from Python, and what that loads."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from shell import environment

from automix_cli.api import Automix, CallOptions, choose_profile
from automix_cli.errors import UsageError
from automix_cli.records import Question

CALIBRATED = """\
version: 1
extends: demo
router:
  kind: threshold
  cut: 0.5
  votes: 4
  fitted:
    rates: {escalated: [31, 100], small: [70, 100]}
"""


def modules_after(code: str, cwd: Path) -> set[str]:
    """The modules that a child process has loaded once it has run `code`."""
    script = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, cwd=cwd, env=environment(), text=True
    )
    assert process.returncode == 0, process.stderr
    return set(process.stderr.splitlines()[-1].split())


def test_importing_the_api_loads_no_heavy_library(tmp_path: Path) -> None:
    loaded = modules_after("import automix_cli.api", tmp_path)
    assert not loaded & {"numpy", "litellm", "rich", "sklearn", "yaml", "diskcache", "asyncio"}


@pytest.mark.parametrize("rows", [False, True], ids=["one question", "rows"])
def test_a_calibrated_ask_does_not_load_evaluation(rows: bool, tmp_path: Path) -> None:
    (tmp_path / "automix.yaml").write_text(CALIBRATED, encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text('{"question": "What is 17 * 23?"}\n', encoding="utf-8")
    words = ["-i", "rows.jsonl"] if rows else ["What is 17 * 23?"]
    code = (
        "from automix_cli import cli\n"
        f"sys.argv = ['automix', 'ask', '--profile', 'automix.yaml', '--no-cache', *{words!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
    )
    loaded = modules_after(code, tmp_path)
    assert "automix_cli.cascade.answer" in loaded
    assert not {name for name in loaded if name.startswith("automix_cli.evaluation")}


def test_notes_go_to_the_callback_and_the_backend_is_closed() -> None:
    options, notes = CallOptions(profile="demo", no_cache=True), list[str]()

    async def main() -> str | None:
        async with Automix(choose_profile(options), options, note=notes.append) as cascade:
            return (await cascade.answer(Question(text="What is 17 * 23?"))).answer

    assert asyncio.run(main()) == "391"
    assert notes == ["demo tiers: simulated models, no network, prices made up"]


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        choose_profile(CallOptions(profile="demo", tiers="demo/small"))
    with pytest.raises(UsageError, match="needs a budget"):
        choose_profile(CallOptions(profile="demo", on_budget="degrade"))
