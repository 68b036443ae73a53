"""A mended copy: only what was asked is different, and the log says all of it."""

import csv
import hashlib
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from crosslinknet.config import DataConfig
from crosslinknet.curation.asked import Asked, parse_labels
from crosslinknet.curation.fix import fix
from crosslinknet.curation.sidecars import Changes, sidecars
from crosslinknet.datasets import find_cases
from crosslinknet.errors import DataError, ShapeError, UsageError
from crosslinknet.files import read_json
from tests.curation.sets import manifest, pictures, save, tree, voxels


def mend(tmp_path, labels=(), settings=(), **asked):
    """Mend tmp_path/data to tmp_path/clean; the source must not change."""
    before = tree(tmp_path / "data")
    try:
        return fix(
            tmp_path / "data", tmp_path / "clean", Asked(parse_labels(labels), **asked), settings
        )
    finally:
        assert tree(tmp_path / "data") == before


def log(tmp_path):
    with (tmp_path / "clean" / "fix_log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def volumes(root, mask, mask_affine, image_shape=(6, 5, 4), image_affine=None):
    rng = np.random.default_rng(0)
    affine = np.diag([2.0, 2.0, 3.0, 1.0]) if image_affine is None else image_affine
    image = rng.integers(-1000, 1000, image_shape).astype(np.int16)
    save(root / "images" / "v.nii.gz", image, affine)
    save(root / "labels" / "v.nii.gz", mask, mask_affine)


def test_labels_are_mapped_and_images_are_copied_byte_for_byte(tmp_path):
    data = pictures(tmp_path / "data", values=(0, 128, 255))
    told = mend(tmp_path, ["255=1", "128=2"])
    clean = tmp_path / "clean"
    for name in "abc":
        old, new = (voxels(root / "masks" / f"{name}.png") for root in (data, clean))
        np.testing.assert_array_equal(new, np.select([old == 255, old == 128], [1, 2]))
        image = f"images/{name}.png"
        assert (clean / image).read_bytes() == (data / image).read_bytes()
    assert told == ["3 files changed, 3 copied as they are"]


def test_the_log_names_every_change_with_counts_and_checksums(tmp_path):
    data = pictures(tmp_path / "data", "a", values=(0, 255))
    pixels = voxels(data / "masks" / "a.png")
    save(data / "images" / "b.png", voxels(data / "images" / "a.png"))
    save(data / "masks" / "b.png", np.zeros((12, 10), np.uint8))
    mend(tmp_path, ["255=1"])
    white = int((pixels == 255).sum())
    (row,) = log(tmp_path)
    counts = [(120 - white, "0"), (white, "255")]
    before = [f"{name}: {n} px" for n, name in sorted(counts, key=lambda pair: -pair[0])]
    assert sorted(row["before"].split("; ")) == sorted(before)
    assert row == row | {
        "file": "masks/a.png",
        "result": "masks/a.png",
        "what": "labels",
        "sha256_before": sha(data / "masks" / "a.png"),
        "sha256_after": sha(tmp_path / "clean" / "masks" / "a.png"),
    }
    summary = read_json(tmp_path / "clean" / "fix_log.json")
    assert summary["changed"] == ["masks/a.png"]
    assert summary["copied"] == 3
    assert summary["asked"]["labels"] == {"255": 1}


def test_a_mask_that_needs_no_change_is_copied_byte_for_byte(tmp_path):
    data = pictures(tmp_path / "data", "a", values=(0, 1))
    Image.open(data / "masks" / "a.png").save(data / "masks" / "a.png", compress_level=0)
    mend(tmp_path, ["255=1"])
    assert sha(tmp_path / "clean" / "masks" / "a.png") == sha(data / "masks" / "a.png")
    assert log(tmp_path) == []


def test_jpg_masks_become_png_by_the_threshold(tmp_path):
    data = pictures(tmp_path / "data", "ab")
    mask = np.zeros((12, 10), np.uint8)
    mask[3:8, 2:7] = 255
    for name in "ab":
        (data / "masks" / f"{name}.png").unlink()
        Image.fromarray(mask).save(data / "masks" / f"{name}.jpg", quality=95)
    mend(tmp_path, threshold=127)
    clean = tmp_path / "clean"
    assert sorted(path.name for path in (clean / "masks").iterdir()) == ["a.png", "b.png"]
    np.testing.assert_array_equal(voxels(clean / "masks" / "a.png"), (mask > 127).astype(np.uint8))
    assert [(row["file"], row["result"]) for row in log(tmp_path)] == [
        ("masks/a.jpg", "masks/a.png"),
        ("masks/b.jpg", "masks/b.png"),
    ]
    assert len(find_cases(DataConfig(root=clean)).cases) == 2


def test_jpg_masks_without_a_threshold_are_an_error_that_names_it(tmp_path):
    data = pictures(tmp_path / "data", "a")
    Image.open(data / "masks" / "a.png").save(data / "masks" / "a.jpg")
    (data / "masks" / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.jpg is a JPG.*--threshold 127"):
        mend(tmp_path, ["255=1"])


def test_threshold_comes_before_labels_and_emptied_masks_are_told(tmp_path):
    data = pictures(tmp_path / "data", "a", values=(0, 100, 200))
    save(data / "images" / "b.png", voxels(data / "images" / "a.png"))
    save(data / "masks" / "b.png", np.full((12, 10), 90, np.uint8))
    told = mend(tmp_path, ["1=5"], threshold=127)
    old, new = (voxels(r / "masks" / "a.png") for r in (data, tmp_path / "clean"))
    np.testing.assert_array_equal(new, 5 * (old > 127))
    assert told[-1] == "1 mask empty now and not before: masks/b.png"
    assert {row["what"] for row in log(tmp_path)} == {"threshold and labels"}


def test_colours_become_numbers(tmp_path):
    data = pictures(tmp_path / "data", "a")
    mask = np.zeros((12, 10, 3), np.uint8)
    mask[2, 2], mask[3, 3] = (255, 0, 0), (0, 0, 255)
    save(data / "masks" / "a.png", mask)
    mend(tmp_path, ["#FF0000=2", "#0000ff=1"])
    result = voxels(tmp_path / "clean" / "masks" / "a.png")
    assert (result[2, 2], result[3, 3], result.sum()) == (2, 1, 3)
    assert "#ff0000: 1 px" in log(tmp_path)[0]["before"]


def test_a_label_volume_comes_onto_the_grid_of_its_image(tmp_path):
    mask = np.zeros((12, 10, 4), np.uint8)
    mask[2:6, 4:8, 1:3] = 3
    fine = np.diag([1.0, 1.0, 3.0, 1.0])
    fine[:2, 3] = -0.5
    volumes(tmp_path / "data", mask, fine)
    mend(tmp_path, resample_labels=True)
    clean = tmp_path / "clean" / "labels" / "v.nii.gz"
    expected = np.zeros((6, 5, 4), np.uint8)
    expected[1:3, 2:4, 1:3] = 3
    np.testing.assert_array_equal(voxels(clean), expected)
    (row,) = log(tmp_path)
    assert row["what"] == (
        "resampled: centres 0.00 mm apart, labels 0.10 ml before and 0.10 ml after, 0.0 % of them "
        "outside the image"
    )
    assert row["before"].startswith("12x10x4 voxels of 1 x 1 x 3 mm, affine [[1.0, 0.0, 0.0, -0.5]")
    assert row["after"].startswith("6x5x4 voxels of 2 x 2 x 3 mm")
    (case,) = find_cases(DataConfig(root=tmp_path / "clean")).cases
    assert case.mask == clean


def test_a_label_volume_elsewhere_is_refused(tmp_path):
    far = np.diag([2.0, 2.0, 3.0, 1.0])
    far[0, 3] = 500
    volumes(tmp_path / "data", np.ones((6, 5, 4), np.uint8), far)
    with pytest.raises(DataError, match=r"v\.nii\.gz covers .* do not overlap"):
        mend(tmp_path, resample_labels=True)


@pytest.mark.parametrize("asked", ["resample_labels", "copy_header"])
def test_label_volumes_that_lie_right_are_copied(tmp_path, asked):
    volumes(tmp_path / "data", np.ones((6, 5, 4), np.uint8), np.diag([2.0, 2.0, 3.0, 1.0]))
    assert mend(tmp_path, **{asked: True})[0] == "0 files changed, 2 copied as they are"
    assert tree(tmp_path / "clean")["labels/v.nii.gz"] == tree(tmp_path / "data")["labels/v.nii.gz"]


def test_a_header_is_copied_and_the_distance_is_told(tmp_path):
    mask = np.random.default_rng(1).integers(0, 3, (6, 5, 4)).astype(np.uint8)
    wrong = np.diag([-2.0, 2.0, 3.0, 1.0])  # mirrored: the far end moves 2 * 5 * 2 mm
    volumes(tmp_path / "data", mask, wrong)
    mend(tmp_path, copy_header=True)
    clean = tmp_path / "clean"
    np.testing.assert_array_equal(voxels(clean / "labels" / "v.nii.gz"), mask)
    (row,) = log(tmp_path)
    assert row["what"] == "header copied: moves by up to 20.00 mm"
    assert json.loads(row["before"])[0] == [-2.0, 0.0, 0.0, 0.0]
    assert json.loads(row["after"])[0] == [2.0, 0.0, 0.0, 0.0]


def test_a_header_fits_one_shape_only(tmp_path):
    volumes(tmp_path / "data", np.ones((5, 6, 4), np.uint8), np.eye(4))
    with pytest.raises(ShapeError, match=r"is 5x6x4, .* 6x5x4 \(axes as stored\)"):
        mend(tmp_path, copy_header=True)


def test_pictures_of_two_sizes_cannot_be_placed(tmp_path):
    data = pictures(tmp_path / "data", "a")
    save(data / "masks" / "a.png", np.zeros((6, 5), np.uint8))
    with pytest.raises(ShapeError, match=r"a\.png is 1x6x5, its image 1x12x10"):
        mend(tmp_path, resample_labels=True)


def test_a_picture_beside_a_volume_fits_nothing(tmp_path):
    data = pictures(tmp_path / "data", "a")
    (data / "masks" / "a.png").unlink()
    save(data / "masks" / "a.nii.gz", np.zeros((10, 12, 1), np.uint8))
    with pytest.raises(DataError, match="are a picture and a volume"):
        mend(tmp_path, copy_header=True)


def twins(tmp_path, mask_value=1):
    data = pictures(tmp_path / "data", "abc", values=(0, 1))
    pixels = Image.open(data / "images" / "a.png")
    pixels.save(data / "images" / "c.png", compress_level=0)  # other bytes, the same pixels
    mask = voxels(data / "masks" / "a.png") * np.uint8(mask_value)
    save(data / "masks" / "c.png", mask)
    return data


def test_of_duplicates_the_first_by_name_is_kept(tmp_path):
    data = twins(tmp_path)
    told = mend(tmp_path, drop_duplicates=True)
    assert sorted(p.name for p in (tmp_path / "clean" / "images").iterdir()) == ["a.png", "b.png"]
    assert told[1] == "2 files dropped: images/c.png, masks/c.png"
    rows = log(tmp_path)
    assert [row["file"] for row in rows] == ["images/c.png", "masks/c.png"]
    assert rows[0]["what"] == "dropped"
    assert rows[0]["before"] == "same pixels and mask as a"
    assert rows[0]["sha256_before"] == sha(data / "images" / "c.png")
    assert (rows[0]["result"], rows[0]["sha256_after"]) == ("", "")


def test_duplicates_with_different_masks_are_an_error_that_lists_them(tmp_path):
    twins(tmp_path, mask_value=255)
    said = r"1 images are there several times, with different masks: .*a\.png = .*c\.png"
    with pytest.raises(DataError, match=said):
        mend(tmp_path, drop_duplicates=True)
    assert not (tmp_path / "clean").exists()
    mend(tmp_path, ["255=1"], drop_duplicates=True)  # as mended they are the same


def nnunet(root):
    data = pictures(root / "flat", "abcd", values=(0, 1, 3))
    save(data / "images" / "d.png", voxels(data / "images" / "a.png"))
    save(data / "masks" / "d.png", voxels(data / "masks" / "a.png"))
    for name in "abcd":
        for old, new in (
            ("images", f"imagesTr/{name}_0000.png"),
            ("masks", f"labelsTr/{name}.png"),
        ):
            (root / "data" / new).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(data / old / f"{name}.png", root / "data" / new)
    about = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "organ": 1, "lesion": 3},
        "numTraining": 4,
        "file_ending": ".png",
    }
    (root / "data" / "dataset.json").write_text(json.dumps(about))
    folds = [{"train": ["a", "d"], "val": ["b", "c"]}, {"train": ["b", "c"], "val": ["a", "d"]}]
    (root / "data" / "splits_final.json").write_text(json.dumps(folds))
    (root / "data" / "subjects.csv").write_text("case,subject\na,x\nb,y\nc,y\nd,x\n")
    return root / "data"


