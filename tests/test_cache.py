import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from crosslinknet import cache, readers
from crosslinknet.cache import case_fingerprints, open_case, require_foreground
from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig, ImageConfig
from crosslinknet.datasets import find_cases
from crosslinknet.duplicates import fingerprints
from crosslinknet.errors import DataError, LabelError, ShapeError

SMALL = ImageConfig(size=(32, 32))
OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture
def data(make_pairs):
    return DataConfig(root=make_pairs(["a", "b"]))


@pytest.fixture
def files(data):
    return find_cases(data).cases[0]


def refuse(*_args, **_options):
    raise AssertionError("the files were read again")


def test_a_case_comes_at_the_size_of_the_network(data, files, tmp_path):
    case = open_case(files, data, SMALL, tmp_path / "cache")
    assert case.files == files
    assert case.image.shape == (1, 1, 32, 32)
    assert case.image.dtype == np.float32
    assert case.codes.shape == (1, 32, 32)
    assert case.codes.dtype == np.uint8
    assert 0 < case.codes.sum() < 64
    assert case.foreground.tolist() == [True]
    assert case.placement.source == (40, 48)
    assert case.placement.scaled == (27, 32)
    assert case.grid.shape == (1, 40, 48)
    bright = case.image[0, 0][case.codes[0] == 1]
    assert bright.mean() > 0.7  # 200 of 255; image and mask lie on each other


def test_arrays_are_read_only_maps_of_files_without_pickles(data, files, tmp_path):
    case = open_case(files, data, SMALL, tmp_path / "cache")
    for array in (case.image, case.codes):
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
    for path in (tmp_path / "cache").glob("*.npy"):
        np.load(path, allow_pickle=False)


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="open files are counted in /proc only")
def test_many_open_cases_need_no_open_files(data, files, tmp_path):
    before = len(list(OPEN_FILES.iterdir()))
    cases = [open_case(files, data, SMALL, tmp_path / "cache") for _ in range(50)]
    assert sum(int(case.codes.any()) for case in cases) == 50
    assert len(list(OPEN_FILES.iterdir())) <= before


def test_a_case_travels_to_another_process_without_its_pixels(data, files, tmp_path):
    case = open_case(files, data, SMALL, tmp_path / "cache")
    sent = pickle.dumps(case)
    assert len(sent) < 4000
    np.testing.assert_array_equal(pickle.loads(sent).image, case.image)


def test_the_second_call_reads_nothing_again(data, files, tmp_path, monkeypatch):
    first = open_case(files, data, SMALL, tmp_path / "cache")
    monkeypatch.setattr(cache, "read_case", refuse)
    monkeypatch.setattr(cache, "sha256_of_file", refuse)
    second = open_case(files, data, SMALL, tmp_path / "cache")
    np.testing.assert_array_equal(second.image, first.image)
    assert second.grid.shape == first.grid.shape
    assert second.placement == first.placement


def test_a_changed_file_is_read_again(data, files, tmp_path):
    before = open_case(files, data, SMALL, tmp_path / "cache")
    Image.fromarray(np.zeros((40, 48), np.uint8)).save(files.images[0])
    after = open_case(files, data, SMALL, tmp_path / "cache")
    assert before.image.max() > 0
    assert after.image.max() == 0


def test_a_touched_or_moved_file_of_equal_bytes_is_hashed_but_not_read(
    data, files, tmp_path, monkeypatch
):
    open_case(files, data, SMALL, tmp_path / "cache")
    monkeypatch.setattr(cache, "read_case", refuse)
    os.utime(files.images[0], (1, 1))
    open_case(files, data, SMALL, tmp_path / "cache")
    moved = tmp_path / "elsewhere.png"
    files.images[0].rename(moved)
    open_case(replace(files, images=(moved,)), data, SMALL, tmp_path / "cache")


@pytest.mark.parametrize(
    "change",
    [
        {"size": (64, 64)},
        {"fit": "resize"},
        {"fit": "crop"},
        {"window": "minmax"},
        {"channels": 3},
    ],
)
def test_settings_that_change_pixels_make_another_entry(data, files, tmp_path, change):
    one = open_case(files, data, SMALL, tmp_path / "cache")
    other = open_case(files, data, SMALL.model_copy(update=change), tmp_path / "cache")
    assert one.entry != other.entry


def test_settings_that_change_no_pixel_share_an_entry(data, files, tmp_path):
    one = open_case(files, data, SMALL, tmp_path / "cache")
    renamed = data.model_copy(update={"label_map": {"other_name": [1]}, "subject": "(.)"})
    assert open_case(files, renamed, SMALL, tmp_path / "cache").entry == one.entry
    more = data.model_copy(update={"label_map": {"a": [1], "b": [2]}})
    assert open_case(files, more, SMALL, tmp_path / "cache").entry != one.entry


