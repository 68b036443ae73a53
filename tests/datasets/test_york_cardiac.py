"""The York cardiac set, on its twin."""

import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.io import loadmat, savemat

from crosslinknet.config import DataConfig, ImageConfig
from crosslinknet.datasets import find_cases
from crosslinknet.errors import DataError, ShapeError
from crosslinknet.outlines import fill_polygon
from crosslinknet.phantoms import make_phantom
from crosslinknet.readers import read_case

STRUCTURES = {"epicardium": [1, 2], "cavity": [2], "ring": [1]}
FRAMES, DEPTH = 3, 4


@pytest.fixture
def copy(twin, tmp_path):
    return shutil.copytree(twin("york-cardiac"), tmp_path / "york")


def found(root, **settings):
    return find_cases(DataConfig(root=root, **settings))


def outlines(copy, number):
    return copy / "manual_seg" / f"manual_seg_32points_pat{number}.mat"


def read(case):
    return read_case(case, DataConfig(root=".", label_map=STRUCTURES), ImageConfig())


def test_a_case_is_the_drawn_slices_of_a_frame(twin):
    result = found(twin("york-cardiac"))
    assert result.layout == "york-cardiac"
    assert [case.id for case in result.cases[:3]] == [
        "pat1_frame_01",
        "pat1_frame_03",  # in frame 2 of subject 1 nothing is drawn
        "pat2_frame_01",
    ]
    assert [case.slices for case in result.cases[:2]] == [(0, 1, 2), (8, 9, 10)]
    assert {case.subject for case in result.cases} == {f"pat{n}" for n in range(1, 7)}
    assert len(result.cases) == 6 * FRAMES - 1
    assert "51 of 72 images of 6 subjects are drawn" in result.notes[0]
    assert result.suggestions == {
        "data": {"label_map": STRUCTURES},
        "image": {"window": "percentile"},
        "augment": {"preset": "cardiac-paper"},
    }


def test_images_and_masks_are_those_that_were_drawn(twin):
    for case in found(twin("york-cardiac")).cases:
        got, person = read(case), int(case.subject.removeprefix("pat")) - 1
        for place, d in enumerate(case.slices):
            phantom = make_phantom("heart", (64, 64), person, d)
            np.testing.assert_array_equal(got.image[place, 0], np.rint(phantom.image[0, 0]))
            heart, cavity = got.mask[place] > 0, got.mask[place] == 2
            for mine, drawn in ((heart, phantom.mask[0] > 0), (cavity, phantom.mask[0] == 2)):
                dice = 2 * (mine & drawn).sum() / (mine.sum() + drawn.sum())
                assert dice > 0.99  # a shift of one pixel, the usual slip, gives 0.9


