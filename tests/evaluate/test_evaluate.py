import csv
import json
import math
import shutil
from pathlib import Path

import jsonschema
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from crosslinknet.case import CaseFiles
from crosslinknet.config import Config, DataConfig, EvaluateConfig
from crosslinknet.errors import DataError, LabelError, ShapeError, UsageError
from crosslinknet.evaluate import (
    COLUMNS,
    Scores,
    evaluate_fold,
    evaluate_folders,
    level_table,
    score_case,
    summarise,
)
from crosslinknet.labels import label_table
from crosslinknet.metrics import METRICS, evaluate
from crosslinknet.readers import read_case_mask, write_mask
from tests.readers.dicoms import write_series
from tests.readers.test_dicom_seg import write_seg

SCHEMA = json.loads(
    (Path(__file__).resolve().parents[2] / "docs" / "summary.schema.json").read_text("utf-8")
)
LESION = {"lesion": [1]}
TWO = {"infection": [1, 2], "ggo": [1]}

TARGET = np.zeros((20, 24), dtype=np.uint8)
TARGET[4:10, 5:15] = 1  # 60 pixels
PRED = np.zeros_like(TARGET)
PRED[4:10, 8:18] = 1  # 42 of them, and 18 others
EMPTY = np.zeros_like(TARGET)


def write_png(folder, **masks):
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        Image.fromarray(mask).save(folder / f"{name}.png")
    return folder


def write_nifti(folder, affine=None, **volumes):
    folder.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1.5, 1.0, 5.0, 1.0]) if affine is None else affine
    for name, volume in volumes.items():
        nib.save(nib.Nifti1Image(volume, affine), folder / f"{name}.nii.gz")
    return folder


def score(pred, ref, out, label_map=LESION, **more):
    data = {key: more.pop(key) for key in ("threshold", "subject") if key in more}
    config = EvaluateConfig(
        **{key: more.pop(key) for key in EvaluateConfig.model_fields if key in more}
    )
    return evaluate_folders(
        pred,
        ref,
        out,
        data=DataConfig(root=ref, label_map=label_map, **data),
        config=config,
        **more,
    )


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def folders(tmp_path):
    """Four pictures: good, empty on both sides, a false alarm, a miss."""
    pred = write_png(tmp_path / "pred", p1_a=PRED, p1_b=EMPTY, p2_a=PRED, p2_b=EMPTY)
    ref = write_png(tmp_path / "ref", p1_a=TARGET, p1_b=EMPTY, p2_a=EMPTY, p2_b=TARGET)
    return pred, ref, tmp_path / "out"


# Folders


def test_a_folder_of_pictures_is_scored_as_worked_by_hand(folders):
    summary = score(*folders)
    entry = summary["levels"]["image"]["lesion"]
    assert entry["counts"] == {"n": 4, "n_both_empty": 1, "n_false_alarm": 1, "n_missed": 1}
    assert entry["metrics"]["dice"]["mean"] == pytest.approx((0.7 + 0 + 0) / 3)
    assert entry["metrics"]["dice"]["n"] == 3
    assert entry["metrics"]["sensitivity"]["mean"] == pytest.approx((0.7 + 0) / 2)
    worst = math.hypot(20, 24)
    assert entry["metrics"]["hd"]["mean"] == pytest.approx((3 + worst + worst) / 3)
    pooled = summary["levels"]["pooled"]["lesion"]["metrics"]
    assert pooled["dice"]["mean"] == pytest.approx(84 / 240)
    assert summary["levels"]["case"] == summary["levels"]["image"]


def test_the_summary_on_disk_is_the_one_returned_and_fits_the_published_schema(folders):
    summary = score(*folders)
    stored = json.loads((folders[2] / "summary.json").read_text("utf-8"))
    assert stored == summary
    jsonschema.validate(stored, SCHEMA)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_refuses_a_summary_with_a_number_too_few(folders):
    summary = score(*folders)
    del summary["levels"]["image"]["lesion"]["counts"]["n_missed"]
    with pytest.raises(jsonschema.ValidationError, match="n_missed"):
        jsonschema.validate(summary, SCHEMA)