def test_descriptions_of_nnunet_follow(tmp_path):
    nnunet(tmp_path)
    mend(tmp_path, ["3=2"], drop_duplicates=True)
    clean = tmp_path / "clean"
    about = read_json(clean / "dataset.json")
    assert about["labels"] == {"background": 0, "organ": 1, "lesion": 2}
    assert about["numTraining"] == 3
    assert read_json(clean / "splits_final.json")[0] == {"train": ["a"], "val": ["b", "c"]}
    assert (clean / "subjects.csv").read_text() == "case,subject\na,x\nb,y\nc,y\n"
    found = find_cases(DataConfig(root=clean))
    assert [(case.id, case.subject) for case in found.cases] == [("a", "x"), ("b", "y"), ("c", "y")]


def test_descriptions_that_need_no_change_are_copied_byte_for_byte(tmp_path):
    data = nnunet(tmp_path)
    mend(tmp_path, ["255=1"])
    for name in ("dataset.json", "splits_final.json", "subjects.csv"):
        assert (tmp_path / "clean" / name).read_bytes() == (data / name).read_bytes()


def test_two_names_for_one_label_are_refused(tmp_path):
    nnunet(tmp_path)
    with pytest.raises(DataError, match=r"dataset\.json would give several names to one label"):
        mend(tmp_path, ["3=1"])


