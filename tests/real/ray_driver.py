"""Runs `automix` on two local workers of Ray; a worker dies at a row whose text holds DEADLY, once or always.

python tests/real/ray_driver.py ask -i questions.jsonl -o answers.jsonl --engine ray
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any


def deadly_shard(task: Any) -> Any:
    """Work on a shard as its worker does, and die at a row."""
    from automix_cli.cascade.jobs import AnswerJob
    from automix_cli.serving.shard_task import run_shard

    text, once = os.environ.get("DEADLY", ""), os.environ.get("ONCE", "")
    real = AnswerJob.work

    async def work(self: Any, row: Any) -> Any:
        is_first = not once or not Path(once).exists()
        if text and row.question is not None and text in row.question.text and is_first:
            if once:
                Path(once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return await real(self, row)

    AnswerJob.work = work  # type: ignore[method-assign]
    try:
        return run_shard(task)
    finally:
        AnswerJob.work = real  # type: ignore[method-assign]


if __name__ == "__main__":
    import ray

    ray.init(num_cpus=2, log_to_driver=False, configure_logging=False, include_dashboard=False)
    from automix_cli.cli import main
    from automix_cli.serving import ray_pool

    ray_pool.run_shard = deadly_shard
    sys.argv = ["automix", *sys.argv[1:]]
    main()
