"""The MATLAB files of the York set: written by scipy, broken by hand, filled by hand."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Polygon
from scipy.io import savemat

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig, ImageConfig
from crosslinknet.errors import CrosslinkError, DataError, LabelError, ShapeError
from crosslinknet.geometry import Grid
from crosslinknet.labels import label_table
from crosslinknet.readers import (
    count_values,
    guard,
    matlab,
    read_case,
    read_image,
    read_mask,
    write_mask,
)

HEART = label_table({"epicardium": [1, 2], "cavity": [2], "ring": [1]})
UNDRAWN = np.array([[-99999.0]])


def box(top, left, height, width, points=32):
    """A rectangle as outline: ``points`` points (x, y) along it, counted from 1."""
    corners = np.array([[left, top], [left + width, top], [left + width, top + height],
                        [left, top + height], [left, top]], dtype=float)  # fmt: skip
    t = np.arange(points) * 4 / points
    side = t.astype(int)
    return corners[side] + (t - side)[:, None] * (corners[side + 1] - corners[side]) + 1


def cell(endo, epi):
    return np.concatenate([endo, np.zeros((1, 2)), epi])


def outlines_file(path, cells, **options):
    """``cells[z][t]`` as a cell array."""
    array = np.empty((len(cells), len(cells[0])), dtype=object)
    for z, row in enumerate(cells):
        for t, content in enumerate(row):
            array[z, t] = content
    savemat(path, {"manual_seg_32points": array}, **options)
    return path


def images_file(path, yxzt, **options):
    savemat(path, {"sol_yxzt": yxzt}, **options)
    return path


GOOD = cell(box(3.5, 4.5, 2, 3), box(1.5, 2.5, 6, 8))


@pytest.mark.parametrize("packed", [True, False])
def test_images_come_frame_after_frame(tmp_path, packed):
    yxzt = np.random.default_rng(0).integers(0, 900, (5, 6, 3, 2)).astype(float)
    path = images_file(tmp_path / "a.mat", yxzt, do_compression=packed)
    image, grid = read_image(path, "axial")
    assert image.shape == (6, 1, 5, 6)
    assert image.dtype == np.float32
    assert grid == Grid((6, 5, 6))
    for t in range(2):
        for z in range(3):
            np.testing.assert_array_equal(image[t * 3 + z, 0], yxzt[:, :, z, t])
    assert matlab.image_shape(path) == (2, 3)


def test_last_axes_that_matlab_drops_are_there(tmp_path):
    for shape, slices in (((5, 6), (1, 1)), ((5, 6, 3), (1, 3))):
        path = images_file(tmp_path / "a.mat", np.ones(shape, np.int16))
        image, _ = read_image(path, 0)
        assert image.shape == (slices[0] * slices[1], 1, 5, 6)
        assert image.dtype == np.int16
        assert matlab.image_shape(path) == slices


def test_whole_numbers_that_are_stored_small_have_the_type_that_matlab_shows(tmp_path):
    """MATLAB packs doubles of 0..255 as bytes; here as a file holds them, class double, uint8."""
    path = images_file(tmp_path / "a.mat", np.full((4, 4), 7.0), do_compression=False)
    content = bytearray(path.read_bytes())
    at = content.index(struct.pack("<II", 9, 128))  # 16 doubles
    packed = struct.pack("<II", 2, 16) + bytes([7]) * 16
    matrix = content[136:at] + packed
    content = content[:128] + struct.pack("<II", 14, len(matrix)) + matrix
    path.write_bytes(content)
    assert read_image(path, 0)[0].dtype == np.float32
    assert (read_image(path, 0)[0] == 7).all()


def test_big_endian_files_are_read(tmp_path):
    path = images_file(tmp_path / "a.mat", np.arange(6.0).reshape(2, 3), do_compression=False)
    little = path.read_bytes()
    assert little[124:128] == b"\x00\x01IM"
    words = struct.Struct("<12I").unpack(little[128:176])  # tags, flags, shape, small name tag
    name_at = 176
    kind, length = struct.unpack_from("<II", little, name_at - 8)
    assert (kind, length) == (1, 8)  # sol_yxzt
    values = np.frombuffer(little[-48:], "<f8").astype(">f8").tobytes()
    big = little[:124] + b"\x01\x00MI" + struct.pack(">12I", *words)
    big += little[name_at : name_at + 8] + struct.pack(">II", 9, 48) + values
    path.write_bytes(big)
    np.testing.assert_array_equal(read_image(path, 0)[0][0, 0], np.arange(6).reshape(2, 3))


def test_outlines_are_filled_where_pixel_centres_lie_inside(tmp_path):
    path = outlines_file(tmp_path / "o.mat", [[GOOD], [UNDRAWN]])
    mask = matlab.draw(path, tmp_path / "i.mat", Grid((2, 10, 14)), HEART, "error")
    expected = np.zeros((10, 14), np.uint8)
    expected[2:8, 3:11] = 1  # rows 1.5 to 7.5, columns 2.5 to 10.5
    expected[4:6, 5:8] = 2
    np.testing.assert_array_equal(mask[0], expected)
    assert not mask[1].any()
    assert matlab.count(path, tmp_path / "i.mat", Grid((2, 10, 14))) == {0: 232, 1: 42, 2: 6}


def test_the_first_half_of_the_rows_is_the_endocardium_whatever_their_number(tmp_path):
    few = cell(box(3.5, 4.5, 2, 3, points=4), box(1.5, 2.5, 6, 8, points=4))
    many = cell(box(3.5, 4.5, 2, 3, points=60), box(1.5, 2.5, 6, 8, points=60))
    masks = [
        matlab.draw(outlines_file(tmp_path / "o.mat", [[one]]), path, Grid((1, 10, 14)), HEART, "")
        for one in (few, many, GOOD)
        for path in [tmp_path / "i.mat"]
    ]
    np.testing.assert_array_equal(masks[0], masks[2])
    np.testing.assert_array_equal(masks[1], masks[2])


@given(
    centre=st.tuples(st.floats(8, 24), st.floats(8, 24)),
    radii=st.lists(st.floats(3, 7.5), min_size=32, max_size=32),
)
@settings(max_examples=25, deadline=None)
def test_any_outline_is_filled_as_matplotlib_fills_it(tmp_path_factory, centre, radii):
    centre = np.array(centre) + 0.1234567  # so that no pixel's centre lies on an outline
    angles = np.arange(32) / 32 * 2 * np.pi
    xy = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * np.array(radii)[:, None]
    inner = centre + (xy - centre) * 0.5
    path = outlines_file(tmp_path_factory.mktemp("o") / "o.mat", [[cell(inner + 1, xy + 1)]])
    mask = matlab.draw(path, path, Grid((1, 32, 32)), HEART, "error")[0]
    y, x = np.mgrid[:32, :32]
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    np.testing.assert_array_equal(mask > 0, Polygon(xy).contains_points(points).reshape(32, 32))
    np.testing.assert_array_equal(mask == 2, Polygon(inner).contains_points(points).reshape(32, 32))


def test_cells_without_outline_are_none(tmp_path):
    cells = [[GOOD, UNDRAWN], [np.zeros((0, 0)), GOOD]]
    drawn = matlab.read_outlines(outlines_file(tmp_path / "o.mat", cells))
    assert [[both is None for both in frame] for frame in drawn] == [[False, True], [True, False]]
    np.testing.assert_array_equal(drawn[0][0].endo[0], [3.5, 4.5])  # y, x from 0
    assert len(drawn[0][0].epi) == 32


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (cell(box(1.5, 2.5, 6, 8), box(3.5, 4.5, 2, 3)), r"cell \{1, 1\}.*order may be swapped"),
        (cell(box(3, 4, 2, 3), box(3, 4, 2, 3)), "order may be swapped"),
        (np.zeros((65, 3)), r"has the shape \(65, 3\)"),
        (np.zeros((64, 2)), r"has the shape \(64, 2\)"),
        (np.zeros((5, 2)), r"has the shape \(5, 2\)"),
        (np.where(GOOD == 0, 1.0, GOOD), r"row 33 is \[1\.0, 1\.0\] and must be the zeros"),
        (np.where(GOOD[0, 0] == GOOD, np.nan, GOOD), "all numbers must be finite"),
    ],
)
def test_outlines_of_another_form_are_refused_with_their_place(tmp_path, content, reason):
    path = outlines_file(tmp_path / "o.mat", [[content]])
    with pytest.raises(DataError, match=rf"o\.mat, .*{reason}"):
        matlab.read_outlines(path)


def test_names_and_other_numbers_of_slices_are_refused(tmp_path):
    path = outlines_file(tmp_path / "o.mat", [[GOOD]])
    names = label_table({"heart": ["ring"]})
    with pytest.raises(LabelError, match=r"become the values 1 \(ring\) and 2 \(cavity\)"):
        matlab.draw(path, path, Grid((1, 9, 9)), names, "error")
    with pytest.raises(ShapeError, match=r"cells for 1 images, .*i\.mat holds 2"):
        matlab.draw(path, tmp_path / "i.mat", Grid((2, 9, 9)), HEART, "error")


def test_a_case_of_both_files_is_read_and_counted(tmp_path):
    images = images_file(tmp_path / "i.mat", np.ones((40, 40, 2, 1)))
    outlines = outlines_file(tmp_path / "o.mat", [[UNDRAWN], [GOOD]])
    files = CaseFiles("a", "a", (images,), outlines, spacing=(8.0, 1.5, 1.25), slices=(1,))
    labels = {"epicardium": [1, 2], "cavity": [2]}
    case = read_case(files, DataConfig(root=tmp_path, label_map=labels), ImageConfig())
    assert case.image.shape == (1, 1, 40, 40)
    assert case.grid.spacing == (8.0, 1.5, 1.25)
    assert np.bincount(case.mask.ravel()).tolist() == [1552, 42, 6]
    assert count_values(files) == {0: 3152, 1: 42, 2: 6}


def test_images_that_claim_more_than_images_have_are_refused_before_they_are_read(
    tmp_path, monkeypatch
):
    path = images_file(tmp_path / "i.mat", np.zeros((4, 5, 2, 3)))
    assert read_image(path, 0)[0].size == 120
    monkeypatch.setattr(guard, "MOST_PIXELS", 119)
    monkeypatch.setattr(matlab, "read_image", None)
    with pytest.raises(DataError, match=r"i\.mat claims \(4, 5, 2, 3\) pixels, more than 119"):
        read_image(path, 0)


def test_matlab_files_are_no_masks_of_their_own_and_are_not_written(tmp_path):
    path = outlines_file(tmp_path / "o.mat", [[GOOD]])
    with pytest.raises(DataError, match=r"o\.mat is a MATLAB file, which is read as outlines"):
        read_mask(path, 0, HEART, None)
    with pytest.raises(DataError, match=r"o\.mat cannot be written.*Use \.tif"):
        write_mask(path, np.zeros((1, 4, 4), np.uint8), HEART, Grid((1, 4, 4)), None)
    with pytest.raises(DataError, match="cannot be written"):
        matlab.write_probabilities(
            path, np.zeros((1, 1, 4, 4), np.float32), Grid((1, 4, 4)), None, []
        )


def test_a_file_without_the_variable_says_what_it_holds(tmp_path):
    savemat(tmp_path / "a.mat", {"x": 1.0, "volume_of_heart": 2.0})
    for read in (lambda p: read_image(p, 0), matlab.read_outlines, matlab.image_shape):
        with pytest.raises(DataError, match=r"a\.mat has no variable .*holds x, volume_of_heart"):
            read(tmp_path / "a.mat")


@pytest.mark.parametrize("value", ["text", {"a": 1}, np.array([[1, 2]], dtype=object), 1j])
def test_images_that_are_no_numbers_are_refused(tmp_path, value):
    with pytest.raises(DataError, match=r"a\.mat.*sol_yxzt"):
        read_image(images_file(tmp_path / "a.mat", value), 0)


def test_outlines_that_are_no_cells_of_numbers_are_refused(tmp_path):
    savemat(tmp_path / "a.mat", {"manual_seg_32points": np.zeros((65, 2))})
    with pytest.raises(DataError, match="expected cells"):
        matlab.read_outlines(tmp_path / "a.mat")
    inner = np.empty((1, 1), dtype=object)
    inner[0, 0] = GOOD
    for content in (inner, {"field": GOOD}, "text"):
        path = outlines_file(tmp_path / "b.mat", [[content]])
        with pytest.raises(DataError, match=r"b\.mat: .* holds more than real numbers"):
            matlab.read_outlines(path)


def test_other_versions_of_matlab_files_are_refused(tmp_path):
    path = tmp_path / "a.mat"
    head = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    for content, reason in (
        (head, r"is a MATLAB 7\.3 \(HDF5\) file"),
        (b"\x89HDF\r\n\x1a\n", r"is a MATLAB 7\.3 \(HDF5\) file"),
        (b"\x80\x04\x95 a pickle", "is no MATLAB 5 file"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"a\.mat {reason}"):
            read_image(path, 0)


def test_what_claims_too_much_is_refused_before_it_is_unpacked(tmp_path):
    path = images_file(tmp_path / "a.mat", np.ones((4, 4)), do_compression=False)
    content = path.read_bytes()
    claim = struct.pack("<II", 14, 2**31) + content[136:]
    bomb = zlib.compress(claim + bytes(2**24), 9)
    path.write_bytes(content[:128] + struct.pack("<II", 15, len(bomb)) + bomb)
    with pytest.raises(DataError, match=r"a\.mat: sol_yxzt claims 2,147,483,656 bytes"):
        read_image(path, 0)
    longer = zlib.compress(content[128:] + bytes(2**24), 9)
    path.write_bytes(content[:128] + struct.pack("<II", 15, len(longer)) + longer)
    with pytest.raises(DataError, match="is not as long as it claims"):
        read_image(path, 0)
    path.write_bytes(content[:-8])
    with pytest.raises(DataError, match=r"a\.mat ends too early"):
        read_image(path, 0)


@pytest.mark.parametrize("packed", [True, False])
def test_damaged_files_are_read_or_refused_by_name(tmp_path, packed):
    good = {
        "i.mat": images_file(tmp_path / "i.mat", np.ones((6, 5, 2, 2)), do_compression=packed),
        "o.mat": outlines_file(tmp_path / "o.mat", [[GOOD, UNDRAWN]], do_compression=packed),
    }
    rng, read, refused = np.random.default_rng(0), 0, 0
    for name, path in good.items():
        original = path.read_bytes()
        for _ in range(150):
            content = bytearray(original)
            for place in rng.integers(124, len(content), rng.integers(1, 4)):
                content[place] = rng.integers(256)
            path.write_bytes(
                content[: rng.integers(128, len(content))] if rng.random() < 0.2 else content
            )
            try:
                read_image(path, 0) if name == "i.mat" else matlab.read_outlines(path)
            except CrosslinkError as error:
                refused += name in str(error)
            else:
                read += 1
    assert read + refused == 300
    assert refused > 100
