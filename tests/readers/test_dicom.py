"""DICOM series and pictures: geometry against a formula, values against known files, errors."""

import itertools
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import compress

from crosslinknet.errors import DataError, ShapeError, SystemProblem
from crosslinknet.labels import label_table
from crosslinknet.readers import (
    dicom_head,
    files_of,
    is_image,
    read_image,
    read_mask,
    stem_of,
    suffix_of,
    write_mask,
    write_probabilities,
)
from crosslinknet.readers.dicom import first_files, place_of
from tests.readers.dicoms import (
    CR,
    MR,
    PHOTO,
    dataset,
    enhanced,
    place,
    save,
    write_series,
)

UNIT = [*np.eye(3), *-np.eye(3)]
DIRECTIONS = [(a, b) for a, b in itertools.product(UNIT, UNIT) if a @ b == 0]
ENDS = {"axial": (2, -1, -0), "coronal": (-1, 2, -0), "sagittal": (-0, 2, -1)}  # see WORLD
WORLD = {  # plane: world axis (R, A, S) and sign along D, H, W
    "axial": ((2, 1), (1, -1), (0, -1)),
    "coronal": ((1, -1), (2, -1), (0, -1)),
    "sagittal": ((0, -1), (2, -1), (1, -1)),
}
SPACING, ORIGIN = (3.0, 0.7, 0.5), (-11.0, 22.0, 33.0)


def counting(shape=(3, 4, 5), kind=np.int16):
    """Voxels (Z, Y, X), each with a number of its own."""
    return np.arange(np.prod(shape), dtype=kind).reshape(shape)


def tilted(directions):
    """The same directions in a patient who lies oblique, by 12 and 7 degrees."""
    (c, s), (k, t) = ((np.cos(a), np.sin(a)) for a in np.deg2rad([12, 7]))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, k, -t], [0, t, k]]
    )
    return tuple(turn @ direction for direction in directions)


def world(row, column, number, directions):
    """Where a stored pixel lies, mm RAS: PS3.3 C.7.6.2.1.1, with slices along the normal."""
    across, down = (np.asarray(d) for d in directions)
    lps = (
        np.array(ORIGIN)
        + number * SPACING[0] * np.cross(across, down)
        + row * SPACING[1] * down
        + column * SPACING[2] * across
    )
    return lps * (-1, -1, 1)


def test_24_pairs_of_directions_can_be_said_in_dicom():
    # The slice axis is the normal of the plane, so that left-handed frames cannot be said: with
    # slices counted up or down in the files, the 24 make 48.
    assert len(DIRECTIONS) == 24
    assert all(round(np.linalg.det([a, b, np.cross(a, b)])) == 1 for a, b in DIRECTIONS)


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("downwards", [False, True])
@pytest.mark.parametrize("pair", range(24))
def test_every_voxel_lies_where_the_formula_puts_it(tmp_path, pair, downwards, oblique):
    directions = tilted(DIRECTIONS[pair]) if oblique else DIRECTIONS[pair]
    voxels = counting()
    order = [2, 1, 0] if downwards else [0, 1, 2]
    path = write_series(tmp_path, voxels, directions, SPACING, ORIGIN, order)[1]
    for plane, ends in WORLD.items():
        image, grid = read_image(path, plane)
        assert image.dtype == np.int16
        for place_, value in np.ndenumerate(image[:, 0]):
            number, row, column = np.unravel_index(int(value), voxels.shape)
            expected = world(row, column, number, directions)
            np.testing.assert_allclose((grid.affine @ (*place_, 1))[:3], expected, atol=1e-4)
        assert sorted(image.ravel()) == sorted(voxels.ravel())
        for axis, (end, sign) in enumerate(ends):
            along = grid.affine[:3, axis]
            assert np.argmax(np.abs(along)) == end
            assert np.sign(along[end]) == sign
        np.testing.assert_allclose(sorted(grid.spacing), sorted(SPACING), rtol=1e-6)


