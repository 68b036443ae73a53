import json

import pytest

from crosslinknet.config import DataConfig
from crosslinknet.datasets import find_cases
from crosslinknet.errors import DataError

ABOUT = {
    "name": "Liver",
    "modality": {"0": "CT"},
    "labels": {"0": "background", "1": "liver", "2": "cancer", "3": "liver"},
    "numTraining": 2,
    "training": [
        {"image": "./imagesTr/liver_1.nii.gz", "label": "./labelsTr/liver_1.nii.gz"},
        {"image": "./imagesTr/liver_0.nii.gz", "label": "./labelsTr/liver_0.nii.gz"},
    ],
    "test": ["./imagesTs/liver_2.nii.gz"],
}


def make(root, about=None, files=None):
    (root / "dataset.json").write_text(json.dumps(ABOUT if about is None else about))
    listed = [entry[key] for entry in ABOUT["training"] for key in ("image", "label")]
    for name in listed if files is None else files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def found(root, **settings):
    return find_cases(DataConfig(root=root, **settings))


def test_cases_labels_and_channels_are_read(tmp_path):
    result = found(make(tmp_path))
    assert result.layout == "decathlon"
    assert [case.id for case in result.cases] == ["liver_0", "liver_1"]
    assert result.cases[0].images == (tmp_path / "imagesTr" / "liver_0.nii.gz",)
    assert result.cases[0].mask == tmp_path / "labelsTr" / "liver_0.nii.gz"
    assert result.label_values == {"liver": [1, 3], "cancer": [2]}
    assert result.channels == ("CT",)
    assert result.notes == ("channels: CT",)


def test_the_subject_pattern_is_searched_in_the_name(tmp_path):
    result = found(make(tmp_path), subject=r"^(\w+)_\d")
    assert {case.subject for case in result.cases} == {"liver"}


def test_one_file_per_channel_as_nnunet_1_wrote_them(tmp_path):
    about = ABOUT | {"modality": {"0": "T2", "1": "ADC"}, "training": ABOUT["training"][:1]}
    names = ["imagesTr/liver_1_0000.nii.gz", "imagesTr/liver_1_0001.nii.gz"]
    result = found(make(tmp_path, about, [*names, "labelsTr/liver_1.nii.gz"]))
    assert [path.name for path in result.cases[0].images] == [name[9:] for name in names]
    assert result.notes[1] == "dataset.json states numTraining 2, 'training' lists 1"
    (tmp_path / names[1]).unlink()
    with pytest.raises(DataError, match=r"names files that do not exist, 1 in all: .*liver_1_0001"):
        found(tmp_path)


def test_version_2_of_nnunet_stays_nnunet(tmp_path):
    about = ABOUT | {"file_ending": ".nii.gz", "channel_names": {"0": "CT"}, "labels": {"a": 1}}
    make(tmp_path, about, ["imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"])
    assert found(tmp_path).layout == "nnunet"


def test_cases_without_label_are_an_error_or_left_out(tmp_path):
    entries = [ABOUT["training"][0], {"image": "./imagesTr/liver_0.nii.gz"}]
    make(tmp_path, ABOUT | {"training": entries})
    with pytest.raises(DataError, match=r"1 of 2 images have no mask in 'training' of"):
        found(tmp_path)
    assert [case.id for case in found(tmp_path, unlabelled="skip").cases] == ["liver_1"]


@pytest.mark.parametrize(
    "name", ["/etc/a.nii", "../a.nii", "x/../../a.nii", "C:\\a.nii", "", "a\0"]
)
@pytest.mark.parametrize("key", ["image", "label"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, name, key):
    entry = ABOUT["training"][0] | {key: name}
    make(tmp_path, ABOUT | {"training": [entry]})
    with pytest.raises(DataError, match=r"expected a path below|images have no mask"):
        found(tmp_path)


def test_files_that_are_missing_strange_or_listed_twice_are_errors(tmp_path):
    make(tmp_path, files=[])
    with pytest.raises(DataError, match=r"dataset\.json names files that do not exist, 4 in all"):
        found(tmp_path)
    make(tmp_path, ABOUT | {"training": [ABOUT["training"][0]] * 2}, None)
    with pytest.raises(DataError, match=r"uses images in several cases, 1 in all"):
        found(tmp_path)
    entry = {"image": "a.gif", "label": "labelsTr/liver_1.nii.gz"}
    make(tmp_path, ABOUT | {"training": [entry]}, ["a.gif"])
    with pytest.raises(
        DataError, match=r"names files of kinds that are not read, 1 in all: .*a\.gif"
    ):
        found(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"training": []}, "'training' must be a list"),
        ({"training": ["a.nii.gz"]}, "'training' must be a list"),
        ({"training": [{"label": "a.nii.gz"}]}, "'training' must be a list"),
        ({"modality": ["CT"]}, "'modality' is"),
        ({"modality": {"1": "CT"}}, "'modality' is"),
        ({"labels": {"liver": 1}}, "'labels' is"),
        ({"labels": {"1": ""}}, "'labels' is"),
        ({"labels": None}, "'labels' is"),
    ],
)
def test_an_incomplete_description_is_an_error(tmp_path, change, reason):
    with pytest.raises(DataError, match=reason):
        found(make(tmp_path, ABOUT | change))


def test_a_stated_layout_without_description_says_so(tmp_path):
    with pytest.raises(DataError, match=r"holds no dataset\.json"):
        found(tmp_path, layout="decathlon")
