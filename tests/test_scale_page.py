"""docs/scale.md: its scripts fit their schedulers, and its figures follow from what was measured."""

import ast
import re
import runpy
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from shell import ROOT

from automix_cli import cli

PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
SCALE = runpy.run_path(str(Path(__file__).parent / "benchmarks" / "scale.py"), run_name="imported")


def block(heading: str) -> str:
    """The first fenced block below a heading."""
    match = re.search(rf"^## {heading}\n.*?^```\w+\n(.*?)^```", PAGE, re.M | re.S)
    assert match, heading
    return match[1]


def options_of(command: str) -> set[str]:
    """The options of an `automix` command line, all of which must be there."""
    words = shlex.split(command)
    known = {name for param in cli.load_command(words[1]).params for name in param.opts}
    given = {word for word in words if word.startswith("-")}
    assert given <= known, given - known
    return given


def test_the_figures_follow_from_what_was_measured() -> None:
    assert SCALE["with_tables"](PAGE, SCALE["read_measured_table"](PAGE)) == PAGE


def test_the_job_of_kubernetes_has_as_many_indexes_as_shards() -> None:
    job = yaml.safe_load(block("Kubernetes"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (line,) = container["args"]
    assert job["spec"]["completionMode"] == "Indexed"
    assert f"--shard $JOB_COMPLETION_INDEX/{job['spec']['completions']} " in line
    assert "--resume" in options_of(line)
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in job["spec"]["template"]["spec"]["volumes"]}


def test_the_script_of_slurm_asks_for_the_shard_of_its_task(tmp_path: Path) -> None:
    (tmp_path / "automix").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "automix").chmod(0o755)
    env = {"PATH": f"{tmp_path}:/bin:/usr/bin", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "16"}
    ran = subprocess.run(["sh", "-c", block("Slurm")], env=env, capture_output=True, text=True, check=True)
    assert "-o part-3.jsonl" in ran.stdout
    assert ran.stdout.endswith("--shard 3/16\n")
    options_of(f"automix {ran.stdout}")


def test_the_commands_of_airflow_are_commands() -> None:
    texts = [
        ast.unparse(node.value)
        for node in ast.walk(ast.parse(block("Airflow")))
        if isinstance(node, ast.Return)
    ]
    assert len(texts) == 2
    for text in texts:
        options_of(text.strip("f'\""))


@pytest.mark.parametrize("rows", [1e6, 1e8])
def test_what_a_run_takes_is_bound_by_work_or_by_waiting(rows: float) -> None:
    numbers = SCALE["Numbers"](1, 2.0, 10, 100, 1000, 900, 60, 8)
    busy = SCALE["plan"](SCALE["Run"](rows, 10, latency_s=0.0), numbers)
    assert busy.hours * 3600 == pytest.approx(rows * 3 * 0.002 / 10 + rows * 1e-5 + 1 + rows * 1e-4)
    slow = SCALE["plan"](SCALE["Run"](rows, 10, latency_s=5.0, at_once=1), numbers)
    assert slow.hours * 3600 == pytest.approx(rows * 3 * 5.0 / 10 + rows * 1e-4)
    assert (busy.calls_usd, busy.cache_gb) == (rows / 1000, pytest.approx(rows * 3e-6))