@pytest.mark.parametrize("pair", range(24))
def test_a_mask_is_written_on_the_voxels_of_the_series(tmp_path, pair):
    directions = tilted(DIRECTIONS[pair])
    voxels = (np.random.default_rng(pair).random((3, 4, 5)) > 0.5).astype(np.int16)
    path = write_series(tmp_path / "ct", voxels, directions, SPACING, ORIGIN)[0]
    table = label_table({"lesion": [1]})
    for plane in (*WORLD, 0, 1, 2):
        image, grid = read_image(path, plane)
        write_mask(tmp_path / "mask.nii.gz", image[:, 0], table, grid, path)
        back = nib.load(tmp_path / "mask.nii.gz")
        np.testing.assert_array_equal(np.asanyarray(back.dataobj), voxels.T)  # (X, Y, Z)
        expected = [world(*place_, directions) for place_ in ((0, 0, 0), (3, 4, 2))]
        found = [(back.affine @ (*place_, 1))[:3] for place_ in ((0, 0, 0), (4, 3, 2))]
        np.testing.assert_allclose(found, expected, atol=1e-4)
        again, there = read_mask(tmp_path / "mask.nii.gz", plane, table, None)
        np.testing.assert_array_equal(again, image[:, 0])
        np.testing.assert_allclose(there.affine, grid.affine, atol=1e-4)


def test_slices_as_stored_are_cut_by_axis_2(tmp_path):
    path = write_series(tmp_path, counting())[0]
    image, grid = read_image(path, 2)
    np.testing.assert_array_equal(image[:, 0], counting().transpose(0, 2, 1))  # (Z, X, Y)
    assert grid.spacing == pytest.approx((3.0, 0.5, 0.7))


def test_names_and_instance_numbers_count_for_nothing(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 99, (6, 4, 5)).astype(np.int16)
    path = write_series(tmp_path, voxels, order=[3, 0, 5, 1, 4, 2])[0]
    np.testing.assert_array_equal(read_image(path, "axial")[0][:, 0], voxels)


def test_the_distance_of_slices_is_that_of_their_positions(tmp_path):
    path = write_series(
        tmp_path, counting(), spacing=(2.0, 1, 1), SliceThickness="5", SpacingBetweenSlices="7"
    )[0]
    assert read_image(path, "axial")[1].spacing == (2, 1, 1)


def test_a_single_slice_takes_its_thickness_from_the_header(tmp_path):
    for name, tags, thick in (
        ("a", {"SliceThickness": "5", "SpacingBetweenSlices": "7"}, 7),
        ("b", {"SliceThickness": "5"}, 5),
        ("c", {"SliceThickness": "0"}, 1),
        ("d", {}, 1),
    ):
        path = write_series(tmp_path / name, counting((1, 4, 5)), **tags)[0]
        assert read_image(path, "axial")[1].spacing == pytest.approx((thick, 0.7, 0.5))


def test_a_tilted_gantry_gives_a_sheared_affine(tmp_path):
    for z in range(3):
        data = place(dataset(counting((4, 5))), (0, 0.3 * z, 2.0 * z))
        path = save(tmp_path / f"{z}.dcm", data)
    grid = read_image(path, "axial")[1]
    step = (grid.affine @ (1, 0, 0, 0))[:3]
    np.testing.assert_allclose(step, (0, -0.3, 2.0), atol=1e-6)


def test_an_enhanced_file_is_a_series_in_one_file(tmp_path):
    voxels = counting()
    path = save(tmp_path / "a.dcm", enhanced(voxels, order=[2, 0, 1]))
    image, grid = read_image(path, "axial")
    np.testing.assert_array_equal(image[:, 0], voxels + 10 * np.arange(3)[:, None, None])
    np.testing.assert_allclose(grid.spacing, (3, 0.7, 0.5))
    assert image.dtype == np.int32  # int16 and an intercept of 20 no longer fit 16 bits


def test_files_without_suffix_and_with_identifiers_as_names_are_known_by_their_bytes(tmp_path):
    paths = write_series(tmp_path, counting(), names="1.2.840.{}")
    bare = tmp_path / "IM0001"
    shutil.move(paths[0], bare)
    (tmp_path / "notes").write_bytes(b"x" * 200)
    assert suffix_of(bare) == suffix_of(paths[1]) == ".dcm"
    assert stem_of(bare) == "IM0001"
    assert stem_of(paths[1]) == "1.2.840.1"
    assert is_image(bare)
    assert not is_image(tmp_path / "notes")
    assert suffix_of(tmp_path / "a.IMA") == ".ima"
    assert len(read_image(bare, "axial")[0]) == 3


