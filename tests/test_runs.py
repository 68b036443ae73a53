import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosslinknet import __version__
from crosslinknet.config import Config, load_config, override, parse_config, to_dict
from crosslinknet.errors import DataError, UsageError
from crosslinknet.files import read_json
from crosslinknet.runs import FREE, Run, hardware, open_run, plan_run, record_fold, versions
from crosslinknet.splits import read_splits

NAMES = [f"anna_{i}" for i in range(3)] + [f"bert_{i}" for i in range(2)] + ["carl_0", "dora_0"]


@pytest.fixture
def data(make_pairs) -> Path:
    return make_pairs(NAMES)


@pytest.fixture
def config(data, tmp_path):
    def make(*settings: str) -> Config:
        content = {
            "data": {"root": str(data), "subject": "([a-z]+)_"},
            "image": {"size": [32, 32]},
            "split": {"folds": 2, "validation": 0.4},
            "output": {"dir": str(tmp_path / "runs"), "name": "one"},
        }
        return parse_config(override(content, settings))

    return make


def files_of(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


# What is fixed before the first step.


def test_a_run_begins_with_config_folds_and_manifest(config):
    run = open_run(config())
    assert run.folder == config().output.dir / "one"
    assert files_of(run.folder) == ["config.yaml", "manifest.json", "splits.json"]
    assert load_config(run.folder / "config.yaml") == config()
    assert read_splits(run.folder / "splits.json") == run.splits
    assert run.fold_folder(1) == run.folder / "fold_1"


def test_a_plan_writes_nothing_but_the_cache(config):
    run = plan_run(config())
    assert len(run.splits.folds) == 2
    assert [path.name for path in config().output.dir.iterdir()] == [".cache"]


def test_the_manifest_says_what_where_and_with_what(config):
    manifest = read_json(open_run(config()).folder / "manifest.json")
    assert list(manifest) == [
        "created", "crosslinknet", "commit", "versions", "hardware", "seed", "data", "splits_hash",
        "config_hash", "folds",
    ]  # fmt: skip
    assert manifest["created"].endswith("+00:00")
    assert manifest["crosslinknet"] == __version__
    assert manifest["data"]["cases"] == 7
    assert manifest["data"]["subjects"] == 4
    assert manifest["data"]["layout"] == "folders"
    assert "([a-z]+)_" in manifest["data"]["subject_rule"]
    assert manifest["folds"] == {}
    assert len(manifest["splits_hash"]) == len(manifest["config_hash"]) == 64


def test_hashes_follow_their_content(config):
    def hashes(*settings):
        manifest = read_json(open_run(config(*settings)).folder / "manifest.json")
        return manifest["data"]["hash"], manifest["splits_hash"], manifest["config_hash"]

    one, other = hashes(), hashes("output.name=two", "split.seed=3", "train.lr=0.5")
    assert one[0] == other[0]
    assert one[1] != other[1]
    assert one[2] != other[2]


def test_versions_and_hardware_are_those_of_this_machine():
    assert versions()["crosslinknet"] == __version__
    assert {"python", "torch", "numpy", "lightning"} <= versions().keys()
    assert hardware()["cores"] == os.cpu_count()
    assert json.dumps(hardware())


def test_a_package_that_is_missing_is_said_to_be(monkeypatch):
    monkeypatch.setattr("crosslinknet.runs.PACKAGES", ("nonsense-of-ours",))
    assert versions()["nonsense-of-ours"] == "not installed"


def test_facts_of_folds_are_added_one_by_one(config):
    run = open_run(config())
    record_fold(run, 1, {"epochs": 3})
    record_fold(run, 0, {"epochs": 2})
    record_fold(run, 1, {"epochs": 4})
    manifest = read_json(run.folder / "manifest.json")
    assert manifest["folds"] == {"1": {"epochs": 4}, "0": {"epochs": 2}}
    assert manifest["data"]["cases"] == 7


def test_cases_come_in_the_order_asked_for(config):
    run = open_run(config())
    assert [case.id for case in run.cases(("bert_1", "anna_0"))] == ["bert_1", "anna_0"]
    assert [case.files.id for case in run.cached(("carl_0",))] == ["carl_0"]
    assert (config().output.dir / ".cache").is_dir()


# Near-duplicates.


def copy_image(data: Path, source: str, name: str) -> None:
    for folder in ("images", "masks"):
        shutil.copy(data / folder / f"{source}.png", data / folder / f"{name}.png")


def test_subjects_with_the_same_slice_are_kept_together_and_the_plan_says_so(config, data):
    copy_image(data, "bert_1", "carl_1")
    run = plan_run(config())
    assert run.found.notes[-1] == (
        "1 pair of cases looks alike (bert_1 and carl_1); their subjects are kept together"
    )
    assert run.splits.rule.endswith(
        "; 2 subjects with near-duplicates are kept together as one group"
    )
    assert run.splits.subjects == 4
    for fold in run.splits.folds:
        for part in (fold.train, fold.validation, fold.test):
            assert ("bert_1" in part) == ("carl_1" in part) == ("bert_0" in part)
    manifest = read_json(open_run(config()).folder / "manifest.json")
    assert manifest["data"]["notes"] == list(run.found.notes)


def test_who_knows_better_can_divide_near_duplicates(config, data, monkeypatch):
    copy_image(data, "bert_1", "carl_1")
    monkeypatch.setattr("crosslinknet.runs.find_lookalikes", None)  # not even looked for
    rule = plan_run(config("split.duplicates=ignore")).splits.rule
    assert rule.endswith("; near-duplicates were not looked for (split.duplicates: ignore)")


def test_a_run_that_was_begun_before_goes_on_with_its_folds(config, data, monkeypatch):
    """Its config.yaml does not know split.duplicates, and its folds may divide near-duplicates."""
    copy_image(data, "anna_0", "bert_2")
    copy_image(data, "bert_1", "carl_1")
    copy_image(data, "carl_0", "dora_1")
    first = open_run(config("split.duplicates=ignore"))
    text = (first.folder / "config.yaml").read_text()
    lines = [line for line in text.splitlines() if "duplicates" not in line]
    assert len(lines) == len(text.splitlines()) - 1
    (first.folder / "config.yaml").write_text("\n".join(lines))
    monkeypatch.setattr("crosslinknet.runs.find_lookalikes", None)
    assert open_run(config(), resume=True).splits == first.splits


# Continued.


def test_a_run_is_not_begun_twice_by_accident(config):
    open_run(config())
    with pytest.raises(UsageError, match=r"runs/one holds a run already.*--resume.*output\.name"):
        open_run(config())


def test_a_run_that_was_never_begun_can_be_resumed(config):
    assert open_run(config(), resume=True).splits.folds


def same(one: Run, other: Run) -> bool:
    return (one.splits, one.config) == (other.splits, other.config)


def test_a_run_goes_on_with_its_own_folds(config):
    assert same(open_run(config()), open_run(config(), resume=True))


def test_a_run_that_was_killed_before_its_manifest_begins_anew(config):
    first = open_run(config())
    (first.folder / "manifest.json").unlink()
    assert same(open_run(config()), first)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("train.lr=0.5", r"train\.lr \(0\.001 there, 0\.5 here\)"),
        ("image.size=[64, 32]", r"image\.size \(\[32, 32\] there, \[64, 32\] here\)"),
        ("model.options.preset=paper", r"model\.options\.preset \(None there, 'paper' here\)"),
        ("split.seed=5", r"split\.seed \(0 there, 5 here\)"),
        ("train.seed=5", r"train\.seed \(0 there, 5 here\)"),
        ("data.label_map={a: [1]}", r"data\.label_map\.a \(None there, \[1\] here\)"),
    ],
)
def test_another_config_is_refused_and_the_keys_are_named(config, setting, complaint):
    open_run(config())
    with pytest.raises(UsageError, match=complaint) as error:
        open_run(config(setting), resume=True)
    assert "runs/one was begun with another config" in str(error.value)
    assert error.value.exit_code == 2


