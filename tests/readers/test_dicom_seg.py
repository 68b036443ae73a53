"""DICOM SEG as labels; highdicom writes the files, and reads the real ones for comparison."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig, ImageConfig
from crosslinknet.errors import DataError, LabelError
from crosslinknet.geometry import Grid
from crosslinknet.labels import label_table
from crosslinknet.readers import (
    count_values,
    dicom_seg,
    read_case,
    read_case_mask,
    read_image,
    write_mask,
)
from tests.readers.dicoms import PHOTO, dataset, enhanced, place, save, write_series

BINARY, FRACTIONAL, LABELMAP = hd.seg.SegmentationTypeValues
KINDS = (BINARY, FRACTIONAL, LABELMAP)
RLE, PLAIN = pydicom.uid.RLELossless, pydicom.uid.ExplicitVRLittleEndian
OBLIQUE = ((0.8, 0.6, 0.0), (0.0, 0.0, -1.0))


def segment(number, label):
    """A segment, described."""
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Liver,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )


def write_seg(path, sources, pixels, labels=("Liver", "Spleen"), kind=BINARY, **options):
    """Let highdicom write a SEG: pixels (Z, Y, X) of numbers or (Z, Y, X, segments)."""
    images = [pydicom.dcmread(source) for source in sources]
    for image in images:
        image.SliceThickness = "9"  # which highdicom asks for and we do not look at
    seg = hd.seg.Segmentation(
        source_images=images,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=[segment(n, label) for n, label in enumerate(labels, start=1)],
        series_instance_uid=hd.UID(),
        series_number=9,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
        **options,
    )
    return save(path, seg)


def change(path, change_it):
    """Change a file in place."""
    data = pydicom.dcmread(path)
    change_it(data)
    return save(path, data)


@pytest.fixture
def numbers():
    """Segment numbers (Z, Y, X), the last slice empty; 15 pixels a slice are no whole bytes."""
    pixels = np.random.default_rng(0).integers(0, 3, (4, 3, 5)).astype(np.uint8)
    pixels[3] = 0
    return pixels


@pytest.fixture
def sources(tmp_path):
    image = np.random.default_rng(1).integers(0, 99, (4, 3, 5)).astype(np.int16)
    return write_series(tmp_path / "ct", image, order=[2, 0, 3, 1])


def files(sources, seg):
    return CaseFiles("a", "a", (Path(sources[0]),), seg)


def data(label_map=None, overlap="error"):
    return DataConfig(root=Path(), label_map=label_map or {"a": [1], "b": [2]}, overlap=overlap)


@pytest.mark.parametrize("omit", [True, False])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
def test_segments_are_labels_by_number(tmp_path, sources, numbers, kind, omit):
    seg = write_seg(tmp_path / "seg.dcm", sources, numbers, kind=kind, omit_empty_frames=omit)
    codes_, grid = read_case_mask(files(sources, seg), data(), "axial")
    np.testing.assert_array_equal(codes_, numbers)
    assert grid.shape == (4, 3, 5)
    assert pydicom.dcmread(seg).SegmentationType == kind.value


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal", 0, 1, 2])
@pytest.mark.parametrize("directions", [((1, 0, 0), (0, 1, 0)), ((0, 1, 0), (0, 0, -1)), OBLIQUE])
def test_frames_lie_on_the_pixels_of_their_slices_in_every_plane(tmp_path, directions, plane):
    numbers = np.random.default_rng(0).integers(0, 3, (4, 3, 5)).astype(np.uint8)
    image = numbers.astype(np.int16) * 100
    sources = write_series(tmp_path / "ct", image, directions, order=[3, 1, 0, 2])
    seg = write_seg(tmp_path / "seg.dcm", sources[::-1], numbers[::-1])
    case = read_case(files(sources, seg), data(), ImageConfig(slice_axis=plane))
    np.testing.assert_array_equal(case.image[:, 0], case.mask.astype(int) * 100)


def test_segments_are_labels_by_name(tmp_path, sources, numbers):
    seg = write_seg(tmp_path / "seg.dcm", sources, numbers, labels=("Spleen", "Liver"))
    wanted = data({"organs": ["Liver", "Spleen"], "liver": ["Liver"]})
    codes_, _ = read_case_mask(files(sources, seg), wanted, "axial")
    np.testing.assert_array_equal(codes_ == 1, numbers == 2)  # Liver comes first by name
    np.testing.assert_array_equal(codes_ == 2, numbers == 1)
    with pytest.raises(LabelError, match=r"labelled 'Liver', which data\.label_map does not name"):
        read_case_mask(files(sources, seg), data({"a": ["Spleen"]}), "axial")
    with pytest.raises(LabelError, match=r"seg\.dcm .* holds 2 \(.* px\)"):
        read_case_mask(files(sources, seg), data({"a": [1]}), "axial")


def test_pixels_are_counted_by_label(tmp_path, sources, numbers):
    seg = write_seg(tmp_path / "seg.dcm", sources, numbers)
    expected = {0: 0, "Liver": 1, "Spleen": 2}
    counted = {name: int((numbers == n).sum()) for name, n in expected.items()}
    assert count_values(files(sources, seg)) == counted
    seg = write_seg(tmp_path / "seg.dcm", sources, numbers, labels=("Same", "Same"))
    assert set(count_values(files(sources, seg))) == {0, 1, 2}


def test_half_of_the_largest_value_is_inside(tmp_path, sources):
    shares = np.zeros((4, 3, 5, 1))
    shares[0, 0, :4, 0] = (0.49, 0.5, 0.51, 1.0)
    seg = write_seg(
        tmp_path / "seg.dcm", sources, shares, labels=("Liver",), kind=FRACTIONAL,
        max_fractional_value=100,
    )  # fmt: skip
    codes_, _ = read_case_mask(files(sources, seg), data(), "axial")
    assert codes_[0, 0].tolist() == [0, 1, 1, 1, 0]
    assert codes_[1:].sum() == 0


def test_a_compressed_seg_is_read(tmp_path, sources, numbers):
    seg = write_seg(
        tmp_path / "seg.dcm", sources, numbers, kind=FRACTIONAL, transfer_syntax_uid=RLE
    )
    codes_, _ = read_case_mask(files(sources, seg), data(), "axial")
    np.testing.assert_array_equal(codes_, numbers)


def test_overlapping_segments_are_counted_or_the_last_one_wins(tmp_path, sources):
    both = np.zeros((4, 3, 5, 2), np.uint8)
    both[1, :2, :, 0] = 1
    both[1, 1:, :3, 1] = 1
    seg = write_seg(tmp_path / "seg.dcm", sources, both)
    with pytest.raises(DataError, match=r"gives 3 pixels to more .*: Liver and Spleen \(3 px\)"):
        read_case_mask(files(sources, seg), data(), "axial")
    codes_, _ = read_case_mask(files(sources, seg), data(overlap="last"), "axial")
    assert [(codes_ == n).sum() for n in (1, 2)] == [7, 6]
    assert count_values(files(sources, seg)) == {0: 60 - 13, "Liver": 10, "Spleen": 6}

    def turn_around(data):
        data.SegmentSequence = data.SegmentSequence[::-1]

    codes_, _ = read_case_mask(
        files(sources, change(seg, turn_around)), data(overlap="last"), "axial"
    )
    assert [(codes_ == n).sum() for n in (1, 2)] == [10, 3]  # the order of the file decides


def test_segments_of_one_name_may_overlap(tmp_path, sources):
    both = np.ones((4, 3, 5, 2), np.uint8)
    seg = write_seg(tmp_path / "seg.dcm", sources, both, labels=("Liver", "Liver"))
    codes_, _ = read_case_mask(files(sources, seg), data({"liver": ["Liver"]}), "axial")
    assert codes_.all()


def test_a_seg_of_an_enhanced_file_is_drawn_on_its_frames(tmp_path, numbers):
    image = save(tmp_path / "mr.dcm", enhanced(numbers.astype(np.int16), order=[2, 0, 3, 1]))
    seg = write_seg(tmp_path / "seg.dcm", [image], numbers[[2, 0, 3, 1]])
    codes_, _ = read_case_mask(files([image], seg), data(), "axial")
    np.testing.assert_array_equal(codes_, numbers)


def test_a_seg_of_another_series_or_frame_of_reference_is_refused(tmp_path, sources, numbers):
    seg = write_seg(tmp_path / "seg.dcm", sources, numbers)
    other = write_series(tmp_path / "b", numbers.astype(np.int16), series="1.2.3")
    with pytest.raises(DataError, match=r"slice_\d+\.dcm is of series 1\.2\.3 in .*Pair the SEG"):
        read_case_mask(files(other, seg), data(), "axial")
    elsewhere = write_series(tmp_path / "c", numbers.astype(np.int16), FrameOfReferenceUID="1.2.9")
    with pytest.raises(DataError, match=r"but .* in 1\.2\.9"):
        read_case_mask(files(elsewhere, seg), data(), "axial")

    def forget(data):
        del data.ReferencedSeriesSequence

    codes_, _ = read_case_mask(files(other, change(seg, forget)), data(), "axial")
    np.testing.assert_array_equal(codes_, numbers)  # the frame of reference is all there is


def moved(offset=(0, 0, 0), spacing=None, orientation=None):
    def change_it(data):
        shared = data.SharedFunctionalGroupsSequence[0]
        if spacing:
            shared.PixelMeasuresSequence[0].PixelSpacing = spacing
        if orientation:
            shared.PlaneOrientationSequence[0].ImageOrientationPatient = orientation
        for group in data.PerFrameFunctionalGroupsSequence:
            position = group.PlanePositionSequence[0]
            position.ImagePositionPatient = [
                float(x) + d for x, d in zip(position.ImagePositionPatient, offset, strict=True)
            ]

    return change_it


def without(name, shared=False):
    def change_it(data):
        for group in data.PerFrameFunctionalGroupsSequence:
            if name in group:
                delattr(group, name)
        if name in data.SharedFunctionalGroupsSequence[0]:
            delattr(data.SharedFunctionalGroupsSequence[0], name)

    return change_it


def setting(name, value):
    return lambda data: setattr(data, name, value)


def renumber(data):
    data.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[
        0
    ].ReferencedSegmentNumber = 7


@pytest.mark.parametrize(
    ("change_it", "match"),
    [
        (moved((0, 0, 1.5)), r"a frame at .* mm, 0\.50 pixels or slices off those of its image"),
        (moved((0.2, 0, 0)), r"0\.40 pixels or slices off"),
        (moved((0, 0, 6)), r"marks pixels outside its image of \(4, 3, 5\)"),
        (moved((-1, 0, 0)), "marks pixels outside its image"),
        (moved(spacing=[1.4, 1.0]), r"has pixels of \(1\.4, 1\.0\) mm"),
        (moved(orientation=[0.6, 0.8, 0, -0.8, 0.6, 0]), "not the pixels of its image"),
        (without("PlanePositionSequence"), "frames without position, orientation or spacing"),
        (without("SegmentIdentificationSequence"), "frame 1 does not say which segment"),
        (renumber, "has a frame of segment 7, which it does not list"),
        (setting("SegmentSequence", []), r"numbers its segments \[\]"),
        (setting("SegmentationType", "ODD"), "is a SEG of type 'ODD'"),
        (setting("Rows", 0), "is a SEG of type 'BINARY' with"),
        (setting("PixelData", b"\0\0"), r"is cut off: \d+ bits are expected"),
        (setting("NumberOfFrames", 2), "says of 6 where they lie"),
    ],
)
def test_what_does_not_lie_on_the_pixels_of_the_image_is_refused(
    tmp_path, sources, numbers, change_it, match
):
    seg = change(write_seg(tmp_path / "seg.dcm", sources, numbers), change_it)
    with pytest.raises(DataError, match=match) as caught:
        read_case_mask(files(sources, seg), data(), "axial")
    assert "seg.dcm" in str(caught.value)


def test_a_tenth_of_a_pixel_is_rounding(tmp_path, sources, numbers):
    seg = change(write_seg(tmp_path / "seg.dcm", sources, numbers), moved((0.02, 0.02, 0.1)))
    codes_, _ = read_case_mask(files(sources, seg), data(), "axial")
    np.testing.assert_array_equal(codes_, numbers)


def test_no_pixel_data_is_an_error(tmp_path, sources, numbers):
    def forget(data):
        del data.PixelData

    seg = change(write_seg(tmp_path / "seg.dcm", sources, numbers), forget)
    with pytest.raises(DataError, match=r"seg\.dcm holds no pixel data"):
        read_case_mask(files(sources, seg), data(), "axial")


def test_a_dicom_file_that_is_no_seg_is_no_mask(sources):
    with pytest.raises(DataError, match="is a DICOM file but no SEG"):
        read_case_mask(files(sources, sources[1]), data(), "axial")


def test_a_seg_cannot_be_drawn_on_a_picture(tmp_path, sources, numbers):
    seg = write_seg(tmp_path / "seg.dcm", sources, numbers)
    picture = save(tmp_path / "p.dcm", dataset(np.zeros((3, 5), np.uint8), kind=PHOTO))
    with pytest.raises(DataError, match="its image is a picture without a place"):
        dicom_seg.draw(seg, picture, Grid((1, 3, 5)), label_table({"a": [1]}), "error")


def test_a_slice_that_is_marked_but_missing_is_an_error(tmp_path, sources, numbers):
    seg = write_seg(tmp_path / "seg.dcm", sources, numbers)
    for path in sources:  # the first slice goes
        if pydicom.dcmread(path).ImagePositionPatient[2] == 0:
            path.unlink()
    kept = [path for path in sources if path.is_file()]
    with pytest.raises(DataError, match="Slices of the series are missing"):
        read_case_mask(files(kept, seg), data(), "axial")


def test_the_real_segs_are_what_highdicom_reads(real_data):
    folder = real_data / "io_volumes" / "dicom_ct_seg"
    image = folder / "ct" / "02.dcm"
    order = sorted((folder / "ct").iterdir(), reverse=True)  # 03 lies lowest
    uids = [pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in order]
    for name, labels, overlap in (
        ("seg_liver.dcm", ["Liver"], "error"),
        ("seg_partial_overlaps.dcm", ["GREEN", "ORANGE", "PURPLE", "LIGHT_BLUE", "DARK_BLUE"],
         "last"),
    ):  # fmt: skip
        seg = hd.seg.segread(folder / name)
        planes = seg.get_pixels_by_source_instance(
            uids, ignore_spatial_locations=True, assert_missing_frames_are_empty=True
        )  # (3, 512, 512, segments)
        expected = np.zeros(planes.shape[:3], np.uint8)
        for number in range(planes.shape[3]):
            expected[planes[..., number] > 0] = number + 1
        wanted = data({f"s{n}": [n] for n in range(1, len(labels) + 1)}, overlap)
        files_ = CaseFiles("a", "a", (image,), folder / name)
        case = read_case(files_, wanted, ImageConfig())
        np.testing.assert_array_equal(case.mask, expected)
        assert set(count_values(files_)) == {0, *labels}
    wanted = data({f"s{n}": [n] for n in range(1, 6)})
    shared = int(((planes > 0).sum(axis=-1) > 1).sum())
    with pytest.raises(DataError, match=f"gives {shared} pixels to more than one label"):
        read_case(files_, wanted, ImageConfig())
    liver = read_case(
        CaseFiles("a", "a", (image,), folder / "seg_liver.dcm"), data(), ImageConfig()
    )
    assert (liver.mask > 0).mean() == pytest.approx(0.136, abs=0.001)
    assert 20 < np.median(liver.image[:, 0][liver.mask > 0]) < 80  # HU of liver


def test_the_grid_of_the_image_decides_where_pixels_come_to_lie(tmp_path):
    image = place(dataset(np.zeros((3, 5), np.int16)), (0, 0, 0))
    path = save(tmp_path / "ct" / "a.dcm", image)
    one = np.zeros((1, 3, 5), np.uint8)
    one[0, 0, 4] = 1
    seg = write_seg(tmp_path / "seg.dcm", [path], one, labels=("Liver",))
    _, grid = read_image(path, "coronal")
    mask = dicom_seg.draw(seg, path, grid, label_table({"a": [1]}), "error")
    d, h, w = np.argwhere(mask)[0]
    np.testing.assert_allclose((grid.affine @ (d, h, w, 1))[:3], (-4 * 0.5, 0, 0), atol=1e-9)


@pytest.mark.parametrize("plane", ["axial", "coronal", 2])
def test_two_segs_alone_lie_on_the_smallest_grid_that_holds_both(tmp_path, sources, plane):
    one, two = np.zeros((2, 4, 3, 5), np.uint8)
    one[0, 1, 2] = one[1, 0, 0] = 1  # frames 0 and 1
    two[3, 2, 4] = two[1, 0, 0] = 1  # frames 1 and 3
    segs = [
        write_seg(tmp_path / f"{n}.dcm", sources_in_order(sources), mask, labels=("Liver",))
        for n, mask in enumerate((one, two))
    ]
    grid = dicom_seg.own_grid(segs, plane)
    _, whole = read_image(Path(sources[0]), plane)
    assert grid.shape == whole.shape
    np.testing.assert_allclose(grid.affine, whole.affine, atol=1e-6)
    table = label_table({"a": [1]})
    for seg, other in (segs, segs[::-1]):
        here = dicom_seg.draw(seg, other, grid, table, "error")
        there = dicom_seg.draw(seg, Path(sources[0]), whole, table, "error")
        np.testing.assert_array_equal(here, there)


def test_slices_that_both_segs_leave_out_do_not_change_the_distance_of_slices(tmp_path):
    image = np.zeros((13, 3, 5), np.int16)
    sources = write_series(tmp_path / "ct", image)
    mask = np.zeros((13, 3, 5), np.uint8)
    mask[[0, 5, 12], 1, 1] = 1  # 5 and 7 slices apart: only single slices divide both
    seg = write_seg(tmp_path / "a.dcm", sources, mask, labels=("Liver",))
    grid = dicom_seg.own_grid([seg], "axial")
    assert grid.shape == (13, 3, 5)
    assert grid.spacing == pytest.approx((3.0, 0.7, 0.5))
    drawn = dicom_seg.draw(seg, seg, grid, label_table({"a": [1]}), "error")
    np.testing.assert_array_equal(drawn, mask)


def test_a_seg_is_drawn_on_the_grid_of_a_nifti_file(tmp_path, sources, numbers):
    seg = write_seg(tmp_path / "seg.dcm", sources, numbers)
    codes_, grid = read_case_mask(files(sources, seg), data(), "axial")
    write_mask(tmp_path / "a.nii.gz", codes_, label_table({"a": [1], "b": [2]}), grid, None)
    again, _ = read_case_mask(CaseFiles("a", "a", (tmp_path / "a.nii.gz",), seg), data(), "axial")
    np.testing.assert_array_equal(again, codes_)


def sources_in_order(sources):
    """The files of a series from the lowest slice to the highest."""
    return sorted(sources, key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])
