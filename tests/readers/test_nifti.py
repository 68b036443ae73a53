import gzip
import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel import orientations

from crosslinknet.errors import CrosslinkError, DataError, ShapeError
from crosslinknet.geometry import Grid
from crosslinknet.labels import label_table
from crosslinknet.readers import nifti, read_image, read_mask, write_mask, write_probabilities

LESION = label_table({"lesion": [1]})
AXES = ["axial", "coronal", "sagittal", 0, 1, 2]
ALL_48 = [
    "".join(pair[flip] for pair, flip in zip(order, flips, strict=True))
    for order in itertools.permutations(["LR", "PA", "IS"])
    for flips in itertools.product((0, 1), repeat=3)
]
SOME = ["RAS", "LPS", "LAS", "SPL", "IAR", "PSR", "ASL", "PIL", "RSA"]


def save(path, voxels, codes="RAS", zooms=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)):
    """A volume whose axes point as the codes say, e.g. RAS."""
    axes = orientations.axcodes2ornt(tuple(codes))
    affine = np.zeros((4, 4))
    for axis, (world, flip) in enumerate(axes):
        affine[int(world), axis] = flip * zooms[axis]
    affine[:3, 3], affine[3, 3] = origin, 1
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def counting(shape, kind=np.int16):
    return np.arange(np.prod(shape), dtype=kind).reshape(shape)


def test_every_number_names_one_of_48_orientations():
    assert len(set(ALL_48)) == 48


def test_axial_slices_have_rows_from_front_to_back_and_columns_from_right_to_left(tmp_path):
    voxels = counting((2, 3, 4))  # RAS: x to the right, y to the front, z up
    image, grid = read_image(save(tmp_path / "a.nii", voxels, "RAS", (0.5, 0.7, 5)), "axial")
    assert image.shape == (4, 1, 3, 2)
    np.testing.assert_allclose(grid.spacing, (5, 0.7, 0.5))
    right, front, bottom = 1, 2, 0
    assert image[0, 0, 0, 0] == voxels[right, front, bottom]  # top left of the lowest slice
    assert image[3, 0, 2, 1] == voxels[0, 0, 3]  # bottom right of the highest: back, left


@pytest.mark.parametrize("codes", ALL_48)
def test_one_patient_gives_one_array_however_the_file_is_stored(tmp_path, codes):
    stored = nib.as_closest_canonical(nib.Nifti1Image(counting((3, 4, 5)), np.diag([1, 2, 3, 1])))
    turn = orientations.ornt_transform(
        orientations.io_orientation(stored.affine), orientations.axcodes2ornt(tuple(codes))
    )
    nib.save(stored.as_reoriented(turn), tmp_path / "a.nii.gz")
    assert "".join(nib.aff2axcodes(nib.load(tmp_path / "a.nii.gz").affine)) == codes
    image, grid = read_image(tmp_path / "a.nii.gz", "coronal")
    expected = counting((3, 4, 5)).transpose(1, 2, 0)[::-1, ::-1, ::-1]  # P, I, L from R, A, S
    np.testing.assert_array_equal(image[:, 0], expected)
    np.testing.assert_allclose(grid.spacing, (2, 3, 1))


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("codes", SOME)
def test_a_mask_written_back_lies_on_the_voxels_of_its_image(tmp_path, codes, axis):
    zooms, origin = (0.5, 0.7, 5.0), (-10.0, 20.0, 30.0)
    voxels = np.random.default_rng(0).integers(0, 2, (4, 5, 6)).astype(np.uint8)
    source = save(tmp_path / "a.nii.gz", voxels, codes, zooms, origin)
    mask, grid = read_mask(source, axis, LESION, None)
    for like in (source, None):
        write_mask(tmp_path / "b.nii.gz", mask, LESION, grid, like)
        back = nib.load(tmp_path / "b.nii.gz")
        np.testing.assert_array_equal(np.asanyarray(back.dataobj), voxels)
        np.testing.assert_allclose(back.affine, nib.load(source).affine, atol=1e-5)
        assert back.get_data_dtype() == np.uint8