def test_all_keys_that_differ_are_named_at_once(config):
    open_run(config())
    with pytest.raises(UsageError, match=r"train\.batch_size .*; train\.epochs "):
        open_run(config("train.epochs=3", "train.batch_size=3"), resume=True)


@pytest.mark.parametrize(
    "setting",
    [
        "evaluate.bootstrap=10",
        "predict.flip=true",
        "train.workers=3",
        "train.checkpoint_minutes=0",
    ],
)
def test_what_changes_no_trained_bit_may_change(config, setting):
    open_run(config())
    run = open_run(config(setting), resume=True)
    assert load_config(run.folder / "config.yaml") == config(setting)
    assert any(setting.startswith(key) for key in FREE)


def test_the_manifest_follows_a_config_that_changed(config):
    before = read_json(open_run(config()).folder / "manifest.json")
    run = open_run(config("predict.flip=true"), resume=True)
    after = read_json(run.folder / "manifest.json")
    assert after.pop("config_hash") != before.pop("config_hash")
    assert after == before


def test_data_may_move_but_cases_may_not_vanish(config, data, tmp_path):
    first = open_run(config())
    shutil.move(data / "images", tmp_path / "elsewhere" / "images")
    shutil.move(data / "masks", tmp_path / "elsewhere" / "masks")
    moved = f"data.root={tmp_path / 'elsewhere'}"
    assert open_run(config(moved), resume=True).splits == first.splits
    for part in ("images", "masks"):
        (tmp_path / "elsewhere" / part / "carl_0.png").unlink()
    with pytest.raises(DataError, match=r"runs/one was begun with 1 cases that are gone.*carl_0"):
        open_run(config(moved), resume=True)


