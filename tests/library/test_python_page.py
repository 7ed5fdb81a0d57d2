"""The samples of docs/python.md, run from top to bottom, print what the page shows."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
from shell import ROOT

PAGE = ROOT / "docs" / "python.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


def samples(page: str) -> doctest.DocTest:
    """The python blocks of a page as one session; lines have the numbers that they have on the page."""
    lines = [""] * page.count("\n")
    for block in BLOCK.finditer(page):
        first = page[: block.start(1)].count("\n")
        body = block[1].splitlines()
        assert body[0].startswith(">>> "), f"{PAGE.name}:{first + 1}: begin with >>>"
        lines[first : first + len(body)] = [line.replace("…", "...") for line in body]
    return doctest.DocTestParser().get_doctest("\n".join(lines), {}, PAGE.name, str(PAGE), 0)


def differences(test: doctest.DocTest) -> str:
    """What the samples print otherwise than they show."""
    text: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=text.append)
    return "".join(text)


def test_the_samples_print_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    test = samples(PAGE.read_text(encoding="utf-8"))
    assert len(test.examples) > 20
    assert differences(test) == ""


def test_a_sample_that_prints_something_else_is_noticed() -> None:
    page = "# A page\n\n```python\n>>> 6 * 7\n41\n```\n"
    assert re.search(r"line 4.*Expected:\s+41\s+Got:\s+42", differences(samples(page)), re.S)
