"""Methods against each other: worked by hand, refused where they were not scored alike."""

import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from crosslinknet.compare import compare_methods
from crosslinknet.compare.page import pairs_table, sentence
from crosslinknet.compare.result import comparison_schema
from crosslinknet.config import EvaluateConfig, override, parse_config, to_yaml
from crosslinknet.errors import DataError, UsageError
from crosslinknet.evaluate import write_rows
from crosslinknet.files import write_json, write_text
from crosslinknet.metrics.table import Row
from tests.evaluate.test_evaluate import score, write_nifti, write_png

METRICS = ["dice", "hd95"]


def rows_of(dices, fold_of=None, targets=None, name="lesion"):
    """A row per (subject, image); dices: {subject: [dice, ...]}."""
    made = []
    for subject, values in dices.items():
        for number, dice in enumerate(values):
            case = f"{subject}_{number}"
            target = 10 if targets is None else targets[case]
            found = {"dice": dice, "hd95": 10 * (1 - dice)}
            fold = None if fold_of is None else fold_of[subject]
            counts = (target, 0, 0, 90)
            made.append(Row(case, subject, fold, 0, name, *counts, "ok", found))
    return made


def run(folder, dices, seed=0, **settings):
    """The folder of a run with two folds: even and odd subjects."""
    options = (f"train.seed={seed}", f"output.name={folder.name}", *settings.pop("options", ()))
    config = parse_config(override({"data": {"root": "data"}}, options))
    section = config.evaluate.model_copy(update={"metrics": METRICS, **settings})
    config = config.model_copy(update={"evaluate": section})
    write_text(folder / "config.yaml", to_yaml(config))
    fold_of = {subject: n % 2 for n, subject in enumerate(dices)}
    rows = rows_of(dices, fold_of)
    for fold in (0, 1):
        own = [row for row in rows if row.fold == fold]
        write_rows(folder / f"fold_{fold}" / "metrics.csv", own, "px", config.evaluate)
    return folder


BETTER = {f"s{n}": [0.8 + 0.01 * n, 0.9] for n in range(8)}
WORSE = {f"s{n}": [0.7 + 0.01 * n, 0.9 - 0.002 * n] for n in range(8)}


@pytest.fixture
def two(tmp_path):
    return [
        run(tmp_path / "better", BETTER),
        run(tmp_path / "worse", WORSE, options=("train.epochs=9",)),
    ]


def test_subjects_are_paired_and_differences_are_those_worked_by_hand(two, tmp_path):
    result = compare_methods(two, tmp_path / "out")
    panel = result.panels[0]
    assert (panel.class_name, panel.metric, panel.unit, panel.subjects) == (
        "lesion",
        "dice",
        "%",
        8,
    )
    (pair,) = panel.pairs
    expected = [(sum(BETTER[s]) - sum(WORSE[s])) / 2 for s in BETTER]
    assert pair.mean == pytest.approx(np.mean(expected))
    assert (pair.larger, pair.smaller, pair.ties, pair.n) == (8, 0, 0, 8)
    assert pair.effect == 1
    assert pair.p == pytest.approx(2 / 2**8)
    assert pair.interval[0] <= pair.mean <= pair.interval[1]
    assert [one.place for one in panel.methods] == [1, 2]
    assert panel.methods[0].mean == pytest.approx(np.mean([np.mean(v) for v in BETTER.values()]))
    assert panel.methods[0].place_shares == [1, 0]
    assert sentence(panel).startswith("better has the best mean")
    assert sentence(panel).endswith("differs from all others at 0.05 after correction.")


def test_smaller_distances_are_better(two, tmp_path):
    result = compare_methods(two, tmp_path / "out", metrics=["hd95"])
    assert [one.place for one in result.panels[0].methods] == [1, 2]
    assert "smaller is better" in sentence(result.panels[0])


