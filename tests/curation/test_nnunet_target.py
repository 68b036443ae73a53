"""nnU-Net's raw data, rule by rule; subjects that its folds must not tear apart."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crosslinknet.config import DataConfig, SplitConfig
from crosslinknet.curation.convert import convert
from crosslinknet.curation.nnunet import regions
from crosslinknet.datasets import find_cases
from crosslinknet.errors import DataError, UsageError
from crosslinknet.files import read_json
from crosslinknet.labels import label_table, merge_values
from crosslinknet.splits import make_splits
from tests.curation.nnunet_rules import check_nnunet, check_regions
from tests.curation.sets import cases_of, manifest, pictures, save, voxels
from tests.datasets.test_dicom import write_case


def nnunet(tmp_path, *settings, channels=()):
    out = tmp_path / "Dataset501_test"
    told = convert(tmp_path / "data", out, "nnunet", settings, channels=channels)
    check_nnunet(out)
    return out, read_json(out / "dataset.json"), told


def test_grey_pictures_become_png_with_consecutive_labels(tmp_path):
    pictures(tmp_path / "data", values=(0, 128, 255))
    out, about, _ = nnunet(tmp_path, "data.label_map={edge: [255], core: [128]}")
    assert about == {
        "channel_names": {"0": "channel_0"},
        "labels": {"background": 0, "edge": 2, "core": 1},
        "numTraining": 3,
        "file_ending": ".png",
    }
    np.testing.assert_array_equal(
        voxels(out / "labelsTr" / "a.png"),
        np.searchsorted([0, 128, 255], voxels(tmp_path / "data" / "masks" / "a.png")),
    )
    assert not (out / "splits_final.json").exists()


def test_colour_pictures_are_one_file_with_three_channels(tmp_path):
    data = pictures(tmp_path / "data")
    colour = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    for name in "abc":
        save(data / "images" / f"{name}.png", colour)
    out, about, _ = nnunet(tmp_path)
    assert about["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    np.testing.assert_array_equal(voxels(out / "imagesTr" / "b_0000.png"), colour)


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_pictures_of_more_bits_become_nifti(tmp_path, kind):
    data = pictures(tmp_path / "data", "a")
    image = (1000 * np.random.default_rng(0).random((12, 10))).astype(kind)
    suffix = "png" if kind is np.uint16 else "tif"
    (data / "images" / "a.png").unlink()
    save(data / "images" / f"a.{suffix}", image)
    out, about, told = nnunet(tmp_path)
    assert about["file_ending"] == ".nii.gz"
    stored = voxels(out / "imagesTr" / "a_0000.nii.gz")
    assert stored.dtype == kind
    np.testing.assert_array_equal(stored, image.T[:, :, None])  # (X, Y, Z): columns, rows, slices
    assert any("a place in space that nobody measured" in line for line in told)


def test_channels_are_files_of_their_own(tmp_path):
    data, rng = tmp_path / "data", np.random.default_rng(0)
    one, two = (rng.integers(-5, 5, (4, 5, 3)).astype(np.int16) for _ in range(2))
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    save(data / "t1.nii.gz", one, affine)
    save(data / "t2.nii", two, affine)
    save(data / "m.nii.gz", (one > 2).astype(np.uint8), affine)
    manifest(data, [{"id": "p", "image": "t1.nii.gz|t2.nii", "mask": "m.nii.gz"}])
    out, about, _ = nnunet(tmp_path, channels=("T1", "T2"))
    assert about["channel_names"] == {"0": "T1", "1": "T2"}
    np.testing.assert_array_equal(voxels(out / "imagesTr" / "p_0000.nii.gz"), one)
    np.testing.assert_array_equal(voxels(out / "imagesTr" / "p_0001.nii.gz"), two)


def test_slanted_axes_name_the_reader_that_takes_them(tmp_path):
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    data = tmp_path / "data"
    for name, shear in (("a", 0.0), ("b", 0.4)):
        affine[0, 1] = shear
        save(data / "images" / f"{name}.nii.gz", np.zeros((4, 5, 3), np.int16), affine)
        save(data / "labels" / f"{name}.nii.gz", np.ones((4, 5, 3), np.uint8), affine)
    _, about, _ = nnunet(tmp_path)
    assert about["overwrite_image_reader_writer"] == "NibabelIO"


def test_classes_that_lie_in_each_other_become_regions(tmp_path):
    pictures(tmp_path / "data", values=(0, 1, 2, 3))
    label_map = "data.label_map={enhancing: [3], tumour: [1, 2, 3], core: [2, 3]}"
    _, about, _ = nnunet(tmp_path, label_map)
    assert list(about["labels"].items()) == [
        ("background", 0),
        ("tumour", [1, 2, 3]),
        ("core", [2, 3]),
        ("enhancing", [3]),
    ]
    assert about["regions_class_order"] == [1, 2, 3]


def test_classes_that_overlap_in_part_are_refused(tmp_path):
    pictures(tmp_path / "data", values=(0, 1, 2, 3))
    with pytest.raises(UsageError, match=r"overlap in a way that nnU-Net cannot write back: b"):
        nnunet(tmp_path, "data.label_map={a: [1, 2], b: [2, 3]}")


@given(st.lists(st.sets(st.integers(1, 5), min_size=1), min_size=1, max_size=4))
def test_regions_always_lead_back_to_the_labels(classes):
    table = label_table({f"class_{i}": sorted(values) for i, values in enumerate(classes)})
    _, labels = merge_values(table)
    try:
        ordered, order = regions(labels)
    except UsageError:
        return
    check_regions(ordered, order)
    assert {name: sorted(values) for name, values in ordered.items()} == labels


def people(tmp_path, subjects="xxyyzz", **columns):
    data = pictures(tmp_path / "data", "abcdef")
    rows = [
        {"image": f"images/{name}.png", "mask": f"masks/{name}.png", "subject": subject}
        | {key: values[i] for key, values in columns.items()}
        for i, (name, subject) in enumerate(zip("abcdef", subjects, strict=True))
    ]
    manifest(data, rows)


def test_folds_of_nnunet_never_tear_a_subject_apart(tmp_path):
    people(tmp_path)
    out, _, told = nnunet(tmp_path)
    folds = read_json(out / "splits_final.json")
    assert len(folds) == 3  # as many as subjects; nnU-Net draws five
    subject = dict(zip("abcdef", "xxyyzz", strict=True))
    for fold in folds:
        assert not {subject[n] for n in fold["train"]} & {subject[n] for n in fold["val"]}
    assert sorted(name for fold in folds for name in fold["val"]) == list("abcdef")
    assert any("copy it to nnUNet_preprocessed/Dataset501_test/" in line for line in told)


def test_given_folds_and_subjects_and_spacing_come_back(tmp_path):
    people(tmp_path, fold=[0, 0, 1, 1, 0, 0], spacing=["5 0.7 0.8"] * 6)
    out, _, _ = nnunet(tmp_path)
    found = find_cases(DataConfig(root=out))
    assert [case.subject for case in found.cases] == list("xxyyzz")
    assert {case.spacing for case in found.cases} == {(5.0, 0.7, 0.8)}
    assert found.splits == ((tuple("cd"), tuple("abef")), (tuple("abef"), tuple("cd")))
    assert found.subject_rule == "column 'subject' of subjects.csv"


def test_given_folds_that_leak_are_refused(tmp_path):
    people(tmp_path, fold=[0, 1, 1, 1, 0, 0])
    with pytest.raises(DataError, match=r"1 subject stands in train and in test: x"):
        nnunet(tmp_path)


def test_the_number_of_folds_can_be_stated_and_one_subject_is_told(tmp_path):
    people(tmp_path)
    assert len(read_json(nnunet(tmp_path, "split.folds=2")[0] / "splits_final.json")) == 2
    people(tmp_path / "one", subjects="xxxxxx")
    out, _, told = nnunet(tmp_path / "one")
    assert not (out / "splits_final.json").exists()
    assert any("one subject cannot be split: the folds that nnU-Net" in line for line in told)


@pytest.mark.parametrize("alone", [False, True], ids=["persons", "every image a person"])
def test_folds_of_nnunet_never_divide_copies_under_two_names(tmp_path, alone):
    subjects = "abcdef" if alone else "xxyyzz"
    people(tmp_path, subjects=subjects)
    images = tmp_path / "data" / "images"
    Image.fromarray(voxels(images / "a.png")[:, ::-1]).save(images / "f.png")
    out, _, told = nnunet(tmp_path)
    for fold in read_json(out / "splits_final.json"):
        assert ("a" in fold["train"]) == ("f" in fold["train"])
    assert any("looks alike (a and f)" in line for line in told)
    plan = find_cases(DataConfig(root=out))
    made = make_splits(plan, SplitConfig(validation=0.0), [("a", "f")])
    assert len(made.folds) == (5 if alone else 2)  # a training takes the folds as they are


def test_given_folds_that_divide_copies_are_refused_unless_they_are_to_be_ignored(tmp_path):
    people(tmp_path, subjects="abcdef", fold=[0, 0, 0, 1, 1, 1])
    images = tmp_path / "data" / "images"
    Image.fromarray(voxels(images / "a.png")[:, ::-1]).save(images / "f.png")
    with pytest.raises(DataError, match="f and a"):
        nnunet(tmp_path)
    out, _, _ = nnunet(tmp_path, "split.duplicates=ignore")
    assert len(read_json(out / "splits_final.json")) == 2


def test_a_spacing_that_a_manifest_states_goes_into_the_header(tmp_path):
    data, affine = tmp_path / "data", np.diag([1.0, 1.0, 1.0, 1.0])
    save(data / "i.nii.gz", np.zeros((4, 5, 3), np.int16), affine)
    save(data / "m.nii.gz", np.ones((4, 5, 3), np.uint8), affine)
    manifest(data, [{"id": "p", "image": "i.nii.gz", "mask": "m.nii.gz", "spacing": "3 2 0.5"}])
    out, _, _ = nnunet(tmp_path)
    (case,) = cases_of(out)
    np.testing.assert_allclose(case["spacing"], (3, 2, 0.5))
    np.testing.assert_allclose(np.linalg.norm(case["affine"][:3, :3], axis=0), (3, 2, 0.5))


def test_what_nnunet_does_not_take_is_refused(tmp_path):
    data = pictures(tmp_path / "data", values=(0, 1))
    with pytest.raises(UsageError, match=r"three digits and a word.*Dataset501_name"):
        convert(data, tmp_path / "out", "nnunet")
    with pytest.raises(UsageError, match="nnU-Net gives the class name 'ignore' a meaning"):
        nnunet(tmp_path, "data.label_map={ignore: [1]}")
    with pytest.raises(UsageError, match=r"2 channels are named \(CT, PET\), the images have 1"):
        nnunet(tmp_path, channels=("CT", "PET"))
    save(data / "images" / "c.png", np.zeros((12, 10, 3), np.uint8))
    with pytest.raises(DataError, match=r"c\.png has 3 channels, other images have 1"):
        nnunet(tmp_path)
    assert not (tmp_path / "Dataset501_test" / "dataset.json").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("case,subject\na,x\n", "says nothing of b"),
        ("case,subject\na,x\nb,\n", "says nothing of b"),
        ("case,subject\na,x\nb,y\nb,z\n", "it has 3 rows"),
        ("name,subject\na,x\nb,y\n", "says nothing of a, b"),
        ('case,subject\n"a,x\n', "cannot be read as a UTF-8 CSV"),
    ],
)
def test_a_damaged_list_of_subjects_is_an_error(tmp_path, text, said):
    pictures(tmp_path / "data", "ab")
    out, _, _ = nnunet(tmp_path)
    (out / "subjects.csv").write_text(text)
    with pytest.raises(DataError, match=rf"subjects\.csv.*{said}"):
        find_cases(DataConfig(root=out))


def test_the_description_comes_last(tmp_path, monkeypatch):
    """A folder without dataset.json is no data set, so a part is never taken for the whole."""
    data = pictures(tmp_path / "data")
    out = tmp_path / "Dataset501_test"
    seen = []

    def watching(items, description):
        for item in items:
            seen.append((out / "dataset.json").exists())
            yield item

    convert(data, out, "nnunet", track=watching)
    assert seen == [False] * 9  # compared, looked at, converted
    about = json.loads((out / "dataset.json").read_text())
    save(data / "images" / "b.png", np.zeros((12, 10), np.uint8))
    convert(data, out, "nnunet", track=watching)
    assert seen[9:] == [True] * 8 + [False]  # b is redone, then c is verified
    assert json.loads((out / "dataset.json").read_text()) == about


def test_a_series_of_ct_becomes_the_channel_that_nnunet_scales_as_ct(tmp_path):
    for seed in (1, 2):
        write_case(tmp_path / "data" / f"p{seed}", seed, PatientID=f"p{seed}")
    _, about, _ = nnunet(tmp_path, "data.label_map={lesion: [1]}")
    assert about["channel_names"] == {"0": "CT"}