@pytest.mark.parametrize("axis", AXES)
def test_the_grid_tells_where_each_pixel_lies(tmp_path, axis):
    rng = np.random.default_rng(1)
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * (0.5, 0.8, 3.0)  # oblique
    affine[:3, 3] = (5, -7, 11)
    nib.save(nib.Nifti1Image(counting((3, 4, 5)), affine), tmp_path / "a.nii")
    affine = nib.load(tmp_path / "a.nii").affine
    image, grid = read_image(tmp_path / "a.nii", axis)
    for d, h, w in [(0, 0, 0), (1, 2, 0), (2, 1, 2)]:
        stored = np.unravel_index(int(image[d, 0, h, w]), (3, 4, 5))
        np.testing.assert_allclose(grid.affine @ (d, h, w, 1), affine @ (*stored, 1), atol=1e-6)
    np.testing.assert_allclose(sorted(grid.spacing), [0.5, 0.8, 3.0], rtol=1e-5)


def test_an_axis_number_takes_the_axes_as_stored(tmp_path):
    path = save(tmp_path / "a.nii", counting((2, 3, 4)), "LPS", (1, 2, 3))
    for axis, order in ((0, (0, 1, 2)), (1, (1, 0, 2)), (2, (2, 0, 1))):
        image, grid = read_image(path, axis)
        np.testing.assert_array_equal(image[:, 0], counting((2, 3, 4)).transpose(order))
        np.testing.assert_allclose(grid.spacing, [(1, 2, 3)[i] for i in order])


def test_a_header_survives_in_the_mask_written_like_it(tmp_path):
    image = nib.Nifti1Image(counting((3, 4, 5), np.float32), np.diag([2.0, 2, 3, 1]))
    image.header["descrip"] = b"scanner 7"
    image.header["cal_max"] = 400
    image.set_qform(image.affine, code=1)
    nib.save(image, tmp_path / "a.nii")
    mask = np.ones((5, 4, 3), dtype=np.uint8)
    _, grid = read_image(tmp_path / "a.nii", "axial")
    write_mask(tmp_path / "b.nii", mask, label_table({"a": [1000]}), grid, tmp_path / "a.nii")
    back = nib.load(tmp_path / "b.nii")
    assert back.header["descrip"] == b"scanner 7"
    assert int(back.header["qform_code"]) == 1
    assert float(back.header["cal_max"]) == 0
    assert back.get_data_dtype() == np.uint16
    assert (np.asanyarray(back.dataobj) == 1000).all()


def test_nifti_2_stays_nifti_2(tmp_path):
    nib.save(nib.Nifti2Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), tmp_path / "a.nii")
    mask, grid = read_mask(tmp_path / "a.nii", "axial", LESION, None)
    write_mask(tmp_path / "b.nii", mask, LESION, grid, tmp_path / "a.nii")
    assert isinstance(nib.load(tmp_path / "b.nii"), nib.Nifti2Image)


def test_a_two_dimensional_file_is_one_slice_and_stays_two_dimensional(tmp_path):
    nib.save(nib.Nifti1Image(np.eye(3, 4, dtype=np.uint8), np.eye(4)), tmp_path / "a.nii")
    mask, grid = read_mask(tmp_path / "a.nii", "axial", LESION, None)
    assert mask.shape == (1, 4, 3)
    write_mask(tmp_path / "b.nii", mask, LESION, grid, tmp_path / "a.nii")
    np.testing.assert_array_equal(nib.load(tmp_path / "b.nii").dataobj, np.eye(3, 4))


def test_a_fourth_axis_is_channels_for_images_and_an_error_for_masks(tmp_path):
    path = save(tmp_path / "a.nii", counting((2, 3, 4, 5)))
    image, _ = read_image(path, 2)
    assert image.shape == (4, 5, 2, 3)
    np.testing.assert_array_equal(image[1, 4], counting((2, 3, 4, 5))[:, :, 1, 4])
    with pytest.raises(DataError, match="holds 5 channels"):
        read_mask(path, 2, LESION, None)


def test_scaled_values_are_read_as_they_are_meant(tmp_path):
    image = nib.Nifti1Image(counting((2, 2, 2)), np.eye(4))
    image.header.set_slope_inter(2, -1024)
    nib.save(image, tmp_path / "a.nii")
    pixels, _ = read_image(tmp_path / "a.nii", 0)
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels[:, 0], counting((2, 2, 2)) * 2 - 1024)


