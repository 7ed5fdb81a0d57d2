"""The scripts in tests/benchmarks fit the package as it is: each of them can be imported."""

import runpy
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent / "benchmarks"
FOREIGN = {"automix_llm_child.py", "automix_llm_whole.py"}  # need packages of environments of their own

# Each script is imported as if it alone were run: with its own folder before the path, and without
# the modules of tests/ that an earlier one has loaded.
IMPORT_EACH = """
import runpy, sys, traceback
from pathlib import Path

before, failures = list(sys.path), 0
tests = str(Path(sys.argv[1]).parents[1])
for script in sys.argv[1:]:
    sys.path[:] = [str(Path(script).parent), *before]
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(tests):
            del sys.modules[name]
    try:
        runpy.run_path(script, run_name="imported")
    except BaseException:
        failures += 1
        traceback.print_exc()
sys.exit(failures)
"""


def import_each(*scripts: Path) -> subprocess.CompletedProcess[str]:
    """Import scripts in a process of their own; its exit status counts those that failed."""
    command = [sys.executable, "-c", IMPORT_EACH, *map(str, scripts)]
    return subprocess.run(command, capture_output=True, text=True)


def test_every_script_can_be_imported() -> None:
    scripts = sorted(set(BENCHMARKS.glob("*.py")) - {BENCHMARKS / name for name in FOREIGN})
    assert len(scripts) > 10
    run = import_each(*scripts)
    assert run.returncode == 0, run.stderr


def test_a_script_that_asks_for_a_name_that_is_gone_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "benchmarks"
    folder.mkdir(parents=True)
    (folder / "well.py").write_text("import automix_cli.evaluation.bench\n")
    (folder / "stale.py").write_text("from automix_cli.evaluation.bench import no_such_name\n")
    run = import_each(folder / "well.py", folder / "stale.py")
    assert run.returncode == 1
    assert "no_such_name" in run.stderr


def test_verifications_on_one_document_share_nearly_all_of_their_prompts() -> None:
    script = runpy.run_path(str(BENCHMARKS / "shared_prefix.py"), run_name="imported")
    rows = script["labelled_questions"](40, 20_000)
    assert len({row.question.text for row in rows}) == 40
    shares = {
        kind: script["shared_prefix"]([prompt_of(row) for row in rows]).share
        for kind, prompt_of in script["KINDS"].items()
    }
    assert shares["verifications"] > 0.98
    assert shares["verifications, one mark for all texts"] < 0.15
