import json

import pytest

from crosslinknet.config import DataConfig
from crosslinknet.datasets import find_cases
from crosslinknet.datasets.nnunet import read_splits_final
from crosslinknet.errors import DataError

ABOUT = {
    "channel_names": {"0": "T1", "1": "T2"},
    "labels": {"background": 0, "kidney": 1, "tumour": 2, "both": [1, 2]},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}


def make(root, about=None, cases=("k_1", "k_2"), channels=(0, 1), ending=".nii.gz"):
    about = ABOUT if about is None else about
    (root / "dataset.json").write_text(json.dumps(about))
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(exist_ok=True)
    for case in cases:
        (root / "labelsTr" / f"{case}{ending}").write_bytes(b"x")
        for channel in channels:
            (root / "imagesTr" / f"{case}_{channel:04}{ending}").write_bytes(b"x")
    return root


def found(root, **settings):
    return find_cases(DataConfig(root=root, **settings))


def test_cases_channels_and_labels_are_read(tmp_path):
    result = found(make(tmp_path))
    assert result.layout == "nnunet"
    assert [case.id for case in result.cases] == ["k_1", "k_2"]
    assert [path.name for path in result.cases[0].images] == ["k_1_0000.nii.gz", "k_1_0001.nii.gz"]
    assert result.cases[0].mask == tmp_path / "labelsTr" / "k_1.nii.gz"
    assert result.label_values == {"kidney": [1], "tumour": [2], "both": [1, 2]}
    assert result.channels == ("T1", "T2")
    assert result.notes == ("channels: T1, T2",)
    assert result.splits is None


def test_the_subject_pattern_is_searched_in_the_name_of_the_case(tmp_path):
    make(tmp_path, cases=("anna_1", "anna_2", "bert_1"), about=ABOUT | {"numTraining": 3})
    assert [c.subject for c in found(tmp_path, subject="^([a-z]+)_").cases] == [
        "anna",
        "anna",
        "bert",
    ]


def test_given_folds_are_found(tmp_path):
    folds = [{"train": ["k_1"], "val": ["k_2"]}, {"train": ["k_2"], "val": ["k_1"]}]
    (make(tmp_path) / "splits_final.json").write_text(json.dumps(folds))
    result = found(tmp_path)
    assert result.splits == ((("k_1",), ("k_2",)), (("k_2",), ("k_1",)))
    assert result.splits_file == tmp_path / "splits_final.json"


@pytest.mark.parametrize(
    "content",
    ["{}", "[]", "[1]", '[{"train": ["a"]}]', '[{"train": "a", "val": []}]', "{", '[{"val": [1]}]'],
)
def test_damaged_folds_are_an_error(tmp_path, content):
    (tmp_path / "splits_final.json").write_text(content)
    with pytest.raises(DataError, match=r"splits_final\.json"):
        read_splits_final(tmp_path / "splits_final.json")


def test_colour_pictures_may_hold_all_channels_in_one_file(tmp_path):
    about = ABOUT | {"channel_names": {"0": "R", "1": "G", "2": "B"}, "file_ending": ".png"}
    result = found(make(tmp_path, about, channels=(0,), ending=".png"))
    assert [len(case.images) for case in result.cases] == [1, 1]


def test_a_missing_channel_is_named(tmp_path):
    make(tmp_path)
    (tmp_path / "imagesTr" / "k_2_0001.nii.gz").unlink()
    with pytest.raises(DataError, match=r"of 2 cases these have channel 0000 only, others 2: k_2"):
        found(tmp_path)
    (tmp_path / "imagesTr" / "k_1_0000.nii.gz").unlink()
    with pytest.raises(DataError, match=r"case k_1 has k_1_0001.*expected k_1_0000.*k_1_0001"):
        found(tmp_path)


def test_a_file_with_another_name_is_an_error(tmp_path):
    (make(tmp_path) / "imagesTr" / "extra.nii.gz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"extra\.nii\.gz is not named as nnU-Net names images"):
        found(tmp_path)


def test_images_without_label_and_labels_without_image_are_errors(tmp_path):
    make(tmp_path)
    (tmp_path / "labelsTr" / "k_1.nii.gz").unlink()
    with pytest.raises(DataError, match=r"1 of 2 images have no mask in .*labelsTr: imagesTr.k_1"):
        found(tmp_path)
    assert [case.id for case in found(tmp_path, unlabelled="skip").cases] == ["k_2"]
    (tmp_path / "labelsTr" / "k_9.nii.gz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"1 of 2 masks have no image in .*imagesTr: labelsTr.k_9"):
        found(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"file_ending": ".gif"}, "'file_ending' must be one of"),
        ({"channel_names": {"1": "T1"}}, "'channel_names' is"),
        ({"channel_names": []}, "'channel_names' is"),
        ({"labels": {"0": "background"}}, "'labels' is"),
        ({"labels": [1, 2]}, "'labels' is"),
    ],
)
def test_an_incomplete_description_is_an_error(tmp_path, change, reason):
    with pytest.raises(DataError, match=rf"dataset\.json.*{reason}"):
        found(make(tmp_path, ABOUT | change))


def test_what_differs_or_is_not_supported_is_noted(tmp_path):
    labels = {"background": 0, "kidney": 1, "ignore": 2}
    result = found(make(tmp_path, ABOUT | {"numTraining": 5, "labels": labels}))
    assert result.label_values == {"kidney": [1]}
    assert "label 2 means 'ignore'" in result.notes[1]
    assert "numTraining 5, imagesTr has 2 cases" in result.notes[2]


def test_the_decathlon_form_without_file_ending_counts_as_folders(tmp_path):
    make(tmp_path, {"modality": {"0": "MRI"}}, cases=())
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder / "h_001.nii.gz").write_bytes(b"x")
    assert found(tmp_path).layout == "folders"


def test_a_stated_layout_without_description_says_so(tmp_path):
    with pytest.raises(DataError, match=r"holds no dataset\.json"):
        found(tmp_path, layout="nnunet")
