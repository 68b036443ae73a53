"""What a check tells of a set, and every kind of finding on a folder made for it."""

import json
import re
import shutil
from pathlib import Path

import jsonschema
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from crosslinknet.config import parse_config, to_yaml
from crosslinknet.curation.check import KINDS, check_data
from crosslinknet.curation.result import Check, Finding, check_schema
from crosslinknet.errors import DataError, UsageError
from crosslinknet.phantoms import write_phantoms
from tests.curation.conftest import scene, target, write

PUBLISHED = json.loads(
    (Path(__file__).resolve().parents[2] / "docs" / "check.schema.json").read_text("utf-8")
)


def kinds(check: Check) -> dict[str, Finding]:
    return {finding.kind: finding for finding in check.findings}


def only(check: Check, kind: str, severity: str) -> Finding:
    """The one finding of a set that was spoiled in one way."""
    assert list(kinds(check)) == [kind]
    assert check.findings[0].severity == severity
    assert check.clean == (severity == "hint")
    return check.findings[0]


def files(finding: Finding) -> list[str]:
    return [place.file for place in finding.places]


# Facts


def test_a_clean_set_has_facts_and_no_finding(clean):
    check = check_data(clean)
    assert check.findings == []
    assert check.clean
    assert (check.layout, check.pairs, check.slices, check.unreadable) == ("folders", 4, 4, 0)
    assert check.notes == ["images in images/, masks in masks/"]
    assert check.subjects.count == 4
    assert [size.model_dump() for size in check.sizes] == [{"height": 64, "width": 80, "slices": 4}]
    assert check.spacing is None
    assert [kind.model_dump() for kind in check.pixels] == [
        {"type": "uint8", "channels": 1, "cases": 4}
    ]
    assert (check.intensity.low, check.intensity.high) == (0, 255)
    assert [label.model_dump() for label in check.labels] == [
        {"value": 0, "pixels": 4 * (5120 - 80), "cases": 4},
        {"value": 1, "pixels": 4 * 80, "cases": 4},
    ]
    assert (check.target.low, check.target.mean, check.target.high) == (80 / 5120,) * 3
    assert [one.slices for one in check.target.classes] == [0, 0, 0, 0, 4, 0, 0, 0, 0]


def test_volumes_tell_slices_and_spacing(volumes):
    check = check_data(volumes)
    assert check.findings == []
    assert (check.pairs, check.slices, check.depth) == (3, 9, (3, 3))
    assert [(one.height, one.width, one.slices) for one in check.sizes] == [(48, 40, 9)]
    assert (check.spacing.low, check.spacing.high) == ((4, 0.5, 0.5), (4, 0.5, 0.5))
    assert check.spacing.cases == 3
    target = check.target
    assert (target.slices, target.empty_slices, target.empty_cases) == (3, 6, 0)
    assert target.low == pytest.approx(100 / (40 * 48))


def test_the_share_of_small_targets_counts_slices_below_0_6_percent(clean):
    for name, rows in (("amber", 3), ("birch", 1)):  # 30 and 10 of 5120 pixels: 0.59, 0.2 %
        write(clean / "masks" / f"{name}.png", target(rows))
    write(clean / "masks" / "cedar.png", target(4))  # 40 of 5120: 0.78 %
    check = check_data(clean)
    assert check.target.small == 0.5
    assert [one.slices for one in check.target.classes] == [0, 0, 1, 1, 2, 0, 0, 0, 0]
    assert sum(one.slices for one in check.target.classes) == check.target.slices


def test_a_manifest_states_subjects_and_spacing(clean):
    rows = [f"images/{n}.png,masks/{n}.png,{n[0]},5 0.7 {x}" for n, x in
            (("amber", 0.7), ("birch", 0.8))]  # fmt: skip
    (clean / "list.csv").write_text("image,mask,subject,spacing\n" + "\n".join(rows))
    check = check_data(clean / "list.csv")
    assert (check.layout, check.pairs, check.subjects.count) == ("csv", 2, 2)
    assert check.subjects.rule == "column 'subject' of list.csv"
    assert (check.spacing.low, check.spacing.high) == ((5, 0.7, 0.7), (5, 0.7, 0.8))


