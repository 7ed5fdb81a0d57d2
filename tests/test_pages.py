"""README, docs/ and the site agree: links lead somewhere, every page can be found, README stays short."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from shell import ROOT

from automix_cli.views.chart import STYLE

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
NAMES = {page.name for page in PAGES[1:]}
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def without_fences(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def anchors(text: str) -> set[str]:
    """The names of the headings of a page, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", without_fences(text), re.M)
    plain = (re.sub(r"\[(.*?)\]\(.*?\)|[`*]", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in plain}


def links(text: str) -> Iterator[tuple[str, str]]:
    """Every link to a page or a file of this repository, with the heading that it names."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_fences(text)):
        if not re.match(r"[a-z]+:", target):
            path, _, heading = target.partition("#")
            yield path, heading


def broken_links(page: Path, text: str) -> list[str]:
    bad = []
    for path, heading in links(text):
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (heading and heading not in anchors(target.read_text(encoding="utf-8"))):
            bad.append(f"{path}#{heading}")
    return bad


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken_links(page, TEXTS[page]) == []


def test_a_link_that_leads_nowhere_is_noticed() -> None:
    text = (
        "[a](docs/nowhere.md) [b](docs/money.md#nowhere) [c](docs/money.md#budgets)\n```\n[d](no.md)\n```\n"
    )
    assert broken_links(PAGES[0], text) == ["docs/nowhere.md#", "docs/money.md#nowhere"]


def pages_of(nav: object) -> Iterator[str]:
    """The pages that a part of the navigation names."""
    if isinstance(nav, str):
        yield nav
    for part in nav if isinstance(nav, list) else nav.values() if isinstance(nav, dict) else ():
        yield from pages_of(part)


def test_the_site_names_every_page_once() -> None:
    assert sorted(pages_of(SITE["nav"])) == sorted(NAMES)


def test_the_start_page_and_the_text_for_machines_name_every_page() -> None:
    names = NAMES - {"index.md"}
    assert {path for path, _ in links(TEXTS[DOCS / "index.md"])} >= names
    text = (DOCS / "llms.txt").read_text(encoding="utf-8")
    assert {path.replace(".html", ".md") for path, _ in links(text)} == names
    assert re.match(r"# automix\n\n> ", text)


def test_readme_leads_to_the_start_page() -> None:
    assert ("docs/index.md", "") in links(TEXTS[ROOT / "README.md"])


def test_readme_is_read_in_five_minutes() -> None:
    assert len(TEXTS[ROOT / "README.md"].split()) < 1200


def test_readme_prints_the_commands_that_install_from_the_pins() -> None:
    lines = TEXTS[ROOT / "README.md"].splitlines()
    for line in (
        'python -m pip install -c constraints.txt . && automix ask --profile demo "What is 17 * 23?"',
        "python -m pip install -c constraints.txt '.[test]' && python -m pytest",
        'uvx -c constraints.txt --from . automix ask --profile demo "What is 17 * 23?"',
        "uvx -c constraints.txt --from '.[test]' python -m pytest",
    ):
        assert lines.count(line) == 1, line


def test_the_picture_shows_what_readme_says_of_it() -> None:
    svg = (DOCS / "frontier.svg").read_text(encoding="utf-8")
    [(cheap, dear)] = re.findall(r"\$(0\.\d\d) instead of \$(1\.\d\d) per 1,000", TEXTS[ROOT / "README.md"])
    chosen, baseline = (
        re.search(rf"<title>{name}: (0\.\d+) \(.*?\) for ([\d.]+) USD", svg)
        for name in ("pomdp", "always:gpt-4-turbo")
    )
    assert chosen
    assert baseline
    assert (f"{float(chosen[2]):.2f}", f"{float(baseline[2]):.2f}") == (cheap, dear)
    assert round(100 * (1 - float(chosen[2]) / float(baseline[2]))) == 60
    assert round(100 * float(chosen[1]) / float(baseline[1]), 1) == 98.9
    assert "prefers-color-scheme:dark" in svg
    assert STYLE in svg, "drawn by the program as it is: automix bench again, see measurements.md"
    width = float(re.search(r'viewBox="0 0 (\d+)', svg)[1])
    assert min(float(size) for size in re.findall(r"font-size:(\d+)px", svg)) * 358 / width > 10, "on a phone"
