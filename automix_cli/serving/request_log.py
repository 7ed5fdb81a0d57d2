"""What a server writes on stderr: a JSON object a line, without the texts of questions and answers."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Literal

from automix_cli.errors import redact
from automix_cli.records import Answer, Json
from automix_cli.streams import stderr

LogLevel = Literal["info", "warning", "error"]


class RequestLog:
    """Writes events; a `quiet` one writes warnings and errors alone.

    A `verbose` one adds the messages of errors, in which a model server may quote the question.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet, self.verbose = quiet, verbose
        self._notes: set[tuple[str, ...]] = set()

    def write(self, event: str, *, level: LogLevel = "info", **fields: Json) -> None:
        """Write one event; fields without a value are left out."""
        if self.quiet and level == "info":
            return
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        values = {key: value for key, value in fields.items() if value is not None}
        line = redact(json.dumps({"time": time, "level": level, "event": event, **values}))
        with contextlib.suppress(OSError):  # a reader that goes away must not end the server
            print(line, file=stderr(), flush=True)

    def note(self, line: str) -> None:
        """Write what a person should know, once."""
        self.once("note", message=line)

    def once(self, event: str, **fields: Json) -> None:
        """Write an event that has not been written before."""
        key = (event, json.dumps(fields, sort_keys=True))
        if key not in self._notes and len(self._notes) < 1000:
            self._notes.add(key)
            self.write(event, **fields)

    def error_of(self, answer: Answer) -> dict[str, Json] | None:
        """What is written of a row's error; of a fault of automix its kind alone."""
        if answer.error is None:
            return None
        fields = {"type": answer.error.type, "tier": answer.error.tier, "attempts": answer.error.attempts}
        more = {"hint": answer.error.hint} if answer.error.hint else {}
        if answer.error.type == "internal":
            more["cause"] = answer.error.message.partition(":")[0]
        return {**fields, **more, **({"message": answer.error.message} if self.verbose else {})}
