"""Help and completion: options under headings, examples that fit, and names that a word may begin."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path
from types import SimpleNamespace

import pytest
from known import draw_rows, two_tiers
from shell import ROOT, automix, environment, jsonl, read_terminal, warm_command
from typer.testing import CliRunner

from automix_cli import cli
from automix_cli.commands.option_groups import GROUPS
from automix_cli.commands.options import complete_file, complete_policies, complete_profile, complete_tier
from automix_cli.views.terminal import unbroken

GROUPED = ("ask", "verify", "calibrate", "bench", "label", "audit", "merge")


def help_of(command: str) -> str:
    return (
        CliRunner(env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).invoke(cli.app, [command, "--help"]).stdout
    )


@pytest.mark.parametrize("command", [*GROUPED, "doctor", "serve"])
def test_examples_stand_before_the_options_and_fit_into_80_columns(command: str) -> None:
    lines = help_of(command).splitlines()
    assert max(map(len, lines)) <= 80
    start = lines.index("  Examples:")
    for line in lines[start + 1 : lines.index("", start)]:
        assert line.startswith(("    automix ", "    cat "))
    headings = [i for i, line in enumerate(lines) if line.endswith(":") and not line.startswith(" ")]
    assert start < min(headings)


@pytest.mark.parametrize("command", GROUPED)
def test_every_option_of_a_command_is_shown_once_under_a_heading(command: str) -> None:
    lines = help_of(command).splitlines()
    assert "Input and output:" in lines
    assert "Options:" not in lines
    for param in cli.load_command(command).params:
        if param.param_type_name == "option":
            place = re.compile(rf"  (-\w, )?{re.escape(max(param.opts, key=len))}( |$)")
            assert len([line for line in lines if place.match(line)]) == 1, param.name


def test_every_name_of_a_group_is_an_option_of_some_command() -> None:
    names = {param.name for command in (*GROUPED, "serve") for param in cli.load_command(command).params}
    grouped = [name for own in GROUPS.values() for name in own]
    assert set(grouped) <= names
    assert len(grouped) == len(set(grouped))


def test_profiles_tiers_and_policies_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("tiers: [{name: tiny, model: demo/small}, {name: huge, model: demo/large}]")
    assert complete_profile("o") == ["ollama", "openai", "openai-compatible", "openrouter"]
    assert complete_profile("./m") == ["./mine.yaml"]
    Path("more").mkdir()
    Path("more/other.yaml").touch()
    assert complete_profile("mi") == complete_file("mi") == ["mine.yaml"]
    assert complete_profile("more/") == ["more/other.yaml"]
    assert complete_profile("")[-1] == "./mine.yaml"

    line = SimpleNamespace(params={"profile": "./mine.yaml"})
    assert complete_tier(line, "") == ["tiny", "huge"]
    line.params = {"profile": "none.yaml"}
    assert complete_tier(line, "") == []
    assert complete_policies("pomdp+") == ["pomdp+query"]
    assert complete_policies("threshold,orac") == ["threshold,oracle"]
    assert complete_policies("threshold,threshold") == complete_policies("oracle,al") == []


@pytest.mark.parametrize(
    ("line", "ends"),
    [
        ("automix|bench|rows.jsonl|--policies|orac", ["oracle"]),
        ("automix|bench|rows.jsonl|--policies|separate|:|arg", ["argmax"]),
        ("automix|bench|rows.jsonl|--policies|threshold,separate|:|arg", ["argmax"]),
        ("automix|bench|rows.jsonl|--policies|separate|:", ["argmax", "random", "prediction", "sorted"]),
        ("automix|profile|show|openai-", ["openai-compatible"]),
        ("automix|profile|check|none", []),
        ("automix|ask|--tiers|ollama/a|:|b,demo/small|--profile|demo|--tier|l", ["large"]),
        ("automix|ask|-p|demo|--baseline|", ["small", "large"]),
    ],
)
def test_bash_completes_what_it_cut_at_colons(line: str, ends: list[str]) -> None:
    words = line.split("|")
    ran = automix(
        env={
            "_AUTOMIX_COMPLETE": "complete_bash",
            "COMP_WORDS": "\n".join(words),
            "COMP_CWORD": str(len(words) - 1),
        },
    )
    assert ran.out.split() == ends


def test_lines_on_a_terminal_are_cut_between_words() -> None:
    text = "profile demo is uncalibrated: it escalates when most votes say no"
    assert unbroken(text, 30).splitlines() == [
        "profile demo is uncalibrated:",
        "it escalates when most votes",
        "say no",
    ]
    assert unbroken(text, None) == text
    command = f"go on with: automix ask {'x' * 80}"
    address = f"see {'y' * 60} there"
    assert unbroken(command, 30).splitlines() == ["go on with:", f"  automix ask {'x' * 80}"]
    assert unbroken(address, 30).splitlines() == ["see", "y" * 60, "there"]


def on_one_terminal(columns: int, *words: str | Path) -> str:
    """What a person sees whose terminal is all three streams."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env, streams = environment(TERM="xterm"), {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen([*warm_command(), *map(str, words)], env=env, **streams):
        os.close(theirs)
        return read_terminal(ours)


@pytest.mark.parametrize(
    "words",
    [
        ("profile", "list"),
        ("profile", "check", str(ROOT / "profiles" / "demo.yaml")),
        ("ask", "--profile", "demo", "--dry-run", "What is 17 * 23?"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_no_command_leaves_it_to_the_terminal_to_break_its_lines(words: tuple[str, ...]) -> None:
    lines = on_one_terminal(70, *words).splitlines()
    assert len(lines) > 2
    assert [line for line in lines if len(line) > 70 and " " in line] == []  # an address stays whole


def test_rows_that_are_shown_on_the_terminal_have_no_bar_between_them(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "What is 17 * 23?"}\n{"question": "What is 2 + 2?"}\n')
    screen = on_one_terminal(80, "ask", "--profile", "demo", "-i", rows)
    lines = screen.splitlines()
    assert "━" not in screen
    assert len([line for line in lines if line.startswith('{"schema"')]) == 2
    assert "profile demo is uncalibrated: it asks large when most votes say no, a rule of" in lines
    to_file = on_one_terminal(80, "ask", "--profile", "demo", "-i", rows, "-o", tmp_path / "answers.jsonl")
    assert "━" in to_file


def test_sentences_on_a_narrow_terminal_are_cut_between_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.jsonl").write_text(jsonl(*draw_rows(two_tiers(), 40, 0)))
    Path("q.jsonl").write_text('{"question": "What is 17 * 23?"}\n')
    bench = ("bench", "t.jsonl", "--policies", "self-consistency")
    for args in (bench, ("ask", "--profile", "demo", "-i", "q.jsonl", "--dry-run")):
        lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", on_one_terminal(80, *args)).splitlines()
        assert [line for line in lines if len(line) > 80] == []
        whole = automix(*args).out.splitlines()[-2].split()
        words = " ".join(lines).split()
        assert any(words[k : k + len(whole)] == whole for k in range(len(words)))