def test_masks_are_the_filled_points_of_the_file_exactly(twin):
    cells = loadmat(outlines(twin("york-cardiac"), 2))["manual_seg_32points"]
    assert cells.shape == (DEPTH, FRAMES)
    for case in found(twin("york-cardiac")).cases:
        if case.subject == "pat2":
            for mask, d in zip(read(case).mask, case.slices, strict=True):
                cell = cells[d % DEPTH, d // DEPTH] - 1
                inner, outer = (fill_polygon(p[:, ::-1], (64, 64)) for p in (cell[:32], cell[33:]))
                np.testing.assert_array_equal(mask, np.where(inner, 2, outer))


def test_the_files_are_as_the_originals(twin):
    images = loadmat(twin("york-cardiac") / "mrimages" / "sol_yxzt_pat3.mat")
    assert images["sol_yxzt"].shape == (64, 64, DEPTH, FRAMES)
    cells = loadmat(outlines(twin("york-cardiac"), 3))["manual_seg_32points"]
    assert cells[0, 0].shape == (65, 2)
    assert not cells[0, 0][32].any()
    assert cells[DEPTH - 1, 0].tolist() == [[-99999]]


def test_spacing_comes_from_a_table_beside_the_files(copy):
    result = found(copy)
    assert result.cases[0].spacing is None
    assert "no spacing.csv: distances are in pixels" in result.notes
    rows = ["subject,dy,dx,dz", "pat1,1.2,1.1,8", *(f"{n},1.5,1.4,{n}" for n in range(2, 7))]
    (copy / "spacing.csv").write_text("\n".join(rows))
    result = found(copy)
    assert result.cases[0].spacing == (8, 1.2, 1.1)
    assert read(result.cases[-1]).grid.spacing == (6, 1.5, 1.4)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("subject,dy,dx,dz\npat1,1,1,0", r"line 2: pat1, 1, 1, 0\. Expected"),
        ("subject,dy,dx,dz\npat1,1,1,nan", "line 2"),
        ("subject,dy,dx,dz\n1,1,1,8\npat1,1,1,8", "line 3"),
        ("subject,dy,dx,dz\nanna,1,1,8", "line 2: anna"),
        ("subject,dy,dx\n1,1,1", r"line 2: 1, 1, 1, \. Expected"),
        ("subject,dy,dx,dz\n1,1,1,8", "no row for 5 of 6 subjects: pat2, pat3"),
        ("\udcff", "cannot be read as a UTF-8 CSV file"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(copy, text, reason):
    (copy / "spacing.csv").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=rf"spacing\.csv.*{reason}"):
        found(copy)


def test_files_may_lie_in_one_folder_and_must_not_be_there_twice(copy):
    for path in list(copy.glob("*/*.mat")):
        shutil.move(path, copy / path.name)
    assert len(found(copy).cases) == 17
    shutil.copy(copy / "sol_yxzt_pat1.mat", copy / "mrimages")
    with pytest.raises(DataError, match="have one number"):
        found(copy)


def test_images_without_outlines_and_the_reverse(copy):
    outlines(copy, 6).unlink()
    with pytest.raises(DataError, match=r"1 of 6 images have no mask .*sol_yxzt_pat6\.mat"):
        found(copy)
    assert {c.subject for c in found(copy, unlabelled="skip").cases} == {
        f"pat{n}" for n in range(1, 6)
    }
    (copy / "mrimages" / "sol_yxzt_pat5.mat").unlink()
    with pytest.raises(DataError, match=r"masks have no image in .*pat5\.mat"):
        found(copy)


def test_outlines_of_another_subject_are_refused_by_their_number_of_cells(copy):
    cells = np.empty((2, FRAMES), dtype=object)
    for place in np.ndindex(cells.shape):
        cells[place] = np.array([[-99999.0]])
    savemat(outlines(copy, 1), {"manual_seg_32points": cells})
    with pytest.raises(ShapeError, match=r"cells for 3 frames of 2 slices.*3 frames of 4"):
        found(copy)


def test_a_set_in_which_nothing_is_drawn_is_refused(copy):
    cells = np.empty((DEPTH, FRAMES), dtype=object)
    for place in np.ndindex(cells.shape):
        cells[place] = np.array([[-99999.0]])
    for number in range(1, 7):
        savemat(outlines(copy, number), {"manual_seg_32points": cells})
    with pytest.raises(DataError, match="in none of the 72 images"):
        found(copy)


def test_a_pattern_for_subjects_wins(twin):
    result = found(twin("york-cardiac"), subject=r"pat(\d+)_")
    assert {case.subject for case in result.cases} == set("123456")


@pytest.mark.parametrize(
    ("radius", "shifted", "painted"), [(5, 18, 11), (10, 9, 5), (15, 6, 3), (25, 4, 2)]
)
def test_what_other_readings_of_an_outline_cost(radius, shifted, painted):
    """D31: points of Dice, means over 100 circles of 32 points, for 1-based points and PIL."""
    angles = np.arange(32) / 32 * 2 * np.pi
    circle = radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    costs = []
    for centre in 40 + np.random.default_rng(0).random((100, 2)):
        yx = centre + circle
        ours = fill_polygon(yx, (80, 80))
        one_off = fill_polygon(yx + 1, (80, 80))
        drawn = Image.new("1", (80, 80))
        ImageDraw.Draw(drawn).polygon([(x, y) for y, x in yx], fill=1, outline=1)
        costs.append([1 - dice(ours, other) for other in (one_off, np.asarray(drawn))])
    assert np.rint(100 * np.mean(costs, axis=0)).tolist() == [shifted, painted]


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())
