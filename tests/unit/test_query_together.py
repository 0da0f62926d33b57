from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from ragecho.kernel.ids import ChunkId, DocumentId, VersionId
from ragecho.kernel.passages import Passage
from ragecho.library.query.queries import Query, Way
from ragecho.library.query.together import fuse

WHOLE, PART, MADE_UP = Query("a and b?"), Query("b?", Way.DECOMPOSE), Query("b is c.", Way.HYDE, embed_as_passage=True)


def passage(number: int, score: float, **scores: float) -> Passage:
    return Passage(
        chunk_id=ChunkId(UUID(int=number)),
        document_id=DocumentId(UUID(int=number)),
        version_id=VersionId(UUID(int=number)),
        filename="f",
        title=None,
        heading_path=(),
        page=None,
        start=0,
        end=1,
        text="t",
        content_sha256="",
        score=score,
        scores={"fused": score, **scores},
    )


def numbers(passages: list[Passage]) -> list[int]:
    return [one.chunk_id.int for one in passages]


def test_the_best_of_each_part_stand_first() -> None:
    whole = [passage(1, 0.9), passage(2, 0.6), passage(3, 0.5)]
    part = [passage(4, 0.95), passage(2, 0.7)]
    found = fuse([WHOLE, PART], [whole, part], k=3)
    assert numbers(found) == [4, 1, 2]
    assert found[2].score == 0.7


def test_equals_stand_in_the_order_of_the_question_itself() -> None:
    assert numbers(fuse([WHOLE, PART], [[passage(1, 1.0)], [passage(2, 1.0)]], k=2)) == [1, 2]


def test_how_near_a_made_up_answer_comes_is_no_evidence() -> None:
    found = fuse(
        [WHOLE, MADE_UP],
        [[passage(1, 0.4, vector=0.6)], [passage(1, 0.9, vector=0.99), passage(2, 0.8, vector=0.9)]],
        k=5,
    )
    assert found[0].scores == {"fused": 0.9, "vector": 0.6}
    assert "vector" not in found[1].scores


lists = st.lists(
    st.lists(st.tuples(st.integers(1, 9), st.floats(0, 1)), max_size=9, unique_by=lambda pair: pair[0]),
    min_size=1,
    max_size=4,
)


@given(lists, st.integers(1, 12))
def test_nothing_is_lost_doubled_or_made_up(given_lists: list[list[tuple[int, float]]], k: int) -> None:
    found = fuse([WHOLE] * len(given_lists), [[passage(*one) for one in each] for each in given_lists], k=k)
    best: dict[int, float] = {}
    for number, score in (pair for each in given_lists for pair in each):
        best[number] = max(score, best.get(number, 0.0))
    assert len(found) == min(k, len(best)) == len(set(numbers(found)))
    assert all(one.score == best[one.chunk_id.int] for one in found)
    assert [one.score for one in found] == sorted(best.values(), reverse=True)[:k]
