"""What calibrate, bench and others refuse of a baseline and of a share to keep."""

from __future__ import annotations

from collections.abc import Sequence

from automix_cli.errors import UsageError, did_you_mean


def check_baseline(name: str | None, tiers: Sequence[str]) -> None:
    """Refuse a baseline that is none of the tiers.

    Raises:
        UsageError: naming the nearest one.
    """
    if name is not None and name not in tiers:
        problem = f"--baseline: no tier {name!r}{did_you_mean(name, tiers)}"
        raise UsageError(problem, hint=f"the tiers are {', '.join(tiers)}")


def check_keep(keep: float | None, beside: str | None) -> None:
    """Refuse a share to keep of more than what a baseline has, where answers are compared with its.

    Raises:
        UsageError: naming what it stands for there.
    """
    if beside is not None and keep is not None and keep > 1:
        raise UsageError(
            f"--keep {keep:g}: beside {beside}, --keep Q means that at most 100·(1 - Q) points are lost: "
            "Q is from 0 to 1",
            hint=f"--keep 0.98 loses at most 2 points against {beside}",
        )
