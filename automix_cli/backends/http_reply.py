"""An HTTP reply as its bytes come: status, headers and body. No socket is known here.

HTTP/1.0 and 1.1 are read, with bodies of a given length, in chunks, or until the connection ends. What is
ambiguous, such as two lengths, is refused rather than guessed, and nothing is read without a bound.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from automix_cli.backends.answers import Body

MOST_HEAD = 65_536
"""Bytes of status line and headers, and of the lines after the last chunk."""
_MOST_SIZE_LINE = 4_096

_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [^\n]*)?\r?(?=\n|\Z)")
_FIELD = re.compile(r"\n([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\n]*)")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_HEX = re.compile(rb"[0-9A-Fa-f]{1,12}")
_LENGTH = re.compile("[0-9]{1,15}")


class BrokenReply(ConnectionError):
    """What came is no HTTP reply, or not the whole of one."""


class HttpReply:
    r"""A reply that grows with the bytes that are fed to it.

    With `opens_tunnel` it answers CONNECT: where it says yes it has no body.

    Attributes:
        status: its number; 0 until the head is there.
        headers: by their names in lower case; what came more than once stands with commas between.
        is_complete: whether all of it is there.
        stays_open: whether the server will take another request on the same connection.

    Example:
        >>> reply = HttpReply()
        >>> reply.feed(b"HTTP/1.1 200 OK\r\nContent-Le")
        >>> reply.feed(b"ngth: 3\r\n\r\n391")
        >>> reply.status, reply.is_complete, reply.body
        (200, True, b'391')
    """

    __slots__ = (
        *("status", "headers", "is_complete", "stays_open"),
        *("_opens_tunnel", "_read", "_early", "_missing", "_body"),
    )

    def __init__(self, *, opens_tunnel: bool = False) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_complete = self.stays_open = False
        self._opens_tunnel = opens_tunnel
        self._read: Callable[[bytes], bytes] = self._read_head
        self._early = b""  # bytes that say nothing before more have come
        self._missing = 0  # bytes of the body, or of its present chunk
        self._body: Body | None = None

    @property
    def body(self) -> bytes:
        """The body, unpacked."""
        return b"" if self._body is None else self._body.whole()

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            BrokenReply: this is no HTTP.
            BadResponse: a body that is too large, or packed in a way that was not asked for.
        """
        rest = self._early + data if self._early else data
        self._early = b""
        while rest and not self.is_complete:
            rest = self._read(rest)
        if rest:
            self.stays_open = False  # more than was asked for

    def end(self) -> None:
        """Take it that the connection has ended.

        Raises:
            BrokenReply: before the reply did.
        """
        if self._read != self._read_to_end:
            raise BrokenReply("the connection ended before the reply")
        self.is_complete = True

    # ------------------------------------------------------------ parts: each returns what is left

    def _wait(self, data: bytes, limit: int) -> bytes:
        """Keep what says nothing yet; nothing is left."""
        if len(data) > limit:
            raise BrokenReply(f"more than {limit:,} bytes without an end")
        self._early = data
        return b""

    def _read_head(self, data: bytes) -> bytes:
        end = _BLANK_LINE.search(data, 0, MOST_HEAD)
        if end is None:
            return self._wait(data, MOST_HEAD - 1)
        head = data[: end.start()].decode("latin-1")
        match = _STATUS_LINE.match(head)
        if match is None or match[2] == "101":  # nobody asked for another protocol
            raise BrokenReply("no status line of HTTP/1")
        status = int(match[2])
        if status >= 200:
            self.status = status
            self.headers = _headers(head, match.end())
            self.stays_open = _stays_open(match[1] == "1", self.headers.get("connection"))
            self._begin_body()
        return data[end.end() :]

    def _begin_body(self) -> None:
        """Find out how the body ends."""
        self._body = Body(self.headers.get("content-encoding", "identity"))
        coding, lengths = self.headers.get("transfer-encoding"), self.headers.get("content-length")
        if self.status in (204, 304) or (self._opens_tunnel and self.status < 300):
            self.is_complete = True
        elif coding is not None:
            if coding.lower() != "chunked":
                raise BrokenReply(f"a body sent as {coding}")
            self.stays_open = self.stays_open and lengths is None
            self._read = self._read_size
        elif lengths is not None:
            self._missing = _length(lengths)
            self.is_complete = not self._missing
            self._read = self._read_length
        else:
            self.stays_open = False
            self._read = self._read_to_end

    def _keep(self, data: bytes) -> bytes:
        """Keep what is missing, and return what is left."""
        assert self._body is not None
        piece = data[: self._missing]
        self._body.add(piece)
        self._missing -= len(piece)
        return data[len(piece) :]

    def _read_length(self, data: bytes) -> bytes:
        rest = self._keep(data)
        self.is_complete = not self._missing
        return rest

    def _read_to_end(self, data: bytes) -> bytes:
        assert self._body is not None
        self._body.add(data)
        return b""

    def _read_size(self, data: bytes) -> bytes:
        """The line before a chunk."""
        line, end, rest = data.partition(b"\n")
        if not end:
            return self._wait(data, _MOST_SIZE_LINE)
        size = line.partition(b";")[0].strip()
        if not _HEX.fullmatch(size):
            raise BrokenReply("a chunk without a size")
        self._missing = int(size, 16)
        self._read = self._read_chunk if self._missing else self._read_last_lines
        return rest

    def _read_chunk(self, data: bytes) -> bytes:
        rest = self._keep(data)
        if not self._missing:
            self._read = self._read_line_end
        return rest

    def _read_line_end(self, data: bytes) -> bytes:
        if data == b"\r":
            return self._wait(data, 1)
        for end in (b"\r\n", b"\n"):
            if data.startswith(end):
                self._read = self._read_size
                return data[len(end) :]
        raise BrokenReply("a chunk longer than its size")

    def _read_last_lines(self, data: bytes) -> bytes:
        """What may stand after the last chunk: nothing of it is used."""
        for end in (b"\r\n", b"\n"):
            if data.startswith(end):
                self.is_complete = True
                return data[len(end) :]
        blank = _BLANK_LINE.search(data)
        if blank is None:
            return self._wait(data, MOST_HEAD)
        self.is_complete = True
        return data[blank.end() :]


def _headers(head: str, start: int) -> dict[str, str]:
    """The headers in a head, by name, from where the status line ends."""
    fields: list[tuple[str, str]] = _FIELD.findall(head, start)
    if len(fields) != head.count("\n"):
        raise BrokenReply("a header without a name")
    headers = {name.lower(): value.strip(" \t\r") for name, value in fields}
    if len(headers) < len(fields):
        headers.clear()
        for name, value in ((name.lower(), value.strip(" \t\r")) for name, value in fields):
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _stays_open(is_newer: bool, connection: str | None) -> bool:
    """Whether a connection stays open: of 1.1 unless it says otherwise, of 1.0 if it says so."""
    if connection is None:
        return is_newer
    words = {word.strip() for word in connection.lower().split(",")}
    return "close" not in words and (is_newer or "keep-alive" in words)


def _length(lengths: str) -> int:
    """The length of a body; the same one may be said twice."""
    if _LENGTH.fullmatch(lengths):
        return int(lengths)
    values = {length.strip() for length in lengths.split(",")}
    if len(values) > 1 or not _LENGTH.fullmatch(length := values.pop()):
        raise BrokenReply("a body without a length that can be read")
    return int(length)