def test_big_endian_files_give_native_numbers(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    image = nib.Nifti1Image(counting((2, 2, 2), ">i2"), np.eye(4), header)
    nib.save(image, tmp_path / "a.nii")
    pixels, _ = read_image(tmp_path / "a.nii", 0)
    assert pixels.dtype.isnative
    np.testing.assert_array_equal(pixels[:, 0], counting((2, 2, 2)))


def test_labels_stored_as_float_count_only_if_they_are_whole(tmp_path):
    voxels = np.array([[[0, 1], [1, 0]]], dtype=np.float64)
    assert read_mask(save(tmp_path / "a.nii", voxels), 0, LESION, None)[0].sum() == 2
    voxels[0, 0, 0] = 0.25
    with pytest.raises(DataError, match=r"b\.nii is a mask with 1 pixels.*0\.25"):
        read_mask(save(tmp_path / "b.nii", voxels), 0, LESION, None)
    assert read_mask(tmp_path / "b.nii", 0, LESION, 0)[0].sum() == 3


def test_nan_and_infinite_voxels_are_an_error(tmp_path):
    voxels = np.ones((2, 2, 2), dtype=np.float64)
    voxels[0, 0, 0], voxels[1, 1, 1] = np.nan, 1e300  # the latter overflows float32
    with pytest.raises(DataError, match=r"a\.nii: 2 of 8 pixels are NaN or infinite"):
        read_image(save(tmp_path / "a.nii", voxels), 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_an_affine_that_places_nothing_is_refused(tmp_path, value):
    affine = np.eye(4)
    affine[0, 0] = value
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), None)
    image.header["sform_code"] = 1
    image.header["srow_x"] = affine[0]
    nib.save(image, tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[254:256] = (1).to_bytes(2, "little")  # sform_code
    content[280:328] = affine[:3].astype("<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.nii has an affine that places no voxel"):
        read_image(tmp_path / "a.nii", 0)


def test_a_plane_needs_to_know_how_the_patient_lies(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), None), tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"a\.nii does not say how the patient lies"):
        read_image(tmp_path / "a.nii", "axial")
    assert read_image(tmp_path / "a.nii", 0)[0].shape == (2, 1, 2, 2)


def test_another_unit_than_mm_is_refused(tmp_path):
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "a.nii")
    with pytest.raises(DataError, match="measures in micron"):
        read_image(tmp_path / "a.nii", 0)


@pytest.mark.parametrize("shape", [(4,), (2, 2, 2, 2, 2)])
def test_other_numbers_of_axes_are_refused(tmp_path, shape):
    nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match="expected 2 or 3 axes"):
        read_image(tmp_path / "a.nii", 0)


def test_complex_numbers_and_colours_are_refused(tmp_path):
    save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.complex64))
    save(tmp_path / "b.nii", np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    for name in ("a.nii", "b.nii"):
        with pytest.raises(DataError, match=f"{name} holds values of type"):
            read_image(tmp_path / name, 0)


def test_a_volume_without_voxels_is_refused(tmp_path):
    path = save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.uint8))
    content = bytearray(path.read_bytes())
    content[42:44] = bytes(2)  # dim[1]
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.nii"):
        read_image(path, 0)


def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(tmp_path):
    path = save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.uint8))
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.nii claims \(30000, 30000, 30000\) voxels"):
        read_image(path, 0)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_truncated_volume_is_an_error(tmp_path, name):
    voxels = np.random.default_rng(0).integers(0, 99, (20, 20, 20)).astype(np.int16)
    path = save(tmp_path / name, voxels)
    path.write_bytes(path.read_bytes()[:-4000])
    told = "claims .* 16,000 bytes, but it holds 12,000" if name == "a.nii" else "cannot be read as"
    with pytest.raises(DataError, match=f"{name} {told}"):
        read_image(path, 0)


