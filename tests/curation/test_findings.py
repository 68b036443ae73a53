"""What findings say of sets that cannot be told, contradicting headers, copied and other masks."""

import json
import shutil
import sys
from pathlib import Path

import jsonschema
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from crosslinknet import cli
from crosslinknet.curation.check import check_data
from crosslinknet.curation.findings import says, told_and_cure
from crosslinknet.curation.result import Check, Finding
from tests.curation.conftest import clean_pairs, scene, target, write

PUBLISHED = json.loads(
    (Path(__file__).resolve().parents[2] / "docs" / "check.schema.json").read_text("utf-8")
)


def the(check: Check, kind: str) -> Finding:
    (finding,) = (finding for finding in check.findings if finding.kind == kind)
    return finding


# Sets whose cases cannot be told


def missing_channel(root: Path) -> Path:
    for case in ("a", "b", "c"):
        for channel in range(2):
            write(root / "imagesTr" / f"{case}_000{channel}.png", scene(channel))
        write(root / "labelsTr" / f"{case}.png", target())
    (root / "imagesTr" / "b_0001.png").unlink()
    content = {"channel_names": {"0": "CT", "1": "PET"}, "labels": {"background": 0, "x": 1}}
    (root / "dataset.json").write_text(
        json.dumps(content | {"numTraining": 3, "file_ending": ".png"})
    )
    return root


def two_suffixes(root: Path) -> Path:
    write(clean_pairs(root) / "images" / "amber.jpg", scene(0))
    return root


def a_row_twice(root: Path) -> Path:
    row = "images/amber.png,masks/amber.png\n"
    (clean_pairs(root) / "list.csv").write_text(f"image,mask\n{row}{row}")
    return root / "list.csv"


def two_mask_folders(root: Path) -> Path:
    (clean_pairs(root) / "masks").rename(root / "masks_endo")
    shutil.copytree(root / "masks_endo", root / "masks_epi")
    return root


def no_layout(root: Path) -> Path:
    write(root / "stuff" / "one.png", scene(0))
    return root


