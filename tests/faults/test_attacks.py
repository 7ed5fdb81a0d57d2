"""A: attacks from outside, on the profile, the judge, the cap, the cache and the environment."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fork_server import ForkServer
from shell import PATIENCE, Ran

TIERS = "tiers: [{name: small, model: demo/small}, {name: large, model: demo/large}]"


class Folder:
    """A folder to stand in, where a profile may be found, and the command that is run there."""

    def __init__(self, path: Path, command: Path) -> None:
        self.path, self.command = path, command

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.write_text(text)
        return path

    def run(self, *args: str | Path, **env: str) -> Ran:
        done = subprocess.run(
            [self.command, *map(str, args)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.path,
            env={**os.environ, **env},
            timeout=PATIENCE,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`automix`, forked from a process that has imported it: none of these needs a client."""
    folder = tmp_path_factory.mktemp("command")
    with ForkServer(folder / "socket", folder / "automix") as server:
        yield server.command


@pytest.fixture
def folder(tmp_path: Path, command: Path) -> Folder:
    return Folder(tmp_path, command)


# ---------------------------------------------------------------- A1: votes beyond the limit


def write_router(folder: Folder, router: str, verification: str = "{max_votes: 4}") -> None:
    folder.write(
        "automix.yaml",
        f"version: 1\nname: theirs\n{TIERS}\nverification: {verification}\nrouter: {router}\n",
    )


@pytest.mark.parametrize("way", ["", "--dry-run"])
@pytest.mark.parametrize(
    ("kind", "votes"),
    [
        ("threshold, cut: 0.5", "5000"),
        ("double-threshold, low: 0.1, cut: 0.5", "5"),
        ("threshold, cut: 0.5", "-1"),
        ("threshold, cut: 0.5", "many"),
    ],
)
def test_A1_a_router_that_buys_more_votes_than_the_profile_allows_is_refused(
    kind: str, votes: str, way: str, folder: Folder
) -> None:
    write_router(folder, f"{{kind: {kind}, votes: {votes}}}")
    ran = folder.run("ask", "What is 2 + 2?", "--ignore-stdin", *filter(None, [way]))
    assert ran.code == 2
    assert "automix.yaml:5: router.votes: expected a whole number from 0 to 4" in ran.err
    assert ran.out == ""


@pytest.mark.parametrize(
    ("router", "low", "worst"),
    [
        ("null", 3, 6),  # the rule of thumb: two of four votes settle it
        ("{kind: threshold, cut: 0.5, votes: 3}", 4, 5),
        ("{kind: threshold, cut: 0.5}", 5, 6),
        ("{kind: self-consistency}", 5, 6),
        ("{kind: always, tier: large}", 1, 1),
        ("{kind: always, tier: small}", 1, 2),  # and the other where it fails
    ],
)
def test_A1_a_dry_run_counts_the_votes_of_the_policy_itself(
    router: str, low: int, worst: int, folder: Folder
) -> None:
    write_router(folder, router)
    ran = folder.run("ask", "What is 2 + 2?", "--ignore-stdin", "--dry-run", "--json")
    plan = json.loads(ran.out)
    assert (plan["low"]["calls"], plan["worst"]["calls"]) == (low, worst)


@pytest.mark.parametrize("kind", ["pomdp+query", "knn"])
def test_A1_a_dry_run_refuses_the_routers_that_ask_refuses(kind: str, folder: Folder) -> None:
    write_router(folder, f"{{kind: {kind}}}")
    runs = [folder.run("ask", "q", "--ignore-stdin", *way) for way in ((), ("--dry-run",))]
    assert [ran.code for ran in runs] == [2, 2]
    assert "automix bench compares routers of kind" in runs[1].err
    assert runs[0].err.endswith(runs[1].err)
