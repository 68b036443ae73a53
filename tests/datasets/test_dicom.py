import hashlib
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from crosslinknet import cache
from crosslinknet.cache import content_hash, open_case
from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig, ImageConfig, load_config
from crosslinknet.datasets import find_cases
from crosslinknet.errors import DataError
from crosslinknet.experiments.init import init, some_cases
from crosslinknet.readers import read_case
from tests.readers.dicoms import PHOTO, dataset, save, write_series
from tests.readers.test_dicom_seg import write_seg

SIZE = (3, 40, 36)


def voxels(seed=0):
    """Noise with a bright square, (Z, Y, X)."""
    image = np.random.default_rng(seed).integers(-50, 50, SIZE).astype(np.int16)
    image[1:, 8:20, 10:22] += 500
    return image


def write_case(folder, seed=0, seg=None, mask="labels.nii.gz", **tags):
    """A series with its labels: a SEG at the path ``seg``, else a NIfTI file in its folder."""
    image = voxels(seed)
    paths = write_series(folder, image, **{"series": f"1.2.{seed}", **tags})
    lesion = (image > 300).astype(np.uint8)
    if seg is not None:
        return write_seg(seg, paths, lesion, labels=("Lesion",))
    if mask is not None:
        affine = np.diag([-0.5, -0.7, 3.0, 1.0])
        nib.save(nib.Nifti1Image(lesion.transpose(2, 1, 0), affine), folder / mask)
    return paths[0]


def found(root, **options):
    return find_cases(DataConfig(root=root, **options))


def subjects(root, **options):
    return [case.subject for case in found(root, **options).cases]


def test_each_series_with_its_mask_is_a_case(tmp_path):
    write_case(tmp_path / "anna" / "ct", 1, seg=tmp_path / "anna" / "seg.dcm", PatientID="A")
    write_case(tmp_path / "ben" / "mr", 2, PatientID="B")
    write_case(tmp_path / "carl" / "ct", 3, mask="../Label.nii.gz", PatientID="C")
    result = found(tmp_path)
    assert result.layout == "dicom"
    assert [case.id for case in result.cases] == ["anna__ct", "ben__mr", "carl__ct"]
    assert [case.subject for case in result.cases] == ["anna", "ben", "carl"]
    assert [case.mask.name for case in result.cases] == [
        "seg.dcm", "labels.nii.gz", "Label.nii.gz",
    ]  # fmt: skip
    assert result.notes == ("3 DICOM images, 1 DICOM SEG",)
    for case in result.cases:
        read = read_case(case, DataConfig(root=tmp_path, label_map={"a": [1]}), ImageConfig())
        np.testing.assert_array_equal(read.image[:, 0] > 300, read.mask == 1)


def test_one_folder_of_one_series_is_a_case_under_the_folder_s_name(tmp_path):
    write_case(tmp_path / "scan")
    (case,) = found(tmp_path / "scan").cases
    assert (case.id, case.subject) == ("scan", "scan")


def test_several_series_of_a_folder_are_cases_of_their_own(tmp_path):
    for seed in (1, 2):
        seg = tmp_path / "all" / f"seg{seed}.dcm"
        write_case(tmp_path / "all", seed, seg=seg, names=f"s{seed}_{{}}.dcm")
    result = found(tmp_path)
    assert [case.id for case in result.cases] == ["s1_0", "s2_0"]
    assert [case.mask.name for case in result.cases] == ["seg1.dcm", "seg2.dcm"]
    assert subjects(tmp_path) == ["all", "all"]


def test_a_patient_in_several_folders_is_one_subject_and_shows_no_number(tmp_path):
    for seed, patient in enumerate(("Doe^John", "Doe^John", "P2")):
        write_case(tmp_path / f"scan{seed}", seed, PatientID=patient)
    result = found(tmp_path)
    names = [case.subject for case in result.cases]
    expected = [hashlib.sha256(p.encode()).hexdigest()[:10] for p in ("Doe^John", "P2")]
    assert names == [expected[0], *expected]
    assert "hash" in result.subject_rule


def test_patients_that_share_a_folder_are_told_apart(tmp_path):
    for seed, patient in enumerate(("P1", "P2", "")):
        write_case(tmp_path / "batch" / f"scan{seed}", seed, PatientID=patient)
    names = subjects(tmp_path)
    assert len(set(names)) == 3
    assert names[2] == "batch"