@pytest.mark.parametrize(
    ("make", "layout", "text", "cure", "held"),
    [
        (missing_channel, "nnunet", "others 2: b.", "Add the missing channels.",
         "9 files: 8 .png, 1 .json"),
        (two_suffixes, "folders", "have one name", "Keep one of them.", "9 files: 8 .png, 1 .jpg"),
        (a_row_twice, "csv", "once, 1 in all: images__amber", "A case in two rows could be",
         "9 files: 8 .png, 1 .csv"),
        (two_mask_folders, "folders", "masks_endo/, masks_epi/", "Choose one with data.masks: ",
         "12 files: 12 .png"),
        (no_layout, "unknown", "is no known data set", "Rename the folders, or name them with",
         "1 file: 1 .png"),
    ],
)  # fmt: skip
def test_a_set_that_cannot_be_told_is_explained_and_leaves_with_1(
    make, layout, text, cure, held, tmp_path, monkeypatch, capsys
):
    data, page = make(tmp_path / "data"), tmp_path / "page.html"

    def xln(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["xln", "data", "check", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return int(caught.value.code or 0), *capsys.readouterr()

    code, out, _ = xln(data, "--json", "--report", page)
    content = json.loads(out)
    jsonschema.validate(content, PUBLISHED)
    assert code == 1
    assert (content["layout"], content["pairs"], content["notes"]) == (layout, 0, [held])
    (finding,) = content["findings"]
    assert (finding["kind"], finding["severity"]) == ("layout", "error")
    assert text in finding["text"]
    assert finding["cure"].startswith(cure)
    assert finding["cure"]
    assert finding["text"].split("'")[0][:60] in page.read_text("utf-8")
    code, screen, _ = xln(data)
    assert code == 1
    assert "1 error, 0 warnings, 0 hints" in screen
    assert held in screen


def test_what_does_not_exist_stays_an_error_of_use(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["xln", "data", "check", str(tmp_path / "nothing")])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 3
    assert "does not exist" in capsys.readouterr().err


def test_the_last_sentence_of_an_error_is_its_cure():
    assert told_and_cure("a.png is 3.5 mm away. It lies. Move it.") == (
        "a.png is 3.5 mm away. It lies.",
        "Move it.",
    )
    assert told_and_cure("no sentence") == ("no sentence", "")


# Broken files: the cure fits the reason


def test_the_cure_of_pixels_that_are_no_numbers_is_not_to_copy_them(volumes):
    path = volumes / "images" / "birch.nii.gz"
    image = np.asarray(nib.load(path).dataobj).astype(np.float32)
    image[0, 0, 0] = np.nan
    write(path, image, nib.load(path).affine)
    finding = the(check_data(volumes), "unreadable")
    assert finding.text == "1 case cannot be read."
    assert finding.cure == (
        "Replace them, by the lowest value of the image for example. Or leave the cases out by "
        "their names, in data.exclude."
    )


def test_the_cure_of_masks_of_halves_is_labels_or_a_threshold(volumes):
    path = volumes / "masks" / "birch.nii.gz"
    write(path, np.asarray(nib.load(path).dataobj) * np.float32(0.5), nib.load(path).affine)
    finding = the(check_data(volumes), "unreadable")
    assert finding.cure.startswith("Write labels, not probabilities, or state data.threshold.")
    assert "opy" not in finding.cure


def test_the_cure_of_broken_files_is_to_copy_them(clean):
    for name in ("amber", "birch"):
        (clean / "images" / f"{name}.png").write_bytes(b"")
    assert the(check_data(clean), "unreadable").cure.startswith("Copy it again or leave it out.")


def test_many_reasons_are_read_at_the_files(clean):
    (clean / "images" / "amber.png").write_bytes(b"")
    (clean / "images" / "birch.png").write_bytes(b"GIF89a")
    (clean / "images" / "cedar.png").write_bytes((clean / "images" / "dusk.png").read_bytes()[:99])
    Image.fromarray(target() > 0).save(clean / "masks" / "dusk.png")
    whole = (clean / "masks" / "dusk.png").read_bytes()
    (clean / "masks" / "dusk.png").write_bytes(whole[:60] + bytes([whole[60] ^ 255]) + whole[61:])
    finding = the(check_data(clean), "unreadable")
    assert len(finding.places) == 4
    assert all(place.detail for place in finding.places)
    assert finding.cure.endswith("Or leave the cases out by their names, in data.exclude.")


# Headers


def header(path: Path, qform: np.ndarray, code: int = 1) -> None:
    """Give a volume another qform."""
    old = nib.load(path)
    file = nib.Nifti1Image(np.asarray(old.dataobj), old.affine)
    file.set_sform(old.affine, 1)
    file.set_qform(qform, code)
    nib.save(file, path)


@pytest.mark.parametrize(
    ("turn", "told"),
    [
        (np.diag([-1.0, -1.0, 1.0]), "turned by 180 degrees, 61.07 mm apart"),  # 2 * |19.5, 23.5|
        (np.diag([-1.0, 1.0, 1.0]), "mirrored, 39.00 mm apart"),
        (np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1.0]]), "turned by 53 degrees"),
    ],
)
def test_a_qform_that_contradicts_the_sform_is_told_in_numbers(volumes, turn, told):
    path = volumes / "images" / "birch.nii.gz"
    affine = nib.load(path).affine
    qform = np.eye(4)
    qform[:3, :3] = turn @ affine[:3, :3]
    header(path, qform)
    before = check_data(volumes)
    finding = the(before, "forms")
    assert finding.severity == "warning"
    assert finding.text.startswith("1 header contradicts itself: sform and qform lie apart.")
    (place,) = finding.places
    assert place.file == "images/birch.nii.gz"
    assert place.detail.startswith(told)
    assert "copysform2qform" in finding.cure
    assert [one.kind for one in before.findings] == ["forms"]  # read by sform, the mask lies on it