def test_every_image_is_a_line_of_per_image_csv(folders):
    score(*folders)
    rows = read_csv(folders[2] / "per_image.csv")
    metrics = EvaluateConfig().metrics
    assert list(rows[0]) == [*COLUMNS, *metrics, "distance_unit", "policy", "or_ur_norm"]
    assert [row["case"] for row in rows] == ["p1_a", "p1_b", "p2_a", "p2_b"]
    assert [row["state"] for row in rows] == ["ok", "both_empty", "false_alarm", "missed"]
    first = rows[0]
    assert [first[key] for key in ("tp", "fp", "fn", "tn", "n_pixels")] == [
        *("42", "18", "18", "402", "480")
    ]
    assert (first["slice"], first["class"], first["fold"]) == ("0", "lesion", "")
    assert float(first["target_fraction"]) == 60 / 480
    assert float(first["dice"]) == 0.7
    assert (first["hd"], first["distance_unit"]) == ("3.0", "px")
    assert (first["policy"], first["or_ur_norm"]) == ("worst", "truth")
    assert (rows[1]["dice"], rows[1]["hd"], rows[1]["specificity"]) == ("", "", "1.0")


def test_a_stated_spacing_gives_millimetres(folders):
    summary = score(*folders, spacing=(2.0, 0.5))
    assert summary["distance_unit"] == "mm"
    rows = read_csv(folders[2] / "per_image.csv")
    assert (rows[0]["hd"], rows[0]["distance_unit"]) == ("1.5", "mm")
    assert float(rows[3]["hd"]) == math.hypot(40, 12)


def test_every_file_is_a_subject_unless_an_expression_says_more(folders):
    assert score(*folders)["interval"]["subjects"] == 4
    summary = score(*folders, subject=r"^(p\d)_")
    assert summary["interval"]["subjects"] == 2
    assert {row["subject"] for row in read_csv(folders[2] / "per_image.csv")} == {"p1", "p2"}


def test_classes_that_overlap_are_scored_each_for_itself(tmp_path):
    target, pred = TARGET.copy(), PRED.copy()
    target[4:6] *= 2
    pred[4:6] *= 2
    summary = score(
        write_png(tmp_path / "p", a=pred), write_png(tmp_path / "r", a=target), tmp_path / "o", TWO
    )
    level = summary["levels"]["image"]
    assert list(level) == summary["classes"] + ["average"] == ["infection", "ggo", "average"]
    assert level["infection"]["metrics"]["dice"]["mean"] == 0.7
    assert level["ggo"]["metrics"]["sensitivity"]["mean"] == 28 / 40
    jsonschema.validate(summary, SCHEMA)


def test_grey_masks_are_scored_with_a_threshold_for_each_side(tmp_path):
    pred, ref = write_png(tmp_path / "p", a=PRED), write_png(tmp_path / "r", a=TARGET * 255)
    found = score(pred, ref, tmp_path / "o", threshold=127)
    assert found["levels"]["image"]["lesion"]["metrics"]["dice"]["mean"] == 0.7
    probabilities = write_png(tmp_path / "grey", a=PRED * 180 + 20)
    found = score(probabilities, ref, tmp_path / "o", threshold=127, pred_threshold=127)
    assert found["levels"]["image"]["lesion"]["metrics"]["dice"]["mean"] == 0.7


def test_volumes_are_scored_per_slice_and_as_a_whole(tmp_path):
    target = np.zeros((12, 10, 4), dtype=np.uint8)  # (x, y, z), 1.5 x 1 x 5 mm
    target[3:9, 3:7, 1] = 1
    pred = target.copy()
    pred[3:9, 3:7, 3] = 1  # a false alarm two slices, 10 mm, away
    summary = score(
        write_nifti(tmp_path / "p", scan=pred),
        write_nifti(tmp_path / "r", scan=target),
        tmp_path / "o",
    )
    assert summary["distance_unit"] == "mm"
    image, case = (summary["levels"][level]["lesion"] for level in ("image", "case"))
    assert image["counts"] == {"n": 4, "n_both_empty": 2, "n_false_alarm": 1, "n_missed": 0}
    assert case["counts"] == {"n": 1, "n_both_empty": 0, "n_false_alarm": 0, "n_missed": 0}
    assert image["metrics"]["dice"]["mean"] == 0.5
    assert case["metrics"]["dice"]["mean"] == 48 / 72
    assert case["metrics"]["hd"]["mean"] == 10
    assert image["metrics"]["hd"]["mean"] == pytest.approx((0 + math.hypot(12 * 1.5, 10)) / 2)
    jsonschema.validate(summary, SCHEMA)
    assert [row["slice"] for row in read_csv(tmp_path / "o" / "per_image.csv")] == [
        "0",
        "1",
        "2",
        "3",
    ]


