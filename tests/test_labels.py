import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from crosslinknet.errors import LabelError, UsageError
from crosslinknet.labels import decode, encode, label_table, split_classes, to_values

OVERLAPPING = {"infection": [1, 2], "ggo": [1]}


def test_codes_count_the_distinct_values_in_order():
    table = label_table({"b": [200], "a": [7, 200]})
    assert table.classes == ("b", "a")
    assert table.values == (7, 200)
    assert table.member.tolist() == [[False, False], [False, True], [True, True]]
    assert not table.colour


def test_colours_become_numbers():
    table = label_table({"red": ["#ff0000"], "blue": ["#0000ff"]})
    assert table.values == (0x0000FF, 0xFF0000)
    assert table.member.tolist() == [[False, False], [False, True], [True, False]]
    assert table.colour


def test_names_are_numbered_in_alphabetical_order():
    table = label_table({"all": ["polyp", "adenoma"], "edge": ["polyp"]})
    assert table.names == ("adenoma", "polyp")
    assert table.values == (1, 2)
    assert table.classes == ("all", "edge")
    assert table.member.tolist() == [[False, False], [True, False], [True, True]]
    assert not table.colour
    assert to_values(np.array([0, 1, 2]), table).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(encode(np.array([[[0, 1, 2]]]), table, "m"), [[[0, 1, 2]]])


def test_numbers_and_colours_have_no_names():
    assert label_table({"a": [1, 2]}).names == ()
    assert label_table({"a": ["#ff0000"]}).names == ()


def test_255_values_fit_and_256_do_not():
    table = label_table({"all": list(range(1, 256))})
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    np.testing.assert_array_equal(encode(values, table, "m"), values)
    with pytest.raises(UsageError, match="names 256 mask values"):
        label_table({"all": list(range(1, 257))})


@given(
    arrays.arrays(np.int64, (1, 4, 5), elements=st.sampled_from([0, 1, 2, 128, 255])),
    st.sampled_from([np.uint8, np.uint16, np.int16, np.int64]),
)
def test_values_come_back_whatever_the_type_of_the_file(values, kind):
    table = label_table({"a": [1, 255], "b": [2], "c": [128]})
    codes = encode(values.astype(kind), table, "m")
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(to_values(codes, table), values)


@pytest.mark.parametrize("kind", [np.uint8, np.int32])
def test_values_without_a_name_are_listed_with_their_pixels(kind):
    values = np.array([[[0, 1, 9, 9, 9, 200]]], dtype=kind)
    with pytest.raises(LabelError) as caught:
        encode(values, label_table(OVERLAPPING), "masks/case_3.png")
    text = str(caught.value)
    assert "masks/case_3.png holds 9 (3 px), 200 (1 px), which" in text
    assert "0 background, 1 infection+ggo, 2 infection" in text
    assert "data.threshold" in text


def test_negative_and_very_large_values_are_unknown_not_wrapped():
    table = label_table({"a": [1, 255]})
    with pytest.raises(LabelError, match=r"-1 \(1 px\), 256 \(1 px\), 257 \(1 px\)"):
        encode(np.array([[[0, -1, 256, 257]]]), table, "m")


def test_unknown_colours_are_written_as_colours_and_a_long_list_is_cut():
    values = np.arange(14, dtype=np.int32).reshape(1, 2, 7) + 0xAB0000
    with pytest.raises(LabelError) as caught:
        encode(values, label_table({"red": ["#ff0000"]}), "m")
    assert "#ab0000 (1 px)" in str(caught.value)
    assert "and 4 more values" in str(caught.value)
    assert "threshold" not in str(caught.value)


def test_a_pixel_belongs_to_every_class_that_names_its_value():
    masks = split_classes(np.array([[0, 1], [2, 2]]), label_table(OVERLAPPING))
    assert masks.tolist() == [[[False, True], [True, True]], [[False, True], [False, False]]]


def test_one_class_is_present_above_zero():
    table = label_table({"lesion": [255]})
    assert decode(np.array([[-1.0, 0.0, 0.1]]), table).tolist() == [0, 0, 1]


def test_exclusive_classes_are_an_argmax_against_zero():
    table = label_table({"kidney": [1], "tumour": [2]})
    scores = np.array([[1.0, 1.0, -1.0, 2.0], [0.5, 3.0, -2.0, 2.0]])
    assert decode(scores, table).tolist() == [1, 2, 0, 1]  # the last is a tie: lower code


def test_values_of_one_class_are_written_as_the_first_of_them():
    table = label_table({"lesion": [3, 7]})
    assert to_values(decode(np.array([[5.0, -5.0]]), table), table).tolist() == [3, 0]


@given(arrays.arrays(np.float64, (3, 6), elements=st.integers(-4, 4).map(float)))
def test_decode_takes_the_best_sum_of_class_scores(scores):
    table = label_table({"a": [1, 2], "b": [2, 3], "c": [4]})
    sums = [[s[row].sum() for row in table.member] for s in scores.T]  # (pixels, codes)
    expected = [max(range(5), key=lambda code, row=row: (row[code], -code)) for row in sums]
    assert decode(scores, table).tolist() == expected


@pytest.mark.parametrize(
    "label_map", [OVERLAPPING, {"a": [1], "b": [2]}, {"a": [1], "all": [1, 2]}]
)
def test_decoding_sure_scores_gives_the_codes_back(label_map):
    table = label_table(label_map)
    codes = np.array(list(itertools.product([0, 1, 2], repeat=2)))  # (9, 2)
    scores = np.where(split_classes(codes, table), 4.0, -4.0)
    np.testing.assert_array_equal(decode(scores, table), codes)


def test_written_values_take_the_smallest_type():
    codes = np.array([0, 1])
    assert to_values(codes, label_table({"a": [255]})).dtype == np.uint8
    assert to_values(codes, label_table({"a": [256]})).dtype == np.uint16
    assert to_values(codes, label_table({"a": ["#0000ff"]})).dtype == np.int32
