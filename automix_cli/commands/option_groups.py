"""Under which heading of a command's help each option stands."""

from __future__ import annotations

from collections.abc import Mapping

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Input and output": (
        *("input_file", "output", "form", "columns", "context", "ignore_stdin", "limit", "sample", "strict"),
        *("force", "resume", "unordered", "json", "explain", "html", "plot", "runs", "traces"),
        "summary_file",
    ),
    "Many machines": ("shard", "engine", "shards"),
    "Models": ("profile", "tiers", "tier", "votes", "signal", "embed_model", "query_router", "kind"),
    "Aim": (
        *("keep", "sure", "budget", "cost_weight", "objective", "certify", "value_of_time", "baseline"),
        *("threshold", "check", "fail_under", "shadow", "against", "require_proof"),
    ),
    "Rows": (
        *("labels", "labels_from", "drop_incomplete", "group", "class_column", "costs", "vote_costs"),
        *("policies", "split", "repeat", "folds", "seed", "most", "by"),
    ),
    "Server": ("host", "port", "api_key_env"),
    "Money and calls": (
        *(
            "dry_run",
            "max_cost",
            "max_cost_per_day",
            "on_budget",
            "concurrency",
            "no_cache",
            "refresh",
            "offline",
        ),
    ),
}
"""The options by their parameters' names; all others stand under `Other`."""

OTHER = "Other"

_GROUP_OF = {name: group for group, names in GROUPS.items() for name in names}


def group_of(name: str) -> str:
    """The heading of an option.

    Example:
        >>> group_of("max_cost"), group_of("quiet")
        ('Money and calls', 'Other')
    """
    return _GROUP_OF.get(name, OTHER)