def test_descriptions_of_the_decathlon_follow(tmp_path):
    volumes(tmp_path / "data", np.ones((6, 5, 4), np.uint8), np.diag([2.0, 2.0, 3.0, 1.0]))
    data = tmp_path / "data"
    for part in ("images", "labels"):
        shutil.copy(data / part / "v.nii.gz", data / part / "w.nii.gz")
    entries = [
        {"image": f"./images/{n}.nii.gz", "label": f"./labels/{n}.nii.gz"} for n in ("v", "w")
    ]
    about = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "heart"}}
    about |= {"numTraining": 2, "training": entries}
    (data / "dataset.json").write_text(json.dumps(about))
    mend(tmp_path, ["1=4"], drop_duplicates=True)
    assert read_json(tmp_path / "clean" / "dataset.json") == about | {
        "labels": {"0": "background", "4": "heart"},
        "numTraining": 1,
        "training": entries[:1],
    }
    assert len(find_cases(DataConfig(root=tmp_path / "clean")).cases) == 1


def test_a_manifest_follows_dropped_rows_and_new_names(tmp_path):
    data = twins(tmp_path)
    mask = Image.open(data / "masks" / "b.png").point(lambda value: 255 * value)
    mask.save(data / "masks" / "b.jpg", quality=100)
    (data / "masks" / "b.png").unlink()
    files = {"a": "a.png", "b": "b.jpg", "c": "c.png"}
    manifest(
        data,
        [
            {"image": f"images/{n}.png", "mask": f"masks/{mask}", "subject": n.upper()}
            for n, mask in files.items()
        ],
    )
    mend(tmp_path, threshold=0, drop_duplicates=True)
    assert (tmp_path / "clean" / "manifest.csv").read_text().splitlines() == [
        "image,mask,subject",
        "images/a.png,masks/a.png,A",
        "images/b.png,masks/b.png,B",
    ]


