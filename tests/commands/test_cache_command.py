"""`automix cache`: result on stdout, talk on stderr, nothing created by looking."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from shell import read_terminal
from typer.testing import CliRunner

from automix_cli.backends.store import Store, survey
from automix_cli.commands.cache import app
from automix_cli.errors import StorageError
from automix_cli.records import Completion


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOMIX_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fill(folder: Path, n: int) -> None:
    with contextlib.closing(Store(folder)) as store:
        store.put("0" * 64, {i: Completion(text=f"{i}") for i in range(n)})


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, prog_name="automix cache")
    return result.exit_code, result.stdout, result.stderr


def on_terminal(arguments: Sequence[str], typed: str) -> tuple[int, str]:
    """Run a command with a pseudo-terminal as its three streams; return exit code and screen."""
    ours, theirs = pty.openpty()
    code = f"from automix_cli.commands.cache import app; app({list(arguments)!r})"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    ) as child:
        os.close(theirs)
        os.write(ours, typed.encode())
        screen = read_terminal(ours)
    return child.returncode, screen


def test_path_is_printed_alone_and_not_created(folder: Path) -> None:
    assert run("path") == (0, f"{folder}\n", "")
    assert not folder.exists()


def test_path_follows_the_platform_when_nothing_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run("path") == (0, f"{tmp_path / 'automix'}\n", "")


def test_info_of_no_cache_is_zero_and_creates_nothing(folder: Path) -> None:
    assert run("info") == (0, f"folder   {folder}\nentries  0\nsize     0\n", "")
    assert not folder.exists()


def test_info_gives_raw_numbers_when_piped(folder: Path) -> None:
    fill(folder, 1234)
    size = (folder / "cache.db").stat().st_size
    assert run("info") == (0, f"folder   {folder}\nentries  1234\nsize     {size}\n", "")


def test_info_gives_readable_numbers_on_a_terminal(folder: Path) -> None:
    fill(folder, 1234)
    kilobytes = (folder / "cache.db").stat().st_size / 1000
    assert on_terminal(["info"], "") == (
        0,
        f"folder   {folder}\nentries  1,234\nsize     {kilobytes:.1f} kB\n",
    )


def test_info_as_json_is_one_object_with_all_it_found(folder: Path) -> None:
    fill(folder, 3)
    (folder / "cache.db.bad-20260101T000000").touch()
    code, out, err = run("info", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "folder": str(folder),
        "entries": 3,
        "bytes": (folder / "cache.db").stat().st_size,
        "damaged": [str(folder / "cache.db.bad-20260101T000000")],
    }


def test_clear_says_how_many_went(folder: Path) -> None:
    fill(folder, 1234)
    assert run("clear", "--yes") == (0, "", f"removed 1,234 completions from {folder}\n")
    assert survey(folder).entries == 0
    assert run("clear", "--yes", "--quiet") == (0, "", "")


def test_clear_of_no_cache_says_so(folder: Path) -> None:
    assert run("clear") == (0, "", f"nothing to remove: {folder} does not exist\n")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "typed", "code", "left", "asked"),
    [
        (["clear"], "y\n", 0, 0, True),
        (["clear"], "n\n", 1, 5, True),
        (["clear"], "\n", 1, 5, True),
        (["clear", "--yes"], "", 0, 0, False),
        (["clear", "-y"], "", 0, 0, False),
    ],
)
def test_clear_asks_on_a_terminal_unless_told_not_to(
    folder: Path, arguments: list[str], typed: str, code: int, left: int, asked: bool
) -> None:
    fill(folder, 5)
    got, screen = on_terminal(arguments, typed)
    assert (got, survey(folder).entries) == (code, left)
    assert (f"Remove 5 completions from {folder}? [y/N]" in screen) is asked
    assert (f"removed 5 completions from {folder}" in screen) is (left == 0)


def test_clear_works_on_a_damaged_cache_and_removes_what_was_set_aside(folder: Path) -> None:
    fill(folder, 5)
    (folder / "cache.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(StorageError, match="cannot be read"):
        run("info")
    assert run("clear", "--yes") == (0, "", f"removed 0 completions from {folder}\n")
    assert survey(folder).damaged_files == ()
    assert run("info")[0] == 0


def test_a_folder_that_others_can_write_to_is_refused_and_kept(folder: Path) -> None:
    fill(folder, 5)
    folder.chmod(0o777)
    with pytest.raises(StorageError, match="other users can write"):
        run("clear", "--yes")
    assert survey(folder).entries == 5


def test_looking_does_not_load_what_only_asking_needs(folder: Path) -> None:
    code = (
        "import sys; from automix_cli.commands.cache import app; app(['path'], standalone_mode=False); "
        "sys.exit(bool({'litellm', 'numpy', 'sklearn', 'asyncio', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
