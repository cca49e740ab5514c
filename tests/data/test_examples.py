import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxmask.data.examples import Examples
from flaxmask.data.ragged import Ragged
from flaxmask.data.vocabulary import EOS, UNKNOWN, Vocabulary


@given(st.lists(st.lists(st.integers(0, 99))))
def test_ragged_is_a_list_of_lists(lists):
    ragged = Ragged.of(lists)
    assert [ragged[i].tolist() for i in range(len(ragged))] == lists
    assert ragged.lengths.tolist() == [len(ids) for ids in lists]


def test_what_is_too_long_is_cut_counted_and_keeps_its_end_mark():
    pairs = [([5, 6, 7, 8, EOS], [5, EOS]), ([5, EOS], [5, 6, 7, EOS]), ([5, 6, EOS], [5, 6, EOS])]
    cut = Examples.of(pairs, (10, 10), length=3)
    assert cut.truncated == 2
    assert cut.source[0].tolist() == [5, 6, EOS]
    assert cut.labels[1].tolist() == [5, 6, EOS]
    assert cut.lengths.tolist() == [[3, 2], [2, 3], [3, 3]]
    assert Examples.of(pairs, (10, 10)).truncated == 0


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (([5, 10, EOS], [EOS]), "example 1: source: id 10 is outside the vocabulary of 10"),
        (([EOS], [-1, EOS]), "example 1: target: id -1 is outside the vocabulary of 12"),
        (([EOS], []), "example 1: target: expected at least an end mark"),
    ],
)
def test_a_bad_example_is_named(pair, message):
    with pytest.raises(ValueError, match=message):
        Examples.of([([EOS], [EOS]), pair], (10, 12))


@given(st.lists(st.text("abc", min_size=1, max_size=3), max_size=5))
def test_a_vocabulary_reads_back_what_it_wrote(words):
    vocabulary = Vocabulary.build(["a b c", "ab cab", *[" ".join(words)] * bool(words)], " ")
    text = " ".join(words)
    if words:
        assert vocabulary.decode(vocabulary.encode(text)) == text


def test_ids_are_stable_and_strangers_unknown():
    letters = Vocabulary(("a", "b"))
    assert letters.encode("bax") == [5, 4, UNKNOWN, EOS]
    assert letters.decode([0, 1, 5, 4, EOS, 4]) == "ba"
    assert len(letters) == 6
    assert Vocabulary.build(["ba", "b"]) == letters


def test_an_example_s_arrays_are_int32():
    data = Examples.of([([EOS], [EOS])], (10, 10))
    assert data.source.values.dtype == np.int32
