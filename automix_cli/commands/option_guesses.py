"""Names under which people look for an option, and the options that they mean."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

_MEANT: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("--overwrite", "--replace", "--clobber", "--yes", "-y", "-f"): ("--force", "--output"),
    ("--continue", "--append", "--restart"): ("--resume", "--force"),
    ("--dry", "--preview", "--estimate", "--plan", "--price", "--cost"): ("--dry-run",),
    ("--budget", "--max-budget", "--max-usd", "--cap", "--max-spend"): ("--max-cost", "--max-cost-per-day"),
    ("--model", "--models", "-m"): ("--tiers", "--tier", "--profile"),
    ("--config", "--settings"): ("--profile",),
    ("--head", "--rows", "--count", "--max-rows"): ("--limit", "--max"),
    ("--jobs", "--workers", "--threads", "--parallel"): ("--concurrency",),
    ("--file", "--in", "--data"): ("--input",),
    ("--out", "--out-file", "--output-file", "--save"): ("--output",),
    ("--fresh", "--no-cached", "--ignore-cache"): ("--refresh", "--no-cache"),
    ("--silent",): ("--quiet",),
    ("--random-seed",): ("--seed",),
    ("--fields", "--rename", "--map"): ("--columns",),
}


def options_meant(guess: str, own: Container[str]) -> Sequence[str] | None:
    """The option of a command that is meant by a name that it does not have; None where nobody knows.

    Args:
        guess: the name.
        own: the options that the command has.

    Example:
        >>> options_meant("--overwrite", {"--force", "--output"}), options_meant("--overwrite", {"--output"})
        (['--force'], ['--output'])
        >>> options_meant("--overwrite", {"--json"}), options_meant("--outptu", {"--output"})
        ([], None)
    """
    for names, options in _MEANT.items():
        if guess in names:
            return [option for option in options if option in own][:1]
    return None