def test_holm_counts_all_pairs_and_classes_of_a_metric(tmp_path):
    third = {s: [v - 0.05 for v in values] for s, values in WORSE.items()}
    folders = [
        run(tmp_path / name, dices, options=(f"train.epochs={n + 2}",))
        for n, (name, dices) in enumerate([("a", BETTER), ("b", WORSE), ("c", third)])
    ]
    panel = compare_methods(folders, tmp_path / "out", metrics=["dice"]).panels[0]
    assert len(panel.pairs) == 3
    assert [one.p_holm for one in panel.pairs] == pytest.approx([3 * 2 / 2**8] * 3)
    assert panel.groups == []
    assert panel.friedman_p < 0.001
    assert [one.mean_rank for one in panel.methods] == [1, 2, 3]


def test_trainings_that_differ_by_their_seed_are_one_method(tmp_path):
    other = {s: [v + 0.02 for v in values] for s, values in BETTER.items()}
    folders = [
        run(tmp_path / "a0", BETTER, seed=0),
        run(tmp_path / "a1", other, seed=1),
        run(tmp_path / "b", WORSE, options=("train.epochs=9",)),
    ]
    result = compare_methods(folders, tmp_path / "out")
    first, second = result.panels[0].methods
    assert (first.name, first.seeds, second.seeds) == ("a0", 2, 1)
    base = np.mean([np.mean(values) for values in BETTER.values()])
    assert first.mean == pytest.approx(base + 0.01)
    assert first.seed_std == pytest.approx(np.std([0, 0.02], ddof=1))
    assert second.seed_std is None
    assert [len(source.paths) for source in result.sources] == [2, 1]
    assert not any("another seed" in warning for warning in result.warnings)
    with pytest.raises(UsageError, match="trainings of one method with different seeds"):
        compare_methods(folders[:2], tmp_path / "out")


def test_the_spread_of_folds_is_that_of_their_means(two, tmp_path):
    panel = compare_methods(two, tmp_path / "out").panels[0]
    means = [np.mean([v for s in list(BETTER)[k::2] for v in BETTER[s]]) for k in (0, 1)]
    assert panel.methods[0].fold_std == pytest.approx(np.std(means, ddof=1))


def test_evaluations_are_compared_with_runs_and_each_other(two, tmp_path):
    masks = {f"p{n}": np.pad(np.ones((4, 4 + n), np.uint8), 6) for n in range(7)}
    ref = write_png(tmp_path / "ref", **masks)
    good = write_png(tmp_path / "good", **masks)
    bad = write_png(tmp_path / "bad", **{k: np.roll(m, 2, 0) for k, m in masks.items()})
    outs = [tmp_path / "e1", tmp_path / "e2"]
    for pred, out in zip((good, bad), outs, strict=True):
        score(pred, ref, out)
    result = compare_methods(outs, tmp_path / "out")
    assert [one.name for one in result.panels[0].methods] == ["e1", "e2"]
    assert result.panels[0].methods[0].mean == 1
    assert result.panels[0].methods[0].fold_std is None
    with pytest.raises(DataError, match=r"scores are not there for every method, such as"):
        compare_methods([outs[0], two[0]], tmp_path / "no")
    assert not (tmp_path / "no").exists()


def nnunet(path, dices):
    """A summary.json as nnU-Net writes it."""
    cases = [
        {
            "reference_file": f"/data/labelsTr/{case}.nii.gz",
            "prediction_file": f"/pred/{case}.nii.gz",
            "metrics": {"1": counts},
        }
        for case, counts in dices.items()
    ]
    write_json(path, {"metric_per_case": cases, "mean": {}, "foreground_mean": {}})
    return path


def counts(tp, fp, fn, size):
    dice = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None
    iou = tp / (tp + fp + fn) if tp + fp + fn else None
    four = {"TP": tp, "FP": fp, "FN": fn, "TN": size - tp - fp - fn}
    return {"Dice": dice, "IoU": iou, **four, "n_pred": tp + fp, "n_ref": tp + fn}


