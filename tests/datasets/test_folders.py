import pytest
from PIL import Image

from crosslinknet.config import DataConfig
from crosslinknet.datasets import find_cases
from crosslinknet.datasets.folders import IMAGES, IMAGES_TOO, MASKS
from crosslinknet.errors import DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def found(root, **settings):
    return find_cases(DataConfig(root=root, **settings))


@pytest.mark.parametrize("images", [*IMAGES, *IMAGES_TOO, "Images"])
@pytest.mark.parametrize("masks", [*MASKS, "Masks", "masks_endo"])
def test_the_two_folders_go_by_many_names(tmp_path, images, masks):
    touch(tmp_path, f"{images}/b.png", f"{images}/a.png", f"{masks}/a.png", f"{masks}/b.png")
    result = found(tmp_path)
    assert result.layout == "folders"
    assert [case.id for case in result.cases] == ["a", "b"]
    assert [case.subject for case in result.cases] == ["a", "b"]
    assert result.cases[0].images == (tmp_path / images / "a.png",)
    assert result.cases[0].mask == tmp_path / masks / "a.png"
    assert result.notes == (f"images in {images}/, masks in {masks}/",)


def test_image_and_mask_may_differ_in_suffix_and_ending(tmp_path):
    touch(tmp_path, "images/a.jpg", "images/b.nii.gz", "images/c.png")
    touch(tmp_path, "masks/a_mask.png", "masks/b.nii", "masks/c_segmentation.png")
    assert [case.mask.name for case in found(tmp_path).cases] == [
        "a_mask.png",
        "b.nii",
        "c_segmentation.png",
    ]


def test_hidden_and_other_files_are_left_aside(tmp_path):
    touch(tmp_path, "images/a.png", "images/._a.png", "images/.tmp/b.png", "images/Thumbs.db")
    touch(tmp_path, "masks/a.png", "masks/.DS_Store", "masks/readme.txt")
    assert [case.id for case in found(tmp_path).cases] == ["a"]


def test_folders_inside_are_followed_and_make_the_ids_unique(tmp_path):
    touch(tmp_path, "images/anna/1.png", "images/bert/1.png")
    touch(tmp_path, "masks/anna/1.png", "masks/bert/1.png")
    result = found(tmp_path)
    assert [case.id for case in result.cases] == ["anna__1", "bert__1"]
    assert "data.subject: '^([^/]+)/'" in result.notes[-1]
    by_folder = found(tmp_path, subject="^([^/]+)/")
    assert [case.subject for case in by_folder.cases] == ["anna", "bert"]
    assert by_folder.notes == ("images in images/, masks in masks/",)


def test_subjects_come_from_the_regular_expression_and_the_rule_says_so(tmp_path):
    touch(tmp_path, *(f"{f}/p{i}_s{j}.png" for f in ("img", "gt") for i in (1, 2) for j in (1, 2)))
    result = found(tmp_path, subject=r"^(p\d)_")
    assert [case.subject for case in result.cases] == ["p1", "p1", "p2", "p2"]
    assert r"'^(p\d)_'" in result.subject_rule
    assert "subject of its own" in found(tmp_path).subject_rule


@pytest.mark.parametrize("pattern", [r"^patient(\d+)", r"^p1_s(\d*)x?"])
def test_a_name_without_a_subject_is_an_error_that_shows_it(tmp_path, pattern):
    touch(tmp_path, "images/p1_s.png", "masks/p1_s.png")
    with pytest.raises(DataError, match=r"finds no subject for .*p1_s\.png"):
        found(tmp_path, subject=pattern)


def test_images_without_mask_are_an_error_or_left_out_as_stated(tmp_path):
    touch(tmp_path, *(f"images/{i}.png" for i in range(8)), "masks/7.png")
    with pytest.raises(
        DataError, match=r"7 of 8 images have no mask.*0\.png, images.1\.png.*and 2 more"
    ):
        found(tmp_path)
    result = found(tmp_path, unlabelled="skip")
    assert [case.id for case in result.cases] == ["7"]
    assert "7 of 8 images have no mask" in result.notes[-1]


def test_leaving_out_every_image_is_an_error(tmp_path):
    touch(tmp_path, "images/a.png", "masks/a.png")
    (tmp_path / "masks/a.png").unlink()
    touch(tmp_path, "masks/.hidden.png")
    with pytest.raises(DataError, match=r"masks holds no image \(it is empty\)"):
        found(tmp_path, unlabelled="skip")


