"""Where voxels lie, proven: all 48 orders of axes, three kinds of spacing, three formats.

Every voxel holds a number of its own, so one array tells which stored voxel stands where, and the
affine that made the file tells where in the patient that is. SimpleITK is the second opinion.
"""

import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig, ImageConfig
from crosslinknet.labels import label_table
from crosslinknet.readers import read_case, read_mask, write_mask

AXES = ["axial", "coronal", "sagittal", 0, 1, 2]
SHAPE = (3, 4, 5)
VALUES = np.arange(1, 61, dtype=np.uint8).reshape(SHAPE)
TABLE = label_table({"any": list(range(1, 61))})  # code c is value c
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
ANGLE = np.deg2rad(17)
TILT = np.array([  # about two axes, less than half of a right angle in all
    [np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1],
]) @ np.array([
    [1, 0, 0], [0, np.cos(ANGLE), -np.sin(ANGLE)], [0, np.sin(ANGLE), np.cos(ANGLE)],
])  # fmt: skip
SPACINGS = {
    "isotropic": (np.eye(3), (1.0, 1.0, 1.0)),
    "anisotropic": (np.eye(3), (0.5, 0.75, 4.0)),
    "oblique": (TILT, (0.5, 0.75, 4.0)),
}
ORDERS = [
    np.eye(3)[list(order)] * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]  # signed permutations: column k is the direction of the file's axis k
DEFAULT = [*itertools.product(["oblique"], AXES), *itertools.product(["anisotropic"], AXES[:3])]
EVERY = [  # what oblique voxels prove, simpler ones seldom break: most of those are slow tests
    pytest.param(*pair, marks=() if pair in DEFAULT or pair[1] == "axial" else pytest.mark.slow)
    for pair in itertools.product(SPACINGS, AXES)
]
DIRECTIONS = {  # of (D, H, W), in a world of right, front, up
    "axial": ((0, 0, 1), (0, -1, 0), (-1, 0, 0)),  # up; front to back; right to left
    "coronal": ((0, -1, 0), (0, 0, -1), (-1, 0, 0)),  # to the back; down; right to left
    "sagittal": ((-1, 0, 0), (0, 0, -1), (0, -1, 0)),  # to the left; down; front to back
}


def affine_of(order, tilt, zooms):
    affine = np.eye(4)
    affine[:3, :3] = tilt @ order * zooms
    affine[:3, 3] = (11.0, -7.0, 30.0)
    return affine


