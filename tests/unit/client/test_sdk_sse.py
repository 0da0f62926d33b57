"""Server-sent events, however the bytes are cut."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ragecho_sdk.sse import EventDecoder

STREAM = (
    ": a comment\n\n"
    'event: token\r\ndata: {"text": "ü\u2028"}\r\n\r\n'
    'event: token\rdata: {"text":\rdata: "two lines"}\r\r'
    "id: 7\nevent: done\ndata:\n\n"
    "data: plain words\n\n"
    "event: cut off"
).encode()


def decode(*pieces: bytes) -> list[tuple[str, object]]:
    decoder = EventDecoder()
    return [(event.event, event.data) for piece in pieces for event in decoder.feed(piece)]


def test_every_kind_of_line_end_and_field_is_understood():
    assert decode(STREAM) == [
        ("token", {"text": "ü\u2028"}),
        ("token", {"text": "two lines"}),
        ("done", ""),
        ("message", "plain words"),
    ]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_the_events_do_not_depend_on_how_the_bytes_arrive(cuts):
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(edges)]
    assert decode(*pieces) == decode(STREAM)