def test_a_summary_of_nnunet_stands_beside_an_evaluation(tmp_path):
    target = np.zeros((6, 6, 5), np.uint8)
    target[1:5, 1:5, 1:4] = 1  # 48 voxels
    volumes = {f"c{n}": target for n in range(7)}
    ref = write_nifti(tmp_path / "ref", **volumes)
    preds = {f"c{n}": np.where(np.arange(5) > n % 2 + 1, target, 0) for n in range(7)}
    score(write_nifti(tmp_path / "ours", **preds), ref, tmp_path / "eval", policy="drop")
    summary = nnunet(
        tmp_path / "nnunet" / "summary.json", {name: counts(40, 2, 8, 180) for name in volumes}
    )
    result = compare_methods([tmp_path / "eval", summary], tmp_path / "out", labels={"1": "lesion"})
    assert (result.level, result.images) == ("case", 7)
    panel = result.panels[0]
    assert [one.name for one in panel.methods] == ["eval", "nnunet"]
    assert panel.methods[1].mean == pytest.approx(80 / 90)
    assert [source.kind for source in result.sources] == ["evaluation", "nnunet"]
    with pytest.raises(DataError, match="no image is scored by every method under the same name"):
        compare_methods([tmp_path / "eval", summary], tmp_path / "out", common=True)
    with pytest.raises(UsageError, match="nnU-Net scores cases"):
        compare_methods([tmp_path / "eval", summary], tmp_path / "out", level="image")


def test_another_reference_is_seen_by_its_pixels(tmp_path):
    target = np.zeros((6, 6, 5), np.uint8)
    target[1:5, 1:5, 1:4] = 1
    ref = write_nifti(tmp_path / "ref", c0=target, c1=target)
    score(ref, ref, tmp_path / "eval", policy="drop")
    wrong = nnunet(
        tmp_path / "n" / "summary.json", {c: counts(40, 2, 9, 180) for c in ("c0", "c1")}
    )
    with pytest.raises(
        DataError, match=r"reference of lesion of c0 has 48 of 180 .* and 49 of 180"
    ):
        compare_methods([tmp_path / "eval", wrong], tmp_path / "out", labels={"1": "lesion"})


# What is refused


def test_scores_by_different_rules_are_refused(tmp_path):
    folders = [run(tmp_path / "a", BETTER), run(tmp_path / "b", WORSE, policy="one")]
    with pytest.raises(DataError, match="policy is worst in a and one in b"):
        compare_methods(folders, tmp_path / "out")