def test_other_content_under_the_name_is_an_error(tmp_path):
    (tmp_path / "a.nii").write_text("not a volume")
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(b"not a volume"))
    for name in ("a.nii", "b.nii.gz"):
        with pytest.raises(DataError, match=f"{name} cannot be read as NIfTI"):
            read_image(tmp_path / name, 0)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_damaged_volume_is_read_or_refused_by_name_but_never_crashes(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(save(folder / "a.nii", counting((4, 5, 6))).read_bytes())
    content = content[: data.draw(st.integers(1, len(content)))]
    for place in data.draw(st.lists(st.integers(0, min(351, len(content) - 1)), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    (folder / "a.nii").write_bytes(content)
    try:
        image, _ = read_image(folder / "a.nii", data.draw(st.sampled_from(AXES)))
    except CrosslinkError as error:
        message = str(error)
    else:
        message = f"a.nii was read as {image.shape}"
    assert "a.nii" in message


def test_colours_cannot_name_the_values_of_a_volume(tmp_path):
    path = save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.uint8))
    with pytest.raises(DataError, match="label_map names colours"):
        read_mask(path, 0, label_table({"red": ["#ff0000"]}), None)


def test_probabilities_are_float_volumes_with_the_classes_last(tmp_path):
    source = save(tmp_path / "a.nii.gz", counting((3, 4, 5)), "LPS", (1, 2, 3))
    _, grid = read_image(source, "axial")
    probs = np.random.default_rng(0).random((2, 5, 4, 3), dtype=np.float32)
    for count in (1, 2):
        written = write_probabilities(tmp_path / "p.nii.gz", probs[:count], grid, source)
        assert written == (tmp_path / "p.nii.gz",)
        back, _ = read_image(tmp_path / "p.nii.gz", "axial")
        np.testing.assert_array_equal(back, np.moveaxis(probs[:count], 0, 1))
        np.testing.assert_allclose(nib.load(written[0]).affine, nib.load(source).affine)


def test_an_image_replaced_since_it_was_read_is_noticed(tmp_path):
    source = save(tmp_path / "a.nii", np.zeros((3, 4, 5), np.uint8))
    mask, grid = read_mask(source, "axial", LESION, None)
    save(source, np.zeros((3, 4, 6), np.uint8))
    with pytest.raises(ShapeError, match="replaced after it was read"):
        write_mask(tmp_path / "b.nii", mask, LESION, grid, source)
    assert not (tmp_path / "b.nii").exists()


def test_real_labels_come_back_bit_by_bit(real_data, tmp_path):
    path = real_data / "io_volumes" / "nifti_mr_multiorgan" / "labels.nii.gz"
    table = label_table({"organs": list(range(1, 50))})
    for axis in AXES:
        mask, grid = read_mask(path, axis, table, None)
        write_mask(tmp_path / "b.nii.gz", mask, table, grid, path)
        back, source = nib.load(tmp_path / "b.nii.gz"), nib.load(path)
        np.testing.assert_array_equal(back.dataobj, source.dataobj)
        np.testing.assert_array_equal(back.affine, source.affine)


def test_a_header_is_read_along_the_axes_as_stored(tmp_path):
    affine = np.zeros((4, 4))
    affine[[0, 1, 2, 3], [2, 1, 0, 3]] = -0.7, -0.8, -5.0, 1.0
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), affine), tmp_path / "a.nii.gz")
    header = nifti.read_header(tmp_path / "a.nii.gz")
    assert header.shape == (3, 4, 5)
    assert header.ends == ("I", "P", "L")
    np.testing.assert_allclose(header.spacing, (5.0, 0.8, 0.7), rtol=1e-6)


def test_a_header_that_is_none_is_refused_by_name(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"x" * 400)
    with pytest.raises(DataError, match=r"a\.nii cannot be read as NIfTI"):
        nifti.read_header(tmp_path / "a.nii")


def test_volumes_of_pictures_without_a_size_have_none_when_they_are_read_again(tmp_path):
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 1, 3, 4)
    affine = np.diag([1.0, -1.0, -1.0, 1.0])[[2, 1, 0, 3]]
    grid = Grid((1, 3, 4), None, affine, np.array([[2, 1], [1, 1], [0, 1]], float))
    path, mask = tmp_path / "picture.nii.gz", tmp_path / "mask.nii.gz"
    nifti.write_image(path, pixels, grid, None)
    image, back = nifti.read_image(path, 0)
    assert back.spacing is None
    assert sorted(image.ravel()) == sorted(pixels.ravel())
    values = np.ones((1, 3, 4), np.uint8)
    nifti.write_values(mask, values, grid, path, colour=False)  # a mask has the header of its image
    assert nifti.read_values(mask, 0, colour=False, lossy=False)[1].spacing is None


def test_volumes_of_other_programs_measure_in_mm_where_they_name_no_unit(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), tmp_path / "a.nii")
    assert nifti.read_image(tmp_path / "a.nii", "axial")[1].spacing == (1.0, 1.0, 1.0)
