"""What is written beside the scores: strata, calibration, presets, documents, a page."""

import csv
import json
import re

import jsonschema
import numpy as np
import pytest
from PIL import Image

from crosslinknet.config import DataConfig, EvaluateConfig
from crosslinknet.errors import DataError, LabelError, ShapeError
from crosslinknet.evaluate import evaluate_folders
from crosslinknet.evaluate.documents import (
    Table,
    latex,
    latex_table,
    markdown,
    paper_table,
    stratum_tables,
)
from crosslinknet.metrics import PRESETS
from crosslinknet.report import write_scores
from tests.evaluate.test_evaluate import (
    EMPTY,
    LESION,
    PRED,
    SCHEMA,
    TARGET,
    TWO,
    score,
    write_nifti,
    write_png,
)

SMALL = np.zeros((20, 24), np.uint8)
SMALL[2, 3:5] = 1  # 2 of 480 pixels, 0.42 %


@pytest.fixture
def folders(tmp_path):
    """Four persons: a match, a small target that was missed, two empty masks, a false alarm."""
    pred = write_png(tmp_path / "pred", a=PRED, b=EMPTY, c=EMPTY, d=PRED)
    ref = write_png(tmp_path / "ref", a=TARGET, b=SMALL, c=EMPTY, d=EMPTY)
    return pred, ref, tmp_path / "out"


def valid(summary):
    jsonschema.validate(summary, SCHEMA)
    return summary


# Strata


def test_images_are_parted_by_the_size_of_their_target(folders):
    summary = valid(score(*folders))
    parts = summary["strata"]["target_size"]["lesion"]
    assert [(part["label"], part["counts"]["n"]) for part in parts] == [
        ("0.2 to 0.6 %", 1),
        ("6 to 100 %", 1),
    ]
    assert parts[0]["counts"]["n_missed"] == 1
    assert parts[1]["metrics"]["dice"]["mean"] == pytest.approx(0.7)


def test_slices_are_parted_by_their_place_among_those_with_a_target(tmp_path):
    target = np.zeros((8, 10, 9), np.uint8)  # (X, Y, Z): axial slices along Z
    target[2:5, 3:6, 2:8] = 1
    pred = target.copy()
    pred[:, :, 2:4] = 0  # the first two slices with a target are missed
    folders = (write_nifti(tmp_path / n, v=m) for n, m in (("pred", pred), ("ref", target)))
    summary = valid(score(*folders, tmp_path / "out"))
    parts = summary["strata"]["slice_position"]["lesion"]
    found = {p["label"]: (p["counts"]["n"], p["metrics"]["dice"]["mean"]) for p in parts}
    assert found == {
        "first third": (2, 0),
        "middle third": (2, 1),
        "last third": (2, 1),
        "without target": (3, None),
    }


def test_subjects_are_parted_by_the_columns_of_a_table(folders, tmp_path):
    table = tmp_path / "groups.csv"
    table.write_text("subject,scanner,sex\na,one,f\nb,one,m\nc,two,f\nd,two,\n")
    summary = valid(score(*folders, groups=table))
    scanner = summary["strata"]["scanner"]["lesion"]
    assert [(p["label"], p["metrics"]["dice"]["mean"]) for p in scanner] == [
        ("one", pytest.approx(0.35)),
        ("two", 0),
    ]
    assert [part["label"] for part in summary["strata"]["sex"]["lesion"]] == ["f", "m", "unknown"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("subject,x\na,1\nb,1\nc,1\n", "names d not at all"),
        ("subject,x\na,1\na,2\nb,1\nc,1\nd,1\n", "names a twice"),
        ("person,x\na,1\n", "needs a line of headings with the column subject"),
        ("subject\na\n", "at least one more"),
        ("", "needs a line of headings"),
    ],
)
def test_a_table_of_groups_that_does_not_fit_is_refused(folders, tmp_path, text, said):
    table = tmp_path / "groups.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=said):
        score(*folders, groups=table)
    assert not folders[2].exists()
    with pytest.raises(DataError, match="is not there"):
        score(*folders, groups=tmp_path / "none.csv")


def test_the_worst_images_come_first(folders):
    worst = score(*folders)["worst"]["lesion"]
    assert [(one["case"], one["value"], one["state"]) for one in worst] == [
        ("b", 0, "missed"),
        ("d", 0, "false_alarm"),
        ("a", pytest.approx(0.7), "ok"),
    ]


# Calibration


def maps(folder, kind=np.uint8, **values):
    """Grey maps of probability."""
    folder.mkdir()
    for name, probs in values.items():
        Image.fromarray(np.rint(probs * np.iinfo(kind).max).astype(kind)).save(
            folder / f"{name}.png"
        )
    return folder


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_probabilities_add_their_calibration(folders, tmp_path, kind):
    probs = {name: 0.8 * np.ones((20, 24)) for name in "abcd"}
    summary = valid(score(*folders, probabilities=maps(tmp_path / "maps", kind, **probs)))
    entry = summary["calibration"]["lesion"]
    share = (60 + 2) / (4 * 480)
    assert entry["ece"]["value"] == pytest.approx(0.8 - share, abs=2e-3)
    assert entry["pixels"] == 4 * 480
    assert score(*folders)["calibration"] is None