def test_folders_count_where_no_patient_is_named(tmp_path):
    for seed, folder in enumerate(("a/x", "a/y", "b/x")):
        write_case(tmp_path / folder, seed, PatientID="")
    assert subjects(tmp_path) == ["a", "a", "b"]


def test_a_stated_rule_for_subjects_wins(tmp_path):
    for seed, folder in enumerate(("sub-01_a", "sub-01_b", "sub-02_a")):
        write_case(tmp_path / folder, seed, PatientID=f"P{seed}")
    assert subjects(tmp_path, subject="sub-([0-9]+)") == ["01", "01", "02"]


def test_series_without_mask_are_an_error_or_left_out_with_their_number(tmp_path):
    write_case(tmp_path / "a", 1)
    write_case(tmp_path / "b", 2, mask=None)
    with pytest.raises(DataError, match=r"1 of 2 images have no mask in .*: b\."):
        found(tmp_path)
    result = found(tmp_path, unlabelled="skip")
    assert [case.id for case in result.cases] == ["a"]
    assert "1 of 2 images have no mask" in result.notes[1]


def test_several_masks_of_a_series_are_an_error_until_one_is_chosen(tmp_path):
    write_case(tmp_path / "a", 1)
    write_seg(tmp_path / "liver_1.dcm", sorted((tmp_path / "a").glob("*.dcm")), voxels(1) > 300,
              labels=("Liver",))  # fmt: skip
    with pytest.raises(DataError, match=r"series a has 2 masks, .*liver_1\.dcm.*data\.masks: "):
        found(tmp_path)
    for pattern, name in (("liver_*.dcm", "liver_1.dcm"), ("labels.nii.gz", "labels.nii.gz")):
        for layout in ("auto", "dicom"):
            (case,) = found(tmp_path, masks=pattern, layout=layout).cases
            assert case.mask.name == name


def test_a_mask_beside_several_series_belongs_to_none(tmp_path):
    for seed in (1, 2):
        write_case(tmp_path / "anna" / f"s{seed}", seed, mask=None)
    shutil.copy(write_case(tmp_path / "x", 3).parent / "labels.nii.gz", tmp_path / "anna")
    with pytest.raises(DataError, match=r"labels\.nii\.gz lies beside 2 series, anna/s1, anna/s2"):
        found(tmp_path)


def test_objects_that_are_no_images_are_left_alone_and_counted(tmp_path):
    write_case(tmp_path / "a", 1)
    report = dataset(np.zeros((4, 4), np.uint8), kind="1.2.840.10008.5.1.4.1.1.88.11")
    del report.Rows, report.PixelData
    save(tmp_path / "a" / "report.dcm", report)
    result = found(tmp_path)
    assert len(result.cases) == 1
    assert result.notes[1].startswith("1 DICOM files are neither images nor SEG")


def test_a_root_without_images_says_what_was_looked_for(tmp_path):
    write_case(tmp_path / "a", 1, seg=tmp_path / "s" / "seg.dcm")
    with pytest.raises(DataError, match="holds no DICOM image"):
        found(tmp_path / "s")


def test_a_folder_of_pictures_with_a_stray_dicom_file_is_not_dicom(tmp_path, make_pairs):
    root = make_pairs(["a"], images="aaa", masks="bbb")
    write_case(root / "z", 1)
    with pytest.raises(DataError, match="is no known data set"):
        found(root)
    with pytest.raises(DataError, match="is no known data set"):
        found(tmp_path / "z", images="x")


def test_pixels_are_not_read_while_cases_are_found(tmp_path, monkeypatch):
    write_case(tmp_path / "a", 1, seg=tmp_path / "a" / "seg.dcm")
    monkeypatch.setattr(pydicom.pixels, "iter_pixels", lambda *_a, **_k: pytest.fail("read"))
    assert len(found(tmp_path).cases) == 1