def test_cases_that_are_new_are_left_to_the_next_run(config, data, make_pairs):
    first = open_run(config())
    make_pairs([*NAMES, "emil_0"])
    again = open_run(config(), resume=True)
    assert again.splits == first.splits
    assert "emil_0" not in {name for fold in again.splits.folds for name in fold.test}


def test_a_run_goes_on_though_its_config_names_files_relative_to_itself(
    config, tmp_path, monkeypatch
):
    """Paths start at the config file; the copy in the run's folder must mean the same ones."""
    splits = open_run(config("output.name=first")).folder / "splits.json"
    shutil.copy(splits, tmp_path / "given.json")
    (tmp_path / "exp.yaml").write_text(
        "data: {root: ., subject: '([a-z]+)_'}\nsplit: {file: given.json}\n"
        "model: {weights: start.safetensors}\noutput: {dir: runs, name: two}\n"
    )
    monkeypatch.chdir(tmp_path)
    first = open_run(load_config(Path("exp.yaml")))
    again = open_run(load_config(Path("exp.yaml")), resume=True)
    assert same(first, again)
    stored = load_config(first.folder / "config.yaml")
    assert stored.split.file == tmp_path / "given.json"
    assert stored.model.weights == tmp_path / "start.safetensors"
    assert to_dict(stored)["data"]["root"] == str(tmp_path)


def test_damaged_files_of_a_run_are_named(config):
    folder = open_run(config()).folder
    (folder / "splits.json").write_text("{")
    with pytest.raises(DataError, match=r"one/splits\.json is not a readable JSON"):
        open_run(config(), resume=True)


def test_a_run_does_not_go_on_with_other_pixels(config, data):
    open_run(config())
    image = sorted((data / "images").iterdir())[0]
    pixels = np.asarray(Image.open(image))
    Image.fromarray(255 - pixels).save(image)
    with pytest.raises(DataError, match=r"are not those .* was begun with"):
        open_run(config(), resume=True)
