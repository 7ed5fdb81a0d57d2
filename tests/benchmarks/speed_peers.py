"""What the speed of automix is compared with, each a process of its own.

    python tests/benchmarks/speed_peers.py litellm ADDRESS CALLS CONCURRENCY
    python tests/benchmarks/speed_peers.py fill FOLDER ROWS.jsonl
    python tests/benchmarks/speed_peers.py read FOLDER ROWS.jsonl OUT.jsonl

`litellm` makes calls with bare `litellm.acompletion`, and prints the seconds of processor and clock that the
calls alone took. `fill` puts a completion for every row into a diskcache; `read` looks each of them up, with
JSON in and JSON out.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path


def call(address: str, calls: int, concurrency: int) -> None:
    """Make calls with LiteLLM."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"], os.environ["LITELLM_MODE"] = "True", "PRODUCTION"
    import litellm

    litellm.suppress_debug_info = True

    async def one(place: int, slots: asyncio.Semaphore) -> None:
        async with slots:
            await litellm.acompletion(
                model="openai/m",
                api_base=address,
                api_key="none",
                messages=[{"role": "user", "content": f"What is {place} * 23?"}],
                max_tokens=1024,
            )

    async def main() -> None:
        slots = asyncio.Semaphore(concurrency)
        await asyncio.gather(*(one(i, slots) for i in range(4)))
        clock, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(one(i, slots) for i in range(calls)))
        print(json.dumps({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - clock}))

    asyncio.run(main())


def fill(folder: str, rows: str) -> None:
    """Put a completion for every row into a cache."""
    import diskcache

    completion = {"text": "391", "usage": {"input_tokens": 9, "output_tokens": 3}, "finish_reason": "stop"}
    with diskcache.Cache(folder) as cache, cache.transact():
        for line in Path(rows).read_bytes().splitlines():
            cache[json.loads(line)["question"]] = json.dumps(completion)


def read(folder: str, rows: str, out: str) -> None:
    """Look every row up, with JSON in and JSON out."""
    import diskcache

    with (
        diskcache.Cache(folder) as cache,
        open(rows, "rb") as lines,
        open(out, "w", encoding="utf-8") as file,
    ):
        for line in lines:
            row = json.loads(line)
            completion = json.loads(cache[row["question"]])
            file.write(json.dumps({**row, "answer": completion["text"], "usage": completion["usage"]}) + "\n")


if __name__ == "__main__":
    kind, *words = sys.argv[1:]
    if kind == "litellm":
        call(words[0], int(words[1]), int(words[2]))
    elif kind == "fill":
        fill(*words)
    else:
        read(*words)