def test_every_file_of_a_series_counts_for_the_cache(tmp_path, monkeypatch):
    path = write_case(tmp_path / "a", 1)
    files, data = CaseFiles("a", "a", (path,), path.parent / "labels.nii.gz"), DataConfig(root=".")
    folder = tmp_path / "cache"
    first = open_case(files, data, ImageConfig(window="minmax"), folder)
    before = content_hash(path, folder)
    assert content_hash(sorted(path.parent.glob("*.dcm"))[2], folder) == before
    with monkeypatch.context() as patch:
        patch.setattr(cache, "read_case", lambda *_: pytest.fail("read again"))
        open_case(files, data, ImageConfig(window="minmax"), folder)
    last = sorted(path.parent.glob("*.dcm"))[2]
    changed = pydicom.dcmread(last)
    changed.PixelData = bytes(len(changed.PixelData))
    save(last, changed)
    assert content_hash(path, folder) != before
    again = open_case(files, data, ImageConfig(window="minmax"), folder)
    assert first.image[2].max() > again.image[2].max()


def test_init_proposes_the_names_of_segments_and_counts_all_files(tmp_path):
    for seed in (1, 2):
        root = tmp_path / "data" / f"p{seed}"
        write_case(root / "ct", seed, seg=root / "seg.dcm", PatientID=f"P{seed}")
    told = "\n".join(init(tmp_path / "data", tmp_path / "exp.yaml"))
    config = load_config(tmp_path / "exp.yaml")
    assert config.data.layout == "dicom"
    assert config.data.label_map == {"Lesion": ["Lesion"]}
    assert config.image.slice_axis == "axial"
    assert (config.image.size, config.image.fit) == ((64, 64), "pad")
    assert "volumes with voxels of 3 x 0.7 x 0.5 mm" in told
    assert "2 cases, layout dicom" in told


def test_the_size_of_a_series_is_that_of_all_its_files(tmp_path, monkeypatch):
    paths = [write_case(tmp_path / str(i), 1, mask=None) for i in range(10)]
    size = sum(file.stat().st_size for file in paths[0].parent.iterdir())
    monkeypatch.setattr("crosslinknet.experiments.init.MOST_BYTES", 2.5 * size)
    monkeypatch.setattr("crosslinknet.experiments.init.LEAST_CASES", 1)
    cases = [CaseFiles(str(i), "a", (path,)) for i, path in enumerate(paths)]
    assert len(some_cases(cases)) == 2


def test_a_series_under_two_names_is_one_image_of_a_manifest(tmp_path):
    write_case(tmp_path / "a", 1)
    rows = [f"a/slice_00{i}.dcm,a/labels.nii.gz" for i in (0, 1)]
    (tmp_path / "m.csv").write_text("\n".join(["image,mask", rows[0]]))
    (case,) = found(tmp_path, layout="csv").cases
    assert read_case(case, DataConfig(root=tmp_path), ImageConfig()).mask.any()
    (tmp_path / "m.csv").write_text("\n".join(["image,mask", *rows]))
    with pytest.raises(DataError, match="uses images in several cases, 1 in all"):
        found(tmp_path, layout="csv")


def test_dicom_pictures_pair_with_masks_as_other_pictures_do(tmp_path, make_pairs):
    root = make_pairs(["a"])
    picture = dataset(np.zeros((40, 48, 3), np.uint8), kind=PHOTO)
    save(root / "images" / "a.dcm", picture)
    (root / "images" / "a.png").unlink()
    (case,) = found(root).cases
    read = read_case(case, DataConfig(root=root), ImageConfig(channels=3))
    assert (read.image.shape, read.mask.shape) == ((1, 3, 40, 48), (1, 40, 48))


def test_the_real_series_are_found_with_their_masks(real_data):
    folder = real_data / "io_volumes"
    (case,) = found(folder / "dicom_ct_series").cases
    assert (case.id, case.images[0].name, case.mask.name) == (
        "dicom", "ct_000.dcm", "labels.nii.gz",
    )  # fmt: skip
    with pytest.raises(DataError, match=r"series ct has 2 masks, .*seg_liver.*partial_overlaps"):
        found(folder / "dicom_ct_seg")
    for name in ("seg_liver.dcm", "seg_partial_overlaps.dcm"):
        (case,) = found(folder / "dicom_ct_seg", masks=name).cases
        assert (case.id, case.mask.name) == ("ct", name)
    result = found(folder, masks="seg_liver.dcm", unlabelled="skip")
    assert [case.subject for case in result.cases] == ["dicom_ct_seg"]
    assert Path(result.cases[0].images[0]).name == "01.dcm"
