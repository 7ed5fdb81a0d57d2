"""What README.md and docs/ show of a terminal is what the commands print; and the harness would notice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from console_blocks import (
    Command,
    PageError,
    Session,
    Sessions,
    Shell,
    blocks_of,
    difference,
    matches,
    page_before,
    pages,
    run_block,
    shown,
    updated,
)
from shell import ROOT

# ---------------------------------------------------------------- the pages


@pytest.fixture(scope="module")
def sessions() -> Iterator[Sessions]:
    with Sessions() as sessions:
        yield sessions


def all_blocks() -> list[object]:
    return [
        pytest.param(page, number, id=f"{page.relative_to(ROOT)}:{block.line}")
        for page in pages()
        for number, block in enumerate(blocks_of(page.read_text(encoding="utf-8")))
    ]


@pytest.mark.parametrize(("page", "number"), all_blocks())
def test_a_block_shows_what_its_commands_print(sessions: Sessions, page: Path, number: int) -> None:
    session = sessions.of(page)
    block = session.blocks[number]
    if block.not_run:
        pytest.skip(f"line {block.line} of {page.name} is not run: {block.not_run}")
    differences = [text for pair in session.block(number) if (text := difference(*pair))]
    assert not differences, "\n".join(
        [*differences, f"python tests/console_blocks.py --update {page.relative_to(ROOT)}"]
    )


def test_most_blocks_run() -> None:
    blocks = [block for page in pages() for block in blocks_of(page.read_text(encoding="utf-8"))]
    ran = [block for block in blocks if not block.not_run]
    print(f"{len(ran)} of {len(blocks)} blocks run")
    assert len(ran) > len(blocks) / 2


# ---------------------------------------------------------------- reading a page


def page_of(*lines: str, above: str = "") -> str:
    return "\n".join([above, "```console", *lines, "```", ""])


def test_commands_and_their_output_are_told_apart_with_their_lines() -> None:
    [block] = blocks_of(page_of("$ one \\", "  two", "a", "", "b", "$ three", above="text"))
    assert block.commands == (
        Command(3, ("$ one \\", "  two"), ("a", "", "b")),
        Command(8, ("$ three",), ()),
    )
    assert block.commands[0].text == "one \\\n  two"


@pytest.mark.parametrize("lines", [("automix ask",), ("output", "$ automix ask"), ()])
def test_a_block_without_a_command_is_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(PageError, match="line 3: a console block begins with"):
        blocks_of(page_of(*lines))


def test_other_fences_are_no_console_blocks() -> None:
    assert blocks_of("```sh\npip install .\n```\n```text\n$ a\n```\n") == []


def test_comments_name_files_and_reasons() -> None:
    files = "<!-- files: rows.jsonl=profiles/demo-questions.jsonl, profiles/demo.yaml -->"
    above = f"{files}\n<!-- not run: a key -->"
    [block] = blocks_of(page_of("$ true", above=above))
    assert block.files == (
        ("rows.jsonl", "profiles/demo-questions.jsonl"),
        ("profiles/demo.yaml", "profiles/demo.yaml"),
    )
    assert block.not_run == "a key"


# ---------------------------------------------------------------- comparing


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        (["a"], ["a"], True),
        (["a"], ["a  "], True),
        (["a"], ["b"], False),
        (["a"], ["a", "b"], False),
        (["a"], [], False),
        ([], ["a"], False),
        ([], [], True),
        (["a (.*)"], ["a bcd"], False),
        (["a … c"], ["a b c"], True),
        (["a … c"], ["a b", "c"], False),
        (["a", "…", "d"], ["a", "b", "c", "d"], True),
        (["a", "…", "d"], ["a", "d"], True),
        (["a", "…", "d"], ["a", "b", "c"], False),
        (["…"], [], True),
        (["…", "2 calls, … s"], ["x", "2 calls, 0.01 s"], True),
    ],
)
def test_gaps_stand_for_text_and_for_lines(expected: list[str], actual: list[str], same: bool) -> None:
    assert matches(expected, actual) is same
    assert bool(difference(Command(1, ("$ x",), tuple(expected)), actual)) is not same


@pytest.mark.parametrize(
    ("expected", "actual", "result"),
    [
        (["a"], ["b", "took 0.12 s"], ["b", "took … s"]),
        (["took … s"], ["took 3 s"], ["took … s"]),
        ([], ["on 2026-01-31", "sha 0123456789ab", "facade"], ["on …", "sha …", "facade"]),
        (["old", "…", "last 1"], ["new", "x", "y", "last 2"], ["new", "…", "last 2"]),
        (["…", "last 1"], ["x", "y", "last 2"], ["…", "last 2"]),
        (["first 1", "…"], ["first 2", "x", "y"], ["first 2", "…"]),
        (
            ["a 1", "…", "middle: 1", "…", "z 1"],
            ["a 2", "b", "middle: 2", "c", "z 2"],
            ["a 2", "…", "middle: 2", "…", "z 2"],
        ),
        (["a", "b", "…", "c"], ["A"], ["A"]),
        (["a", "…", "b"], ["A", "B"], ["A", "B"]),
    ],
)
def test_an_update_keeps_what_matches_and_the_gaps(
    expected: list[str], actual: list[str], result: list[str]
) -> None:
    assert shown(expected, actual) == result
    assert matches(result, actual)


# ---------------------------------------------------------------- running


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    with Shell.open() as shell:
        yield shell


def rerun(page: str, shell: Shell) -> str:
    return updated(page, Session(shell, blocks_of(page)).finish())


def test_a_page_that_was_updated_passes_and_stays(shell: Shell) -> None:
    stale = page_of("$ echo one; echo two >&2", "zero", "$ seq 3", "1", "…", "4", above="# A page")
    new = rerun(stale, shell)
    assert new == page_of(
        "$ echo one; echo two >&2", "one", "two", "$ seq 3", "1", "…", "3", above="# A page"
    )
    assert rerun(new, shell) == new


def test_a_stale_line_is_shown_beside_the_new_one(shell: Shell) -> None:
    [block] = blocks_of(page_of("$ echo new", "old"))
    [(command, output)] = run_block(shell, block)
    assert difference(command, output).splitlines()[0] == "line 3: $ echo new"
    assert {"-old", "+new"} <= set(difference(command, output).splitlines())


@pytest.mark.parametrize(
    ("command", "message"),
    [("exit 3", "exit code 3"), ("automix ask --tier", "exit code 2"), ("echo '$ x'", "begins with")],
)
def test_a_command_that_fails_or_misleads_is_refused(shell: Shell, command: str, message: str) -> None:
    [block] = blocks_of(page_of(f"$ {command}"))
    with pytest.raises(PageError, match=message):
        list(run_block(shell, block))


def test_commands_share_a_folder_an_empty_home_and_a_terminal(shell: Shell) -> None:
    [block] = blocks_of(
        page_of("$ echo 1 > number", "$ cat number; ls -A ~ | wc -l", "$ test -t 1 && test -t 2")
    )
    assert [output for _, output in run_block(shell, block)] == [[], ["1", "0"], []]


def test_files_are_copied_under_the_name_given(shell: Shell) -> None:
    above = "<!-- files: data/rows=profiles/demo-questions.jsonl -->"
    [block] = blocks_of(page_of("$ wc -l < data/rows", above=above))
    assert [output for _, output in run_block(shell, block)] == [["900"]]


def test_a_page_goes_on_from_the_copy_of_what_another_one_left(tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{name}.md" for name in ("first", "second", "third"))
    first.write_text(page_of("$ echo 1 > number; echo home > ~/file"), encoding="utf-8")
    second.write_text(page_of("$ cat number ~/file; echo 2 > number", above="<!-- after: first.md -->"))
    third.write_text(page_of("$ cat number", above="<!-- after: first.md -->"))
    with Sessions() as sessions:
        outputs = [[output for _, output in sessions.of(page).finish()] for page in (second, third)]
    assert outputs == [[["1", "home"]], [["1"]]]


def test_a_block_shows_what_an_earlier_page_printed_and_runs_nothing(tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{name}.md" for name in ("first", "second", "third"))
    first.write_text(page_of("$ echo x | tee -a lines", "x"))
    second.write_text(page_of("$ wc -l < lines", "1", above="<!-- after: first.md -->"))
    text = page_of("$ echo x | tee -a lines", "y", above="<!-- after: second.md -->\n\n<!-- as before -->")
    third.write_text(text + page_of("$ wc -l < lines") + page_of("$ ls", above="<!-- as before -->"))
    with Sessions() as sessions:
        session = sessions.of(third)
        (command, output), *_ = session.block(0)
        assert output == ["x"]
        assert difference(command, output)
        assert [output for _, output in session.block(1)] == [["1"]]
        with pytest.raises(PageError, match="ls: no earlier page runs this command"):
            session.block(2)


def test_a_page_cannot_go_on_from_a_page_that_is_not_there(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(page_of("$ true", above="<!-- after: nowhere.md -->"), encoding="utf-8")
    with pytest.raises(PageError, match=re.escape("page.md: after: nowhere.md: no such page")):
        page_before(page)


def test_automix_is_this_checkout_with_its_streams_exit_code_and_folder(shell: Shell) -> None:
    ran = shell.run("automix ask -i nowhere.jsonl > out; echo $?; wc -c < out")
    assert ran.output[0].startswith("automix: nowhere.jsonl")
    assert ran.output[-2:] == ["2", "0"]
    row = """echo '{"question": "What is 2 + 3?"}'"""
    piped = shell.run(f"{row} | automix ask --quiet --profile demo | grep -c '\"status\":.*ok'")
    assert piped == (["1"], 0)