def test_a_config_is_a_set_with_its_settings(clean, tmp_path):
    content = {"data": {"root": str(clean), "label_map": {"disc": [2]}}}
    (tmp_path / "exp.yaml").write_text(to_yaml(parse_config(content)))
    check = check_data(tmp_path / "exp.yaml")
    assert {"unnamed", "absent"} <= set(kinds(check))
    assert check_data(tmp_path / "exp.yaml", ("data.label_map={disc: [1]}",)).findings == []


def test_slices_of_one_stack_are_cases_of_their_own(tmp_path, monkeypatch):
    from crosslinknet.case import CaseFiles
    from crosslinknet.curation import check as module
    from crosslinknet.datasets import Found

    for name, pages in (("i", [scene(d) for d in range(4)]), ("m", [target(d) for d in range(4)])):
        first, *rest = [Image.fromarray(page) for page in pages]
        first.save(tmp_path / f"{name}.tif", save_all=True, append_images=rest)
    paths = ((tmp_path / "i.tif",), tmp_path / "m.tif")
    cases = [CaseFiles(f"c{d}", f"c{d}", *paths, slices=(d,)) for d in (0, 2, 3, 7)]
    monkeypatch.setattr(module, "survey", lambda data: Found("csv", tuple(cases), "by hand"))
    check = check_data(tmp_path)
    assert (check.pairs, check.slices, check.unreadable) == (4, 3, 1)
    assert [label.pixels for label in check.labels] == [3 * 5120 - 50, 50]
    assert "has 4 slices, but slice 7 is wanted" in kinds(check)["unreadable"].places[0].detail


def test_overlapping_classes_count_every_named_value(clean):
    write(clean / "masks" / "amber.png", target(value=1) + target(4, value=1))  # 1 and 2
    settings = ("data.label_map={all: [1, 2], core: [2]}",)
    assert check_data(clean, settings).findings == []
    assert check_data(clean, settings).target.high == 80 / 5120


def test_the_order_of_the_files_decides_not_that_of_the_threads(clean):
    for name in ("birch", "dusk"):
        (clean / "images" / f"{name}.png").write_bytes(b"broken")
    first = check_data(clean)
    assert files(kinds(first)["unreadable"]) == ["images/birch.png", "images/dusk.png"]
    assert check_data(clean) == first


