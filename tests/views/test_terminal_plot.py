"""The plot in characters fits its terminal, and names every policy, also one that another lies on."""

import pytest
from comparisons import compared, view_of
from known import draw_table, two_tiers

from automix_cli.evaluation.bench import Bench
from automix_cli.views.bench_view import BenchView
from automix_cli.views.terminal_plot import terminal_plot


@pytest.fixture(scope="module")
def view() -> BenchView:
    table = draw_table(two_tiers(), 120, 0)
    result: Bench = compared(table)
    return view_of(result, table)


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_no_line_is_wider_than_the_terminal_and_every_letter_can_be_found(
    view: BenchView, width: int
) -> None:
    lines = terminal_plot(view, width).splitlines()
    assert max(map(len, lines)) <= width
    top = lines.index("")
    drawing, keys = (
        "\n".join(line for line in lines[1:top] if "│" in line or "┤" in line),
        "\n".join(lines[top:]),
    )
    for letter, outcome in zip("abcdefgh", view.comparison.outcomes, strict=False):
        assert f"{letter} {outcome.name}" in keys
        assert (f"{letter} {outcome.name}, at " in keys) == (letter not in drawing)