def save(path, affine):
    if path.suffix == ".nii":
        image = nib.Nifti1Image(VALUES, affine)
        image.set_qform(affine, 1)
        image.set_sform(affine, 2)
        image.header.set_xyzt_units("mm", "sec")
        nib.save(image, path)
        return path
    place = LPS @ affine
    zooms = np.linalg.norm(place[:3, :3], axis=0)
    image = sitk.GetImageFromArray(VALUES.T)
    image.SetSpacing(zooms.tolist())
    image.SetDirection((place[:3, :3] / zooms).ravel().tolist())
    image.SetOrigin(place[:3, 3].tolist())
    image.SetMetaData("StudyArm", "b")
    sitk.WriteImage(image, path)
    return path


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Thousands of tiny files need not survive a power cut; tests/test_files.py sees to that."""
    monkeypatch.setattr("crosslinknet.files.os.fsync", lambda handle: None)


def indices_of(array):
    """(voxels, 4): the stored indices of the voxels of an array in its own order, and a 1."""
    stored = np.stack(np.unravel_index(array.ravel().astype(int) - 1, SHAPE), axis=1)
    return np.concatenate([stored, np.ones((len(stored), 1))], axis=1)


def own_indices(shape):
    """(voxels, 4): the indices of an array in its own order, and a 1."""
    return np.concatenate([np.argwhere(np.ones(shape)), np.ones((np.prod(shape), 1))], axis=1)


def check_place(path, affine, axis):
    """Read a volume and compare every voxel with where it must be; gives what was read."""
    codes, grid = read_mask(path, axis, TABLE, None)
    world = indices_of(codes) @ affine.T  # where the file says that each voxel lies
    np.testing.assert_allclose(own_indices(codes.shape) @ grid.affine.T, world, atol=1e-5)
    np.testing.assert_allclose(grid.spacing, np.linalg.norm(grid.affine[:3, :3], axis=0))
    if axis in DIRECTIONS:
        steps = grid.affine[:3, :3] / grid.spacing  # column k: where (D, H, W)[k] leads
        assert (np.einsum("ik,ki->k", steps, DIRECTIONS[axis]) > np.cos(np.pi / 4)).all()
    else:
        order = [axis, *(k for k in range(3) if k != axis)]
        np.testing.assert_array_equal(codes, VALUES.transpose(order))
    return codes, grid


def check_header(path, source):
    """The written file says of its geometry what its source says, to the bit."""
    if source.suffix == ".nii":
        one, other = nib.load(path), nib.load(source)
        np.testing.assert_array_equal(one.affine, other.affine)
        names = (
            "dim pixdim qform_code sform_code srow_x srow_y srow_z quatern_b quatern_c quatern_d"
        )
        for name in (*names.split(), "qoffset_x", "qoffset_y", "qoffset_z", "xyzt_units"):
            np.testing.assert_array_equal(one.header[name], other.header[name])
        return np.asanyarray(one.dataobj)
    one, other = sitk.ReadImage(path), sitk.ReadImage(source)
    for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection", "GetPixelID"):
        assert getattr(one, name)() == getattr(other, name)()
    assert one.GetMetaData("StudyArm") == "b"
    return sitk.GetArrayFromImage(one).T


def test_there_are_48_orders_of_axes():
    assert len({order.tobytes() for order in map(np.ascontiguousarray, ORDERS)}) == 48


@pytest.mark.parametrize(("spacing", "axis"), EVERY)
@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_every_order_of_axes_is_read_to_its_place_and_written_back_equal(
    tmp_path, suffix, spacing, axis
):
    for order in ORDERS:
        affine = affine_of(order, *SPACINGS[spacing])
        source = save(tmp_path / f"a{suffix}", affine)
        codes, grid = check_place(source, affine, axis)
        target = tmp_path / f"b{suffix}"
        write_mask(target, codes, TABLE, grid, source)
        np.testing.assert_array_equal(check_header(target, source), VALUES)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_simpleitk_sees_every_voxel_at_the_same_point(tmp_path, suffix, spacing):
    for order in ORDERS:
        source = save(tmp_path / f"a{suffix}", affine_of(order, *SPACINGS[spacing]))
        codes, grid = read_mask(source, "axial", TABLE, None)
        image = sitk.ReadImage(source)
        for d, h, w in ((0, 0, 0), (codes.shape[0] - 1, 1, 0), (1, 0, codes.shape[2] - 1)):
            x, y, z = np.diag([-1, -1, 1]) @ (grid.affine @ (d, h, w, 1))[:3]
            index = image.TransformPhysicalPointToIndex((x, y, z))
            assert image.GetPixel(index) == codes[d, h, w]
            there = image.TransformIndexToPhysicalPoint(index)
            np.testing.assert_allclose(there, (x, y, z), atol=1e-4)


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_without_the_image_the_header_is_made_from_the_grid(tmp_path, suffix):
    for order in ORDERS:
        affine = affine_of(order, *SPACINGS["oblique"])
        source = save(tmp_path / f"a{suffix}", affine)
        codes, grid = read_mask(source, "coronal", TABLE, None)
        write_mask(tmp_path / f"b{suffix}", codes, TABLE, grid, None)
        check_place(tmp_path / f"b{suffix}", affine, "axial")


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_formats_agree_about_one_volume(tmp_path, suffix):
    affine = affine_of(ORDERS[13], *SPACINGS["oblique"])
    source = save(tmp_path / "a.nii", affine)
    codes, grid = read_mask(source, "sagittal", TABLE, None)
    write_mask(tmp_path / f"b{suffix}", codes, TABLE, grid, source)
    again, other = read_mask(tmp_path / f"b{suffix}", "sagittal", TABLE, None)
    np.testing.assert_array_equal(again, codes)
    np.testing.assert_allclose(other.affine, grid.affine, atol=1e-6)


@pytest.mark.parametrize("name", ["nifti_ct_multiorgan", "nifti_mr_multiorgan"])
def test_real_volumes_lie_on_their_labels_in_every_format(real_data, tmp_path, name):
    folder = real_data / "io_volumes" / name
    data = DataConfig(root=folder, label_map={"organ": list(range(1, 118))})
    files = CaseFiles("a", "a", (folder / "image.nii.gz",), folder / "labels.nii.gz")
    case = read_case(files, data, ImageConfig(window="percentile"))
    lying = {"nifti_ct_multiorgan": (30, 101, 122), "nifti_mr_multiorgan": (20, 91, 117)}[name]
    assert case.mask.shape == case.image[:, 0].shape == lying
    np.testing.assert_allclose(case.grid.spacing, 3, rtol=0.02)
    liver = case.image[:, 0][case.mask == 5]  # the organ's number in both lists
    assert len(liver) > 1000
    assert np.std(liver) < np.std(case.image[:, 0]) / 3  # one organ, one grey
    for suffix in (".nrrd", ".mha"):
        copies = [tmp_path / f"{kind}{suffix}" for kind in ("image", "labels")]
        for source, copy in zip((*files.images, files.mask), copies, strict=True):
            sitk.WriteImage(sitk.ReadImage(source), copy, useCompression=True)
        other = read_case(CaseFiles("a", "a", (copies[0],), copies[1]), data, ImageConfig())
        np.testing.assert_array_equal(other.image, case.image)
        np.testing.assert_array_equal(other.mask, case.mask)
        np.testing.assert_allclose(other.grid.affine, case.grid.affine, atol=1e-4)


@pytest.mark.parametrize("name", ["nifti_ct_multiorgan", "nifti_mr_multiorgan"])
def test_real_labels_come_back_with_their_header(real_data, tmp_path, name):
    source = real_data / "io_volumes" / name / "labels.nii.gz"
    table = label_table({"organ": list(range(1, 118))})
    for axis in AXES:
        codes, grid = read_mask(source, axis, table, None)
        write_mask(tmp_path / "b.nii.gz", codes, table, grid, source)
        one, other = nib.load(tmp_path / "b.nii.gz"), nib.load(source)
        np.testing.assert_array_equal(one.dataobj, other.dataobj)
        for field in ("dim", "pixdim", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"):
            np.testing.assert_array_equal(one.header[field], other.header[field])