def test_crop_keeps_the_size_of_the_slices(data, files, tmp_path):
    case = open_case(files, data, ImageConfig(fit="crop"), tmp_path / "cache")
    assert case.image.shape == (1, 1, 40, 48)
    np.testing.assert_array_equal(case.codes[0], np.asarray(Image.open(files.mask)))


def test_a_case_without_mask_has_no_codes(data, files, tmp_path):
    case = open_case(replace(files, mask=None), data, SMALL, tmp_path / "cache")
    assert case.codes is None
    assert case.foreground.tolist() == [False]


@pytest.mark.parametrize("ending", [".image.npy", ".codes.npy", ".json"])
def test_an_incomplete_entry_is_made_anew(data, files, tmp_path, ending):
    case = open_case(files, data, SMALL, tmp_path / "cache")
    expected = np.array(case.image)
    part = case.entry.with_suffix(ending)
    if ending == ".image.npy":
        part.write_bytes(part.read_bytes()[:-100])
    else:
        part.unlink()
    again = open_case(files, data, SMALL, tmp_path / "cache")
    np.testing.assert_array_equal(again.image, expected)
    assert again.codes.any()


def test_a_refused_case_leaves_nothing_behind(data, files, tmp_path):
    Image.fromarray(np.full((40, 48), 9, np.uint8)).save(files.mask)
    with pytest.raises(LabelError, match=r"a\.png holds 9 \(1920 px\)"):
        open_case(files, data, SMALL, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["files"]


def test_errors_of_every_step_name_the_file(data, files, tmp_path):
    with pytest.raises(ShapeError, match=r"a\.png: a slice is 40x48, larger than image\.size"):
        open_case(files, data, ImageConfig(size=(32, 32), fit="pad"), tmp_path / "cache")
    Image.fromarray(np.full((40, 48), 2.5, np.float32)).save(tmp_path / "f.tif")
    floats = CaseFiles("f", "f", (tmp_path / "f.tif",))
    with pytest.raises(DataError, match=r"f\.tif: image\.window 'dtype'"):
        open_case(floats, data, SMALL, tmp_path / "cache")
    with pytest.raises(DataError, match=r"gone\.png cannot be read"):
        open_case(replace(files, images=(tmp_path / "gone.png",)), data, SMALL, tmp_path / "cache")


def test_a_volume_keeps_its_grid_and_the_slices_that_show_something(tmp_path):
    affine = np.array([[-2, 0, 0, 9], [0, 1, 0, 8], [0, 0, 5, 7], [0, 0, 0, 1]], dtype=float)
    voxels = np.zeros((40, 48, 3), np.int16)
    mask = voxels.astype(np.uint8)
    mask[4:20, 4:20, 1] = 1
    for name, array in (("i.nii.gz", voxels), ("m.nii.gz", mask)):
        nib.save(nib.Nifti1Image(array, affine), tmp_path / name)
    files = CaseFiles("v", "v", (tmp_path / "i.nii.gz",), tmp_path / "m.nii.gz")
    config = ImageConfig(size=(32, 32), window="lung")
    for _ in range(2):  # made, then remembered
        case = open_case(files, DataConfig(root=tmp_path), config, tmp_path / "cache")
        assert case.image.shape == (3, 1, 32, 32)
        assert case.foreground.tolist() == [False, True, False]
        assert case.grid.spacing == (5, 1, 2)
        np.testing.assert_array_equal(case.grid.affine[:3, 0], [0, 0, 5])
        assert case.grid.turn.shape == (3, 2)


def test_images_of_one_file_of_outlines_have_entries_of_their_own(tmp_path):
    """Equal pixels under equal names, but another image of the file."""
    shape = [[0, 0, 16, 0, 16, 16, 0, 16]]
    content = {
        "images": [{"id": i, "file_name": f"{name}/1.png"} for i, name in enumerate("ab")],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": shape}],
        "categories": [{"id": 1, "name": "polyp"}],
    }
    path = tmp_path / "drawn.json"
    path.write_text(json.dumps(content))
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / name / "1.png")
    data = DataConfig(root=tmp_path)
    cases = find_cases(data).cases

    def areas(data):
        return [int(open_case(f, data, SMALL, tmp_path / "cache").codes.sum()) for f in cases]

    assert areas(data) == areas(data) == [0, 256]
    named = data.model_copy(update={"label_map": {"a": ["none"], "b": ["polyp"]}})
    assert areas(named) == [0, 512]  # polyp is the second name
    content["annotations"][0]["segmentation"] = [[0, 0, 8, 0, 8, 8, 0, 8]]
    path.write_text(json.dumps(content))
    assert areas(data) == [0, 64]


def test_stated_spacing_is_kept(data, files, tmp_path):
    stated = replace(files, spacing=(1.0, 0.5, 0.25))
    case = open_case(stated, data, SMALL, tmp_path / "cache")
    assert case.grid.spacing == (1.0, 0.5, 0.25)
    assert open_case(files, data, SMALL, tmp_path / "cache").grid.spacing is None