def test_names_are_matched_without_suffix_and_other_files_passed_over(tmp_path):
    volume = np.stack([TARGET] * 3)
    pred = write_nifti(tmp_path / "p", **{"case.01": volume})
    ref = tmp_path / "r"
    ref.mkdir()
    nib.save(nib.load(pred / "case.01.nii.gz"), ref / "case.01.nii")
    (ref / "dataset.json").write_text("{}")
    (ref / ".hidden.png").write_bytes(b"")
    score(pred, ref, tmp_path / "o")
    assert {row["case"] for row in read_csv(tmp_path / "o" / "per_image.csv")} == {"case.01"}


def test_progress_is_told_pair_by_pair_with_the_number_of_all(folders):
    totals = []
    score(*folders, done=totals.append)
    assert totals == [4, 4, 4, 4]


# Bad input: a clear error, nothing written


def refused(error, message, pred, ref, out, *args, **more):
    with pytest.raises(error, match=message):
        score(pred, ref, out, *args, **more)
    assert not out.exists()


def test_missing_and_extra_predictions_are_named(folders):
    pred = folders[0]
    (pred / "p1_b.png").unlink()
    (pred / "p2_a.png").rename(pred / "p9_a.png")
    refused(
        DataError,
        r"2 in .*ref without prediction: p1_b, p2_a; 1 in .*pred without reference: p9_a",
        *folders,
    )


def test_masks_of_different_size_are_refused(tmp_path):
    pred, ref = write_png(tmp_path / "p", a=PRED[:, 1:]), write_png(tmp_path / "r", a=TARGET)
    refused(ShapeError, r"p/a.png is 1x20x23, .*r/a.png is 1x20x24", pred, ref, tmp_path / "o")


def test_volumes_of_different_spacing_are_refused_unless_the_user_states_one(tmp_path):
    volume = np.stack([TARGET] * 3)
    pred = write_nifti(tmp_path / "p", np.diag([1.0, 1.0, 1.0, 1.0]), a=volume)
    ref = write_nifti(tmp_path / "r", a=volume)
    message = r"a.nii.gz has a spacing of 1 x 1 x 1 mm, .* of 5 x 1 x 1.5 mm"
    refused(ShapeError, message, pred, ref, tmp_path / "o")
    found = score(pred, ref, tmp_path / "o", spacing=(5.0, 1.0, 1.5))
    assert found["levels"]["case"]["lesion"]["metrics"]["dice"]["mean"] == 1


def test_volumes_that_lie_apart_in_the_patient_are_refused(tmp_path):
    volume = np.stack([TARGET] * 3)
    moved = np.diag([1.5, 1.0, 5.0, 1.0])
    moved[0, 3] = 12.0
    pred, ref = write_nifti(tmp_path / "p", moved, a=volume), write_nifti(tmp_path / "r", a=volume)
    refused(ShapeError, "up to 12 mm apart in the patient", pred, ref, tmp_path / "o")


def test_a_picture_against_a_volume_is_refused(tmp_path):
    pred = tmp_path / "p"
    pred.mkdir()
    Image.fromarray(TARGET).save(pred / "a.tif")
    ref = write_nifti(tmp_path / "r", a=TARGET.T[:, :, None])
    refused(DataError, "a picture and a volume with a place", pred, ref, tmp_path / "o")


def test_unknown_labels_are_named_with_the_file(tmp_path):
    pred, ref = write_png(tmp_path / "p", a=PRED * 3), write_png(tmp_path / "r", a=TARGET)
    refused(LabelError, r"p/a.png holds 3 \(60 p", pred, ref, tmp_path / "o")


def test_probabilities_instead_of_labels_are_refused_with_the_setting_that_helps(tmp_path):
    volume = np.stack([TARGET] * 3).astype(np.float32)
    pred, ref = write_nifti(tmp_path / "p", a=volume * 0.7), write_nifti(tmp_path / "r", a=volume)
    message = r"p/a.nii.gz .*no whole numbers \(0.7\).*or state pred_threshold"
    refused(DataError, message, pred, ref, tmp_path / "o")


def test_a_truncated_mask_is_named(folders):
    path = folders[0] / "p2_b.png"
    path.write_bytes(path.read_bytes()[:50])
    refused(DataError, "p2_b.png cannot be read", *folders)


