import pytest

from flaxmask.data.sources import split_of


@pytest.mark.parametrize(
    ("text", "split", "of_ten"),
    [
        ("word8", "validation", "validation"),  # the hash modulo 100 is 0
        ("word61", "validation", "validation"),  # 4
        ("word185", "test", "validation"),  # 5
        ("word74", "test", "validation"),  # 9
        ("word31", "train", "test"),  # 10
    ],
)
def test_splits_stay_where_they_are(text, split, of_ten):
    """Another answer here would move examples between splits: old results would not compare with new ones."""
    assert split_of(text) == split
    assert split_of(text, held_out=10) == of_ten