def test_maps_of_several_classes_lie_in_files_of_their_own_or_in_channels(tmp_path):
    two = TARGET * 2
    pred = write_png(tmp_path / "pred", a=two)
    ref = write_png(tmp_path / "ref", a=two)
    probs = {"a.infection": two / 2, "a.ggo": 0 * TARGET}
    found = score(pred, ref, tmp_path / "out", TWO, probabilities=maps(tmp_path / "maps", **probs))
    assert found["calibration"]["infection"]["brier"]["value"] == 0
    assert found["calibration"]["ggo"]["brier"]["value"] == 0
    (tmp_path / "maps" / "a.ggo.png").unlink()
    with pytest.raises(DataError, match=r"no probabilities of a: .* \(a.infection, a.ggo\)"):
        score(pred, ref, tmp_path / "out", TWO, probabilities=tmp_path / "maps")


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        (np.full((20, 24, 1), np.nan, np.float32), DataError, "NaN"),
        (np.full((20, 24, 1), 1.5, np.float32), LabelError, "probabilities from 0 to 1"),
        (np.full((20, 24, 1), -0.5, np.float32), LabelError, "probabilities from 0 to 1"),
        (np.full((24, 20, 1), 0.5, np.float32), ShapeError, "Write one map per class"),
    ],
)
def test_maps_that_are_no_probabilities_of_the_case_are_refused(tmp_path, values, error, said):
    mask = np.zeros((20, 24, 1), np.uint8)
    folders = [write_nifti(tmp_path / name, a=mask) for name in ("pred", "ref")]
    probs = write_nifti(tmp_path / "maps", a=values)
    with pytest.raises(error, match=said):
        score(*folders, tmp_path / "out", probabilities=probs)
    assert not (tmp_path / "out").exists()


# Presets


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_scores_a_folder_and_says_so(folders, name):
    pred, ref, out = folders
    config = EvaluateConfig(**PRESETS[name].settings)
    data = DataConfig(root=ref, label_map=LESION)
    summary = valid(evaluate_folders(pred, ref, out, data=data, config=config, preset=name))
    assert summary["preset"] == name
    text = (out / "summary.md").read_text("utf-8")
    for heading, _, _ in PRESETS[name].columns:
        assert heading in text
    assert write_scores(out).read_text("utf-8").count(f"preset {name}") >= 2


def test_an_infinite_distance_is_inf_in_every_document(folders):
    pred, ref, out = folders
    config = EvaluateConfig(**PRESETS["monai"].settings)
    data = DataConfig(root=ref, label_map=LESION)
    evaluate_folders(pred, ref, out, data=data, config=config, preset="monai")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["levels"]["case"]["lesion"]["metrics"]["hd"]["mean"] == "inf"
    assert "| inf |" in (out / "summary.md").read_text()
    assert "inf" in (out / "summary.tex").read_text()
    rows = list(csv.DictReader((out / "per_case.csv").read_text().splitlines()))
    assert [row["hd"] for row in rows] == ["3.0", "inf", "", "inf"]


# Documents


def test_all_files_are_there_and_agree(folders):
    score(*folders)
    names = ["per_case.csv", "per_image.csv", "summary.json", "summary.md", "summary.tex"]
    assert sorted(path.name for path in folders[2].iterdir()) == names
    text = (folders[2] / "summary.md").read_text("utf-8")
    assert "| lesion | DSC (%) | 23.33 |" in text
    assert "**4 subjects are too few for a claim" in text


def test_every_row_of_a_markdown_table_has_as_many_cells_as_its_head(tmp_path):
    masks = {"one|two": TARGET, "three": EMPTY}
    folders = [write_png(tmp_path / name, **masks) for name in ("pred", "ref")]
    summary = score(*folders, tmp_path / "out")
    tables = re.findall(r"(?:^\|.*\n)+", markdown("x", summary), re.MULTILINE)
    assert len(tables) >= 4
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_a_table_for_a_paper_has_a_row_per_metric_and_escapes_what_latex_reads(folders):
    summary = score(*folders, label_map={"left_lung": [1]})
    table = paper_table(summary, "image")
    assert table.header == ("", "left_lung")
    assert table.rows[0] == ("DSC (%)", "23.33 (0.00 to 70.00)")
    assert table.rows[-4:] == (
        ("pairs", "4"), ("both empty", "1"), ("false alarms", "1"), ("misses", "1")
    )  # fmt: skip
    text = latex(summary)
    assert r" & left\_lung \\" in text
    assert r"DSC (\%) & 23.33 (0.00--70.00) \\" in text
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}") == 2  # by image, and pooled
    assert text.count("{") == text.count("}")
    assert "Level image: mean over images; policy worst" in text
    assert "4 subjects are too few for a claim" in text


