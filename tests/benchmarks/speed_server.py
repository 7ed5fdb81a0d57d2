"""A model server for measurements: the OpenAI chat protocol on 127.0.0.1, after a wait, at little cost.

    python tests/benchmarks/speed_server.py WAIT_MS

Prints its port, and answers until its standard input ends. A verification is answered with verdicts, right
for three questions in four; `n` is honoured. GET /span gives the calls since the last GET /span, and the
seconds from the first of them to the last reply.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import zlib

VERDICTS = tuple(
    f"Two steps.\nVerification Decision: The AI generated answer is {w}." for w in ("Incorrect", "Correct")
)


class Server:
    """Counts calls, and answers each after the wait."""

    def __init__(self, wait: float) -> None:
        self.wait = wait
        self.calls, self.start, self.end = 0, 0.0, 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                reply = self.span() if head.startswith(b"GET") else await self.answer(body)
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                    % (len(reply), reply)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def answer(self, body: bytes) -> bytes:
        """The completions of a request."""
        self.start = self.start or time.perf_counter()
        self.calls += 1
        if self.wait:
            await asyncio.sleep(self.wait)
        request = json.loads(body)
        text = request["messages"][-1]["content"]
        reply = VERDICTS[zlib.crc32(text.encode()) % 4 > 0] if "AI generated answer" in text else "391"
        n = request.get("n") or 1
        message = {"role": "assistant", "content": reply}
        choices = [{"index": i, "finish_reason": "stop", "message": message} for i in range(n)]
        usage = {"prompt_tokens": 9, "completion_tokens": 3 * n, "total_tokens": 9 + 3 * n}
        self.end = time.perf_counter()
        row = {"id": "x", "object": "chat.completion", "model": "m", "choices": choices, "usage": usage}
        return json.dumps(row).encode()

    def span(self) -> bytes:
        """Calls and seconds since the last time."""
        row = {"calls": self.calls, "seconds": self.end - self.start}
        self.calls, self.start, self.end = 0, 0.0, 0.0
        return json.dumps(row).encode()


async def main() -> None:
    """Serve until standard input ends."""
    server = await asyncio.start_server(Server(float(sys.argv[1]) / 1e3).serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