def test_the_files_of_a_series_are_found_among_others(tmp_path):
    paths = write_series(tmp_path, counting())
    other = write_series(tmp_path, counting((2, 9, 9)), names="z_{}.dcm", series="1.2.3")
    picture = save(tmp_path / "photo.dcm", dataset(counting((4, 5), np.uint8), kind=PHOTO))
    report = dataset(counting((4, 5)), kind="1.2.840.10008.5.1.4.1.1.88.11")
    del report.Rows, report.PixelData
    save(tmp_path / "report.dcm", report)
    assert files_of(paths[2]) == tuple(paths)
    assert files_of(other[0]) == tuple(other)
    assert files_of(picture) == (picture,)
    assert files_of(tmp_path / "a.png") == (tmp_path / "a.png",)
    assert first_files(sorted(tmp_path.iterdir())) == [picture, paths[0], other[0]]
    assert place_of(paths[2]) == tmp_path / "slice_000"
    assert place_of(write_series(tmp_path / "alone", counting())[0]) == tmp_path / "alone"
    assert place_of(picture) == tmp_path / "photo"


def test_anonymised_series_are_told_apart_by_their_frame_of_reference(tmp_path):
    paths = write_series(tmp_path, counting(), series="")
    write_series(tmp_path, counting(), names="z_{}.dcm", series="", FrameOfReferenceUID="1.2")
    assert files_of(paths[0]) == tuple(paths)


def test_a_changed_file_is_read_anew(tmp_path):
    paths = write_series(tmp_path, counting())
    assert len(files_of(paths[0])) == 3
    save(paths[2], place(dataset(counting((4, 5)), series="1.2"), (0, 0, 6)))
    assert len(files_of(paths[0])) == 2


@pytest.mark.parametrize(
    ("tags", "kind", "expected"),
    [
        ({"RescaleSlope": "1", "RescaleIntercept": "-1024"}, np.int32, -1024),
        ({"RescaleSlope": "1", "RescaleIntercept": "-1024", "BitsStored": 12, "HighBit": 11},
         np.int16, -1024),
        ({"RescaleSlope": "2", "RescaleIntercept": "-1024"}, np.float32, -1024),
        ({"RescaleSlope": "1", "RescaleIntercept": "0.5"}, np.float32, 0.5),
        ({}, np.uint16, 0),
    ],
)  # fmt: skip
def test_values_are_those_the_header_means(tmp_path, tags, kind, expected):
    voxels = counting(kind=np.uint16)
    image, _ = read_image(write_series(tmp_path, voxels, **tags)[0], "axial")
    assert image.dtype == kind
    slope = float(tags.get("RescaleSlope", 1))
    np.testing.assert_array_equal(image[:, 0], voxels * slope + expected)


def test_one_fractional_slope_makes_the_whole_series_real_numbers(tmp_path):
    slopes = ("1", "0.5", "2")
    for z, slope in enumerate(slopes):
        data = dataset(counting((4, 5)), RescaleSlope=slope, RescaleIntercept="0", kind=MR)
        path = save(tmp_path / f"{z}.dcm", place(data, (0, 0, z)))
    image, _ = read_image(path, "axial")
    assert image.dtype == np.float32
    assert image[:, 0, 1, 1].tolist() == [6, 3, 12]


def test_a_padding_value_stays_what_it_is(tmp_path):
    voxels = counting()
    voxels[:, 0] = -2000
    path = write_series(
        tmp_path, voxels, PixelPaddingValue=-2000, RescaleSlope="1", RescaleIntercept="-1024"
    )[0]
    assert (read_image(path, "axial")[0][:, 0, 0] == -3024).all()


def test_bits_that_are_no_pixels_are_dropped(tmp_path):
    pixels = np.array([[0x0001, 0xF001], [0x8FFF, 0x0800]], np.uint16)
    data = dataset(pixels, kind=CR, BitsStored=12, HighBit=11)
    image, _ = read_image(save(tmp_path / "a.dcm", data), 0)
    assert image[0, 0].tolist() == [[1, 1], [0xFFF, 0x800]]
    data = dataset(pixels.view(np.int16), kind=CR, BitsStored=12, HighBit=11)
    image, _ = read_image(save(tmp_path / "b.dcm", data), 0)
    assert image[0, 0].tolist() == [[1, 1], [-1, -2048]]


