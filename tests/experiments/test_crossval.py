"""Cross-validation: what a run leaves behind, what is refused before it, what is not done twice."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crosslinknet.checkpoint import MODEL_FORMAT, read_checkpoint, tensors_hash
from crosslinknet.config import Config, load_config, override, parse_config, to_dict, to_yaml
from crosslinknet.errors import DataError, SystemProblem, UsageError
from crosslinknet.experiments import crossval
from crosslinknet.experiments.crossval import run, run_fold
from crosslinknet.phantoms import write_phantoms
from crosslinknet.runs import plan_run
from crosslinknet.splits import read_splits
from crosslinknet.train import Console


class Listener(Console):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps = 0

    def say(self, text: str) -> None:
        self.said.append(text)

    def step(self, progress: Any, steps: int, total: int, loss: float) -> None:
        self.steps += 1

    @property
    def text(self) -> str:
        return "\n".join(self.said)


@pytest.fixture(autouse=True)
def quick_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report takes seconds and has tests of its own; ``finished_run`` has a real one."""

    def write(folder: Path) -> Path:
        (folder / "report.html").write_text("<!doctype html>")
        return folder / "report.html"

    monkeypatch.setattr(crossval, "write_report", write)


@pytest.fixture
def begun(finished_run: Path, tmp_path: Path) -> Config:
    """The config of a finished run in this test's own folder."""
    shutil.copytree(finished_run / "runs", tmp_path / "runs")
    config = load_config(finished_run / "exp.yaml")
    return config.model_copy(
        update={"output": config.output.model_copy(update={"dir": tmp_path / "runs"})}
    )


def tiny(data: Path, out: Path, *settings: str) -> Config:
    content = {
        "data": {"root": str(data), "label_map": {"glass": [1], "solid": [2]}},
        "image": {"size": [32, 32]},
        "split": {"folds": 2, "validation": 0},
        "model": {"name": "unet5", "options": {"widths": [4, 4, 8, 8, 16]}},
        "loss": {"attention": 0, "dice": 0.6},
        "train": {"epochs": 1, "precision": "32", "threads": 1, "accelerator": "cpu"},
        "evaluate": {"bootstrap": 10},
        "output": {"dir": str(out), "name": "tiny"},
    }
    return parse_config(override(content, settings))


def changed(config: Config, *settings: str) -> Config:
    return parse_config(override(to_dict(config), settings))


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def times(folder: Path, pattern: str) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob(pattern))}


