"""Masks as they stand in their files, whatever their values mean."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosslinknet import readers
from crosslinknet.case import CaseFiles
from crosslinknet.errors import DataError
from crosslinknet.geometry import Grid
from crosslinknet.readers import count_values, read_raw_mask


def case(folder: Path, pixels: np.ndarray, name: str = "m.png", **parts: object) -> CaseFiles:
    Image.fromarray(pixels).save(folder / name)
    return CaseFiles("m", "m", (folder / name,), folder / name, **parts)


def test_grey_values_stay_what_they_are_and_colours_are_found_by_themselves(tmp_path):
    grey = read_raw_mask(case(tmp_path, np.array([[0, 7], [255, 7]], np.uint8)), 0)
    assert (grey.values.tolist(), grey.colour, grey.name(7)) == ([[[0, 7], [255, 7]]], False, 7)
    red = np.zeros((1, 2, 3), np.uint8)
    red[0, 1] = (255, 0, 1)
    colours = read_raw_mask(case(tmp_path, red), 0)
    assert (colours.values.tolist(), colours.colour) == ([[[0, 0xFF0001]]], True)
    assert colours.name(0xFF0001) == "#ff0001"


def test_what_is_wanted_as_colour_or_as_grey_is_read_as_that(tmp_path):
    white = case(tmp_path, np.full((1, 1), 255, np.uint8))
    assert read_raw_mask(white, 0, colour=True).values.tolist() == [[[0xFFFFFF]]]
    red = case(tmp_path, np.array([[[255, 0, 0]]], np.uint8))
    with pytest.raises(DataError, match=r"is an RGB mask with 1 colours \(#ff0000"):
        read_raw_mask(red, 0, colour=False)


def test_a_threshold_leaves_0_and_1_and_a_stack_only_the_slices_of_the_case(tmp_path):
    pages = [Image.fromarray(np.full((2, 2), value, np.uint8)) for value in (10, 200, 90)]
    pages[0].save(tmp_path / "m.tif", save_all=True, append_images=pages[1:])
    files = CaseFiles("m", "m", (tmp_path / "m.tif",), tmp_path / "m.tif", slices=(2, 1))
    assert read_raw_mask(files, 0).values[:, 0, 0].tolist() == [90, 200]
    thresholded = read_raw_mask(files, 0, threshold=100)
    assert thresholded.values[:, 0, 0].tolist() == [0, 1]
    assert thresholded.grid.shape == (2, 2, 2)


def test_outlines_give_the_names_of_their_labels(tmp_path, monkeypatch):
    class Outlines:
        def count(self, path, image, grid):
            return {0: 2, "polyp": 1, "cyst": 1}

        def draw(self, path, image, grid: Grid, table, overlap):
            assert (table.names, overlap) == (("cyst", "polyp"), "last")
            return np.array([[[0, 0], [1, 2]]])

    monkeypatch.setitem(readers.DRAWN, ".outline", Outlines())
    image = case(tmp_path, np.zeros((2, 2), np.uint8)).images[0]
    files = CaseFiles("m", "m", (image,), tmp_path / "m.outline")
    mask = read_raw_mask(files, 0, overlap="last")
    assert mask.values.tolist() == [[[0, 0], [1, 2]]]
    assert [mask.name(value) for value in range(3)] == [0, "cyst", "polyp"]
    assert count_values(files) == {0: 2, "polyp": 1, "cyst": 1}


def test_a_case_without_mask_is_an_error(tmp_path):
    image = case(tmp_path, np.zeros((2, 2), np.uint8)).images[0]
    with pytest.raises(DataError, match=r"m\.png has no mask"):
        read_raw_mask(CaseFiles("m", "m", (image,)), 0)
