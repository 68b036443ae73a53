import pytest

from crosslinknet.config import DataConfig
from crosslinknet.datasets import find_cases
from crosslinknet.errors import DataError

LESIONS = "derivatives/lesions"


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def make(root, people=("01", "02"), mask="label-lesion_mask"):
    touch(root, "dataset_description.json", "participants.tsv")
    for person in people:
        name = f"sub-{person}/anat/sub-{person}"
        touch(root, f"{name}_T1w.nii.gz", f"{name}_T1w.json")
        touch(root, f"{LESIONS}/{name}_{mask}.nii.gz")
    return root


def found(root, **settings):
    return find_cases(DataConfig(root=root, **settings))


@pytest.mark.parametrize("mask", ["mask", "label-lesion_mask", "dseg", "desc-manual_seg"])
def test_images_and_masks_are_paired_and_the_person_is_the_subject(tmp_path, mask):
    result = found(make(tmp_path, mask=mask))
    assert result.layout == "bids"
    assert [case.id for case in result.cases] == ["sub-01_T1w", "sub-02_T1w"]
    assert [case.subject for case in result.cases] == ["sub-01", "sub-02"]
    assert result.cases[0].images == (tmp_path / "sub-01/anat/sub-01_T1w.nii.gz",)
    assert result.cases[0].mask == tmp_path / f"{LESIONS}/sub-01/anat/sub-01_{mask}.nii.gz"
    assert result.subject_rule == "entity 'sub' of the file name"
    assert result.notes == (f"images _T1w, masks _{mask.rpartition('_')[2]}",)


def test_sessions_and_runs_of_a_person_stay_together(tmp_path):
    names = ["ses-1/anat/sub-1_ses-1_run-1", "ses-1/anat/sub-1_ses-1_run-2", "ses-2/sub-1_ses-2"]
    for name in names:
        touch(tmp_path, f"sub-1/{name}_T1w.nii.gz", f"derivatives/sub-1/{name}_dseg.nii.gz")
    result = found(tmp_path)
    assert [case.id for case in result.cases] == [
        "sub-1_ses-1_run-1_T1w",
        "sub-1_ses-1_run-2_T1w",
        "sub-1_ses-2_T1w",
    ]
    assert {case.subject for case in result.cases} == {"sub-1"}
    for case in result.cases:
        assert case.mask.name == case.images[0].name.replace("T1w", "dseg")
    visits = found(tmp_path, subject="(ses-[0-9])").cases
    assert [case.subject for case in visits] == ["ses-1", "ses-1", "ses-2"]


def test_several_kinds_of_image_ask_for_a_choice(tmp_path):
    touch(make(tmp_path), *(f"sub-{p}/anat/sub-{p}_T2w.nii.gz" for p in ("01", "02")))
    touch(tmp_path, "sub-01/anat/sub-01_xT1w.nii.gz")
    with pytest.raises(DataError, match=r"2 _T1w, 2 _T2w, 1 _xT1w\. Choose .*data\.images: T1w"):
        found(tmp_path)
    assert [case.id for case in found(tmp_path, images="T2w").cases] == ["sub-01_T2w", "sub-02_T2w"]
    assert [case.id for case in found(tmp_path, images="T1w").cases] == ["sub-01_T1w", "sub-02_T1w"]
    with pytest.raises(DataError, match=r"ends with PD \(data\.images\); there are 2 _T1w"):
        found(tmp_path, images="PD")


def test_several_masks_ask_for_a_choice(tmp_path):
    make(tmp_path)
    touch(
        tmp_path, *(f"derivatives/fs/sub-{p}/sub-{p}_desc-brain_mask.nii.gz" for p in ("01", "02"))
    )
    with pytest.raises(
        DataError, match=r"T1w\.nii\.gz has 2 masks: .*data\.masks: desc-brain_mask"
    ):
        found(tmp_path)
    for layout in ("auto", "bids"):
        result = found(tmp_path, masks="label-lesion_mask", layout=layout)
        assert {case.mask.name[7:] for case in result.cases} == {"label-lesion_mask.nii.gz"}
    with pytest.raises(DataError, match=r"ends with gland_mask \(data\.masks\); there are 4 _mask"):
        found(tmp_path, masks="gland_mask")


def test_masks_in_another_space_do_not_belong_to_an_image(tmp_path):
    make(tmp_path)
    touch(tmp_path, "derivatives/fs/sub-01/sub-01_space-MNI152_mask.nii.gz")
    assert len(found(tmp_path).cases) == 2
    touch(tmp_path, "derivatives/fs/sub-01/sub-01_space-orig_mask.nii.gz")
    with pytest.raises(DataError, match=r"has 2 masks"):
        found(tmp_path)


def test_an_image_in_a_space_has_its_mask_there(tmp_path):
    touch(tmp_path, "sub-1/sub-1_space-MNI_T1w.nii", "derivatives/sub-1_space-MNI_mask.nii")
    assert found(tmp_path).cases[0].mask.name == "sub-1_space-MNI_mask.nii"


def test_images_without_mask_and_masks_without_image_are_errors(tmp_path):
    make(tmp_path)
    touch(tmp_path, "sub-03/anat/sub-03_T1w.nii.gz")
    with pytest.raises(
        DataError, match=r"1 of 3 images have no mask in .*derivatives: sub-03.anat.sub-03_T1w"
    ):
        found(tmp_path)
    assert len(found(tmp_path, unlabelled="skip").cases) == 2
    touch(tmp_path, f"{LESIONS}/sub-04/sub-04_mask.nii.gz")
    with pytest.raises(DataError, match=r"1 of 3 masks have no image in .*sub-04_mask\.nii\.gz"):
        found(tmp_path)


def test_label_names_come_from_the_table_of_a_segmentation(tmp_path):
    make(tmp_path, mask="dseg")
    table = tmp_path / LESIONS / "dseg.tsv"
    table.write_text("index\tname\tcolor\n0\tBackground\t#000000\n1\tGM\t\n2\tWM\t\n3\tGM\t\n")
    result = found(tmp_path)
    assert result.label_values == {"GM": [1, 3], "WM": [2]}
    assert result.notes[1] == f"label names from {LESIONS}/dseg.tsv"
    (tmp_path / LESIONS / "desc-x_dseg.tsv").write_text("index\tname\n1\tCSF\n")
    result = found(tmp_path)
    assert result.label_values == {}
    assert result.notes[1] == "the 2 tables dseg.tsv differ, so names are not taken from them"


@pytest.mark.parametrize("text", ["index,name\n1,a\n", "index\tname\nx\ta\n", "index\tname\n1\n"])
def test_a_damaged_table_is_an_error(tmp_path, text):
    make(tmp_path, mask="dseg")
    (tmp_path / LESIONS / "dseg.tsv").write_text(text)
    with pytest.raises(DataError, match=r"dseg\.tsv is no table of labels"):
        found(tmp_path)


def test_names_without_a_subject_do_not_count(tmp_path):
    make(tmp_path)
    touch(tmp_path, "sub-01/anat/overview.png", "sub-01/sub-01.nii.gz")
    assert len(found(tmp_path).cases) == 2


def test_a_stated_layout_says_what_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"has no images in folders sub-"):
        found(tmp_path, layout="bids")
    touch(tmp_path, "sub-1/sub-1_T1w.nii")
    with pytest.raises(DataError, match="has no masks in derivatives/"):
        found(tmp_path, layout="bids")