def test_a_run_leaves_every_file_that_the_documentation_names(finished_run: Path):
    folder = finished_run / "runs" / "exp"
    top = {"config.yaml", "manifest.json", "splits.json", "summary.json", "report.html"}
    top |= {"reporting.md"}
    assert {path.name for path in folder.iterdir()} == top | {"fold_0", "fold_1"}
    splits = read_splits(folder / "splits.json")
    for fold, split in enumerate(splits.folds):
        part = folder / f"fold_{fold}"
        assert {path.name for path in part.iterdir()} == {
            *(
                "checkpoints",
                "predictions",
                "attention",
                "fold.json",
                "log.csv",
                "metrics.csv",
                "fold.json",
            ),
        }
        checkpoints = {path.name for path in (part / "checkpoints").iterdir()}
        assert checkpoints == {"last.safetensors", "model.safetensors"}
        assert {p.name for p in (part / "predictions").iterdir()} == {
            f"{case}.png" for case in split.test
        }
        with (part / "log.csv").open() as file:
            (row,) = csv.DictReader(file)
        assert {"epoch", "step", "lr", "loss", "bce", "dice", "attention", "seconds"} <= set(row)
        with (part / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert {row["case"] for row in rows} == set(split.test)
        assert {row["fold"] for row in rows} == {str(fold)}
        assert len(rows) == 2 * len(split.test)  # classes x cases


def test_every_case_is_predicted_once_on_its_own_grid_with_its_own_values(finished_run: Path):
    masks = {p.name: p for p in (finished_run / "data" / "masks").iterdir()}
    predictions = list((finished_run / "runs" / "exp").glob("fold_*/predictions/*.png"))
    assert sorted(path.name for path in predictions) == sorted(masks)
    for path in predictions:
        pred, target = (np.asarray(Image.open(p)) for p in (path, masks[path.name]))
        assert pred.shape == target.shape == (48, 40)
        assert set(np.unique(pred)) <= {0, 1, 2}


def test_the_manifest_says_what_when_where_and_with_which_weights(finished_run: Path):
    folder = finished_run / "runs" / "exp"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["data"]["cases"] == 8
    assert manifest["data"]["subjects"] == 4
    assert manifest["seed"] == 0
    assert manifest["splits_hash"] == read_splits(folder / "splits.json").hash
    assert {"python", "torch", "crosslinknet"} <= set(manifest["versions"])
    assert manifest["hardware"]["cores"] >= 1
    for fold in ("0", "1"):
        weights = folder / f"fold_{fold}" / "checkpoints" / "model.safetensors"
        tensors, _ = read_checkpoint(weights, MODEL_FORMAT)
        assert manifest["folds"][fold]["weights_sha256"] == tensors_hash(tensors)
        assert manifest["folds"][fold]["epochs"] == 1


def test_the_config_of_a_run_is_the_resolved_one(finished_run: Path):
    stored = load_config(finished_run / "runs" / "exp" / "config.yaml")
    assert stored == load_config(finished_run / "exp.yaml")


def test_the_summary_covers_all_cases_and_both_folds(finished_run: Path):
    summary = json.loads((finished_run / "runs" / "exp" / "summary.json").read_text())
    assert summary["classes"] == ["glass", "solid"]
    assert summary["interval"]["subjects"] == 4
    assert summary["levels"]["image"]["glass"]["counts"]["n"] == 8
    assert [(fold["fold"], fold["cases"]) for fold in summary["folds"]] == [(0, 4), (1, 4)]
    report = (finished_run / "runs" / "exp" / "report.html").read_text()
    assert report.lstrip().lower().startswith("<!doctype html")


def test_attention_maps_are_kept_for_the_report(finished_run: Path):
    for path in (finished_run / "runs" / "exp").glob("fold_*/attention/*.npz"):
        with np.load(path, allow_pickle=False) as maps:
            assert maps["image"].shape == maps["mask"].shape == (32, 32)
            assert maps["vertical"].shape == maps["horizontal"].shape
            assert 0 <= maps["vertical"].min() <= maps["vertical"].max() <= 1


def test_a_finished_run_is_not_computed_again(begun: Config):
    before = times(begun.run, "fold_*/checkpoints/*") | times(begun.run, "fold_*/predictions/*")
    (begun.run / "summary.json").unlink()
    (begun.run / "report.html").unlink()
    listener = Listener()
    report = run(begun, resume=True, console=listener)
    assert report.exists()
    assert (begun.run / "summary.json").exists()
    assert listener.steps == 0
    assert "segmenting" not in listener.text
    after = times(begun.run, "fold_*/checkpoints/*") | times(begun.run, "fold_*/predictions/*")
    assert before == after


def test_a_run_is_never_begun_twice_by_accident(begun: Config):
    with pytest.raises(UsageError, match=r"holds a run already.*--resume"):
        run(begun)


def test_only_missing_predictions_are_made_when_a_run_goes_on(begun: Config):
    folder = begun.run / "fold_0" / "predictions"
    first, *others = sorted(folder.iterdir())
    content = first.read_bytes()
    first.unlink()
    kept = times(folder, "*")
    listener = Listener()
    run(begun, resume=True, console=listener)
    assert "fold 0: segmenting 1 test cases" in listener.said
    assert "fold 1: segmenting" not in listener.text
    assert first.read_bytes() == content
    assert {name: time for name, time in times(folder, "*").items() if name != first.name} == kept
    assert len(kept) == len(others)


def test_masks_of_other_weights_are_made_again(begun: Config):
    folder = begun.run / "fold_0"
    masks = sorted((folder / "predictions").iterdir())
    right = [path.read_bytes() for path in masks]
    for path in masks:  # as if an earlier training of this fold had made them
        Image.fromarray(np.eye(48, 40, dtype=np.uint8)).save(path)
    run(begun, resume=True)
    assert [path.read_bytes() for path in masks] != right  # nothing says that they are old
    facts = json.loads((folder / "fold.json").read_text())
    (folder / "fold.json").write_text(json.dumps(facts | {"predictions_from": "yesterday"}))
    run(begun, resume=True)
    assert [path.read_bytes() for path in masks] == right


def test_a_case_whose_name_has_dots_is_found_again(tmp_path: Path):
    write_phantoms(tmp_path / "plain", "lung", subjects=2, slices=2, size=(32, 32))
    for path in (tmp_path / "plain").rglob("*.png"):
        name = path.stem.replace("_slice_0", ".v1.") + path.suffix  # subject_000.v1.1.png
        target = tmp_path / "data" / path.parent.name / name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    config = tiny(tmp_path / "data", tmp_path / "runs", r"data.subject='^(\w+)\.'")
    run(config)
    names = {path.name for path in config.run.glob("fold_*/predictions/*")}
    assert names == {f"subject_00{s}.v1.{i}.png" for s in (0, 1) for i in (0, 1)}
    listener = Listener()
    run(config, resume=True, console=listener)
    assert "segmenting" not in listener.text


def test_one_fold_alone_is_scored_and_the_other_joins_later(finished_run: Path, tmp_path: Path):
    config = tiny(finished_run / "data", tmp_path, r"data.subject=(subject_\d+)")
    run_fold(config, 1)
    summary = json.loads((config.run / "summary.json").read_text())
    assert [fold["fold"] for fold in summary["folds"]] == [1]
    half = config.run / "fold_0" / "predictions" / "subject_000_slice_00.png"
    half.parent.mkdir(parents=True)  # another process is at work on fold 0
    shutil.copy(finished_run / "data" / "masks" / half.name, half)
    with pytest.raises(UsageError, match=r"fold 1 of .*--resume"):
        run_fold(config, 1)
    run_fold(config, 1, resume=True)
    summary = json.loads((config.run / "summary.json").read_text())
    assert [fold["fold"] for fold in summary["folds"]] == [1]
    run_fold(config, 0)
    summary = json.loads((config.run / "summary.json").read_text())
    assert [fold["fold"] for fold in summary["folds"]] == [0, 1]


def test_new_metrics_are_scored_and_written_into_the_config_without_a_new_training(begun: Config):
    config = changed(begun, "evaluate.metrics=[dice]", "evaluate.or_ur_norm=union")
    listener = Listener()
    run(config, resume=True, console=listener)
    assert listener.steps == 0
    assert load_config(begun.run / "config.yaml").evaluate.metrics == ["dice"]
    with (begun.run / "fold_0" / "metrics.csv").open() as file:
        assert "iou" not in next(csv.DictReader(file))


def test_a_run_goes_on_with_its_own_config_only(begun: Config):
    with pytest.raises(UsageError, match=r"train\.lr \(0\.001 there, 0\.5 here\)"):
        run(changed(begun, "train.lr=0.5"), resume=True)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("evaluate.metrics=[dise]", "dise"),
        ("evaluate.levels=[]", "evaluate.levels is empty"),
        ("data.label_map={average: [1], b: [2]}", "called 'average'"),
        ("model.name=unet6", "did you mean 'unet'"),
        ("model.options={width: [4]}", "width is unknown; did you mean 'widths'"),
        ("split.file=nowhere.json", "nowhere.json"),
        ("data.masks=nowhere", "nowhere"),
        ("data.label_map={glass: [1]}", "data.label_map does not name"),
        ("split.folds=9", "split.folds is 9"),
        ("image.channels=2", "the number of channels is 1 in the image, 2 in image.channels"),
        ("train.precision=16", "train.precision=16 needs a GPU"),
        ("train.devices=99", "training slices cannot be shared by 99 processes"),
        ("model.weights=nowhere.safetensors", "nowhere.safetensors"),
        ("model.weights=nowhere.pth", "nowhere.pth"),
        ("model.options={widths: 3}", "widths 3 must be five even numbers"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_trained_or_written(
    finished_run: Path, tmp_path: Path, setting: str, said: str
):
    config = tiny(finished_run / "data", tmp_path, setting)
    with pytest.raises((UsageError, DataError)) as caught:
        run(config, console=Listener())
    assert said in str(caught.value)
    assert not config.run.exists()


def test_a_device_that_is_not_there_is_refused_before_a_folder_is_made(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = tiny(finished_run / "data", tmp_path, "train.accelerator=cuda")
    with pytest.raises(SystemProblem, match="cuda"):
        run(config)
    assert not config.run.exists()


def test_a_fold_whose_training_masks_are_empty_is_found_before_the_first_fold_trains(
    tmp_path: Path,
):
    for number in range(4):
        save(tmp_path / "images" / f"{number}.png", np.full((32, 32), 99, np.uint8))
        mask = np.full((32, 32), number in (0, 1), np.uint8)
        save(tmp_path / "masks" / f"{number}.png", mask)
    rows = "".join(f"images/{n}.png,masks/{n}.png,{fold}\n" for n, fold in enumerate((0, 0, 1, 1)))
    (tmp_path / "set.csv").write_text("image,mask,fold\n" + rows)
    content = to_dict(tiny(tmp_path, tmp_path / "out", "data.images=set.csv"))
    content["data"]["label_map"] = {"glass": [1]}
    config = parse_config(content)
    with pytest.raises(DataError, match="are empty, so there is nothing to learn"):
        run(config)
    assert not config.run.exists()


def test_a_run_of_groups_says_that_its_folds_are_not_by_person(finished_run: Path, tmp_path: Path):
    settings = (r"data.subject=(subject_\d+)", "data.subject_is=group")
    listener = Listener()
    config = tiny(finished_run / "data", tmp_path, *settings)
    crossval.announce(plan_run(config), listener)
    assert re.search(r"\d+ cases of \d+ groups", listener.text)
    assert "folds are not by person" in listener.text


@pytest.mark.parametrize("fold", [-1, 2])
def test_a_fold_that_does_not_exist_is_refused(finished_run: Path, tmp_path: Path, fold: int):
    config = tiny(finished_run / "data", tmp_path)
    with pytest.raises(UsageError, match=f"fold {fold} does not exist; this run has folds 0 to 1"):
        run_fold(config, fold)
    assert not config.run.exists()


def test_softmax_is_refused_where_classes_share_mask_values(finished_run: Path, tmp_path: Path):
    config = tiny(
        finished_run / "data",
        tmp_path,
        "loss.classes=softmax",
        "data.label_map={all: [1, 2], solid: [2]}",
    )
    with pytest.raises(UsageError, match=r"mask value 2 belongs to all and solid.*sigmoid"):
        run(config)
    assert not config.run.exists()


def test_a_damaged_test_image_is_found_before_hours_of_training(finished_run: Path, tmp_path: Path):
    shutil.copytree(finished_run / "data", tmp_path / "data")
    config = tiny(tmp_path / "data", tmp_path / "runs", r"data.subject=(subject_\d+)")
    test = crossval.plan_run(config).splits.folds[0].test
    image = tmp_path / "data" / "images" / f"{test[-1]}.png"
    image.write_bytes(image.read_bytes()[:200])
    listener = Listener()
    with pytest.raises(DataError, match=image.name):
        run_fold(config, 0, console=listener)
    assert listener.steps == 0
    assert not config.run.exists()


def test_what_was_found_is_told_before_the_training(finished_run: Path, tmp_path: Path):
    listener = Listener()
    config = tiny(finished_run / "data", tmp_path, "train.lr=0.25")
    run_fold(config, 0, console=listener)
    assert "8 cases of 8 subjects (file name" in listener.said[0]
    assert "layout folders; 2 folds" in listener.said[0]
    assert "Every case counts as a subject of its own" in listener.text
    assert "recipe practical, but epochs 1 (the recipe: " in listener.text
    assert "lr 0.25 (the recipe: 0.001)" in listener.text
    assert "GiB of memory" in listener.text


@pytest.mark.parametrize("classes", ["sigmoid", "softmax"])
def test_two_classes_are_learned_with_sigmoid_and_softmax(tmp_path: Path, classes: str):
    rng = np.random.default_rng(0)
    for index in range(24):
        image = rng.integers(0, 40, (32, 32), dtype=np.uint8)
        mask = np.zeros((32, 32), np.uint8)
        row, column = rng.integers(1, 5, 2)
        for value, (top, bottom, light) in enumerate([(0, 10, 100), (14, 25, 210)], start=1):
            box = slice(row + top, row + bottom), slice(column, column + 24)
            image[box] += np.uint8(light)
            mask[box] = value
        save(tmp_path / "images" / f"{index}.png", image)
        save(tmp_path / "masks" / f"{index}.png", mask)
    config = tiny(
        tmp_path,
        tmp_path / "runs",
        f"loss.classes={classes}",
        "train.epochs=20",
        "train.batch_size=4",
        "train.lr=0.03",
        "augment.preset=none",
        "evaluate.metrics=[dice]",
    )
    run_fold(config, 0)
    summary = json.loads((config.run / "summary.json").read_text())
    for name in ("glass", "solid"):
        assert summary["levels"]["pooled"][name]["metrics"]["dice"]["mean"] > 0.8


def test_a_config_file_written_by_hand_is_enough(finished_run: Path, tmp_path: Path):
    path = tmp_path / "exp.yaml"
    path.write_text(to_yaml(tiny(finished_run / "data", tmp_path), comments=False))
    config = load_config(path, ("output.name=by-hand",))
    assert crossval.begin(config, 0, False, Listener()).folder == tmp_path / "by-hand"


def test_a_finished_fold_is_never_trained_again(finished_run: Path, tmp_path: Path):
    shutil.copytree(finished_run / "runs" / "exp", tmp_path / "exp")
    checkpoints = tmp_path / "exp" / "fold_0" / "checkpoints"
    (checkpoints / "last.safetensors").unlink()  # may be deleted when the run is done
    before = (checkpoints / "model.safetensors").stat().st_mtime_ns
    config = load_config(finished_run / "exp.yaml", (f"output.dir={tmp_path}",))
    run_fold(config, 0, resume=True)
    assert (checkpoints / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="is trained already"):
        run_fold(config, 0)