def test_where_0_is_white_bright_becomes_high_unless_values_have_a_unit(tmp_path):
    pixels = np.array([[0, 1], [1000, 4095]], np.uint16)
    tags = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    image, _ = read_image(save(tmp_path / "a.dcm", dataset(pixels, kind=CR, **tags)), 0)
    assert image[0, 0].tolist() == [[4095, 4094], [3095, 0]]
    signed = dataset(pixels.astype(np.int16) - 2048, kind=CR, **tags)
    image, _ = read_image(save(tmp_path / "b.dcm", signed), 0)
    assert image[0, 0].tolist() == [[2047, 2046], [1047, -2048]]
    tags |= {"RescaleSlope": "1", "RescaleIntercept": "-1024"}
    image, _ = read_image(save(tmp_path / "c.dcm", dataset(pixels, kind=CR, **tags)), 0)
    assert image[0, 0].tolist() == [[-1024, -1023], [-24, 3071]]


def test_a_picture_is_taken_as_shown(tmp_path):
    rgb = counting((4, 5, 3), np.uint8)
    path = save(tmp_path / "a.dcm", dataset(rgb, kind=PHOTO, PixelSpacing=[0.2, 0.1]))
    image, grid = read_image(path, "coronal")
    np.testing.assert_array_equal(image[0], rgb.transpose(2, 0, 1))
    assert (grid.spacing, grid.affine) == ((1.0, 0.2, 0.1), None)
    planes = dataset(rgb, kind=PHOTO, PlanarConfiguration=1, PixelData=rgb.T.copy().tobytes())
    planes.PixelData = rgb.transpose(2, 0, 1).tobytes()
    image, _ = read_image(save(tmp_path / "b.dcm", planes), 0)
    np.testing.assert_array_equal(image[0], rgb.transpose(2, 0, 1))
    frames = counting((2, 4, 5), np.uint8)
    path = save(tmp_path / "c.dcm", dataset(frames, kind=PHOTO, NumberOfFrames=2))
    image, grid = read_image(path, "axial")
    np.testing.assert_array_equal(image[:, 0], frames)
    assert (grid.spacing, grid.affine) == (None, None)


def test_ybr_becomes_rgb(tmp_path):
    ybr = np.tile(np.array([76, 85, 255], np.uint8), (2, 2, 1))  # BT.601: pure red
    data = dataset(ybr, kind=PHOTO, PhotometricInterpretation="YBR_FULL")
    image, _ = read_image(save(tmp_path / "a.dcm", data), 0)
    np.testing.assert_allclose(image[0, :, 0, 0], (254, 0, 0), atol=1)


def test_a_palette_becomes_its_colours(tmp_path):
    data = dataset(np.array([[0, 1], [1, 2]], np.uint8), kind=PHOTO)
    data.PhotometricInterpretation = "PALETTE COLOR"
    for colour, table in (("Red", [9, 8, 7]), ("Green", [0, 1, 2]), ("Blue", [5, 5, 6])):
        setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [3, 0, 8])
        setattr(data, f"{colour}PaletteColorLookupTableData", bytes([*table, 0]))
    image, _ = read_image(save(tmp_path / "a.dcm", data), 0)
    assert image[0, :, 0, 1].tolist() == [8, 1, 5]
    assert image[0, :, 1, 1].tolist() == [7, 2, 6]


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEG2000Lossless", "JPEGLSLossless"])
def test_compressed_series_hold_the_pixels_of_plain_ones(tmp_path, syntax):
    voxels = np.random.default_rng(0).integers(-999, 999, (3, 40, 50)).astype(np.int16)
    for path in write_series(tmp_path, voxels):
        data = pydicom.dcmread(path)
        compress(data, getattr(pydicom.uid, syntax))
        save(path, data)
    np.testing.assert_array_equal(read_image(path, "axial")[0][:, 0], voxels)


EQUAL = [  # one picture in several encodings, none of which loses anything
    ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm",
     "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm"],
    ["SC_rgb.dcm", "SC_rgb_rle.dcm", "SC_rgb_expb.dcm"],
    ["SC_rgb_16bit.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_expb_16bit.dcm"],
    ["SC_rgb_2frame.dcm", "SC_rgb_rle_2frame.dcm", "SC_rgb_expb_2frame.dcm"],
    ["OBXXXX1A.dcm", "OBXXXX1A_rle.dcm", "OBXXXX1A_expb.dcm"],
    ["RG3_UNCR.dcm", "RG3_J2KR.dcm"],
    ["US1_UNCR.dcm", "US1_J2KR.dcm"],
    ["693_UNCR.dcm", "693_J2KR.dcm"],
    ["MR2_UNCR.dcm", "MR2_J2KR.dcm"],
    ["color-pl.dcm", "color-px.dcm"],
]  # fmt: skip


