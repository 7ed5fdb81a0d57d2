"""Opening and closing a run from Python, and what that loads."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from shell import environment

from automix_cli.api import CallOptions, Runtime, choose_profile
from automix_cli.backends.base import ChosenBackend, Request
from automix_cli.backends.cache import Cached
from automix_cli.cascade.cascade import Cascade
from automix_cli.errors import UsageError
from automix_cli.records import Completion, Question

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
        async with Runtime(choose_profile(options), options, note=notes.append) as cascade:
            return (await cascade.answer(Question(text="What is 17 * 23?"))).answer

    assert asyncio.run(main()) == "391"
    assert notes == ["demo tiers: simulated models, no network, prices made up"]


class Broken:
    """A backend that answers, and cannot be closed."""

    def __init__(self) -> None:
        self.closings = 0

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        return (Completion(text="Because.\nVerification Decision: The AI generated answer is Correct."),)

    async def aclose(self) -> None:
        self.closings += 1
        raise RuntimeError("the connection was closed before")


def test_an_answer_stands_though_the_connections_cannot_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Broken(), Broken()
    wire = ChosenBackend({"demo/small": lambda: first, "demo/large": lambda: second}, lambda r: r.model)
    monkeypatch.setattr("automix_cli.api.open_wire", lambda *args, **more: wire)
    options, details = CallOptions(profile="demo", no_cache=True), list[str]()
    runtime = Runtime(choose_profile(options), options, detail=details.append)

    async def job(cascade: Cascade) -> str | None:
        await wire.complete(Request(model="demo/large", messages=()))
        return (await cascade.answer(Question(text="What is 17 * 23?"))).answer

    assert "Because." in (runtime.run(job) or "")
    assert details == ["closing the connections failed: RuntimeError: the connection was closed before"]
    assert (first.closings, second.closings) == (1, 1), "each is closed, whatever becomes of the other"
    assert not runtime.cascade.backend.store.folder.exists(), "the empty cache of --no-cache goes, too"


def test_a_run_that_failed_fails_with_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cached, "aclose", Broken.aclose)
    options = CallOptions(profile="demo", no_cache=True)

    async def job(cascade: Cascade) -> None:
        cascade.backend.closings = 0
        raise UsageError("its own")

    with pytest.raises(UsageError, match="its own"):
        Runtime(choose_profile(options), options).run(job)


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        choose_profile(CallOptions(profile="demo", tiers="demo/small"))
    with pytest.raises(UsageError, match="needs a budget"):
        choose_profile(CallOptions(profile="demo", on_budget="degrade"))


def ask_once(options: CallOptions) -> tuple[str | None, float | None]:
    """The answer to one question, and what it cost."""
    runtime = Runtime(choose_profile(options), options, is_single=True)
    answer = runtime.run(lambda cascade: cascade.answer(Question(text="What is 17 * 23?")))
    return answer.answer, answer.spent_usd


def test_what_is_cached_is_answered_without_an_event_loop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AUTOMIX_CACHE_DIR", str(tmp_path / "cache"))
    options = CallOptions(profile="demo")
    answer, spent = ask_once(options)
    assert spent
    monkeypatch.setattr(asyncio, "run", None)
    assert ask_once(options) == (answer, 0.0)


def test_without_an_event_loop_an_error_closes_the_run_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AUTOMIX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(asyncio, "run", None)
    options = CallOptions(profile="demo")
    runtime, closed = Runtime(choose_profile(options), options, is_single=True), []
    monkeypatch.setattr(runtime._cache.store, "close", lambda: closed.append(True))

    async def fail(cascade: Cascade) -> None:
        raise UsageError("no")

    with pytest.raises(UsageError):
        runtime.run(fail)
    assert closed
