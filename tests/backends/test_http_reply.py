"""HTTP replies: read alike however their bytes come, as the standard library reads them, or refused."""

import gzip
import http.client
import io
import zlib

import pytest

from automix_cli.backends.answers import MAX_BODY
from automix_cli.backends.http_reply import MOST_HEAD, BrokenReply, HttpReply
from automix_cli.errors import BadResponse

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

WHOLE = {
    "a length": (OK + b"Content-Length: 3\r\n\r\n391", 200, b"391", True),
    "no body": (OK + b"Content-Length: 0\r\n\r\n", 200, b"", True),
    "the same length twice": (OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n391", 200, b"391", True),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "no reason": (b"HTTP/1.1 429\r\nContent-Length: 1\r\n\r\n.", 429, b".", True),
    "says close": (OK + b"Connection: Close\r\nContent-Length: 1\r\n\r\n4", 200, b"4", False),
    "1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n4", 200, b"4", False),
    "1.0 that stays": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n4",
        *(200, b"4", True),
    ),
    "chunks": (CHUNKED + b"2\r\n39\r\n1\r\n1\r\n0\r\n\r\n", 200, b"391", True),
    "chunks with words": (
        CHUNKED + b"A;name=x\r\n0123456789\r\n00\r\nX-Sum: 9\r\n\r\n",
        200,
        b"0123456789",
        True,
    ),
    "chunks and a length": (
        OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n4\r\n0\r\n\r\n",
        *(200, b"4", False),
    ),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\n42", 200, b"42", True),
    "blank lines inside": (OK + b"Content-Length: 8\r\n\r\n\r\n\r\n\n\n\r\n", 200, b"\r\n\r\n\n\n\r\n", True),
    "packed": (
        OK
        + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
        % (len(PACKED := gzip.compress(b"391")), PACKED),
        *(200, b"391", True),
    ),
    "continue first": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        + OK
        + b"Content-Length: 1\r\n\r\n4",
        *(200, b"4", True),
    ),
}
TO_THE_END = OK + b"Content-Type: application/json\r\n\r\n{}"


def read(*pieces: bytes) -> HttpReply:
    """A reply whose bytes come in pieces."""
    reply = HttpReply()
    for piece in pieces:
        reply.feed(piece)
    return reply


@pytest.mark.parametrize("name", WHOLE)
def test_a_reply_is_read_alike_however_it_comes(name: str) -> None:
    data, status, body, stays_open = WHOLE[name]
    halves = [(data[:cut], data[cut:]) for cut in range(len(data))]
    for pieces in [*halves, tuple(data[i : i + 1] for i in range(len(data)))]:
        reply = read(*pieces)
        assert (reply.is_complete, reply.status, reply.body) == (True, status, body), pieces
        assert reply.stays_open == stays_open
    assert not any(read(data[:cut]).is_complete for cut in range(len(data)))


class OneReply(io.BytesIO):
    """What `http.client` takes for a socket."""

    def makefile(self, mode: str) -> io.BytesIO:
        return self


@pytest.mark.parametrize("name", [name for name in WHOLE if name not in ("packed", "chunks and a length")])
def test_the_standard_library_reads_the_same(name: str) -> None:
    data, status, body, _ = WHOLE[name]
    data = data.split(b"Link: x\r\n\r\n")[-1]  # it reads no early hints
    theirs = http.client.HTTPResponse(OneReply(data))  # type: ignore[arg-type]
    theirs.begin()
    assert (theirs.status, theirs.read()) == (status, body)
    assert read(data).headers == {k.lower(): ", ".join(theirs.headers.get_all(k, ())) for k in theirs.headers}


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    reply = read(TO_THE_END)
    assert not reply.is_complete
    reply.end()
    assert (reply.is_complete, reply.body, reply.stays_open) == (True, b"{}", False)


@pytest.mark.parametrize("name", WHOLE)
def test_a_connection_that_ends_too_early_is_a_broken_reply(name: str) -> None:
    data = WHOLE[name][0]
    for cut in range(len(data)):
        with pytest.raises(BrokenReply):
            read(data[:cut]).end()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"Content-Length : 3\r\n\r\n391",
        OK + b"X: folded\r\n over two\r\n\r\n",
        OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n3910",
        OK + b"Content-Length: -3\r\n\r\n391",
        OK + b"Content-Length: 3.0\r\n\r\n391",
        OK + "Content-Length: ³\r\n\r\n391".encode(),
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"0x1\r\n4\r\n0\r\n\r\n",
        CHUNKED + b"\r\n",
        CHUNKED + b"1\r\n42\r\n0\r\n\r\n",
        CHUNKED + b"1" * 13 + b"\r\n",
        CHUNKED + b"1" * 5_000,
        CHUNKED + b"0\r\n" + b"X: y\r\n" * 20_000,
        OK + b"X: y\r\n" * 20_000,
        b"x" * (MOST_HEAD + 1),
    ],
)
def test_what_is_no_reply_or_not_clear_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenReply):
        read(data)
    with pytest.raises(BrokenReply):
        read(*(data[i : i + 1_000] for i in range(0, len(data), 1_000)))


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (OK + b"\r\n", b" " * 65_536),
        (OK + b"Content-Length: 999999999\r\n\r\n", b" " * 65_536),
        (CHUNKED, b"10000\r\n" + b" " * 65_536 + b"\r\n"),
        (OK + b"Content-Encoding: deflate\r\n\r\n", zlib.compress(b" " * (MAX_BODY + 1))),
    ],
)
def test_no_body_is_read_beyond_the_limit(head: bytes, piece: bytes) -> None:
    with pytest.raises(BadResponse, match="more than 16 MiB"):
        read(head, *[piece] * (MAX_BODY // 65_536 + 1))


def test_packing_that_nobody_asked_for_is_refused() -> None:
    with pytest.raises(BadResponse, match="packed as br"):
        read(OK + b"Content-Encoding: br\r\nContent-Length: 1\r\n\r\n4")


def test_more_than_one_reply_ends_the_connection() -> None:
    reply = read(OK + b"Content-Length: 1\r\n\r\n4" + OK)
    assert (reply.is_complete, reply.body, reply.stays_open) == (True, b"4", False)


def test_a_tunnel_has_no_body() -> None:
    reply = HttpReply(opens_tunnel=True)
    reply.feed(b"HTTP/1.1 200 Connection established\r\n\r\n")
    assert reply.is_complete
    assert reply.stays_open