@pytest.mark.parametrize("names", EQUAL, ids=lambda names: names[0])
def test_one_real_picture_is_the_same_in_every_encoding(tmp_path, names):
    images = []
    for name in names:
        shutil.copyfile(get_testdata_file(name, download=False), tmp_path / name)
        shutil.move(tmp_path / name, tmp_path / "alone.dcm")
        images.append(read_image(tmp_path / "alone.dcm", "axial")[0])
    assert images[0].max() > images[0].min()
    for image in images[1:]:
        assert image.dtype.isnative
        np.testing.assert_array_equal(image, images[0])


def test_lossy_colours_are_near_the_plain_ones(tmp_path):
    plain = read_image(Path(get_testdata_file("SC_rgb.dcm", download=False)), 0)[0].astype(int)
    for name in ("SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_ybr_full_422_uncompressed.dcm"):
        shutil.copyfile(get_testdata_file(name, download=False), tmp_path / "a.dcm")
        assert np.abs(read_image(tmp_path / "a.dcm", 0)[0] - plain).mean() < 8


def refused(path, match, kind=DataError, axis="axial"):
    with pytest.raises(kind, match=match) as caught:
        read_image(path, axis)
    assert str(path.parent) in str(caught.value)


def test_a_missing_slice_is_told_by_the_distances(tmp_path):
    paths = write_series(tmp_path, counting((6, 4, 5)))
    paths[2].unlink()
    refused(paths[0], r"uneven distances: 3 times 3 mm, 1 times 6 mm\. Slices may be missing")


def test_rounded_positions_are_even_enough_and_worse_ones_are_not(tmp_path):
    for z, at in enumerate((0, 0.6, 1.3, 1.9)):  # 0.625 mm, rounded to a tenth
        path = save(tmp_path / f"{z}.dcm", place(dataset(counting((4, 5))), (0, 0, at)))
    assert read_image(path, "axial")[1].spacing[0] == pytest.approx(1.9 / 3)
    save(path, place(dataset(counting((4, 5))), (0, 0, 2.2)))
    refused(path, "uneven distances")


def test_slices_that_lie_beside_each_other_are_refused(tmp_path):
    for z, x in enumerate((0, 0.2, 0)):
        path = save(tmp_path / f"{z}.dcm", place(dataset(counting((4, 5))), (x, 0, z)))
    refused(path, r"up to 0\.20 mm beside each other")


@pytest.mark.parametrize("shift", [0.0, 0.0005])
def test_positions_that_come_twice_are_phases(tmp_path, shift):
    write_series(tmp_path, counting())
    path = write_series(tmp_path, counting(), names="b{}.dcm", origin=(0, 0, shift))[0]
    refused(path, "has 6 slices at 3 positions: several phases, time points or echoes")


def test_a_localiser_is_refused(tmp_path):
    write_series(tmp_path, counting())
    sagittal = ((0, 1, 0), (0, 0, -1))
    path = write_series(tmp_path, counting((1, 4, 5)), sagittal, names="b{}.dcm")[0]
    refused(path, r"several orientations: 3 times \[1\.0, 0\.0.*localiser")


def test_mixed_sizes_spacings_and_kinds_are_refused(tmp_path):
    for name, data, kind, match in (
        ("a", dataset(counting((4, 6))), ShapeError, "mixes sizes: 3 times 4x5, 1 times 4x6"),
        ("b", dataset(counting((4, 5, 3), np.uint8)), DataError, "mixes kinds of pixels: 3 times"),
    ):
        write_series(tmp_path / name, counting())
        refused(save(tmp_path / name / "x.dcm", place(data, (0, 0, 9))), match, kind)
    write_series(tmp_path / "c", counting())
    other = place(dataset(counting((4, 5))), (0, 0, 9), spacing=(0.7, 0.6))
    refused(save(tmp_path / "c" / "x.dcm", other), r"spacings: 3 times 0\.7 x 0\.5, 1 times 0\.7 x")