def test_progress_ends_with_all_cases(clean):
    seen: list[tuple[int, int]] = []
    check_data(clean, done=lambda cases, total: seen.append((cases, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


# Pairs and files


def test_images_without_mask_are_listed_and_the_rest_is_checked(clean):
    write(clean / "images" / "extra.png", scene(9))
    check = check_data(clean)
    finding = only(check, "no-mask", "error")
    assert finding.text == "1 of 5 images has no mask."
    assert (files(finding), check.pairs) == (["images/extra.png"], 4)
    assert check.images_without_mask == ["images/extra.png"]
    assert "data.unlabelled=skip" in finding.cure
    assert check_data(clean, ("data.unlabelled=skip",)).findings == []


def test_masks_without_image_are_listed_and_the_rest_is_checked(clean):
    write(clean / "masks" / "extra.png", target())
    check = check_data(clean)
    finding = only(check, "no-image", "error")
    assert finding.text == "1 of 5 masks has no image."
    assert (check.masks_without_image, check.pairs) == (["masks/extra.png"], 4)


def test_a_set_of_orphans_only_has_no_pair_and_says_so(clean):
    for path in sorted((clean / "masks").iterdir()):
        path.rename(path.with_name(f"of_{path.name}"))
    check = check_data(clean)
    assert (check.pairs, check.slices, check.target, check.intensity) == (0, 0, None, None)
    assert list(kinds(check)) == ["no-mask", "no-image"]


def test_unreadable_files_are_named_with_the_reason_and_stop_nothing(clean):
    (clean / "images" / "amber.png").write_bytes(b"no picture")
    whole = (clean / "masks" / "birch.png").read_bytes()
    (clean / "masks" / "birch.png").write_bytes(whole[: len(whole) // 2])
    (clean / "images" / "cedar.png").write_bytes(b"")
    check = check_data(clean)
    finding = only(check, "unreadable", "error")
    assert finding.text == "3 cases cannot be read."
    assert files(finding) == ["images/amber.png", "images/birch.png", "images/cedar.png"]
    assert "amber.png cannot be read" in finding.places[0].detail
    assert "masks/birch.png cannot be read" in finding.places[1].detail
    assert "is empty (0 bytes)" in finding.places[2].detail
    assert (check.unreadable, check.slices) == (3, 2)


# Geometry


def test_a_mask_of_another_size_is_an_error_with_both_sizes(clean):
    write(clean / "masks" / "cedar.png", target()[:60])
    finding = only(check_data(clean), "size", "error")
    assert [place.model_dump() for place in finding.places] == [
        {"file": "masks/cedar.png", "detail": "1x60x80 on an image of 1x64x80"}
    ]
    assert finding.cure == "pair each image with its own mask"


def test_a_volume_s_mask_of_another_size_can_be_resampled(volumes):
    path = volumes / "masks" / "birch.nii.gz"
    old = nib.load(path)
    write(path, np.asarray(old.dataobj)[:, :, :2], old.affine)
    finding = only(check_data(volumes), "size", "error")
    assert finding.places[0].detail == "2x48x40 on an image of 3x48x40"
    assert f"xln data fix {volumes} -o CLEAN --resample-labels" in finding.cure


def test_a_mask_that_lies_elsewhere_is_an_error_in_mm(volumes):
    path = volumes / "masks" / "birch.nii.gz"
    old = nib.load(path)
    affine = old.affine.copy()
    affine[0, 3] += 3
    affine[1, 3] -= 4
    write(path, np.asarray(old.dataobj), affine)
    finding = only(check_data(volumes), "place", "error")
    assert finding.places[0].detail == "5.00 mm away"
    assert "--copy-header" in finding.cure
    assert "--resample-labels" in finding.cure


def test_a_mask_of_another_spacing_is_told_with_both(volumes):
    path = volumes / "masks" / "birch.nii.gz"
    write(path, np.asarray(nib.load(path).dataobj), np.diag([0.5, 0.5, 5.0, 1.0]))
    finding = only(check_data(volumes), "place", "error")
    assert finding.places[0].detail == "2.00 mm away, spacing 5x0.5x0.5 on 4x0.5x0.5 mm"


def test_a_picture_beside_a_volume_is_an_error(volumes):
    (volumes / "masks" / "birch.nii.gz").unlink()
    pages = [Image.fromarray(np.ones((48, 40), np.uint8)) for _ in range(3)]
    pages[0].save(volumes / "masks" / "birch.tif", save_all=True, append_images=pages[1:])
    check = check_data(volumes)
    assert kinds(check)["format"].text.startswith("1 pair mixes a picture and a volume")


# Values of masks


def test_jpg_masks_are_an_error_with_the_threshold_that_cleans_them(clean):
    for path in sorted((clean / "masks").glob("*.png")):
        mask = np.asarray(Image.open(path)) * np.uint8(255)
        Image.fromarray(mask).save(path.with_suffix(".jpg"), quality=60)
        path.unlink()
    check = check_data(clean)
    finding = only(check, "noise", "error")
    assert finding.text == "4 masks hold values scattered by JPG compression or scaling."
    assert re.fullmatch(r"\d+ values around 0 and 255", finding.places[0].detail)
    assert "-s data.threshold=127" in finding.cure
    assert f"xln data fix {clean} -o CLEAN --threshold 127" in finding.cure
    cured = check_data(clean, ("data.threshold=127",))
    assert cured.findings == []
    assert [label.value for label in cured.labels] == [0, 1]
    assert cured.target.mean == pytest.approx(80 / 5120, rel=0.05)


def test_jpg_noise_that_was_saved_as_png_is_found_too(clean):
    path = clean / "masks" / "birch.png"
    noisy = clean.parent / "noisy.jpg"
    Image.fromarray(target(30, 30, 200)).save(noisy, quality=50)
    write(path, np.asarray(Image.open(noisy)))
    finding = kinds(check_data(clean))["noise"]
    assert files(finding) == ["masks/birch.png"]
    assert "-s data.threshold=100" in finding.cure


def test_noise_of_several_classes_cannot_be_cured_by_one_threshold(clean):
    mask = target(30, 30, 255)
    mask[4:28, 40:78] = 128
    noisy = clean.parent / "noisy.jpg"
    Image.fromarray(mask).save(noisy, quality=50)
    write(clean / "masks" / "birch.png", np.asarray(Image.open(noisy)))
    finding = kinds(check_data(clean))["noise"]
    assert "around 0 and 128 and 255" in finding.places[0].detail
    assert finding.cure.startswith("no threshold tells these values apart")


def test_values_that_the_label_map_does_not_name_are_an_error(clean):
    write(clean / "masks" / "amber.png", target(value=7))
    finding = kinds(check_data(clean, ("data.label_map={disc: [1]}",)))["unnamed"]
    assert finding.severity == "error"
    assert finding.text == "1 mask holds 1 value that data.label_map does not name: 7."
    assert finding.places[0].detail == "7 (80 px)"
    assert "--labels 7=1" in finding.cure
    assert check_data(clean).findings == []


def test_a_class_without_a_pixel_is_a_warning(clean):
    settings = ("data.label_map={disc: [1], ghost: [3]}",)
    finding = only(check_data(clean, settings), "absent", "warning")
    assert finding.text == "No mask holds a pixel of ghost."


def test_one_coding_other_than_1_is_a_hint(clean):
    for path in (clean / "masks").iterdir():
        write(path, np.asarray(Image.open(path)) * np.uint8(255))
    finding = only(check_data(clean), "coding", "hint")
    assert finding.text == "The masks write their target as 255, not as 1."
    assert "label_map: {foreground: [255]}" in finding.cure
    assert "--labels 255=1" in finding.cure


def test_two_codings_in_one_set_are_a_warning(clean):
    write(clean / "masks" / "dusk.png", target(value=255))
    finding = only(check_data(clean), "two-codings", "warning")
    assert finding.text.startswith("3 masks hold the value 1 and 1 the value 255, none both")
    assert files(finding) == ["masks/dusk.png"]


def test_colours_are_counted_as_colours(clean):
    for path in (clean / "masks").iterdir():
        grey = np.asarray(Image.open(path))
        red = np.stack([grey * np.uint8(255), grey * 0, grey * 0], axis=-1)
        write(path, red)
    check = check_data(clean)
    assert check.findings == []
    assert [label.value for label in check.labels] == ["#000000", "#ff0000"]
    assert check_data(clean, ("data.label_map={disc: ['#ff0000']}",)).findings == []


def test_more_values_than_labels_have_are_a_warning(clean):
    mask = target(12, 26)
    mask[20:32, 30:56] = np.arange(1, 27) * 4
    write(clean / "masks" / "amber.png", mask)
    finding = only(check_data(clean), "many-values", "warning")
    assert finding.text.startswith("The masks hold 27 different values")
    assert [place.model_dump() for place in finding.places] == [
        {"file": "masks/amber.png", "detail": "27 values"}
    ]


# Targets and images


def test_empty_masks_are_a_hint_and_only_empty_ones_an_error(clean):
    write(clean / "masks" / "cedar.png", target(0))
    check = check_data(clean)
    finding = only(check, "empty", "hint")
    assert finding.text.startswith("1 of 4 masks is empty.")
    assert (check.target.empty_slices, check.target.empty_cases) == (1, 1)
    for path in (clean / "masks").iterdir():
        write(path, target(0))
    check = check_data(clean)
    only(check, "all-empty", "error")
    assert check.target is None


def test_a_mask_of_one_value_is_a_warning(clean):
    write(clean / "masks" / "cedar.png", np.ones((64, 80), np.uint8))
    finding = only(check_data(clean), "full", "warning")
    assert files(finding) == ["masks/cedar.png"]


def test_a_mask_that_frames_the_image_looks_inverted(clean):
    write(clean / "masks" / "cedar.png", 1 - target())
    finding = only(check_data(clean), "inverted", "warning")
    assert finding.text.startswith("In 1 of 4 masks the target covers most of the image's border")


def test_an_image_of_one_grey_value_is_a_warning(clean):
    write(clean / "images" / "cedar.png", np.full((64, 80), 9, np.uint8))
    finding = only(check_data(clean), "constant", "warning")
    assert files(finding) == ["images/cedar.png"]


def test_numbers_of_channels_that_do_not_go_together_are_an_error(volumes):
    affine = np.diag([0.5, 0.5, 4.0, 1.0])
    image = np.random.default_rng(0).integers(0, 99, (40, 48, 3, 2), dtype=np.int16)
    write(volumes / "images" / "cedar.nii.gz", image, affine)
    finding = only(check_data(volumes), "channels", "error")
    assert finding.text == "The images have different numbers of channels: 1 in 2, 2 in 1."
    assert files(finding) == ["images/cedar.nii.gz"]


def test_grey_beside_colour_is_no_finding(clean):
    red = np.stack([scene(7), scene(8), scene(9)], axis=-1)
    write(clean / "images" / "cedar.png", red)
    check = check_data(clean)
    assert check.findings == []
    assert {(one.channels, one.cases) for one in check.pixels} == {(1, 3), (3, 1)}


def test_several_number_types_and_an_empty_range_are_hints(clean):
    write(clean / "images" / "cedar.png", scene(2).astype(np.uint16) * 4)
    finding = only(check_data(clean), "kinds", "hint")
    assert finding.text == "The images have different number types: uint8 in 3, uint16 in 1."
    for seed, path in enumerate(sorted((clean / "images").iterdir())):
        write(path, scene(seed).astype(np.uint16) * 4)
    finding = only(check_data(clean), "dark", "hint")
    assert "largest value is 1020" in finding.text
    assert check_data(clean, ("image.window=[0, 1020]",)).findings == []


def test_pixels_of_very_different_sizes_are_a_hint(clean):
    rows = [f"images/{n}.png,masks/{n}.png,5 {mm} {mm}" for n, mm in
            (("amber", 0.5), ("birch", 0.8))]  # fmt: skip
    (clean / "list.csv").write_text("image,mask,spacing\n" + "\n".join(rows))
    finding = only(check_data(clean / "list.csv"), "spacing", "hint")
    assert finding.text.startswith("Pixels measure 0.5 to 0.8 mm.")


# Who is who


def test_names_with_common_beginnings_are_asked_about(tmp_path):
    for number, name in enumerate(("anna_1", "anna_2", "ben_1", "ben_2")):
        write(tmp_path / "images" / f"{name}.png", scene(number))
        write(tmp_path / "masks" / f"{name}.png", target(at=(number, number)))
    finding = only(check_data(tmp_path), "subjects", "warning")
    assert "2 beginnings such as anna" in finding.text
    assert "-s 'data.subject=^([^_-]+)[_-]'; where each image is a person" in finding.cure
    for stated in ("^(.+)[_-]", "^(.+)$"):
        assert check_data(tmp_path, (f"data.subject={stated}",)).findings == []


def test_copies_are_found_across_subjects_and_within_one(clean):
    write(clean / "images" / "copy.png", scene(0))
    write(clean / "masks" / "copy.png", target(at=(0, 1)))
    finding = only(check_data(clean), "copies", "warning")
    assert [place.model_dump() for place in finding.places] == [
        {"file": "images/copy.png", "detail": "= images/amber.png"}
    ]
    assert f"xln data fix {clean} -o CLEAN --drop-duplicates" in finding.cure
    within = check_data(clean, ("data.subject=^[a-z]*(.png)$",))
    finding = only(within, "copies-within", "warning")
    assert files(finding) == ["images/copy.png"]


def test_copies_with_other_masks_are_an_error_whose_cure_works(clean):
    write(clean / "images" / "copy.png", scene(0))
    write(clean / "masks" / "copy.png", target())
    finding = only(check_data(clean), "copies-differ", "error")
    assert finding.text.startswith("1 image equals another one to the last pixel and has a differ")
    assert "-s 'data.exclude=[copy]'" in finding.cure
    assert check_data(clean, ("data.exclude=[copy]",)).findings == []


def test_near_duplicates_are_found_across_subjects_and_within_one(clean):
    again = scene(0, 128, 160)
    small = Image.fromarray(again).resize((80, 64), Image.Resampling.BOX)
    small.save(clean / "images" / "amber.png")
    small.resize((100, 80), Image.Resampling.BICUBIC).save(clean / "images" / "again.jpg")
    write(clean / "masks" / "again.png", np.pad(target(), ((0, 16), (0, 20))))
    finding = only(check_data(clean), "alike", "warning")
    assert [place.model_dump() for place in finding.places] == [
        {"file": "images/amber.png", "detail": "is like images/again.jpg"}
    ]
    only(check_data(clean, ("data.subject=(.)[a-z]*.[a-z]*$",)), "alike-within", "hint")


def test_mirrored_and_turned_images_are_found(clean):
    write(clean / "images" / "mirrored.png", scene(0)[:, ::-1])
    write(clean / "masks" / "mirrored.png", target())
    write(clean / "images" / "turned.png", np.rot90(scene(1)))
    write(clean / "masks" / "turned.png", np.rot90(target()))
    finding = only(check_data(clean), "turned", "warning")
    assert [place.model_dump() for place in finding.places] == [
        {"file": "images/mirrored.png", "detail": "is, mirrored or turned, like images/amber.png"},
        {"file": "images/turned.png", "detail": "is, mirrored or turned, like images/birch.png"},
    ]
    only(check_data(clean, ("data.subject=(.png)$",)), "turned-within", "hint")


def test_names_of_augmented_copies_are_found_where_the_pixels_do_not_tell(clean):
    write(clean / "images" / "amber_rot20.png", scene(7))
    write(clean / "masks" / "amber_rot20.png", target())
    finding = kinds(check_data(clean))["augmented-names"]
    assert (files(finding), finding.severity) == (["images/amber_rot20.png"], "warning")


def test_neighbouring_slices_of_one_volume_are_no_finding(volumes):
    image = np.repeat(scene(0, 40, 48)[:, :, None], 3, axis=2).astype(np.int16)
    write(volumes / "images" / "amber.nii.gz", image, np.diag([0.5, 0.5, 4.0, 1.0]))
    assert check_data(volumes).findings == []


def test_pages_of_colour_pictures_are_drawn(tmp_path):
    for seed in range(3):
        colours = np.stack([scene(3 * seed + c) for c in range(3)], axis=2)
        write(tmp_path / "data" / "images" / f"{seed}.png", colours)
        write(tmp_path / "data" / "masks" / f"{seed}.png", target(rows=5 + seed))
    page = tmp_path / "check.html"
    check_data(tmp_path / "data", report=page)
    text = page.read_text("utf-8")
    assert text.count("data:image/jpeg") == 3
    assert "among the smallest targets" in text


def test_one_shared_slice_is_enough_between_two_subjects_and_none_within_one(volumes):
    affine = np.diag([0.5, 0.5, 4.0, 1.0])
    amber = np.asarray(nib.load(volumes / "images" / "amber.nii.gz").dataobj)
    birch = np.asarray(nib.load(volumes / "images" / "birch.nii.gz").dataobj).copy()
    birch[:, :, 0] = amber[:, :, 0]
    write(volumes / "images" / "birch.nii.gz", birch, affine)
    finding = only(check_data(volumes), "alike", "warning")
    detail = "is like images/amber.nii.gz, in 1 of 3 slices"
    assert [place.detail for place in finding.places] == [detail]
    one_person = ("data.subject=(r)",)
    assert check_data(volumes, one_person).findings == []
    birch[:, :, 1] = amber[:, :, 1]
    write(volumes / "images" / "birch.nii.gz", birch, affine)
    only(check_data(volumes, one_person), "alike-within", "hint")


def test_a_given_split_that_training_refuses_for_names_of_augmentation_leaks(clean, tmp_path):
    write(clean / "images" / "amber_ro-20.png", scene(7))
    write(clean / "masks" / "amber_ro-20.png", target())
    folds = [{"train": ["birch", "cedar", "dusk", "amber_ro-20"], "val": ["amber"]}]
    (tmp_path / "folds.json").write_text(json.dumps(folds))
    check = check_data(clean, (f"split.file={tmp_path / 'folds.json'}", "split.validation=0"))
    finding = kinds(check)["split-leak"]
    assert [p.detail for p in finding.places] == ["named after images/amber.png (fold 0)"]


@pytest.mark.parametrize("how", ["column", "nnunet file"])
def test_a_given_split_with_copies_on_both_sides_leaks(clean, tmp_path, how):
    write(clean / "images" / "copy.png", scene(0))
    write(clean / "masks" / "copy.png", target())
    names = ("amber", "birch", "cedar", "dusk", "copy")
    if how == "column":
        rows = [f"images/{n}.png,masks/{n}.png,{int(n == 'copy')}" for n in names]
        (clean / "list.csv").write_text("image,mask,fold\n" + "\n".join(rows))
        check = check_data(clean / "list.csv")
    else:
        folds = [{"train": names[:4], "val": ["copy"]}]
        (tmp_path / "folds.json").write_text(json.dumps(folds))
        check = check_data(clean, (f"split.file={tmp_path / 'folds.json'}", "split.validation=0"))
    finding = kinds(check)["split-leak"]
    assert finding.severity == "error"
    assert finding.places[0].file == "images/copy.png"
    assert finding.places[0].detail == "= images/amber.png (fold 0)"


def test_a_given_split_that_holds_copies_together_does_not_leak(clean):
    write(clean / "images" / "copy.png", scene(0))
    write(clean / "masks" / "copy.png", target())
    rows = [f"images/{n}.png,masks/{n}.png,{int(n in ('copy', 'amber'))}"
            for n in ("amber", "birch", "cedar", "dusk", "copy")]  # fmt: skip
    (clean / "list.csv").write_text("image,mask,fold\n" + "\n".join(rows))
    assert "split-leak" not in kinds(check_data(clean / "list.csv", ("split.validation=0",)))


def test_a_given_split_that_training_would_refuse_is_an_error(clean, tmp_path):
    (tmp_path / "folds.json").write_text(json.dumps([{"train": ["amber"], "val": ["zebra"]}]))
    finding = only(check_data(clean, (f"split.file={tmp_path / 'folds.json'}",)), "split", "error")
    assert "zebra" in finding.text


# The result


def test_every_kind_is_explained_in_the_docs():
    page = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"`{kind}`" not in page] == []


def test_errors_come_before_warnings_before_hints(clean):
    write(clean / "images" / "extra.png", scene(9))
    write(clean / "masks" / "amber.png", target(0))
    write(clean / "masks" / "birch.png", np.ones((64, 80), np.uint8))
    severities = [finding.severity for finding in check_data(clean).findings]
    assert severities == ["error", "warning", "hint"]


def test_the_published_schema_is_the_one_of_the_code():
    assert check_schema() == PUBLISHED, "curation/result.py changed: run make docs"


@pytest.mark.parametrize("kind", ["clean", "volumes"])
def test_the_result_fits_the_published_schema(kind, request):
    root = request.getfixturevalue(kind)
    write(root / "images" / "extra.png", scene(9))
    content = check_data(root).to_dict()
    jsonschema.validate(content, PUBLISHED)
    assert content["schema"] == "crosslinknet/check/1"
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_the_source_is_not_touched(clean, tmp_path):
    shutil.copytree(clean, tmp_path / "before")
    check_data(clean, report=tmp_path / "page.html")
    for path in clean.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "before" / path.relative_to(clean)).read_bytes()
    assert len(list(clean.rglob("*"))) == len(list((tmp_path / "before").rglob("*")))


def test_phantoms_are_clean(tmp_path):
    write_phantoms(tmp_path, "lung", subjects=3, slices=2, size=(48, 40))
    check = check_data(tmp_path, (r"data.subject=(subject_\d+)",))
    assert check.clean
    assert check.subjects.count == 3


def test_what_is_no_data_set_and_what_is_no_page_are_refused(clean, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        check_data(tmp_path / "none")
    with pytest.raises(UsageError, match=r"--report out\.pdf: the report is a page"):
        check_data(clean, report="out.pdf")


# Real sets; the numbers are those of their READMEs


@pytest.mark.real
def test_covid19_i_is_what_its_readme_says(real_data):
    check = check_data(real_data / "covid19_i_ct")
    assert (check.pairs, check.slices, len(check.sizes)) == (98, 98, 97)
    assert (min(s.height for s in check.sizes), max(s.height for s in check.sizes)) == (153, 456)
    assert (min(s.width for s in check.sizes), max(s.width for s in check.sizes)) == (158, 507)
    assert {label.value: label.cases for label in check.labels} == {0: 98, 1: 96, 2: 77}
    assert check.target.empty_cases == 0
    assert round(check.target.mean, 3) == 0.152
    assert (round(check.target.low, 3), round(check.target.high, 3)) == (0.009, 0.417)
    assert not any(finding.severity == "error" for finding in check.findings)


@pytest.mark.real
def test_sunnybrook_is_what_its_readme_says(real_data):
    settings = ("data.masks=masks_endo", "data.subject=^(.+)-IM-")
    check = check_data(real_data / "sunnybrook_lv", settings)
    assert (check.pairs, check.subjects.count) == (526, 30)
    assert [(s.height, s.width, s.slices) for s in check.sizes] == [(256, 256, 526)]
    assert (round(check.target.mean, 3), round(check.target.low, 4)) == (0.016, 0.0002)
    assert check.clean
    partial = check_data(real_data / "sunnybrook_lv", ("data.masks=masks_epi",))
    assert (partial.pairs, len(partial.images_without_mask)) == (273, 253)
    assert not partial.clean


@pytest.mark.real
def test_kvasir_is_what_its_readme_says(real_data):
    check = check_data(real_data / "kvasir_seg_100")
    assert (check.pairs, len(check.sizes)) == (100, 64)
    assert [(one.type, one.channels) for one in check.pixels] == [("uint8", 3)]
    assert (round(check.target.mean, 3), round(check.target.low, 3)) == (0.129, 0.005)
    assert round(check.target.high, 3) == 0.812
    assert check.target.empty_cases == 0
    assert not any(finding.severity == "error" for finding in check.findings)


@pytest.mark.slow  # 260 volumes: a minute
@pytest.mark.real
def test_hippocampus_is_what_its_readme_says(real_data):
    check = check_data(real_data / "msd_hippocampus")
    assert (check.pairs, check.subjects.count) == (182, 182)
    assert check.spacing.low == check.spacing.high == (1, 1, 1)
    assert {one.type for one in check.pixels} == {"uint8", "float32"}
    assert [label.value for label in check.labels] == [0, 1, 2]
    assert [finding.kind for finding in check.findings] == ["kinds"]


@pytest.mark.real
@pytest.mark.parametrize(
    ("config", "root", "expected"),
    [
        ("covid19-100", "covid19_i_ct", ["alike"]),
        ("sunnybrook-endo", "sunnybrook_lv", ["alike-within"]),
        ("sunnybrook-epi", "sunnybrook_lv", []),
        ("kits19-slices", "kits19_slices", []),
        pytest.param("msd-hippocampus", "msd_hippocampus", ["kinds"], marks=pytest.mark.slow),
        ("msd-liver", "msd_liver_256", ["copied-masks-within"]),  # one outline in two slices
        ("kvasir", "kvasir_seg_100", []),
        ("em", "isbi2012_em", ["inverted-all"]),  # cells fill the image
    ],
)
def test_real_sets_with_their_configs_raise_no_false_alarm(config, root, expected, real_data):
    path = Path(__file__).resolve().parents[2] / "configs" / f"{config}.yaml"
    check = check_data(path, (f"data.root={real_data / root}",))
    assert [finding.kind for finding in check.findings] == expected