def test_two_files_of_one_name_are_refused(folders):
    shutil.copy(folders[0] / "p1_a.png", folders[0] / "p1_a.bmp")
    refused(DataError, "p1_a.bmp and .*p1_a.png have the same name", *folders)


def test_a_folder_without_masks_and_a_path_that_is_none_are_refused(folders, tmp_path):
    pred, ref, out = folders
    (tmp_path / "none").mkdir()
    refused(DataError, "none holds no mask", tmp_path / "none", ref, out)
    refused(DataError, "p1_a.png is not a folder", pred / "p1_a.png", ref, out)


def test_a_name_without_the_subject_is_refused(folders):
    refused(
        DataError, r"p1_a.png: data.subject 'x\(.*\)' finds no subject", *folders, subject="x(.)"
    )


def test_settings_that_make_no_sense_are_refused_before_any_file_is_read(folders):
    pred, ref, out = folders
    (pred / "p1_a.png").write_bytes(b"")
    refused(UsageError, "unknown metric 'dise'", pred, ref, out, metrics=["dise"])
    refused(UsageError, "evaluate.levels is empty", pred, ref, out, levels=[])
    refused(UsageError, "positive millimetres", pred, ref, out, spacing=(1.0,))
    refused(UsageError, "positive millimetres", pred, ref, out, spacing=(1.0, -1.0))
    refused(UsageError, "'average'", pred, ref, out, {"average": [1], "other": [2]})


def test_a_volume_needs_a_spacing_of_three_numbers(tmp_path):
    ref = write_nifti(tmp_path / "r", a=np.stack([TARGET] * 3))
    refused(UsageError, "has no distance of slices", ref, ref, tmp_path / "o", spacing=(1.0, 1.0))


