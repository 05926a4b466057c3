"""Replies of a server to a subscribed connection are read whole, however they are cut into pieces on their way."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progresskit.backends.replies import BATCH_BYTES, ErrorReply, ReplyReader

Pair = tuple[socket.socket, socket.socket]

# Line breaks, and what looks like the beginning of another part, may be in a channel and in a message.
texts = st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"\r\n", b"a\r\n$1\r\nb", b"*3\r\n$7\r\nmessage\r\n"]))
messages = st.tuples(st.sampled_from([b"message", b"smessage"]), texts, texts).map(list)
others = st.one_of(
    st.tuples(st.sampled_from([b"subscribe", b"sunsubscribe"]), texts, st.integers(0, 9)).map(list),
    st.just([b"pong", b""]),
    st.just([b"unsubscribe", None, 0]),
    st.just(b"PONG"),
)


@pytest.fixture
def pair() -> Iterator[Pair]:
    server, client = socket.socketpair()
    with server, client:
        client.settimeout(5)
        yield server, client


def packed(reply: Any) -> bytes:
    """Return a reply as a server sends it."""
    if reply is None:
        return b"$-1\r\n"
    if reply == b"PONG":
        return b"+PONG\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%s\r\n" % (len(reply), reply)
    return b"*%d\r\n%s" % (len(reply), b"".join(map(packed, reply)))


def is_message(reply: Any) -> bool:
    return isinstance(reply, list) and reply[0] in (b"message", b"smessage")


@given(st.lists(st.one_of(messages, others), max_size=12), st.lists(st.integers(0, 400), max_size=6))
def test_each_reply_is_read_once_wherever_the_pieces_end(replies: list[Any], cuts: list[int]) -> None:
    sent = b"".join(map(packed, replies))
    places = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    found: dict[bytes, bytes] = {}
    rest: list[Any] = []
    server, client = socket.socketpair()
    with server, client:
        reader = ReplyReader(client)
        for begin, end in pairwise(places):
            server.sendall(sent[begin:end])
            answered, may_have_more = reader.read(found)
            rest += answered
            assert not may_have_more
    for reply in filter(is_message, rest):  # one whose channel has a line break in it
        found[reply[1]] = reply[2]
    assert found == {reply[1]: reply[2] for reply in filter(is_message, replies)}
    assert [reply for reply in rest if not is_message(reply)] == [each for each in replies if not is_message(each)]


def test_of_each_channel_the_newest_message_counts(pair: Pair) -> None:
    server, client = pair
    server.sendall(b"".join(packed([b"message", b"a", b"%d" % number]) for number in range(100)))
    found = {b"a": b"older", b"b": b"other"}
    assert ReplyReader(client).read(found) == ([], False)
    assert found == {b"a": b"99", b"b": b"other"}


def test_nothing_is_waited_for_and_the_timeout_of_the_socket_stays(pair: Pair) -> None:
    _, client = pair
    assert ReplyReader(client).read({}) == ([], False)
    assert client.gettimeout() == 5


def test_an_error_is_raised_with_its_text(pair: Pair) -> None:
    server, client = pair
    server.sendall(b"-NOPERM this user has no permissions\r\n")
    with pytest.raises(ErrorReply, match=r"^NOPERM this user"):
        ReplyReader(client).read({})


def test_what_was_sent_before_the_end_is_read_and_then_the_end_is_reported(pair: Pair) -> None:
    server, client = pair
    server.sendall(packed([b"message", b"a", b"last"]))
    server.close()
    reader, found = ReplyReader(client), dict[bytes, bytes]()
    assert reader.read(found) == ([], False)
    assert found == {b"a": b"last"}
    with pytest.raises(ConnectionError):
        reader.read(found)


def test_another_protocol_is_an_error_of_the_connection(pair: Pair) -> None:
    server, client = pair
    server.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(ConnectionError, match="not a reply"):
        ReplyReader(client).read({})


def test_a_message_longer_than_a_batch_arrives(pair: Pair) -> None:
    from threading import Thread

    server, client = pair
    text, found = b"x" * (3 * BATCH_BYTES), dict[bytes, bytes]()
    reader, sending = ReplyReader(client), Thread(target=server.sendall, args=(packed([b"message", b"a", text]),))
    sending.start()
    while not found:
        reader.read(found)
    sending.join()
    assert found == {b"a": text}