def test_masks_without_image_are_an_error(tmp_path):
    touch(tmp_path, "images/a.png", "masks/a.png", "masks/b.png")
    for unlabelled in ("error", "skip"):
        with pytest.raises(
            DataError, match=r"1 of 2 masks have no image in .*images: masks.b\.png"
        ):
            found(tmp_path, unlabelled=unlabelled)


def test_two_files_of_one_name_are_an_error(tmp_path):
    touch(tmp_path, "images/a.png", "images/a.jpg", "masks/a.png")
    with pytest.raises(DataError, match=r"a\.jpg and .*a\.png have one name"):
        found(tmp_path)


def test_two_masks_of_one_image_are_an_error(tmp_path):
    touch(tmp_path, "images/a.png", "masks/a.png", "masks/a_mask.png")
    with pytest.raises(DataError, match="are both masks of a"):
        found(tmp_path)


def test_several_mask_folders_ask_for_a_choice(tmp_path):
    touch(tmp_path, "images/a.png", "masks_endo/a.png", "masks_epi/a.png")
    with pytest.raises(DataError, match=r"several folders for masks: masks_endo/, masks_epi/"):
        found(tmp_path)
    assert found(tmp_path, masks="masks_epi").cases[0].mask.parent.name == "masks_epi"


def test_several_image_folders_ask_for_a_choice(tmp_path):
    touch(tmp_path, "images/a.png", "imgs/a.png", "masks/a.png")
    with pytest.raises(DataError, match="several folders for images: images/, imgs/"):
        found(tmp_path)
    assert found(tmp_path, images="imgs").cases[0].images[0].parent.name == "imgs"


def test_stated_folders_may_have_any_name_and_lie_inside_each_other(tmp_path):
    touch(tmp_path, "ct/a.png", "ct/truth/a.png")
    result = found(tmp_path, images="ct", masks="ct/truth")
    assert [case.mask for case in result.cases] == [tmp_path / "ct/truth/a.png"]
    with pytest.raises(DataError, match="stated as image and as mask folder"):
        found(tmp_path, images="ct", masks="ct")


def test_a_stated_folder_that_is_missing_is_named(tmp_path):
    touch(tmp_path, "images/a.png", "masks/a.png")
    with pytest.raises(DataError, match=r"data\.masks is truth, which does not exist"):
        found(tmp_path, masks="truth")
    with pytest.raises(DataError, match="truth is no folder"):
        found(tmp_path, masks="truth", layout="folders")


def test_folders_without_images_say_what_they_hold(tmp_path):
    touch(tmp_path, "images/a.gif", "images/b.gif", "images/notes.txt", "masks/a.png")
    with pytest.raises(DataError, match=r"images holds no image \(2 with \.gif, 1 with \.txt\)"):
        found(tmp_path)


def test_pixels_are_not_read_while_cases_are_found(make_pairs, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("a picture was opened")

    root = make_pairs(["a", "b"])
    monkeypatch.setattr(Image, "open", refuse)
    assert len(found(root).cases) == 2


@pytest.mark.parametrize(
    ("name", "settings", "cases", "subjects"),
    [
        ("covid19_i_ct", {}, 98, 98),
        ("covid19_i_ct/paper_samples", {}, 2, 2),
        ("sunnybrook_lv", {"masks": "masks_endo", "subject": "^(.+)-IM-"}, 526, 30),
        ("sunnybrook_lv", {"masks": "masks_epi", "unlabelled": "skip"}, 273, 273),
        ("kits19_slices", {"subject": r"^(case_\d+)"}, 64, 25),
        ("msd_liver_256", {"subject": r"^(vol_\d+)"}, 422, 81),
        ("msd_hippocampus", {}, 182, 182),
        ("kvasir_seg_100", {}, 100, 100),
        ("isbi2012_em", {}, 30, 30),
    ],
)
def test_the_real_sets_are_found_as_their_readmes_count_them(
    real_data, name, settings, cases, subjects
):
    result = found(real_data / name, **settings)
    assert result.layout == "folders"
    assert len(result.cases) == cases
    assert len({case.subject for case in result.cases}) == subjects
    assert all(case.mask is not None for case in result.cases)


def test_epicardial_masks_are_counted_as_missing(real_data):
    with pytest.raises(DataError, match=r"253 of 526 images have no mask in .*masks_epi"):
        found(real_data / "sunnybrook_lv", masks="masks_epi")