def test_files_that_are_no_part_of_the_data_are_left_out_and_listed(tmp_path):
    data = pictures(tmp_path / "data", "a")
    (data / "notes.txt").write_text("x")
    told = mend(tmp_path, ["255=1"])
    assert told[-1] == "1 file left out, no part of the data: notes.txt"
    assert read_json(tmp_path / "clean" / "fix_log.json")["left_out"] == ["notes.txt"]
    assert not (tmp_path / "clean" / "notes.txt").exists()


def test_links_inside_the_data_are_followed(tmp_path):
    elsewhere = pictures(tmp_path / "disk", "a")
    (tmp_path / "data").mkdir()
    for part in ("images", "masks"):
        (tmp_path / "data" / part).symlink_to(elsewhere / part)
    mend(tmp_path, ["255=1"])
    assert voxels(tmp_path / "clean" / "masks" / "a.png").max() == 1


def test_a_second_call_skips_what_is_verified_and_redoes_what_changed(tmp_path):
    data = pictures(tmp_path / "data", "ab")
    mend(tmp_path, ["255=1"])
    first = tree(tmp_path / "clean")
    assert mend(tmp_path, ["255=1"])[1] == "4 files there already, verified by checksum"
    assert tree(tmp_path / "clean") == first
    save(data / "masks" / "a.png", np.full((12, 10), 255, np.uint8))
    (tmp_path / "clean" / "images" / "b.png").write_bytes(b"damaged")
    assert mend(tmp_path, ["255=1"])[1].startswith("2 files there already")
    assert voxels(tmp_path / "clean" / "masks" / "a.png").min() == 1
    assert tree(tmp_path / "clean")["images/b.png"] == first["images/b.png"]
    with pytest.raises(UsageError, match=r'labels was \{"255": 1\}, now \{"255": 2\}'):
        mend(tmp_path, ["255=2"])


def test_a_call_that_asks_for_nothing_lists_the_options(tmp_path):
    with pytest.raises(UsageError, match=r"--labels OLD=NEW.*--threshold.*--drop-duplicates"):
        mend(tmp_path)