def test_a_shifted_qform_is_told_in_mm_and_rounding_is_not(volumes):
    path = volumes / "masks" / "cedar.nii.gz"
    shifted = nib.load(path).affine.copy()
    shifted[:3, 3] = (3, 4, 0)
    header(path, shifted)
    (place,) = the(check_data(volumes), "forms").places
    assert (place.file, place.detail) == ("masks/cedar.nii.gz", "5.00 mm apart")
    header(path, nib.load(path).affine + 1e-3 * np.eye(4, k=3))
    assert check_data(volumes).findings == []


def test_a_qform_without_code_says_nothing(volumes):
    header(volumes / "images" / "birch.nii.gz", np.diag([-1.0, -1.0, 1.0, 1.0]), code=0)
    assert check_data(volumes).findings == []


@pytest.mark.parametrize(("mm", "odd"), [(0.4, False), (49, False), (51, True), (0.009, True)])
def test_voxels_that_no_scanner_gives_are_a_warning(volumes, mm, odd):
    for path in volumes.rglob("*.nii.gz"):
        file = nib.load(path)
        write(path, np.asarray(file.dataobj), np.diag([0.5, 0.5, mm, 1.0]))
    findings = check_data(volumes).findings
    assert [finding.kind for finding in findings] == ["voxels"] * odd
    if odd:
        assert findings[0].severity == "warning"
        assert findings[0].places[0].detail == f"{mm:g}x0.5x0.5 mm"


def test_a_transposed_mask_is_called_so(clean):
    write(clean / "masks" / "cedar.png", np.ascontiguousarray(target().T))
    finding = the(check_data(clean), "size")
    assert finding.places[0].detail == "transposed: 1x80x64 on an image of 1x64x80"
    assert "turn those that are transposed" in finding.cure
    write(clean / "masks" / "cedar.png", target()[:60])
    assert "transposed" not in the(check_data(clean), "size").cure


# Masks


def test_one_mask_under_several_images_is_a_warning_between_subjects(clean):
    for path in (clean / "masks").iterdir():
        write(path, target())
    finding = the(check_data(clean), "copied-masks")
    assert finding.severity == "warning"
    assert finding.text.startswith("3 masks equal that of another subject's image")
    assert [(place.file, place.detail) for place in finding.places] == [
        (f"masks/{name}.png", "= masks/amber.png") for name in ("birch", "cedar", "dusk")
    ]
    within = check_data(clean, ("data.subject=(.png)$",))
    assert the(within, "copied-masks-within").severity == "hint"
    assert within.clean


def test_copied_masks_of_a_stack_are_told_by_their_slices(tmp_path, monkeypatch):
    from crosslinknet.case import CaseFiles
    from crosslinknet.curation import check as module
    from crosslinknet.datasets import Found

    for name, pages in (
        ("i", [scene(d) for d in range(3)]),
        ("m", [target(d % 2) for d in (1, 0, 1)]),
    ):
        first, *rest = [Image.fromarray(page) for page in pages]
        first.save(tmp_path / f"{name}.tif", save_all=True, append_images=rest)
    paths = ((tmp_path / "i.tif",), tmp_path / "m.tif")
    cases = tuple(CaseFiles(f"c{d}", f"c{d}", *paths, slices=(d,)) for d in range(3))
    monkeypatch.setattr(module, "survey", lambda data: Found("csv", cases, "by hand"))
    (place,) = the(check_data(tmp_path), "copied-masks").places
    assert (place.file, place.detail) == ("m.tif", "slice 2 = m.tif, slice 0")


