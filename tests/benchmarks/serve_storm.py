"""A storm of requests on `automix serve`: are all answered, and does its memory stay flat?

    python tests/benchmarks/serve_storm.py --requests 24000 --seconds 600
    python tests/benchmarks/serve_storm.py --requests 50000 --seconds 0

Clients ask at an even pace, each through a connection of a pool, every tenth one in a stream; every fourth
question was asked before. With 0 seconds 48 clients ask as fast as they are answered, so that the same
number of requests is under way all the time, and nothing but a leak makes memory grow. The model server
is on this machine and fails one call in ten, in ways that can be recovered from. Prints statuses, seconds,
calls, and the server's memory over time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "serving")]

from loopback import Loopback, Storm  # noqa: E402
from serve_process import ServeProcess, serve_process  # noqa: E402
from served import two_tiers  # noqa: E402

ROOT = Path(__file__).parents[2]
CLIENTS = 48


def memory(pid: int) -> float:
    """Resident memory of a process in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


async def ask(session: aiohttp.ClientSession, url: str, number: int) -> tuple[str, float]:
    """Ask one question; the status, and the seconds that it took."""
    text = f"riddle {number - number % 4 if number % 4 == 3 else number}, what is it?"
    is_stream = number % 10 == 0
    body = {"model": "automix", "stream": is_stream, "messages": [{"role": "user", "content": text}]}
    start = time.monotonic()
    try:
        async with session.post(f"{url}/chat/completions", json=body) as reply:
            raw = await reply.read()
            whole = raw.rstrip().endswith(b"[DONE]") if is_stream else b'"route":' in raw
            status = str(reply.status) if whole or reply.status != 200 else "cut"
    except (aiohttp.ClientError, TimeoutError) as exc:
        status = type(exc).__name__
    return status, time.monotonic() - start


async def storm(process: ServeProcess, requests: int, seconds: float) -> dict[str, Any]:
    """Send all requests; what became of them, and the memory meanwhile."""
    statuses: Counter[str] = Counter()
    times: list[float] = []
    sizes: list[float] = []
    start = time.monotonic()

    async def one(session: aiohttp.ClientSession, number: int) -> None:
        if number % max(1, requests // 10) == 0:
            sizes.append(round(memory(process.process.pid), 1))
        status, took = await ask(session, process.url, number)
        statuses[status] += 1
        times.append(took)

    async def ask_on(session: aiohttp.ClientSession, numbers: Iterator[int]) -> None:
        for number in numbers:
            await one(session, number)

    timeout = aiohttp.ClientTimeout(total=300)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256), timeout=timeout) as session,
        asyncio.TaskGroup() as group,
    ):
        numbers = iter(range(requests))
        for _ in range(0 if seconds else CLIENTS):
            group.create_task(ask_on(session, numbers))
        for number in numbers if seconds else ():
            await asyncio.sleep(max(0.0, start + number * seconds / requests - time.monotonic()))
            group.create_task(one(session, number))
    times.sort()
    return {
        "requests": requests,
        "seconds": round(time.monotonic() - start, 1),
        "statuses": dict(statuses),
        "median_s": round(times[len(times) // 2], 3),
        "p99_s": round(times[len(times) * 99 // 100], 3),
        "memory_mb": [*sizes, round(memory(process.process.pid), 1)],
    }


async def read_log(process: ServeProcess) -> list[Any]:
    """Take the lines of the log, so that the server need not wait for a reader; those of errors."""
    assert process.process.stderr
    errors = []
    while line := await asyncio.to_thread(process.process.stderr.readline):
        entry = json.loads(line)
        if entry.get("level") == "error":
            errors.append(entry)
    return errors


async def run(process: ServeProcess, requests: int, seconds: float) -> dict[str, Any]:
    """The storm, with somebody who reads the log."""
    reader = asyncio.create_task(read_log(process))
    report = await storm(process, requests, seconds)
    process.process.terminate()
    errors = await reader
    return {**report, "errors": errors[:5], "exit_code": process.process.wait()}


def main() -> None:
    """Run the storm and print its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=24_000)
    parser.add_argument("--seconds", type=float, default=600.0, help="0: as fast as they are answered")
    options = parser.parse_args()
    command = (sys.executable, "-m", "automix_cli")
    with TemporaryDirectory() as folder, Loopback(faults=Storm(seed=7, rate=0.1)) as server:
        two_tiers(server, Path(folder), "concurrency: 64")
        arguments = ("--profile", "./p.yaml", "--max-cost-per-day", "1000")
        with serve_process(Path(folder), *arguments, command=command, PYTHONPATH=str(ROOT)) as process:
            report = asyncio.run(run(process, options.requests, options.seconds))
        report["calls"], report["delivered"] = len(server.calls), len(server.delivered)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