def test_masks_that_are_all_empty_are_an_error(data, files, tmp_path):
    Image.fromarray(np.zeros((40, 48), np.uint8)).save(files.mask)
    cases = [open_case(f, data, SMALL, tmp_path / "cache") for f in find_cases(data).cases]
    require_foreground(cases)  # b still shows something
    with pytest.raises(DataError, match=r"all masks of 1 cases in .*masks are empty"):
        require_foreground(cases[:1])


def test_a_real_pair_is_cached_as_it_is(real_data, tmp_path):
    folder = real_data / "kits19_slices"
    data = DataConfig(root=folder, label_map={"kidney": [1], "tumour": [2]})
    files = find_cases(data).cases[0]  # case_00025_slice_0060: 7182 and 14165 pixels of 512x512
    case = open_case(files, data, ImageConfig(), tmp_path)
    areas = [4 * (case.codes == code).sum() for code in (1, 2)]
    np.testing.assert_allclose(areas, [7182, 14165], rtol=0.02)
    whole = open_case(files, data, ImageConfig(fit="crop"), tmp_path)
    assert [(whole.codes == code).sum() for code in (1, 2)] == [7182, 14165]


def test_targets_that_vanish_at_the_networks_size_are_counted(tmp_path):
    image = np.zeros((3, 256, 256), np.uint8)
    mask = np.zeros((3, 256, 256), np.uint8)
    mask[0, 100:140, 100:140] = 1  # stays
    mask[1, 129, 129] = 1  # one pixel of 64: gone, whichever pixel is taken
    for name, array in (("i.tif", image), ("m.tif", mask)):
        pages = [Image.fromarray(page) for page in array]
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    files = CaseFiles("v", "v", (tmp_path / "i.tif",), tmp_path / "m.tif")
    config = ImageConfig(size=(32, 32), slice_axis=0)
    case = open_case(files, DataConfig(root=tmp_path), config, tmp_path / "cache")
    assert case.foreground.tolist() == [True, False, False]
    assert case.vanished == 1


def test_fingerprints_are_computed_once_and_come_back_the_same(data, files, tmp_path, monkeypatch):
    first = case_fingerprints(files, "axial", tmp_path / "cache")
    monkeypatch.setattr(cache, "read_case_image", refuse)
    monkeypatch.setattr(cache, "sha256_of_file", refuse)
    again = case_fingerprints(files, "axial", tmp_path / "cache")
    image, _ = readers.read_case_image(files, "axial")
    for prints in (first, again):
        for name in ("hashes", "thumbs", "flat"):
            expected = getattr(fingerprints(image), name)
            np.testing.assert_array_equal(getattr(prints, name), expected)
            assert getattr(prints, name).dtype == expected.dtype


def test_fingerprints_follow_the_pixels_and_the_slices(tmp_path):
    path = tmp_path / "volume.nii.gz"
    pixels = np.random.default_rng(0).integers(0, 200, (40, 36, 8)).astype(np.int16)
    nib.save(nib.Nifti1Image(pixels, np.diag([1.0, 1, 5, 1])), path)
    files = CaseFiles("v", "v", (path,))
    whole = case_fingerprints(files, "axial", tmp_path / "cache")
    assert len(whole) == 8
    assert len(case_fingerprints(files, "coronal", tmp_path / "cache")) == 36
    some = case_fingerprints(replace(files, slices=(2, 5)), "axial", tmp_path / "cache")
    np.testing.assert_array_equal(some.hashes, whole.hashes[[2, 5]])
    nib.save(nib.Nifti1Image(pixels[::-1], np.diag([1.0, 1, 5, 1])), path)
    turned = case_fingerprints(files, "axial", tmp_path / "cache")
    assert (turned.hashes[:, 0] != whole.hashes[:, 0]).all()


def test_an_image_that_cannot_be_read_is_named(data, files, tmp_path):
    files.images[0].write_bytes(b"no picture")
    with pytest.raises(DataError, match=files.images[0].name):
        case_fingerprints(files, "axial", tmp_path / "cache")


def test_voxels_in_a_second_file_count_as_well(tmp_path):
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(np.ones((1, 40, 48), np.uint8)), tmp_path / "a.mhd")
    before = cache.content_hash(tmp_path / "a.mhd", tmp_path / "cache")
    assert cache.content_hash(tmp_path / "a.mhd", tmp_path / "cache") == before
    (tmp_path / "a.raw").write_bytes(bytes(40 * 48))
    os.utime(tmp_path / "a.raw", (1, 1))
    assert cache.content_hash(tmp_path / "a.mhd", tmp_path / "cache") != before
    (tmp_path / "a.raw").unlink()
    with pytest.raises(DataError, match=r"a\.raw cannot be read"):
        cache.content_hash(tmp_path / "a.mhd", tmp_path / "cache")
    with pytest.raises(DataError, match=r"b\.mhd cannot be read"):
        cache.content_hash(tmp_path / "b.mhd", tmp_path / "cache")