def test_what_contradicts_itself_is_refused(tmp_path):
    with pytest.raises(UsageError, match="Choose one"):
        mend(tmp_path, resample_labels=True, copy_header=True)
    with pytest.raises(UsageError, match="--threshold is for grey masks"):
        mend(tmp_path, ["#ff0000=1"], threshold=3)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["255"], "is not of the form OLD=NEW"),
        (["255=-1"], "is not of the form OLD=NEW"),
        (["255=1", "255=2"], "says twice what 255 becomes"),
        (["255=1", "#ff0000=2"], "mixes numbers and colours"),
    ],
)
def test_labels_that_make_no_sense_are_refused(texts, said):
    with pytest.raises(UsageError, match=said):
        parse_labels(texts)


@pytest.mark.parametrize("out", ["data", "data/clean", "."])
def test_the_copy_never_lies_in_the_source_nor_around_it(tmp_path, out):
    pictures(tmp_path / "data", "a")
    before = tree(tmp_path)
    with pytest.raises(UsageError, match="lie one in the other"):
        fix(tmp_path / "data", tmp_path / out, Asked({255: 1}))
    assert tree(tmp_path) == before


def test_what_lies_outside_the_data_is_refused(tmp_path):
    pictures(tmp_path, "a")
    (tmp_path / "data").mkdir()
    manifest(tmp_path / "data", [{"image": "../images/a.png", "mask": "../masks/a.png"}])
    with pytest.raises(DataError, match=r"2 files lie outside .*data"):
        mend(tmp_path, ["255=1"])


def test_outlines_are_refused(tmp_path):
    data = pictures(tmp_path / "data", "a")
    shutil.rmtree(data / "masks")
    shape = {"label": "polyp", "points": [[1, 1], [5, 1], [5, 5]], "shape_type": "polygon"}
    content = {"version": "5", "shapes": [shape], "imagePath": "a.png"}
    content |= {"imageHeight": 12, "imageWidth": 10, "imageData": None, "flags": {}}
    (data / "images" / "a.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"1 files are outlines.*a\.json.*xln data convert"):
        mend(tmp_path, drop_duplicates=True, settings=("data.layout=labelme",))


def test_a_jpg_mask_whose_new_name_is_taken_is_refused(tmp_path):
    data = tmp_path / "data"
    save(data / "x.png", np.zeros((12, 10), np.uint8))
    save(data / "x_mask.png", np.zeros((12, 10), np.uint8))
    save(data / "y.png", np.zeros((12, 10), np.uint8))
    save(data / "x_mask.jpg", np.zeros((12, 10), np.uint8))
    rows = [{"image": "x.png", "mask": "x_mask.png"}, {"image": "y.png", "mask": "x_mask.jpg"}]
    manifest(data, rows)
    with pytest.raises(DataError, match=r"x_mask\.jpg would become x_mask\.png, which is there"):
        mend(tmp_path, threshold=9)


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("covid19-i", "groups.csv"),
        ("kits19", "data/kits.json"),
        ("york-cardiac", "spacing.csv"),
    ],
)
def test_tables_that_say_who_is_who_go_along(twin, name, beside):
    changes = Changes(DataConfig(root=twin(name)), (), {}, {})
    path = twin(name) / beside
    there = {path.relative_to(twin(name)).as_posix(): path.read_bytes()} if path.is_file() else {}
    assert sidecars(name, changes) == there


def test_subjects_of_a_stack_are_those_of_its_groups_in_the_copy_too(twin, tmp_path):
    data = shutil.copytree(twin("covid19-i"), tmp_path / "data")
    slices = nib.load(data / "tr_mask.nii.gz").shape[2]
    lines = [f"{number},person{number // 7}" for number in range(slices)]
    (data / "groups.csv").write_text("slice,group\n" + "\n".join(lines) + "\n")
    before = {c.id: c.subject for c in find_cases(DataConfig(root=data)).cases}
    told = mend(tmp_path, ["3=2"])
    after = {c.id: c.subject for c in find_cases(DataConfig(root=tmp_path / "clean")).cases}
    assert after == before
    assert not any("left out" in line for line in told)


def test_labels_that_no_mask_holds_are_told_since_they_may_be_a_slip(tmp_path):
    pictures(tmp_path / "data", values=(0, 255))
    told = mend(tmp_path, ["255=1", "254=2"])
    assert "no mask holds 254: --labels changed nothing there; look for a slip" in told
    assert read_json(tmp_path / "clean" / "fix_log.json")["unused"] == ["254"]
