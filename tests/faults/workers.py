"""Workers in the place of Ray's: real processes that run the same function, and that can be made to die.

pool = ProcessPool(folder, 2, env, deadly="What is q 5?")       # whoever works on that row dies
pool = ProcessPool(folder, 2, env, crash={1: ("after the row", 3)})  # the first process of shard 1 dies
"""

import os
import pickle
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trouble
from fork_server import Copy
from shell import warm_server

from automix_cli.serving.shard_task import ShardTask
from automix_cli.serving.sharded_run import Death, Return


def _die_on(text: str) -> None:
    """Have this process die whenever it begins to work on a row with this text."""
    from automix_cli.cascade.jobs import AnswerJob

    real = AnswerJob.work

    async def work(self: Any, row: Any) -> Any:
        if row.question is not None and text in row.question.text:
            os.kill(os.getpid(), signal.SIGKILL)
        return await real(self, row)

    AnswerJob.work = work  # type: ignore[method-assign]


def work(settings: dict[str, Any]) -> None:
    """Run one task in a process of its own, and end it."""
    from automix_cli.serving.shard_task import run_shard

    trouble.prepare(settings)
    if settings["deadly"] == "":
        os.kill(os.getpid(), signal.SIGKILL)
    if settings["deadly"] == "":
        os.kill(os.getpid(), signal.SIGKILL)
    if settings["deadly"] is not None:
        _die_on(settings["deadly"])
    path = Path(settings["path"])
    outcome = run_shard(pickle.loads(path.read_bytes()))
    path.with_suffix(".out").write_bytes(pickle.dumps(outcome))
    os._exit(0)


class ProcessPool:
    """At most `workers` processes at once; `deaths` counts those that died, by shard."""

    def __init__(
        self,
        folder: Path,
        workers: int,
        env: dict[str, str],
        *,
        deadly: str | None = None,
        doomed: int | None = None,
        crash: dict[int, tuple[str, int]] | None = None,
        on_wait: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.workers, self.env, self.doomed = folder, workers, env, doomed
        self.deadly, self.crash, self.on_wait = deadly, dict(crash or {}), on_wait
        self.deaths: Counter[int] = Counter()
        self.tasks: list[ShardTask] = []
        self._queue: list[ShardTask] = []
        self._at_work: list[tuple[ShardTask, Copy, Path]] = []

    def submit(self, task: ShardTask) -> None:
        self.tasks.append(task)
        self._queue.append(task)

    def _start(self, task: ShardTask) -> None:
        path = self.folder / f"task-{len(self.tasks)}-{task.name}.pickle"
        path.write_bytes(pickle.dumps(task))
        settings = {"path": str(path), "deadly": self.deadly, "waits": 0.02}
        if task.stamp.shard.index == self.doomed:
            settings["deadly"] = ""
        settings["crash"] = self.crash.pop(task.stamp.shard.index, None)
        nowhere = [os.open(os.devnull, os.O_RDWR) for _ in range(3)]
        copy = warm_server().start([], self.folder, self.env, nowhere, (__file__, "work", settings))
        for number in nowhere:
            os.close(number)
        self._at_work.append((task, copy, path))

    def wait(self, seconds: float) -> Sequence[Return]:
        end = time.monotonic() + seconds
        while True:
            while self._queue and len(self._at_work) < self.workers:
                self._start(self._queue.pop(0))
            self.on_wait()
            over = [work for work in self._at_work if not work[1].is_alive()]
            if over or time.monotonic() > end:
                break
            time.sleep(0.005)
        self._at_work = [work for work in self._at_work if work not in over]
        return [self._return(*work) for work in over]

    def _return(self, task: ShardTask, copy: Copy, path: Path) -> Return:
        if copy.exitcode == 0:
            return Return(task, pickle.loads(path.with_suffix(".out").read_bytes()))
        self.deaths[task.stamp.shard.index] += 1
        return Return(task, Death(f"signal {-(copy.exitcode or 0)}"))

    def cancel(self) -> None:
        self._queue.clear()
        for _, copy, _ in self._at_work:
            os.kill(copy.pid, signal.SIGKILL)