@pytest.mark.parametrize(
    ("tags", "match"),
    [
        ({"PixelSpacing": None}, "does not state its PixelSpacing"),
        ({"PixelSpacing": [0, 0]}, "does not state its PixelSpacing"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "no two unit vectors at right angles"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 2, 0]}, "no two unit vectors at right angles"),
        ({"ImageOrientationPatient": [1, 0, 0]}, r"ImageOrientationPatient is .* expected 6"),
        ({"ImagePositionPatient": None}, r"\(CT\) does not say where it lies in the patient"),
        ({"NumberOfFrames": 2**21}, "claims 2097152 frames"),
        ({"Rows": 65535, "Columns": 65535}, r"claims 1 x 65535 x 65535 pixels, more than"),
        ({"Rows": 0}, r"\(CT Image Storage\) shows no image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2"}, "is a radiotherapy dose"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "is a DICOM SEG, which is a mask"),
        ({"RescaleSlope": 0, "RescaleIntercept": 5}, "RescaleSlope of 0, .* Repair its header"),
        ({"HighBit": 12, "BitsStored": 12}, "BitsAllocated 16, BitsStored 12, HighBit 12"),
        ({"PhotometricInterpretation": "RGB"}, "pixels of kind 'RGB' with 1 values each"),
        ({"PhotometricInterpretation": "HSV"}, "pixels of kind 'HSV'"),
        ({"PixelData": b"\0" * 10}, r"cannot be read as DICOM \(.*less than expected"),
    ],
)
def test_what_would_come_out_wrong_is_refused(tmp_path, tags, match):
    data = place(dataset(counting((4, 5))), (0, 0, 0))
    for name, value in tags.items():
        setattr(data, name, value)
    refused(save(tmp_path / "a.dcm", data), match)


def test_no_pixel_data_is_an_error(tmp_path):
    data = place(dataset(counting((4, 5))), (0, 0, 0))
    del data.PixelData
    refused(save(tmp_path / "a.dcm", data), "holds no pixel data")


def test_a_slice_that_lost_its_position_is_not_passed_over(tmp_path):
    paths = write_series(tmp_path, counting())
    data = pydicom.dcmread(paths[2])
    del data.ImagePositionPatient
    save(paths[2], data)
    refused(paths[0], r"slice_002\.dcm \(CT\) does not say where it lies")


def test_a_slice_with_a_lookup_table_of_its_own_is_refused(tmp_path):
    paths = write_series(tmp_path, counting(kind=np.uint16))
    data, table = pydicom.dcmread(paths[2]), pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [60, 0, 16], "US"
    table.LUTData = np.arange(60, dtype="<u2").tobytes()
    data.ModalityLUTSequence = [table]
    save(paths[2], data)
    refused(paths[0], r"slice_002\.dcm .*a frame of \(4, 5\) float32 in a series of .* uint16")


def test_frames_of_nuclear_medicine_are_no_slices(tmp_path):
    data = dataset(counting((2, 4, 5)), kind="1.2.840.10008.5.1.4.1.1.20", NumberOfFrames=2)
    refused(save(tmp_path / "a.dcm", data), "whose 2 frames are views or phases")


def test_frames_that_do_not_all_say_where_they_lie_are_an_error(tmp_path):
    data = enhanced(counting())
    del data.PerFrameFunctionalGroupsSequence[2]
    refused(save(tmp_path / "a.dcm", data), "has 3 frames, but says of 2 where they lie")


def test_missing_frames_are_an_error(tmp_path):
    data = dataset(counting((2, 4, 5), np.uint8), kind=PHOTO, NumberOfFrames=2)
    compress(data, pydicom.uid.RLELossless)
    data.NumberOfFrames = 3
    refused(save(tmp_path / "a.dcm", data), "holds 2 of 3 frames")


def test_a_compression_without_decoder_is_named(tmp_path):
    path = tmp_path / "a.dcm"
    shutil.copyfile(get_testdata_file("SC_rgb_jpeg_gdcm.dcm", download=False), path)
    refused(
        path, r"compressed as JPEG Lossless.*no decoder .*python-gdcm .*pylibjpeg-libjpeg \(GPL"
    )
    data = dataset(counting((4, 5)), kind=CR)
    save(path, data)
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))
    refused(path, "a.dcm")


def test_a_codestream_of_another_size_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    for syntax in ("JPEG2000Lossless", "JPEGLSLossless"):
        data = dataset(np.zeros((40, 50), np.uint8), kind=PHOTO)
        compress(data, getattr(pydicom.uid, syntax))
        data.Rows = 41
        path = save(tmp_path / f"{syntax}.dcm", data)
        with monkeypatch.context() as patch:
            patch.setattr(pydicom.pixels, "iter_pixels", lambda *_a, **_k: pytest.fail("unpacked"))
            refused(path, r"claims 41x50 pixels, but its compressed data hold 40x50")


