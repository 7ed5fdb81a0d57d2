"""Workers of a Ray cluster, or of this machine where there is none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from automix_cli.errors import AutomixError, UsageError
from automix_cli.serving.shard_task import ShardTask, run_shard
from automix_cli.serving.sharded_run import Death, Return


class RayPool:
    """Ray tasks, one a shard, each on one of the cluster's CPUs.

    Ray itself tries no task again (`max_retries=0`): the rows at work when a worker died decide how its
    shard goes on, and Ray does not know them. Ray's own statistics of use are not sent.

    Raises:
        UsageError: Ray is not installed.
        AutomixError: there is no cluster where `RAY_ADDRESS` says, or none can be started here.
    """

    def __init__(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise UsageError(
                "--engine ray needs Ray, which is not installed",
                hint="python -m pip install 'automix-cli[ray]'",
            ) from None
        self._ray: Any = ray
        try:
            if not ray.is_initialized():
                ray.init(log_to_driver=False, configure_logging=False)
            self._run = ray.remote(run_shard).options(num_cpus=1, max_retries=0)
        except Exception as exc:  # Ray raises plain ones, too
            problem = f"Ray does not start: {str(exc).splitlines()[0] if str(exc) else type(exc).__name__}"
            hint = "RAY_ADDRESS=… names a cluster; RAY_raylet_start_wait_time_s=300 waits for a busy machine"
            raise AutomixError(problem, hint=hint) from exc
        self._tasks: dict[Any, ShardTask] = {}

    @property
    def workers(self) -> int:
        """The number of tasks that can run at once, at least one."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def submit(self, task: ShardTask) -> None:
        """Have a worker run a task, as soon as one is free."""
        self._tasks[self._run.remote(task)] = task

    def wait(self, seconds: float) -> Sequence[Return]:
        """What came of tasks meanwhile; at the latest after so many seconds."""
        ready, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=seconds)
        return [Return(self._tasks.pop(reference), self._result(reference)) for reference in ready]

    def _result(self, reference: Any) -> Any:
        """The outcome of a task, or the death of its worker."""
        from ray.exceptions import RayError, RayTaskError

        try:
            return self._ray.get(reference)
        except RayTaskError as exc:
            raise AutomixError(f"internal error on a worker: {exc.cause}") from exc
        except RayError as exc:
            return Death(type(exc).__name__.removesuffix("Error"))

    def cancel(self) -> None:
        """End all workers, whatever they are at work on."""
        for reference in self._tasks:
            self._ray.cancel(reference, force=True)

    def close(self) -> None:
        """Leave the cluster; one that was started for this run ends."""
        self._ray.shutdown()
