"""Following jobs over broken connections, from where the last one ended."""

from ragecho_sdk import Batch, Job
from ragecho_sdk.following import MOST_BREAKS, Following


def test_a_stream_goes_on_from_the_last_id_that_was_complete():
    following = Following(batch="b")
    assert "Last-Event-ID" not in following.begin()
    told = following.feed(
        b'event: job\ndata: {"id":"1","status":"running"}\n\n'
        b'id: 7\nevent: batch\ndata: {"id":"b","total":1,"statuses":{"running":1}}\n\nid: 9\nevent: job\n'
    )
    assert [type(one) for one in told] == [Job, Batch]
    assert following.pause() is not None
    # What was cut off does not count.
    assert following.begin()["Last-Event-ID"] == "7"
    assert not following.is_over
    following.feed(b'event: done\ndata: {"complete":false}\n\n')
    assert not following.is_over
    following.begin()
    following.feed(b'event: done\ndata: {"complete":true}\n\n')
    assert following.is_over


def test_breaks_without_any_event_are_given_up():
    following = Following(jobs=["1"])
    pauses = [following.pause() for _ in range(MOST_BREAKS + 1)]
    assert None not in pauses[:-1]
    assert pauses[-1] is None
    following.feed(b'event: job\ndata: {"id":"1","status":"running"}\n\n')
    assert following.pause() is not None
