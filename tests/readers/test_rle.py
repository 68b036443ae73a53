"""Run lengths: worked out by hand, and exact both ways."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from crosslinknet.errors import DataError
from crosslinknet.readers.rle import counts_to_mask, counts_to_text, mask_to_counts, text_to_counts

MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def test_pixels_are_counted_down_the_columns_and_background_comes_first():
    mask = np.array([[1, 0, 0], [1, 1, 0]], dtype=bool)  # columns 11, 01, 00
    assert mask_to_counts(mask) == [0, 2, 1, 1, 2]
    assert mask_to_counts(np.zeros((2, 3), bool)) == [6]
    assert mask_to_counts(np.ones((2, 3), bool)) == [0, 6]


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ([0], "0"),  # 48 + 0
        ([15], "?"),  # 01111 has no sign bit: one group
        ([16], "`0"),  # 10000 has: 48 + 32 + 16, then 0
        ([32], "P1"),  # 00000 with more, then 1
        ([1024], "PP1"),
        ([5, 9, 3, 9], "5930"),  # the fourth as the difference to the second, 9 - 9
        ([5, 9, 3, 8], "593O"),  # -1 is 11111: 48 + 31
        ([5, 60, 3, 10, 4], "5l13^N1"),  # 10 - 60 = -50: 01110, then -2; 4 - 3 = 1
    ],
)
def test_texts_of_counts_worked_out_by_hand(counts, text):
    assert counts_to_text(counts) == text
    assert text_to_counts(text) == counts


@given(MASKS)
def test_masks_come_back_from_counts_and_from_texts(mask):
    counts = mask_to_counts(mask)
    assert all(count > 0 for count in counts[1:])
    np.testing.assert_array_equal(counts_to_mask(counts, mask.shape), mask)
    assert text_to_counts(counts_to_text(counts)) == counts


@given(st.lists(st.integers(0, 2**30)))
def test_large_counts_come_back(counts):
    assert text_to_counts(counts_to_text(counts)) == counts


@pytest.mark.parametrize("text", ["a b", "\x7f", "0p/", "é", "P", "5P"])
def test_a_text_that_is_none_is_refused(text):
    with pytest.raises(DataError, match=r"no text of COCO's kind|middle of a number"):
        text_to_counts(text)


def test_a_number_without_end_is_refused_at_once():
    with pytest.raises(DataError, match="no text of COCO's kind"):
        text_to_counts("o" * 1_000_000)


@pytest.mark.parametrize("counts", [[-1, 7], [1.0, 5], ["1"], [True, 5], [None]])
def test_counts_that_are_no_whole_numbers_are_refused(counts):
    with pytest.raises(DataError, match="not all whole numbers"):
        counts_to_mask(counts, (2, 3))


@pytest.mark.parametrize("counts", [[], [7], [3, 2], [2**80]])
def test_counts_must_add_up_to_the_image(counts):
    with pytest.raises(DataError, match=r"add up to \d+ pixels, not 2x3"):
        counts_to_mask(counts, (2, 3))
