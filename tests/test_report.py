import csv
import re
import shutil
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosslinknet.config import Config, parse_config, to_yaml
from crosslinknet.datasets import find_cases
from crosslinknet.errors import DataError
from crosslinknet.evaluate import evaluate_fold, summarise
from crosslinknet.files import read_json, write_json
from crosslinknet.metrics.table import Row
from crosslinknet.report import write_report
from crosslinknet.report.markup import Html, e, table
from crosslinknet.report.material import read_material
from crosslinknet.report.pictures import pick_cases
from crosslinknet.report.warnings import warnings
from crosslinknet.splits import make_splits, write_splits

SECTIONS = (
    "top", "warnings", "folds", "scores", "size", "cases", "attention", "training", "meaning",
    "facts", "config",
)  # fmt: skip
VOID = {"meta", "input", "br", "hr", "img", "link"}
SIZE = 96


class Page(HTMLParser):
    """Tags, attributes and visible text of a page; complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without an opening tag"
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def ids(self) -> list[str]:
        return [str(attrs["id"]) for _, attrs in self.tags if "id" in attrs]


# --- a run as the other commands leave it --------------------------------------------------------


def disc(row: float, column: float, radius: float) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


def write_data(root: Path, names: list[str]) -> None:
    """Soft bright discs of growing size on noise; the last case has no target."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(names):
        mask = disc(48, 40 + 2 * number, 2 + 2 * number) & (number < len(names) - 1)
        image = 60 + 90 * mask + rng.normal(0, 12, (SIZE, SIZE))
        for folder, pixels in (("images", image.clip(0, 255)), ("masks", mask)):
            path = root / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)