def test_the_table_of_a_preset_says_of_its_settings_only_what_is_in_it(folders):
    text = latex(score(*folders, preset="nnunet", **PRESETS["nnunet"].settings))
    assert "preset nnunet; policy drop; 4 subjects" in text
    assert "interval from" not in text
    text = latex(score(*folders, preset="monai", **PRESETS["monai"].settings))
    assert r"NSD within 2 px" in text


def test_parts_are_shown_with_few_metrics(folders):
    (table,) = stratum_tables(score(*folders))
    assert table.header == (
        "part", "DSC (%)", "Sen. (%)", "Prec. (%)", "HD95 (px)", "pairs", "both empty",
        "false alarms", "misses",
    )  # fmt: skip


def test_the_page_loads_nothing_and_shows_every_part(folders, tmp_path):
    probs = {name: 0.5 * np.ones((20, 24)) for name in "abcd"}
    score(*folders, probabilities=maps(tmp_path / "maps", **probs))
    page = write_scores(folders[2]).read_text("utf-8")
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", page)
    for text in ("Read this first", "By target size", "Calibration, over pixels", "The worst"):
        assert text in page
    assert page.count("<svg") == 3
    names = ["dice_lesion_size", "dice_lesion_spread", "reliability_lesion"]
    files = sorted(path.name for path in (folders[2] / "figures").iterdir())
    assert files == [f"{name}.{kind}" for name in names for kind in ("png", "svg")]
    assert page == write_scores(folders[2]).read_text("utf-8")
    score(*folders)  # without probabilities
    write_scores(folders[2])
    files = sorted(path.name for path in (folders[2] / "figures").iterdir())
    assert files == [f"{name}.{kind}" for name in names[:2] for kind in ("png", "svg")]


def test_a_folder_without_scores_has_no_page(tmp_path):
    with pytest.raises(DataError, match=r"summary\.json"):
        write_scores(tmp_path)


# Names


@pytest.mark.parametrize(("pred", "ref"), [("", "_mask"), ("_seg", ""), ("_pred", "_pred")])
def test_endings_of_masks_do_not_count_where_names_differ_by_them(tmp_path, pred, ref):
    preds = write_png(tmp_path / "pred", **{f"a{pred}": PRED, f"b{pred}": EMPTY})
    refs = write_png(tmp_path / "ref", **{f"a{ref}": TARGET, f"b{ref}": TARGET})
    summary = score(preds, refs, tmp_path / "out")
    assert summary["levels"]["image"]["lesion"]["metrics"]["dice"]["mean"] == pytest.approx(0.35)


def test_names_that_an_ending_makes_equal_are_not_guessed(tmp_path):
    preds = write_png(tmp_path / "pred", a=PRED)
    refs = write_png(tmp_path / "ref", a_mask=TARGET, a_gt=TARGET)
    with pytest.raises(DataError, match=r"2 in .* without prediction: a_gt, a_mask"):
        score(preds, refs, tmp_path / "out")


def test_a_class_of_few_subjects_is_warned_of_by_its_name(tmp_path):
    masks = {f"p{n:02}": TARGET * (2 if n < 3 else 1) for n in range(25)}
    ref = write_png(tmp_path / "ref", **masks)
    warnings = score(ref, ref, tmp_path / "out", {"common": [1], "rare": [2]})["warnings"]
    assert [text for text in warnings if text.startswith("rare")] == [
        text for text in warnings if "3 subjects are too few" in text
    ]
    assert len(warnings) == 1


def test_masks_in_the_place_of_maps_are_refused(folders, tmp_path):
    ones = write_png(tmp_path / "ones", a=PRED, b=EMPTY, c=EMPTY, d=PRED)
    with pytest.raises(LabelError, match="holds 0 and 1 in 8 bits"):
        score(*folders, probabilities=ones)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"subject,target_size\na,1\nb,1\nc,1\nd,1\n", "'target_size' is a stratum of its own"),
        (b"subject,x\na,\xe9\n", "cannot be read as a CSV table in UTF-8"),
    ],
)
def test_groups_that_take_a_name_or_are_no_text_are_refused(folders, tmp_path, content, said):
    table = tmp_path / "groups.csv"
    table.write_bytes(content)
    with pytest.raises(DataError, match=said):
        score(*folders, groups=table)


def test_names_cannot_break_a_markdown_page(folders, tmp_path):
    table = tmp_path / "groups.csv"
    table.write_text("subject,site\na,A & B <b>\nb,x|y\nc,x|y\nd,x|y\n")
    score(*folders, groups=table)
    text = (folders[2] / "summary.md").read_text("utf-8")
    assert "A &amp; B &lt;b>" in text
    assert "x\\|y" in text


def test_a_tables_note_for_latex_stands_below_it_so_that_it_wraps_and_keeps_its_smaller_than():
    table = Table("", ("Class", "Dice (%)"), (("left_kidney", "90.1 (88.0 to 92.0)"),))
    assert latex_table(table, "p < 0.05").splitlines() == [
        r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"Class & Dice (\%) \\",
        r"\midrule",
        r"left\_kidney & 90.1 (88.0--92.0) \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip{\footnotesize p $<$ 0.05}",
    ]