def test_equal_masks_are_right_where_they_are_empty_full_or_their_images_are_equal(clean):
    write(clean / "masks" / "amber.png", target(0))
    write(clean / "masks" / "birch.png", target(0))
    write(clean / "masks" / "cedar.png", np.ones((64, 80), np.uint8))
    write(clean / "masks" / "dusk.png", np.ones((64, 80), np.uint8))
    for name in ("ebony", "fir"):
        write(clean / "images" / f"{name}.png", scene(8))
        write(clean / "masks" / f"{name}.png", target())
    kinds = {finding.kind for finding in check_data(clean).findings}
    assert kinds == {"full", "copies", "empty"}


def test_masks_of_other_values_or_places_are_no_copies(clean):
    write(clean / "masks" / "amber.png", target(value=2))
    write(clean / "masks" / "birch.png", target(value=1))
    write(clean / "masks" / "cedar.png", target(at=(20, 31)))
    assert check_data(clean).findings == []


@pytest.mark.parametrize(
    ("number", "kind"), [*enumerate(["inverted"] * 2 + ["inverted-all"] * 2, start=1)]
)
def test_some_framing_masks_are_a_warning_and_most_of_them_a_hint(clean, number, kind):
    for k, path in enumerate(sorted((clean / "masks").iterdir())[:number]):
        write(path, 1 - target(at=(k, k + 5)))
    check = check_data(clean)
    assert [finding.kind for finding in check.findings] == [kind]
    assert check.clean == (kind == "inverted-all")


def test_names_and_colours_are_not_told_to_be_1(tmp_path):
    for seed, name in enumerate(("amber", "birch")):
        write(tmp_path / f"{name}.png", scene(seed))
        points = [[10 + seed, 10], [20, 10], [20, 20], [10, 20]]
        shape = {"label": "liver", "points": points, "shape_type": "polygon", "flags": {}}
        document = {"version": "5.0", "shapes": [shape], "imagePath": f"{name}.png"}
        size = {"imageData": None, "imageHeight": 64, "imageWidth": 80}
        (tmp_path / f"{name}.json").write_text(json.dumps(document | size))
    check = check_data(tmp_path)
    assert [label.value for label in check.labels] == [0, "liver"]
    assert check.findings == []


def blocks(numbers: np.ndarray, side: int = 8) -> np.ndarray:
    """A mask of 64x80 with a square of each number."""
    whole = np.zeros(80, np.uint16)
    whole[: len(numbers)] = numbers
    return np.kron(whole.reshape(8, 10), np.ones((side, side), np.uint16)).astype(np.uint16)


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (blocks(np.arange(1, 32)), None),  # 31 labels
        (blocks(np.arange(1, 71)), None),  # 70 labels, in areas
        (np.tile(np.arange(80, dtype=np.uint8) % 32, (64, 1)), None),  # in stripes, few numbers
        (np.tile(np.arange(80, dtype=np.uint8), (64, 1)), "Grey pictures"),  # a slope of 79 values
        (blocks(5 * np.arange(1, 32)), "Numbers of single objects"),
        (blocks(300 + np.arange(40)), "Numbers of single objects"),
    ],
)
def test_consecutive_small_numbers_are_labels_and_no_grey_picture(clean, mask, told):
    write(clean / "masks" / "amber.png", mask)
    finding = next((one for one in check_data(clean).findings if one.kind == "many-values"), None)
    assert (finding is not None) == (told is not None)
    if finding is not None and told is not None:
        assert told in finding.text
        cure = "threshold=127" if told.startswith("Grey") else "threshold=0"
        assert f"-s data.{cure}; if they are labels" in finding.cure


def test_verbs_follow_their_numbers():
    assert says(1, "pair", "mix") == "1 pair mixes"
    assert says(1, "mask", "are", 4) == "1 of 4 masks is"
    assert says(3, "mask", "are", 4) == "3 of 4 masks are"
    assert says(0, "image", "have") == "0 images have"
    assert says(1200, "image", "hold") == "1,200 images hold"