def test_results_of_an_earlier_call_survive_a_failing_one(folders):
    pred, ref, out = folders
    score(pred, ref, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (pred / "p2_b.png").write_bytes(b"")
    with pytest.raises(DataError):
        score(pred, ref, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


# One case, folds, summary


def scored(name, fold=None, spacing=None, pred=PRED, subject=None, **settings):
    return score_case(
        *(pred[None], TARGET[None], label_table(LESION), spacing, name, subject or name, fold),
        EvaluateConfig(**settings),
    )


def test_a_case_gets_the_scores_of_the_public_function():
    scores = scored("a", spacing=(9.0, 0.7, 0.9))
    assert scores.unit == "mm"
    expected = evaluate(PRED, TARGET, (0.7, 0.9), EvaluateConfig().metrics)
    assert dict(scores.images[0].values) == expected
    assert scores.cases[0].slice is None
    assert scores.cases[0].values == scores.images[0].values


def test_a_level_that_is_not_asked_for_is_neither_computed_nor_written():
    scores = scored("a", levels=["image"])
    assert scores.cases == ()
    assert list(summarise([scores], ["lesion"], EvaluateConfig(levels=["image"]))["levels"]) == [
        "image"
    ]


def test_a_prediction_of_another_shape_is_refused_with_the_name_of_the_case():
    with pytest.raises(ShapeError, match=r"case7: the prediction is \(1, 20, 23\)"):
        scored("case7", pred=PRED[:, 1:])


def test_the_mean_of_a_cross_validation_is_over_samples_with_the_folds_beside_it():
    folds = [
        scored("a", 0, pred=TARGET),
        scored("b", 0, pred=TARGET),
        scored("c", 0, pred=PRED),
        scored("d", 1, pred=PRED),
    ]
    summary = summarise(folds, ["lesion"], EvaluateConfig())
    assert summary["levels"]["image"]["lesion"]["metrics"]["dice"]["mean"] == pytest.approx(0.85)
    assert [(f["fold"], f["cases"], f["subjects"]) for f in summary["folds"]] == [
        (0, 3, 3),
        (1, 1, 1),
    ]
    means = [f["levels"]["image"]["lesion"]["metrics"]["dice"]["mean"] for f in summary["folds"]]
    assert means == pytest.approx([0.9, 0.7])
    spread = summary["fold_means"]["image"]["lesion"]["dice"]
    assert spread == pytest.approx({"mean_of_folds": 0.8, "std_of_folds": math.sqrt(0.02)})
    jsonschema.validate(summary, SCHEMA)


def test_outside_a_cross_validation_there_are_no_folds():
    summary = summarise([scored("a")], ["lesion"], EvaluateConfig())
    assert (summary["folds"], summary["fold_means"]) == ([], {})


def test_a_fold_without_a_mean_leaves_the_mean_of_folds_open():
    nothing = score_case(
        *(EMPTY[None], EMPTY[None], label_table(LESION), None, "e", "e", 1), EvaluateConfig()
    )
    summary = summarise([scored("a", 0), nothing], ["lesion"], EvaluateConfig())
    spread = summary["fold_means"]["image"]["lesion"]["dice"]
    assert spread == {"mean_of_folds": None, "std_of_folds": None}
    jsonschema.validate(summary, SCHEMA)


def test_a_case_that_is_scored_twice_is_refused():
    with pytest.raises(DataError, match="scored twice, though each case counts once: a"):
        summarise([scored("a", 0), scored("b", 0), scored("a", 1)], ["lesion"], EvaluateConfig())


def test_nothing_to_summarise_is_an_error():
    with pytest.raises(DataError, match="no case was scored"):
        summarise([], ["lesion"], EvaluateConfig())
    with pytest.raises(DataError, match="no case was scored"):
        summarise([Scores((), (), "px")], ["lesion"], EvaluateConfig())


def test_millimetres_and_pixels_are_not_averaged():
    both = [scored("near", spacing=(1.0, 1.0, 1.0)), scored("far")]
    with pytest.raises(DataError, match="spacing of near is known and that of far is not"):
        summarise(both, ["lesion"], EvaluateConfig())
    overlaps = EvaluateConfig(metrics=["dice"])
    assert summarise(both, ["lesion"], overlaps)["levels"]["image"]["lesion"]["counts"]["n"] == 2


def test_a_level_table_states_units_norm_policy_and_counts(folders):
    summary = score(*folders, or_ur_norm="union")
    table = level_table(summary, "image")
    assert table.caption == (
        "mean over images; policy worst; OR and UR over union; "
        "95% interval from 2000 resamples of 4 subjects"
    )
    assert [row[1] for row in table.rows] == [
        *("DSC (%)", "IoU (%)", "Sen. (%)", "Spe. (%)", "Prec. (%)"),
        *("OR/union (%)", "UR/union (%)", "HD (px)", "HD95 (px)", "ASSD (px)", "NSD@2px (%)"),
    ]
    assert table.header[6:] == ("n", "both empty", "false alarms", "misses")
    assert table.rows[0][:3] == ("lesion", "DSC (%)", "23.33")
    assert table.rows[0][6:] == ("3", "1", "1", "1")
    pooled = level_table(summary, "pooled")
    assert pooled.rows[0][2:5] == ("35.00", "", "")
    assert all(len(row) == len(table.header) for row in (*table.rows, *pooled.rows))


# A fold of a run


@pytest.fixture
def fold(tmp_path):
    """Two test cases with masks of values 0 and 255, predictions with the label map's 1."""
    masks = write_png(tmp_path / "masks", s1_mask=TARGET * 255, s2_mask=TARGET * 255)
    predictions = write_png(tmp_path / "predictions", s1=TARGET, s2=PRED, stale=PRED)
    cases = [
        CaseFiles(f"s{i}", f"person{i}", (tmp_path / "x.png",), masks / f"s{i}_mask.png")
        for i in (1, 2)
    ]
    config = Config(data=DataConfig(root=tmp_path, label_map=LESION, threshold=127))
    return cases, predictions, config, tmp_path / "fold_1" / "metrics.csv"


def test_a_fold_is_scored_from_its_predictions(fold):
    cases, predictions, config, out = fold
    scores = evaluate_fold(cases, predictions, config, 1, out)
    assert [row.values["dice"] for row in scores.images] == [1.0, 0.7]
    rows = read_csv(out)
    assert [(r["case"], r["subject"], r["fold"]) for r in rows] == [
        *(("s1", "person1", "1"), ("s2", "person2", "1"))
    ]


def test_the_spacing_of_a_manifest_makes_distances_of_pictures_millimetres(fold):
    cases, predictions, config, out = fold
    spaced = [CaseFiles(c.id, c.subject, c.images, c.mask, (1.0, 2.0, 0.5)) for c in cases]
    scores = evaluate_fold(spaced, predictions, config, 1, out)
    assert scores.unit == "mm"
    assert [row.values["hd"] for row in scores.images] == [0.0, 1.5]


def test_a_missing_prediction_or_mask_of_a_fold_is_named_and_nothing_written(fold):
    cases, predictions, config, out = fold
    more = [*cases, CaseFiles("s3", "person3", (), cases[0].mask)]
    with pytest.raises(DataError, match=r"has no prediction of s3"):
        evaluate_fold(more, predictions, config, 1, out)
    blind = [CaseFiles("s1", "person1", ())]
    with pytest.raises(DataError, match=r"s1 has no mask"):
        evaluate_fold(blind, predictions, config, 1, out)
    assert not out.exists()


@pytest.mark.real
def test_real_masks_against_themselves_are_perfect_in_every_metric(real_data, tmp_path):
    masks = real_data / "covid19_i_ct" / "masks"
    some = tmp_path / "some"
    some.mkdir()
    for path in sorted(masks.iterdir())[:12]:
        shutil.copy(path, some)
    summary = score(some, some, tmp_path / "out", TWO)
    for name, cell in summary["levels"]["image"]["average"]["metrics"].items():
        assert cell["mean"] == (1 if METRICS[name].higher_is_better else 0)


@pytest.mark.real
def test_a_real_volume_against_a_moved_copy_is_scored_in_millimetres(real_data, tmp_path):
    source = sorted((real_data / "msd_hippocampus" / "labels").iterdir())[0]
    file = nib.load(source)
    labels = np.asarray(file.dataobj).astype(np.uint8)
    moved = np.roll(labels, 1, axis=0)
    pred, ref = tmp_path / "p", tmp_path / "r"
    for folder, volume in ((pred, moved), (ref, labels)):
        folder.mkdir()
        nib.save(nib.Nifti1Image(volume, file.affine), folder / "a.nii.gz")
    summary = score(pred, ref, tmp_path / "out", {"anterior": [1], "posterior": [2]})
    assert summary["distance_unit"] == "mm"
    for name in ("anterior", "posterior"):
        cell = summary["levels"]["case"][name]["metrics"]
        assert 0.5 < cell["dice"]["mean"] < 1
        assert cell["hd"]["mean"] == pytest.approx(float(file.header.get_zooms()[0]), abs=0.5)


def write_seg_of(folder, sources, name, pixels):
    """A SEG of pixels (Z, Y, X) named as the case."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_seg(folder / f"{name}.dcm", sources, pixels, labels=("Lesion",))


def test_dicom_seg_is_scored_against_nifti_and_against_another_seg(tmp_path):
    target, pred = np.zeros((2, 4, 20, 24), np.uint8)
    target[1], pred[1] = TARGET, PRED
    pred[2] = TARGET  # a slice of false alarm
    sources = write_series(tmp_path / "ct", np.zeros(target.shape, np.int16))
    for side, mask in (("p", pred), ("r", target)):
        seg = write_seg_of(tmp_path / side, sources, "scan", mask)
        case = CaseFiles("scan", "scan", (Path(sources[0]),), seg)
        codes, grid = read_case_mask(case, DataConfig(root=tmp_path, label_map=LESION), "axial")
        (tmp_path / f"{side}_nifti").mkdir()
        write_mask(
            tmp_path / f"{side}_nifti" / "scan.nii.gz", codes, label_table(LESION), grid, None
        )
    sides = [("p", "p_nifti"), ("r", "r_nifti")]
    whole, *others = (
        score(tmp_path / p, tmp_path / r, tmp_path / f"o_{p}_{r}")
        for p in sides[0][::-1]
        for r in sides[1][::-1]
    )
    assert whole["levels"]["image"]["lesion"]["metrics"]["dice"]["mean"] == 0.7 / 2
    assert whole["distance_unit"] == "mm"
    for other in others:
        mine = other["levels"]["case"]["lesion"]
        assert mine["metrics"]["dice"] == whole["levels"]["case"]["lesion"]["metrics"]["dice"]
        assert mine["metrics"]["hd95"] == whole["levels"]["case"]["lesion"]["metrics"]["hd95"]
    # Two SEGs alone do not tell of the slices above and below that both leave out.
    assert [o["levels"]["image"]["lesion"]["counts"]["n_both_empty"] for o in others] == [2, 2, 0]


def write_labelme(folder, name, label, low, high, size=(20, 24)):
    """A rectangle from corner to corner, (x, y)."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = {"label": label, "points": [low, high], "shape_type": "rectangle"}
    content = {"shapes": [shape], "imageHeight": size[0], "imageWidth": size[1]}
    (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")
    return folder


def test_labelme_outlines_are_scored_against_masks_and_against_each_other(tmp_path):
    drawn = write_labelme(tmp_path / "r", "a", "lesion", (5, 4), (15, 10))
    other = write_labelme(tmp_path / "p", "a", "lesion", (8, 4), (18, 10))
    (other / "dataset.json").write_text('{"labels": {}}', "utf-8")  # of nnU-Net; no mask
    pixels = write_png(tmp_path / "png", a=PRED)
    names = {"lesion": ["lesion"]}
    for pred, numbers in ((other, None), (pixels, {"lesion": [1]})):
        found = score(pred, drawn, tmp_path / f"o_{pred.name}", names, numbers=numbers)
        assert found["levels"]["image"]["lesion"]["metrics"]["dice"]["mean"] == pytest.approx(0.7)
    with pytest.raises(
        LabelError, match=r"holds numbers, but lesion is given by names .*=lesion,1"
    ):
        score(pixels, drawn, tmp_path / "o", names)


def test_numbers_beside_names_say_which_class_a_number_means_whatever_the_alphabet(tmp_path):
    drawn = write_labelme(tmp_path / "r", "a", "tumour", (5, 4), (15, 10))
    pixels = write_png(tmp_path / "p", a=PRED)  # tumour is 1, and comes after liver
    names = {"liver": ["liver"], "tumour": ["tumour"]}
    numbers = {"liver": [2], "tumour": [1]}
    found = score(pixels, drawn, tmp_path / "o", names, numbers=numbers)
    assert found["levels"]["image"]["tumour"]["metrics"]["dice"]["mean"] == pytest.approx(0.7)
    assert found["levels"]["image"]["liver"]["counts"]["n_both_empty"] == 1
    both = {"organ": ["liver", "tumour"], "tumour": ["tumour"]}
    nested = {"organ": [1, 2], "tumour": [1]}
    found = score(pixels, drawn, tmp_path / "o", both, numbers=nested)
    assert found["levels"]["image"]["organ"]["metrics"]["dice"]["mean"] == pytest.approx(0.7)
    apart = {"organ": [2], "tumour": [1]}
    with pytest.raises(LabelError, match="one means tumour together, which no name does"):
        score(pixels, drawn, tmp_path / "o", both, numbers=apart)


def test_scores_are_not_written_among_the_masks(tmp_path):
    pred, ref = write_png(tmp_path / "p", a=PRED), write_png(tmp_path / "r", a=TARGET)
    for out in (pred, ref):
        with pytest.raises(UsageError, match="holds the masks themselves"):
            score(pred, ref, out)


def test_a_picture_has_a_spacing_of_two_numbers(tmp_path):
    pred, ref = write_png(tmp_path / "p", a=PRED), write_png(tmp_path / "r", a=TARGET)
    with pytest.raises(UsageError, match=r"is a picture and spacing .* has three numbers"):
        score(pred, ref, tmp_path / "o", spacing=(1, 2, 3))


def test_outlines_whose_sizes_differ_have_no_pixels_in_common(tmp_path):
    drawn = write_labelme(tmp_path / "r", "a", "lesion", (5, 4), (15, 10))
    other = write_labelme(tmp_path / "p", "a", "lesion", (8, 4), (18, 10), size=(20, 25))
    with pytest.raises(DataError, match="do not state one size of their image"):
        score(other, drawn, tmp_path / "o", {"lesion": ["lesion"]})


def test_without_a_label_map_one_or_255_is_foreground_and_never_both(tmp_path):
    def found(**masks):
        pred, ref = write_png(tmp_path / "p", a=PRED), write_png(tmp_path / "r", **masks)
        data = DataConfig(root=ref)
        config = EvaluateConfig(metrics=["dice"])
        return evaluate_folders(pred, ref, tmp_path / "o", data=data, config=config)

    for factor in (1, 255):
        level = found(a=TARGET * factor)["levels"]["image"]["foreground"]
        assert level["metrics"]["dice"]["mean"] == 0.7
    both = TARGET.copy()
    both[0, 0] = 255
    with pytest.raises(LabelError, match=r"a\.png holds 1 and 255"):
        found(a=both)
    both[both == 1] = 7
    with pytest.raises(LabelError, match="holds 7"):
        found(a=both)