def test_deflated_files_are_refused(tmp_path):
    shutil.copyfile(get_testdata_file("image_dfl.dcm", download=False), tmp_path / "a.dcm")
    refused(tmp_path / "a.dcm", "is stored deflated")


def test_what_is_no_dicom_file_is_an_error_also_beside_a_series(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"x" * 500)
    refused(tmp_path / "a.dcm", "is no DICOM file: it does not begin")
    path = write_series(tmp_path, counting())[0]
    refused(path, r"a\.dcm is no DICOM file")
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    refused(path, r"a\.dcm cannot be read as DICOM")
    refused(tmp_path / "gone.dcm", "gone.dcm is no file")


def test_dicom_files_are_no_plain_masks_and_none_are_written(tmp_path):
    path = write_series(tmp_path, counting())[0]
    table, grid = label_table({"a": [1]}), read_image(path, "axial")[1]
    with pytest.raises(DataError, match="is a mask only as DICOM SEG"):
        read_mask(path, "axial", table, None)
    with pytest.raises(DataError, match=r"b\.dcm cannot be written"):
        write_mask(tmp_path / "b.dcm", np.zeros(grid.shape, np.uint8), table, grid, path)
    with pytest.raises(DataError, match=r"b\.dcm cannot be written"):
        write_probabilities(tmp_path / "b.dcm", np.zeros((1, 1, 1, 1)), grid, path)


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    path = write_series(tmp_path, counting())[0]
    dicom_head._read_head.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(SystemProblem, match=r"pip install 'crosslinknet\[dicom\]'"):
        read_image(path, "axial")


def plain_slice():
    return place(dataset(counting((8, 9))), (0, 0, 0))


def packed_slice():
    data = place(dataset(np.random.default_rng(0).integers(0, 99, (32, 33), np.uint8)), (0, 0, 0))
    compress(data, pydicom.uid.JPEG2000Lossless)
    return data


@pytest.mark.parametrize("make", [plain_slice, packed_slice, lambda: enhanced(counting())])
@pytest.mark.parametrize("number", [100, pytest.param(1700, marks=pytest.mark.slow)])
def test_broken_files_are_read_or_refused_and_nothing_else(tmp_path, number, make):
    content = save(tmp_path / "o" / "a.dcm", make()).read_bytes()
    rng = np.random.default_rng(number)
    outcomes = {"read": 0, "refused": 0}
    for i in range(number):
        broken = bytearray(content)
        for place_ in rng.integers(0, len(content), 1 + i % 4):
            broken[place_] = rng.integers(256)
        path = tmp_path / f"{i}" / "a.dcm"
        path.parent.mkdir()
        path.write_bytes(broken[: rng.integers(len(content))] if i % 5 == 0 else broken)
        try:
            image, _ = read_image(path, "axial")
            outcomes["read"] += 1
            assert image.size
        except DataError as error:
            outcomes["refused"] += str(path) in str(error)
    assert sum(outcomes.values()) == number
    assert min(outcomes.values()) > 10


def test_the_real_series_lies_on_its_labels(real_data):
    folder = real_data / "io_volumes" / "dicom_ct_series"
    image, grid = read_image(folder / "dicom" / "ct_007.dcm", "axial")
    labels, there = read_image(folder / "labels.nii.gz", "axial")
    assert image.shape == labels.shape == (20, 1, 512, 512)
    assert grid.spacing == pytest.approx((2.0, 0.9765625, 0.9765625))  # thickness tag: 3 mm
    np.testing.assert_allclose(grid.affine, there.affine, atol=1e-3)
    assert image.dtype == np.int16
    assert image.min() == -1024
    hu = {int(v): float(np.median(image[labels == v])) for v in np.unique(labels)}
    assert hu[0] < -900  # air around the patient
    assert hu.pop(20) < -200  # colon, full of gas
    assert all(0 < value < 800 for label, value in hu.items() if label)
    ribs, bone = np.isin(labels, range(97, 117)), image > 140
    assert bone[ribs].mean() > 0.7
    for axis in (0, 2, 3):  # they would not lie on bone if an axis ran the other way
        assert bone[np.flip(ribs, axis)].mean() < 0.25
