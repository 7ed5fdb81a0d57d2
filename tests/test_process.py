"""What the command line sets for its whole process, and what it leaves as it is."""

import os

import pytest

from automix_cli.process import ONE_THREAD, is_ours, own_process


@pytest.mark.parametrize(("before", "then"), [(None, "1"), ("4", "4")])
def test_one_thread_adds_unless_the_environment_says_otherwise(
    before: str | None, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ONE_THREAD:
        monkeypatch.setenv(name, before or "")
        if before is None:
            monkeypatch.delenv(name)
    with own_process():
        assert is_ours()
        assert {os.environ[name] for name in ONE_THREAD} == {then}