def write_log(path: Path, epochs: int = 12, blind: int = 0) -> None:
    names = ["epoch", "step", "lr", "loss", "bce", "dice", "attention", "valid_images"]
    names += ["grad_norm", "seconds", "val_loss", "val_dice", "val_foreground"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for epoch in range(epochs):
            left = np.exp(-epoch / 4)
            seen = ["", "", ""] if epoch % 2 else [0.1 + left, 0.8 * (1 - left), 0.05]
            if epoch < 2 * blind and seen[0]:
                seen = [0.1 + left, 0.0, 0.0]
            parts = [left, 0.5 * left, left, left - 0.9, 8, 1.0, 2.0]
            writer.writerow([epoch, 4 * epoch, 1e-3, *parts, *seen])


def write_run(tmp_path: Path, names: list[str], tested: int = 2, **data: object) -> Path:
    """A run of two folds on made-up cases; predictions are discs that drift away."""
    write_data(tmp_path / "data", names)
    raw = {
        "data": {"root": str(tmp_path / "data"), "label_map": {"lesion": [1]}, **data},
        "split": {"folds": 2, "validation": 0.2},
        "evaluate": {"bootstrap": 50},
        "output": {"name": "made-up"},
    }
    config = parse_config(raw)
    run = tmp_path / "runs" / "made-up"
    found = find_cases(config.data)
    splits = make_splits(found, config.split)
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    write_splits(run / "splits.json", splits)
    files = {case.id: case for case in found.cases}
    scores, facts = [], {}
    for number, fold in list(enumerate(splits.folds))[:tested]:
        folder = run / f"fold_{number}"
        (folder / "predictions").mkdir(parents=True)
        for place, name in enumerate(fold.test):
            target = np.asarray(Image.open(tmp_path / "data" / "masks" / f"{name}.png"))
            pred = np.roll(target, place, axis=1) if place != 1 else np.zeros_like(target)
            Image.fromarray(pred).save(folder / "predictions" / f"{name}.png")
        write_attention(folder, fold.test[0])
        write_log(folder / "log.csv")
        cases = [files[name] for name in fold.test]
        metrics = folder / "metrics.csv"
        scores.append(evaluate_fold(cases, folder / "predictions", config, number, metrics))
        facts[str(number)] = {"seconds": 61.0, "epochs": 12, "weights_sha256": "c0ffee" * 10}
    write_manifest(run, config, facts)
    if tested == 2:
        write_json(run / "summary.json", summarise(scores, config.classes, config.evaluate))
    return run


def write_attention(folder: Path, name: str) -> None:
    (folder / "attention").mkdir()
    mask = disc(48, 48, 20)
    small = mask[2::4, 2::4].astype(np.float32)
    np.savez(
        folder / "attention" / f"{name}.npz",
        image=np.random.default_rng(0).random((SIZE, SIZE), dtype=np.float32),
        vertical=small,
        horizontal=1 - small,
        mask=mask.astype(np.uint8),
    )


def write_manifest(run: Path, config: Config, folds: dict[str, object]) -> None:
    write_json(
        run / "manifest.json",
        {
            "created": "2026-03-05T14:02:31+00:00",
            "crosslinknet": "0.1.0",
            "versions": {"python": "3.11.9", "torch": "2.10.0"},
            "hardware": {"processor": "A & B <fast>", "cores": 2, "gpus": []},
            "seed": 7,
            "data": {"layout": "folders", "cases": 12, "subjects": 6, "hash": "beef" * 16,
                     "subject_rule": "file name", "notes": ["one image has no mask"]},
            "splits_hash": "cafe" * 16,
            "config_hash": "f00d" * 16,
            "folds": folds,
        },
    )  # fmt: skip


PEOPLE = [f"p{number // 2}_{number}" for number in range(12)]  # two slices of each person
BY_PERSON = {"subject": r"^(p\d+)_"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run with its report."""
    run = write_run(tmp_path_factory.mktemp("finished"), PEOPLE, **BY_PERSON)
    write_report(run)
    return run


@pytest.fixture(scope="module")
def text(finished: Path) -> str:
    return (finished / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def visible(run: Path) -> str:
    """What a reader of the report sees, white space evened out."""
    return " ".join(Page(write_report(run).read_text(encoding="utf-8")).text.split())


def warned(run: Path) -> list[str]:
    """What stands under "Read this first"."""
    found = str(warnings(read_material(run))["warnings"])
    return [unescape(item) for item in re.findall(r"<li>(.*?)</li>", found)]


# --- the page as a file --------------------------------------------------------------------------


def test_the_report_needs_no_network_and_runs_no_script(text, page):
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "img", "base")
        for key, value in attributes.items():
            assert not key.startswith("on")
            if key in ("src", "href", "action", "poster", "srcset"):
                assert value.startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"url\((?!#)|@import|https?:", text)
    policy = next(a["content"] for _, a in page.tags if "http-equiv" in a)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_every_section_stands_in_its_place(page):
    ids = page.ids()
    places = [ids.index(name) if name in ids else -1 for name in SECTIONS[1:]]
    assert -1 not in places
    assert places == sorted(places)
    links = [a["href"] for tag, a in page.tags if tag == "a"]
    assert links == [f"#{name}" for name in SECTIONS[2:]]


def test_ids_are_unique_and_every_reference_leads_somewhere(text, page):
    ids = page.ids()
    assert len(ids) == len(set(ids))
    wanted = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', text)
    assert {a or b for a, b in wanted} <= set(ids)


def test_no_placeholder_is_left(text):
    assert not re.search(r"\$[a-z_]+", text)


def test_the_page_says_that_it_is_no_medical_device(page):
    assert page.text.count("Not a medical device") == 2


def test_the_same_run_gives_the_same_bytes(finished, text):
    assert write_report(finished).read_text(encoding="utf-8") == text


def test_the_file_stays_small(text):
    assert len(text) < 3_000_000


# --- what it says --------------------------------------------------------------------------------


def test_the_headline_is_the_mean_of_the_summary_with_interval_unit_and_policy(finished, page):
    own = read_json(finished / "summary.json")["levels"]["image"]["lesion"]
    cell = own["metrics"]["dice"]
    low, high = cell["interval"]
    words = " ".join(page.text.split())
    assert f"{100 * cell['mean']:.1f}% Dice" in words
    assert f"95 % interval {100 * low:.1f}–{100 * high:.1f} %" in words
    assert "Mean over 12 images of 6 subjects, less 1 that are empty" in words
    assert "policy “worst”" in words


def test_the_fold_table_holds_every_fold_and_their_spread(finished, page):
    summary = read_json(finished / "summary.json")
    spread = summary["fold_means"]["image"]["lesion"]["dice"]
    words = " ".join(page.text.split())
    for fold in summary["folds"]:
        mean = fold["levels"]["image"]["lesion"]["metrics"]["dice"]["mean"]
        assert f"Fold {fold['fold']}{100 * mean:.1f}" in words
    assert f"Mean of folds{100 * spread['mean_of_folds']:.1f}" in words
    assert f"Std. of folds{100 * spread['std_of_folds']:.1f}" in words


def test_cases_are_drawn_with_both_outlines_and_a_legend(text, page):
    labels = [a["aria-label"] for tag, a in page.tags if tag == "svg" and "aria-label" in a]
    assert sum(label.startswith("Slice of") for label in labels) == 9
    assert 'id="case0-target-0"' in text
    assert "-pred-0" in text
    assert "reference (solid)" in page.text
    assert "prediction (dashed)" in page.text


def test_attention_says_how_well_each_branch_follows_the_target(page):
    words = " ".join(page.text.split())
    assert re.search(r"vertical r = 0\.9\d · horizontal r = -0\.9\d", words)


def test_training_curves_stand_for_every_fold(page):
    labels = [str(a.get("aria-label")) for tag, a in page.tags if tag == "svg"]
    assert {"Fold 0", "Fold 1"} <= set(labels)
    assert sum(label.endswith("%") and "best" in label for label in labels) == 2


def test_run_facts_name_hardware_versions_seeds_and_hashes(page):
    words = " ".join(page.text.split())
    for fact in (
        "processor A & B <fast>", "torch 2.10.0", "training 7, folds 0", "beef" * 16, "61 s",
        "c0ffee" * 10, "5 March 2026, 14:02 UTC", "one image has no mask",
    ):  # fmt: skip
        assert fact in words


def test_the_configuration_stands_there_to_the_letter(finished, page):
    assert (finished / "config.yaml").read_text(encoding="utf-8").rstrip() in page.text


def test_few_subjects_are_warned_of_but_not_folds_by_person(page):
    assert "Only 6 subjects" in page.text
    assert "Folds are by slice" not in page.text


# --- names, warnings, what is missing ------------------------------------------------------------


def test_names_from_data_are_escaped(tmp_path):
    names = [f"<b>&'{number}" for number in range(6)]
    run = write_run(tmp_path, names)
    html = write_report(run).read_text(encoding="utf-8")
    assert "<b>" not in html
    assert "&lt;b&gt;&amp;&#x27;0" in html
    assert "<b>&'0" in Page(html).text


def test_groups_that_are_no_persons_are_warned_of(tmp_path):
    run = write_run(tmp_path, PEOPLE, **BY_PERSON, subject_is="group")
    assert warned(run)[0].startswith("Folds are by group, not by person (rule: ")
    assert any(text.startswith("Only 6 groups") for text in warned(run))


def test_files_without_subjects_are_warned_of(tmp_path):
    run = write_run(tmp_path, [f"slice_{number}" for number in range(6)])
    assert warned(run)[0].startswith("Folds are by slice: every case counts as a subject")


def test_a_fold_that_was_not_run_is_named_and_the_rest_is_scored(tmp_path):
    run = write_run(tmp_path, PEOPLE, tested=1, **BY_PERSON)
    with (run / "fold_0" / "metrics.csv").open(newline="") as file:
        known = [float(line["dice"]) for line in csv.DictReader(file) if line["dice"]]
    words = visible(run)
    assert "Fold 1 has not been run." in words
    assert "There is no summary.json" in words
    assert f"{100 * sum(known) / len(known):.1f}% Dice" in words
    assert "Folds tested1 of 2" in words


def test_a_run_without_any_score_still_gives_its_curves(tmp_path):
    run = write_run(tmp_path, PEOPLE, tested=0, **BY_PERSON)
    (run / "fold_0").mkdir()
    write_log(run / "fold_0" / "log.csv")
    words = visible(run)
    assert "No fold has been tested yet." in words
    assert "Fold 0 has been trained, at least in part, but not tested." in words
    assert "Fold 0: best" in words


def test_a_bare_config_gives_a_page_that_says_what_is_missing(tmp_path):
    run = write_run(tmp_path, PEOPLE, tested=0, **BY_PERSON)
    (run / "manifest.json").unlink()
    (run / "splits.json").unlink()
    words = visible(run)
    assert "There is no manifest.json" in words
    assert "There is no splits.json" in words


def test_source_images_that_are_gone_leave_the_scores(tmp_path):
    run = write_run(tmp_path, PEOPLE, **BY_PERSON)
    shutil.rmtree(tmp_path / "data")
    words = visible(run)
    assert "No pictures here: The source images were not found." in words
    assert "% Dice" in words


def test_one_missing_prediction_costs_one_picture(tmp_path):
    run = write_run(tmp_path, PEOPLE, **BY_PERSON)
    for path in (run / "fold_0" / "predictions").glob("*.png"):
        path.unlink()
    html = write_report(run).read_text(encoding="utf-8")
    assert "There is no prediction of this case" in html
    assert 'aria-label="Slice of' in html  # those of fold 1


def test_a_summary_older_than_a_fold_is_said(tmp_path):
    run = write_run(tmp_path, PEOPLE, **BY_PERSON)
    summary = read_json(run / "summary.json")
    write_json(run / "summary.json", summary | {"folds": summary["folds"][:1]})
    assert "summary.json is older than the scores of fold 1." in warned(run)


def test_a_training_that_saw_only_background_is_an_alarm(tmp_path):
    run = write_run(tmp_path, PEOPLE, **BY_PERSON)
    write_log(run / "fold_0" / "log.csv", blind=3)
    write_log(run / "fold_1" / "log.csv", epochs=8, blind=9)
    first, second = warned(run)[-2:]
    assert first == (
        "Fold 0: 3 validations in a row (epochs 0 to 4) found no foreground at all; later ones did."
    )
    assert "Fold 1: 4 validations in a row (epochs 0 to 6)" in second
    assert second.endswith("the training ended like this.")


def test_a_short_blind_start_is_no_alarm(tmp_path):
    run = write_run(tmp_path, PEOPLE, **BY_PERSON)
    write_log(run / "fold_0" / "log.csv", blind=2)
    assert not any("foreground" in text for text in warned(run))


def empty_predictions(path: Path, name: str) -> None:
    """Change metrics.csv as if this class had never been predicted."""
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        for line in lines:
            if line["class"] == name:  # what was found is missed now
                line |= {"tp": "0", "fp": "0", "fn": str(int(line["tp"]) + int(line["fn"]))}
            writer.writerow(line)


def test_a_fold_that_predicts_nothing_is_an_alarm(tmp_path):
    run = write_run(tmp_path, PEOPLE, **BY_PERSON)
    empty_predictions(run / "fold_1" / "metrics.csv", "lesion")
    assert "Fold 1 predicts background only, in every test image." in warned(run)


def test_a_class_that_a_fold_never_predicts_is_an_alarm(tmp_path):
    run = write_run(tmp_path, PEOPLE, label_map={"a": [1], "b": [1]}, **BY_PERSON)
    empty_predictions(run / "fold_0" / "metrics.csv", "b")
    assert "Fold 0 never predicts b, in any test image." in warned(run)


def test_a_class_that_no_target_holds_is_warned_of(tmp_path):
    labels = {"label_map": {"lesion": [1], "cyst": [2]}}
    run = write_run(tmp_path, PEOPLE, **labels, **BY_PERSON)
    assert any(text.startswith("No test image has a target of class cyst") for text in warned(run))


def test_attention_files_cannot_run_code(tmp_path):
    run = write_run(tmp_path, PEOPLE, **BY_PERSON)
    for path in run.glob("fold_*/attention/*.npz"):
        np.savez(path, image=np.array([print], dtype=object), mask=np.zeros(1))
    assert "This run stored no attention maps" in visible(run)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no config\.yaml"):
        write_report(tmp_path)


def test_damaged_scores_are_refused_by_name(tmp_path):
    run = write_run(tmp_path, PEOPLE, **BY_PERSON)
    path = run / "fold_1" / "metrics.csv"
    path.write_text(path.read_text().replace("lesion", "lesion,", 1))
    with pytest.raises(DataError, match=r"fold_1/metrics\.csv is damaged"):
        write_report(run)
    assert not (run / "report.html").exists()


def test_two_classes_have_an_average_and_a_chart_each(tmp_path):
    write_data(tmp_path / "data", PEOPLE)
    for path in (tmp_path / "data" / "masks").glob("*.png"):
        codes = np.asarray(Image.open(path)).copy()
        codes[:48] *= 2  # the upper half of each disc
        Image.fromarray(codes).save(path)
    masks = {path.name: path.read_bytes() for path in (tmp_path / "data" / "masks").glob("*")}
    labels = {"label_map": {"all": [1, 2], "upper": [2]}}

    def keep_masks(root: Path, names: list[str]) -> None:
        for name, content in masks.items():
            (root / "masks" / name).write_bytes(content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{__name__}.write_data", keep_masks)
        run = write_run(tmp_path, PEOPLE, **labels, **BY_PERSON)
    html = write_report(run).read_text(encoding="utf-8")
    words = " ".join(Page(html).text.split())
    assert "Mean of the classes’ means" in words
    assert "Folds of upper" in words
    assert "thickest to thinnest line: all, upper" in words
    assert 'id="size1-figure_1"' in html


# --- which cases are shown -----------------------------------------------------------------------


def row(case: str, dice: float, subject: str = "", area: int = 10, place: int = 0) -> Row:
    state = "both_empty" if np.isnan(dice) else "ok"
    return Row(case, subject or case, 0, place, "x", area, 0, 0, 100 - area, state, {"dice": dice})


def chosen(rows: list[Row], each: int = 1) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {"worst": [], "middle": [], "best": []}
    for one in pick_cases(rows, "dice", each):
        groups[one.group].append(one.rows[0].case)
    return groups


def test_worst_middle_and_best_are_picked_by_score():
    rows = [
        row(name, score) for name, score in zip("abcde", (0.5, 0.1, 0.9, 0.6, 0.4), strict=True)
    ]
    assert chosen(rows) == {"worst": ["b"], "middle": ["a"], "best": ["c"]}


def test_of_equal_scores_the_larger_target_is_shown():
    rows = [row("small", 0.0, area=1), row("large", 0.0, area=9), row("good", 0.9)]
    assert chosen(rows)["worst"] == ["large"]


def test_pictures_are_of_different_subjects_where_there_are_enough():
    rows = [row(f"a{i}", 0.1 + i / 100, "anna") for i in range(5)]
    rows += [row(f"b{i}", 0.5 + i / 100, "bert") for i in range(5)]
    assert chosen(rows, each=2)["worst"] == ["a0", "b0"]


def test_no_slice_is_shown_twice_and_empty_pairs_are_never_shown():
    rows = [row(name, 0.5) for name in "abcd"] + [row("empty", float("nan"))]
    shown = [case for cases in chosen(rows, each=3).values() for case in cases]
    assert len(shown) == len(set(shown)) == 3
    assert "empty" not in shown


def test_for_distances_the_worst_is_the_largest():
    rows = [Row(n, n, 0, 0, "x", 1, 0, 0, 9, "ok", {"hd": v}) for n, v in (("a", 9.0), ("b", 1.0))]
    worst = next(one for one in pick_cases(rows, "hd") if one.group == "worst")
    assert worst.rows[0].case == "a"


def test_a_single_slice_is_enough():
    assert chosen([row("only", 0.5)])["worst"] == ["only"]
    assert pick_cases([], "dice") == []


# --- markup --------------------------------------------------------------------------------------


def test_markup_escapes_whatever_is_not_markup_already():
    cell = table("t", ["<h>"], [("", ["<a>"]), ("", [Html("<i>x</i>")])])
    assert "&lt;h&gt;" in cell
    assert "&lt;a&gt;" in cell
    assert "<i>x</i>" in cell
    assert e(e("<")) == "&lt;"