def test_other_images_are_refused_or_left_out(tmp_path):
    fewer = {s: v[:1] for s, v in WORSE.items()}
    folders = [run(tmp_path / "a", BETTER), run(tmp_path / "b", fewer, options=("train.epochs=9",))]
    with pytest.raises(DataError, match=r"8 of 16 scores .* such as lesion of s0_1 slice 0"):
        compare_methods(folders, tmp_path / "out")
    assert compare_methods(folders, tmp_path / "out", common=True).images == 8


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"metrics": ["dise"]}, UsageError, "'dise' is unknown; did you mean 'dice'"),
        ({"metrics": ["nsd"]}, UsageError, "not every method has it"),
        ({"names": ["x"]}, UsageError, "1 names for 2 sources"),
        ({"names": ["x", "x"]}, UsageError, "two sources are called 'x'"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(two, tmp_path, more, error, said):
    with pytest.raises(error, match=said):
        compare_methods(two, tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()


def test_one_source_an_empty_folder_and_a_run_without_scores_are_refused(two, tmp_path):
    with pytest.raises(UsageError, match="takes two or more"):
        compare_methods(two[:1], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no scores"):
        compare_methods([two[0], tmp_path / "empty"], tmp_path / "out")
    for table in two[1].glob("fold_*/metrics.csv"):
        table.unlink()
    with pytest.raises(DataError, match="no fold with scores yet"):
        compare_methods(two, tmp_path / "out")


@pytest.mark.parametrize(
    "text", ["{}", '{"metric_per_case": []}', '{"metric_per_case": [{}]}', "["]
)
def test_a_damaged_summary_is_refused(two, tmp_path, text):
    path = tmp_path / "n" / "summary.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(DataError, match=r"summary\.json|per_image\.csv"):
        compare_methods([path, two[0]], tmp_path / "out")


def test_no_common_value_is_said(tmp_path):
    nothing = {s: [np.nan, np.nan] for s in BETTER}
    folders = [
        run(tmp_path / "a", BETTER),
        run(tmp_path / "b", nothing, options=("train.epochs=9",)),
    ]
    with pytest.raises(DataError, match="no subject has a value of dice for every method"):
        compare_methods(folders, tmp_path / "out")


# What few subjects carry


def test_few_subjects_one_fold_and_one_seed_are_warned_of(tmp_path):
    few = {s: BETTER[s] for s in ("s0", "s1", "s2")}
    worse = {s: WORSE[s] for s in few}
    folders = [run(tmp_path / "a", few), run(tmp_path / "b", worse, options=("train.epochs=9",))]
    warnings = " ".join(compare_methods(folders, tmp_path / "out").warnings)
    assert "too few for a claim" in warnings
    assert "one training of each method" in warnings
    for folder in folders:
        (folder / "fold_1" / "metrics.csv").unlink()
    assert "one fold only" in " ".join(compare_methods(folders, tmp_path / "out").warnings)


def test_groups_of_images_are_no_persons_and_the_page_says_so(tmp_path):
    grouped = ("data.subject_is=group",)
    folders = [
        run(tmp_path / "a", BETTER, options=grouped),
        run(tmp_path / "b", WORSE, options=(*grouped, "train.epochs=9")),
    ]
    assert any(
        "group of images" in text for text in compare_methods(folders, tmp_path / "out").warnings
    )


def test_equal_methods_have_no_p_and_share_a_place(tmp_path):
    folders = [
        run(tmp_path / "a", BETTER),
        run(tmp_path / "b", BETTER, options=("train.epochs=9",)),
    ]
    panel = compare_methods(folders, tmp_path / "out").panels[0]
    assert (panel.pairs[0].p, panel.pairs[0].p_holm, panel.pairs[0].ties) == (None, None, 8)
    assert [one.place for one in panel.methods] == [1.5, 1.5]
    assert pairs_table(panel).rows[0][4] == ""


# What is written


def test_every_document_is_there_and_the_same_a_second_time(two, tmp_path):
    compare_methods(two, tmp_path / "a" / "out")
    compare_methods(two, tmp_path / "b" / "out")
    content = json.loads((tmp_path / "a" / "out" / "comparison.json").read_text())
    jsonschema.validate(content, comparison_schema())
    files = sorted(path for path in (tmp_path / "a" / "out").rglob("*") if path.is_file())
    names = [path.relative_to(tmp_path / "a" / "out").as_posix() for path in files]
    assert names[:4] == ["comparison.html", "comparison.json", "comparison.md", "comparison.tex"]
    assert "figures/dice_lesion_differences.svg" in names
    assert "figures/hd95_lesion_places.png" in names
    for path, name in zip(files, names, strict=True):
        assert path.read_bytes() == (tmp_path / "b" / "out" / name).read_bytes(), name


def test_the_table_for_a_paper_marks_the_best_and_what_differs_from_it(two, tmp_path):
    compare_methods(two, tmp_path / "out", metrics=["dice"])
    text = (tmp_path / "out" / "comparison.tex").read_text()
    assert re.search(r"better & \\textbf\{86\.75\} \(", text)
    assert re.search(r"worse & 81\.40\$\^\\dagger\$ \(", text)


def test_the_page_loads_nothing(two, tmp_path):
    compare_methods(two, tmp_path / "out")
    page = (tmp_path / "out" / "comparison.html").read_text("utf-8")
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", page)
    assert page.count("<svg") == 6  # two panels of three figures; ranks take three methods
    assert "one training of each method" in page


def test_the_published_schema_is_that_of_the_models():
    docs = Path(__file__).resolve().parents[2] / "docs"
    assert json.loads((docs / "comparison.schema.json").read_text()) == comparison_schema()


def test_the_default_metrics_of_a_run_are_all_written_to_its_rows():
    assert set(METRICS) < set(EvaluateConfig().metrics)


# Who is who, who is left out


def evaluation(folder, pred, ref, subject=None, **settings):
    score(pred, ref, folder, subject=subject, **settings)
    return folder


@pytest.fixture
def folders(tmp_path):
    """Eight persons with two slices each; predictions that miss and that do not."""
    masks = {f"p{n}_{k}": np.pad(np.ones((4, 4 + n), np.uint8), 6) for n in range(8) for k in "ab"}
    ref = write_png(tmp_path / "ref", **masks)
    good = write_png(tmp_path / "good", **{k: np.roll(m, 1, 1) for k, m in masks.items()})
    missing = {k: m * 0 if k.startswith("p7") else np.roll(m, 2, 0) for k, m in masks.items()}
    return ref, good, write_png(tmp_path / "missing", **missing)


def test_the_order_of_sources_changes_no_number(folders, tmp_path):
    ref, good, missing = folders
    a = evaluation(tmp_path / "a", good, ref, subject=r"^(p\d)_")
    b = evaluation(tmp_path / "b", missing, ref)  # nobody said who is who
    ab = compare_methods([a, b], tmp_path / "ab").panels[0]
    ba = compare_methods([b, a], tmp_path / "ba").panels[0]
    assert (ab.subjects, ba.subjects) == (8, 8)
    assert ab.pairs[0].p == pytest.approx(ba.pairs[0].p)
    assert ab.pairs[0].mean == pytest.approx(-ba.pairs[0].mean)


def test_sources_that_disagree_on_who_is_who_are_refused(folders, tmp_path):
    ref, good, missing = folders
    a = evaluation(tmp_path / "a", good, ref, subject=r"^(p\d)_")
    b = evaluation(tmp_path / "b", missing, ref, subject=r"_([ab])\.png$")
    with pytest.raises(DataError, match="a and b do not agree on which cases are of one subject"):
        compare_methods([a, b], tmp_path / "out")


def test_means_places_and_sentence_are_of_the_same_subjects_and_misses_are_told(folders, tmp_path):
    ref, good, missing = folders
    sources = [
        evaluation(tmp_path / f"scores_{name}", pred, ref, subject=r"^(p\d)_", policy="drop")
        for name, pred in (("good", good), ("missing", missing))
    ]
    result = compare_methods(sources, tmp_path / "out", metrics=["hd95"])
    assert [one.seeds for one in result.panels[0].methods] == [None, None]
    assert any("trainings are not known by their seeds" in text for text in result.warnings)
    (panel,) = result.panels
    assert (panel.subjects, panel.pairs[0].n) == (7, 7)  # a miss has no distance by this policy
    assert [one.n_missed for one in panel.methods] == [0, 2]
    first = min(panel.methods, key=lambda one: one.place)
    assert first.mean == min(one.mean for one in panel.methods)
    assert any("1 of 8 subjects are left out" in text for text in result.warnings)
    assert "| misses |" in (tmp_path / "out" / "comparison.md").read_text()


def test_a_class_that_cannot_be_compared_is_told(tmp_path):
    two = {"a": [1], "b": [2]}
    masks = {f"p{n}": np.pad(np.full((4, 4 + n), 1, np.uint8), 6) for n in range(7)}
    both = {k: m + 2 * np.roll(m, 5, 0) * (np.roll(m, 5, 0) > m) for k, m in masks.items()}
    ref = write_png(tmp_path / "ref", **both)
    blind = write_png(tmp_path / "blind", **{k: np.where(m == 2, 0, m) for k, m in both.items()})
    for name, pred in (("x", ref), ("y", blind)):
        score(pred, ref, tmp_path / name, two, policy="drop")
    result = compare_methods([tmp_path / "x", tmp_path / "y"], tmp_path / "out", metrics=["hd95"])
    assert [panel.class_name for panel in result.panels] == ["a"]
    assert any(text.startswith("b, hd95: not compared") for text in result.warnings)


def test_a_folder_that_was_scored_anew_without_cases_is_not_compared_by_case(folders, tmp_path):
    ref, good, missing = folders
    first = evaluation(tmp_path / "a", good, ref)
    other = evaluation(tmp_path / "b", missing, ref)
    assert (first / "per_case.csv").is_file()
    evaluation(first, missing, ref, levels=["image"])
    assert not (first / "per_case.csv").exists()
    with pytest.raises(DataError, match="was not scored by case"):
        compare_methods([first, other], tmp_path / "out", level="case")


def test_equal_methods_share_the_best_place_in_every_document(tmp_path):
    folders = [
        run(tmp_path / "a", BETTER),
        run(tmp_path / "b", BETTER, options=("train.epochs=9",)),
    ]
    result = compare_methods(folders, tmp_path / "out", metrics=["dice"])
    assert sentence(result.panels[0]).startswith("a and b share the best mean")
    assert (tmp_path / "out" / "comparison.tex").read_text().count("textbf") == 2


def test_without_resamples_there_are_no_places_and_no_intervals(two, tmp_path):
    result = compare_methods(two, tmp_path / "out", metrics=["dice"], resamples=0)
    assert result.panels[0].methods[0].place_shares == []
    assert result.panels[0].pairs[0].interval is None
    assert "place 1" not in (tmp_path / "out" / "comparison.md").read_text()
    assert not list((tmp_path / "out" / "figures").glob("*places*"))


def test_labels_and_subjects_are_for_nnunet_alone_and_must_be_there(tmp_path):
    both = [run(tmp_path / "a", BETTER), run(tmp_path / "b", WORSE, options=("train.epochs=9",))]
    with pytest.raises(UsageError, match=r"are for summary\.json files of nnU-Net"):
        compare_methods(both, tmp_path / "out", labels={"1": "lesion"})
    paths = [
        nnunet(tmp_path / name / "summary.json", {"c0": counts(40, 2, 9, 180)}) for name in "xy"
    ]
    with pytest.raises(UsageError, match=r"--label names 7, which .* does not hold; it has 1"):
        compare_methods(paths, tmp_path / "out", labels={"7": "lesion"})


@pytest.mark.parametrize("content", ["[]", "{}", '{"schema": "other/1"}'])
def test_a_summary_of_another_program_is_refused(tmp_path, content):
    for name in "xy":
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(content, "utf-8")
    with pytest.raises(DataError, match="is of no kind that is compared"):
        compare_methods([tmp_path / "x", tmp_path / "y"], tmp_path / "out")


def test_a_difference_that_most_subjects_show_and_the_mean_does_not_is_pointed_out(tmp_path):
    two = [run(tmp_path / "a", BETTER), run(tmp_path / "b", WORSE, options=("train.epochs=9",))]
    result = compare_methods(two, tmp_path / "out", metrics=["dice"])
    assert "differs from all others" in sentence(result.panels[0])
    assert "Beware" not in sentence(result.panels[0])
    wide = result.panels[0].model_copy(
        update={"pairs": [result.panels[0].pairs[0].model_copy(update={"interval": (-0.1, 0.2)})]}
    )
    assert "interval of the mean difference to b includes 0" in sentence(wide)
