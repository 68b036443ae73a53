import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from crosslinknet.case import CaseFiles
from crosslinknet.errors import DataError, ShapeError, SystemProblem
from crosslinknet.geometry import Grid
from crosslinknet.labels import label_table
from crosslinknet.readers import (
    count_values,
    files_of,
    read_image,
    read_mask,
    write_mask,
    write_probabilities,
)

LESION = label_table({"lesion": [1]})
SUFFIXES = [".mha", ".mhd", ".nrrd", ".nhdr"]
PLANES = ["axial", "coronal", "sagittal"]


def counting(*shape, kind=np.int16):
    return np.arange(np.prod(shape), dtype=kind).reshape(shape)


def save(path, voxels, spacing=(0.5, 0.75, 4.0), channels=False, packed=False):
    """Voxels (Z, Y, X[, C]) of a patient who lies on the back: x to the left, y to the back."""
    image = sitk.GetImageFromArray(voxels, isVector=channels)
    image.SetSpacing(spacing[: image.GetDimension()])
    sitk.WriteImage(image, path, useCompression=packed)
    return path


def change(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_axial_slices_have_rows_from_front_to_back_and_columns_from_right_to_left(
    tmp_path, suffix, packed
):
    voxels = counting(4, 3, 2)  # ITK's own order: x to the left, y to the back, z up
    image, grid = read_image(save(tmp_path / f"a{suffix}", voxels, packed=packed), "axial")
    assert image.dtype == np.int16
    np.testing.assert_array_equal(image[:, 0], voxels)
    assert grid.spacing == (4.0, 0.75, 0.5)
    np.testing.assert_allclose(grid.affine @ (1, 1, 1, 1), (-0.5, -0.75, 4, 1))  # RAS, in mm


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_axis_number_takes_the_axes_as_stored(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", counting(4, 3, 2))
    stored = counting(4, 3, 2).T  # (X, Y, Z)
    for axis, order in ((0, (0, 1, 2)), (1, (1, 0, 2)), (2, (2, 0, 1))):
        image, grid = read_image(path, axis)
        np.testing.assert_array_equal(image[:, 0], stored.transpose(order))
        assert grid.spacing == tuple((0.5, 0.75, 4.0)[i] for i in order)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_components_of_a_voxel_are_channels_of_images_and_an_error_of_masks(tmp_path, suffix):
    voxels = counting(4, 3, 2, 5)
    path = save(tmp_path / f"a{suffix}", voxels, channels=True)
    image, _ = read_image(path, "axial")
    np.testing.assert_array_equal(image, voxels.transpose(0, 3, 1, 2))
    with pytest.raises(DataError, match="holds 5 channels"):
        read_mask(path, "axial", LESION, None)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_fourth_axis_is_channels_too(tmp_path, suffix):
    voxels = counting(5, 4, 3, 2)  # (T, Z, Y, X)
    image = sitk.JoinSeries([sitk.GetImageFromArray(volume) for volume in voxels])
    sitk.WriteImage(image, tmp_path / f"a{suffix}")
    read, grid = read_image(tmp_path / f"a{suffix}", 2)
    assert read.shape == (4, 5, 2, 3)
    np.testing.assert_array_equal(read, voxels.transpose(1, 0, 3, 2))
    assert grid.spacing == (1, 1, 1)
    first, second = (sitk.GetImageFromArray(v, isVector=True) for v in (voxels, voxels))
    sitk.WriteImage(sitk.JoinSeries([first, second]), tmp_path / f"b{suffix}")
    with pytest.raises(DataError, match=r"with 2 components; expected 2 or 3 axes"):
        read_image(tmp_path / f"b{suffix}", 2)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_two_dimensional_file_is_one_slice_and_stays_two_dimensional(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", np.eye(3, 4, dtype=np.uint8))
    mask, grid = read_mask(path, 2, LESION, None)
    assert mask.shape == (1, 4, 3)
    write_mask(tmp_path / f"b{suffix}", mask, LESION, grid, path)
    back = sitk.ReadImage(tmp_path / f"b{suffix}")
    assert back.GetSpacing() == (0.5, 0.75)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), np.eye(3, 4))


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_numbers_keep_their_type_and_doubles_become_floats(tmp_path, suffix):
    for kind in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"):
        path = save(tmp_path / f"a{suffix}", counting(2, 3, 4, kind=kind))
        assert read_image(path, 0)[0].dtype == ("f4" if kind == "f8" else kind)
        assert read_mask(path, 0, label_table({"any": list(range(1, 24))}), None)[0].max() == 23


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_what_cannot_be_a_volume_of_numbers_is_refused(tmp_path, suffix):
    path = save(tmp_path / f"b{suffix}", np.full((2, 3, 4), np.nan, np.float32))
    with pytest.raises(DataError, match="24 of 24 pixels are NaN"):
        read_image(path, 0)
    path = save(tmp_path / f"c{suffix}", np.ones((2, 3, 4), np.uint8))
    with pytest.raises(DataError, match="label_map names colours"):
        read_mask(path, 0, label_table({"red": ["#ff0000"]}), None)
    assert count_values(CaseFiles("c", "c", (path,), path)) == {1: 24}


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_probabilities_are_float_volumes_with_the_classes_as_components(tmp_path, suffix):
    source = save(tmp_path / f"a{suffix}", counting(5, 4, 3))
    _, grid = read_image(source, "coronal")
    probs = np.random.default_rng(0).random((2, *grid.shape), dtype=np.float32)
    for count in (1, 2):
        (path,) = write_probabilities(tmp_path / f"p{suffix}", probs[:count], grid, source)
        back, other = read_image(path, "coronal")
        np.testing.assert_array_equal(back, np.moveaxis(probs[:count], 0, 1))
        np.testing.assert_array_equal(other.affine, grid.affine)
        assert sitk.ReadImage(path).GetNumberOfComponentsPerPixel() == count


def test_complex_numbers_are_refused(tmp_path):
    path = save(tmp_path / "a.nrrd", np.ones((2, 3, 4), np.complex64))
    with pytest.raises(DataError, match="of type complex"):
        read_image(path, 0)


def test_the_spacing_of_a_picture_goes_into_a_volume(tmp_path):
    write_mask(
        tmp_path / "a.mha",
        np.ones((2, 3, 4), np.uint8),
        LESION,
        Grid((2, 3, 4), (3.0, 2.0, 1.0)),
        None,
    )
    assert sitk.ReadImage(tmp_path / "a.mha").GetSpacing() == (3.0, 2.0, 1.0)


def test_an_image_replaced_since_it_was_read_is_noticed(tmp_path):
    source = save(tmp_path / "a.mha", np.zeros((3, 4, 5), np.uint8))
    mask, grid = read_mask(source, "axial", LESION, None)
    save(source, np.zeros((3, 4, 6), np.uint8))
    with pytest.raises(ShapeError, match="replaced after it was read"):
        write_mask(tmp_path / "b.mha", mask, LESION, grid, source)
    assert not (tmp_path / "b.mha").exists()


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_masks_are_one_file(tmp_path, suffix):
    with pytest.raises(DataError, match=rf"b\{suffix} would be two files"):
        write_mask(
            tmp_path / f"b{suffix}", np.ones((1, 2, 2), np.uint8), LESION, Grid((1, 2, 2)), None
        )


@pytest.mark.parametrize(
    ("suffix", "key"), [(".mhd", "ElementDataFile = "), (".nhdr", "data file: ")]
)
def test_voxels_may_lie_below_the_folder_of_their_header_and_nowhere_else(tmp_path, suffix, key):
    (tmp_path / "set").mkdir()
    path = save(tmp_path / "set" / f"a{suffix}", counting(2, 3, 4))
    raw = tmp_path / "set" / "a.raw"
    assert files_of(path) == (path, raw)
    good = path.read_text()
    (tmp_path / "set" / "raw data").mkdir()
    raw.rename(tmp_path / "set" / "raw data" / "a.raw")
    path.write_text(good.replace("a.raw", "raw data/a.raw"))
    np.testing.assert_array_equal(read_image(path, "axial")[0][:, 0], counting(2, 3, 4))
    (tmp_path / "set" / "raw data" / "a.raw").rename(tmp_path / "a.raw")
    for name in ("../a.raw", str(tmp_path / "a.raw"), "x/../../a.raw", "C:\\a.raw", "..\\a.raw",
                 "a%03d.raw 1 2 1", "LIST"):  # fmt: skip
        path.write_text(good.replace(f"{key}a.raw", f"{key}{name}"))
        with pytest.raises(DataError, match=rf"a\{suffix} names .* expected one file beside it"):
            read_image(path, "axial")
    path.write_text(good)
    with pytest.raises(DataError, match=r"names a\.raw as the file of its voxels, which is not"):
        read_image(path, "axial")


@pytest.mark.parametrize(
    ("suffix", "names", "skips"),
    [(".mhd", "ElementDataFile", "HeaderSize = "), (".nhdr", "data file", "byte skip: ")],
)
def test_bytes_before_the_voxels_of_a_data_file_are_skipped(tmp_path, suffix, names, skips):
    for skipped, told in ((7, "7"), (7, "-1"), (0, "0"), (0, "x")):
        path = save(tmp_path / f"a{suffix}", counting(2, 3, 4))
        raw = tmp_path / "a.raw"
        raw.write_bytes(bytes(skipped) + raw.read_bytes())
        change(path, names.encode(), f"{skips}{told}\n{names}".encode())
        if told == "x":
            with pytest.raises(DataError, match="it skips 'x' bytes"):
                read_image(path, "axial")
        else:
            np.testing.assert_array_equal(read_image(path, "axial")[0][:, 0], counting(2, 3, 4))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_more_or_fewer_voxels_than_claimed_are_an_error(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", counting(2, 3, 4))
    data = files_of(path)[-1]
    data.write_bytes(data.read_bytes() + b"\0")
    with pytest.raises(DataError, match="claims 48 bytes of voxels, but 49 are there"):
        read_image(path, 0)
    data.write_bytes(data.read_bytes()[:-2])
    with pytest.raises(DataError, match="which take 48 bytes, but it holds 47"):
        read_image(path, 0)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_packed_voxels_must_be_whole(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", counting(2, 3, 4), packed=True)
    data = files_of(path)[-1]
    content = data.read_bytes()
    data.write_bytes(content + b"\0")
    with pytest.raises(DataError, match=r"CompressedDataSize|is followed by something else"):
        read_image(path, 0)
    data.write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"CompressedDataSize|ends too early, after 48 bytes"):
        read_image(path, 0)


META = [  # old, new, what the message says
    ("ObjectType = Image", "ObjectType = Tube", "its ObjectType is 'Tube'"),
    ("BinaryData = True", "BinaryData = False", "its BinaryData is 'False'"),
    ("NDims = 3", "NDims = 7", "it has 7 axes"),
    ("NDims = 3\n", "", "must state NDims once; it does 0x"),
    ("BinaryData = True", "Offset = 0 0 0", "states Offset twice"),
    ("BinaryData = True", "BinaryData = True\x0b", r"holds the byte '\\x0b'"),
    ("CompressedData = False", "CompressedData = No", "its CompressedData is 'No'; expected True"),
    ("OrderMSB = False", "OrderMSB = X", "its BinaryDataByteOrderMSB is 'X'; expected True or"),
    ("BinaryData = True", "no line", "has the line 'no line'"),
    ("BinaryData = True", "BinaryDat\u00e4 = True".encode("latin-1"), "its header is no text"),
    ("DimSize = 4 3 2", "DimSize = 4 3", "says '4 3'; expected 3 whole numbers"),
    ("DimSize = 4 3 2", "DimSize = 4 0 2", "says '4 0 2'; expected 3 whole numbers"),
    ("MET_SHORT", "MET_OTHER", "its ElementType MET_OTHER is none of"),
    ("ElementSpacing = 0.5", "ElementSpacing = 0", "its ElementSpacing is 0 0.75 4"),
    ("ElementSpacing = 0.5", "ElementSpacing = nan", "expected 3 finite numbers"),
    ("ElementSpacing", "ElemantSpacing", "must state ElementSpacing or ElementSize once"),
    ("TransformMatrix = 1", "TransformMatrix = inf", "expected 9 finite numbers"),
    ("TransformMatrix = 1", "TransformMatrix = one", "expected 9 finite numbers"),
    ("ElementDataFile = LOCAL", "HeaderSize = 5\nElementDataFile = LOCAL", "has a HeaderSize of 5"),
    ("ElementDataFile = LOCAL", "Ende", "no line ElementDataFile ends its header"),
    ("CompressedData = False", "CompressedData = True", "must state CompressedDataSize once"),
]  # fmt: skip
NRRD = [
    ("dimension: 3", "dimension: 9", "it has 9 axes"),
    ("sizes: 4 3 2", "sizes: 4 3 2 1", "says '4 3 2 1'; expected 3 whole numbers"),
    ("sizes: 4 3 2\n", "", "must state sizes once; it does 0x"),
    ("type: short", "type: block", "its type 'block' is no type"),
    ("encoding: raw", "encoding: ascii", "has the encoding 'ascii'"),
    ("encoding: raw", "encoding: gzip\nbyte skip: 3", "skips bytes of packed voxels"),
    ("encoding: raw", "encoding: raw\nline skip: 3", "skips lines of its data file"),
    ("encoding: raw", "encoding: raw\nEncoding: raw", "states encoding twice"),
    ("space directions", "spacedirection", "must state spacings or spacedirections once"),
    ("kinds: domain", "kinds; domain", "has the line 'kinds;"),
    ("kinds: domain domain domain", "kinds: domain domain", "cannot be read as MetaImage or NRRD"),
    ("(0,0.75,0)", "(0,1e300,0)", "says '0 1e300 0'; expected 3 finite numbers"),
    ("(0,0.75,0)", "none", r"by its header as \(4, 3, 2\)"),
    ("(0,0.75,0)", "", "states 2 spacings or directions for 3 axes"),
    ("space origin: (0,0,0)", "space origin: (0,nan,0)", "expected 3 finite numbers"),
]


@pytest.mark.parametrize(
    ("suffix", "old", "new", "reason"),
    [*((".mha", *row) for row in META), *((".nrrd", *row) for row in NRRD)],
)
def test_a_header_that_is_not_clear_is_refused(tmp_path, suffix, old, new, reason):
    path = save(tmp_path / f"a{suffix}", counting(2, 3, 4))
    change(path, old.encode(), new if isinstance(new, bytes) else new.encode())
    with pytest.raises(DataError, match=rf"a\{suffix} .*({reason})"):
        read_image(path, "axial")


def test_what_depends_on_the_number_of_axes_comes_behind_it(tmp_path):
    path = save(tmp_path / "a.mha", counting(2, 3, 4))
    change(path, b"NDims = 3\n", b"")
    change(path, b"ElementType", b"NDims = 3\nElementType")
    with pytest.raises(DataError, match="states NDims only behind what depends on it"):
        read_image(path, 0)


def test_a_header_of_nrrd_needs_its_empty_line(tmp_path):
    path = save(tmp_path / "a.nrrd", np.ones((2, 3, 4), np.uint8))
    path.write_bytes(path.read_bytes().partition(b"\n\n")[0] + b"\n")
    with pytest.raises(DataError, match="no empty line ends its header"):
        read_image(path, 0)


@pytest.mark.parametrize(
    ("suffix", "old", "new"),
    [
        (".mha", "TransformMatrix = 1 0 0 0 1 0 0 0 1", "TransformMatrix = 1 0 0 1 0 0 0 0 1"),
        (".nrrd", "(0,0.75,0)", "(1,0,0)"),
        (".mha", "ElementSpacing = 0.5", "ElementSpacing = 1e-30"),
        (".nrrd", "(0,0.75,0)", "(0,1e20,0)"),
    ],
)
def test_a_place_that_is_none_is_refused(tmp_path, suffix, old, new):
    path = change(save(tmp_path / f"a{suffix}", counting(2, 3, 4)), old.encode(), new.encode())
    with pytest.raises(
        DataError, match=rf"a\{suffix} (has an affine that places|cannot be read by)"
    ):
        read_image(path, 0)


@pytest.mark.parametrize(
    ("suffix", "old", "new"),
    [
        (".mha", "TransformMatrix = 1 0 0 0 1 0 0 0 1\n", ""),
        (".mha", "Offset = 0 0 0\n", ""),
        (".nrrd", "space: left-posterior-superior", "space: scanner-xyz"),
        (".nrrd", "space origin: (0,0,0)\n", ""),
        (".nrrd", "space origin: (0,0,0)", "space origin: none"),
    ],
)
def test_a_plane_needs_to_know_how_the_patient_lies(tmp_path, suffix, old, new):
    path = change(save(tmp_path / f"a{suffix}", counting(2, 3, 4)), old.encode(), new.encode())
    for plane in PLANES:
        with pytest.raises(DataError, match=rf"a\{suffix} does not say how the patient lies"):
            read_image(path, plane)
    assert read_image(path, 2)[0].shape == (2, 1, 4, 3)


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
    ],
)
def test_spaces_of_nrrd_are_understood(tmp_path, space, signs):
    path = save(tmp_path / "a.nrrd", counting(2, 3, 4), spacing=(1.0, 2.0, 3.0))
    change(path, b"left-posterior-superior", space.encode())
    _, grid = read_image(path, 0)
    np.testing.assert_allclose(grid.affine, np.diag([*np.multiply(signs, (1, 2, 3)), 1]))


def test_own_entries_of_a_header_come_back_in_the_mask(tmp_path):
    image = sitk.GetImageFromArray(np.ones((2, 3, 4), np.uint8))
    image.SetMetaData("Scanner", "number 7")
    sitk.WriteImage(image, tmp_path / "a.nrrd")
    mask, grid = read_mask(tmp_path / "a.nrrd", "axial", LESION, None)
    write_mask(tmp_path / "b.nrrd", mask, LESION, grid, tmp_path / "a.nrrd")
    keys = re.findall(r"(?m)^(\w+):=", (tmp_path / "b.nrrd").read_bytes().decode("latin-1"))
    assert keys == ["Scanner"]


def test_without_simpleitk_the_error_names_the_extra(tmp_path, monkeypatch):
    path = save(tmp_path / "a.mha", counting(2, 3, 4))
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(SystemProblem, match=r"pip install 'crosslinknet\[io\]'"):
        read_image(path, 0)


def test_reading_other_formats_does_not_import_simpleitk():
    program = "import sys, crosslinknet.readers; sys.exit('SimpleITK' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_all_files_of_other_images_are_the_image_itself():
    assert files_of(Path("a.png")) == (Path("a.png"),)
