import shutil

import numpy as np
import pytest
import torch

from crosslinknet.checkpoint import MODEL_FORMAT, read_checkpoint
from crosslinknet.config import Config
from crosslinknet.errors import DataError, UsageError
from crosslinknet.experiments import crossval
from crosslinknet.experiments.semi import apart_from_test, find_unlabelled, label, train_semi
from crosslinknet.files import read_json
from crosslinknet.phantoms import write_phantoms
from crosslinknet.runs import Run, open_run
from crosslinknet.train import Console

from ..train.tiny import (  # noqa: TID252
    PlugPulled,
    PullThePlug,
    Recorder,
    tiny_config,
    weights_of,
)

SHORT = ("train.epochs=1", "semi.group=2", "semi.epochs=1", "semi.lr=0.001")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Eight made-up subjects with masks, and the images of three others."""
    folder = tmp_path_factory.mktemp("sets")
    write_phantoms(folder / "cases", "lung", subjects=8, slices=2, size=(32, 32))
    write_phantoms(folder / "others", "lung", subjects=3, slices=2, size=(32, 32), seed=5)
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config_of(sets, out, *settings: str) -> Config:
    unlabelled = f"semi.unlabelled={sets / 'others' / 'images'}"
    return tiny_config(sets / "cases", out, unlabelled, *SHORT, *settings)


def train(config: Config, console: Console | None = None, resume: bool = False) -> Run:
    """Fold 0 of a run."""
    run = open_run(config, resume)
    train_semi(run, 0, find_unlabelled(run), resume, console or Console())
    return run


@pytest.fixture(scope="module")
def trained(sets, tmp_path_factory) -> Run:
    return train(config_of(sets, tmp_path_factory.mktemp("trained")))


def test_images_get_labels_in_groups_and_the_stages_follow_each_other(trained):
    place = trained.fold_folder(0) / "semi"
    assert sorted(path.name for path in (place / "maps").iterdir()) == sorted(
        f"unlabelled.{path.stem}.npy" for path in trained.config.semi.unlabelled.iterdir()
    )
    groups = read_json(place / "groups.json")["images"]
    assert [len(group) for group in groups] == [2, 2, 2]
    assert {p.name for p in place.iterdir() if p.is_dir()} == {
        "labelled", "group-003", "pool", "maps",
    }  # fmt: skip
    facts = read_json(trained.fold_folder(0) / "fold.json")["unlabelled"]
    assert (facts["images"], facts["left_out"]) == (6, 0)
    assert list(facts["stages"]) == ["labelled", "group-001", "group-002", "group-003", "pool"]
    assert all(stage["seconds"] > 0 for stage in facts["stages"].values())
    picture = (place / "maps.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


def steps(run_folder) -> int:
    return read_json(run_folder / "fold_0" / "fold.json")["steps"]


def test_each_stage_sees_the_cases_and_the_images_labelled_so_far(trained):
    place = trained.fold_folder(0) / "semi"
    cases = len(trained.splits.folds[0].train)
    assert steps(place / "labelled") == cases // 2  # one epoch, batches of 2
    assert steps(place / "group-003") == (cases + 6) // 2
    assert steps(place / "pool") == (cases + 6) // 2
    assert steps(trained.folder) == cases // 2


def test_the_labels_are_what_the_network_before_them_thought(trained):
    """The first group by hand: its network is the one trained on the cases alone."""
    place, config = trained.fold_folder(0) / "semi", trained.config
    model = place / "labelled" / "fold_0" / "checkpoints" / "model.safetensors"
    order = np.random.default_rng((config.train.seed, 4, 0)).permutation(6)
    case = find_unlabelled(trained)[order[0]]
    from crosslinknet.predict import load

    with torch.inference_mode():
        logits = load(model).models[0](torch.from_numpy(np.array(case.image)))
    expected = (255 * logits.sigmoid()).round().numpy()
    kept = np.load(place / "maps" / f"{case.files.id}.npy")
    assert kept.dtype == np.uint8
    assert kept.shape == (1, 2, 32, 32)
    assert np.abs(kept - expected).max() <= 1  # rounding


def test_masks_can_be_learnt_in_place_of_probabilities(trained, tmp_path, sets):
    run = open_run(config_of(sets, tmp_path, "semi.binarise=true", "predict.threshold=0.45"))
    model = trained.fold_folder(0) / "checkpoints" / "model.safetensors"
    (hard,) = label(find_unlabelled(run)[:1], model, run, tmp_path / "hard")
    (soft,) = label(find_unlabelled(trained)[:1], model, trained, tmp_path / "soft")
    assert set(np.unique(hard.labels)) <= {0, 255}
    sure = np.abs(soft.labels / 255 - 0.45) > 1 / 255
    assert ((hard.labels == 255) == (soft.labels / 255 > 0.45))[sure].all()


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "batches", [pytest.param(n, marks=() if n in (4, 15) else slow) for n in range(1, 23)]
)
def test_it_goes_on_to_the_same_bits_from_any_place(trained, sets, tmp_path, batches):
    config = config_of(sets, tmp_path)
    with pytest.raises(PlugPulled):
        train(config, PullThePlug(batches))
    run = train(config, resume=True)
    one, other = (weights_of(each.fold_folder(0)) for each in (trained, run))
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    for path in (trained.fold_folder(0) / "semi" / "maps").iterdir():
        assert (run.fold_folder(0) / "semi" / "maps" / path.name).read_bytes() == path.read_bytes()


def test_a_fold_that_was_begun_is_not_begun_again_unasked(sets, tmp_path):
    with pytest.raises(PlugPulled):
        train(config_of(sets, tmp_path), PullThePlug(2))
    run = open_run(config_of(sets, tmp_path), resume=True)
    with pytest.raises(UsageError, match=r"semi exists: fold 0 was begun\. Continue it with"):
        train_semi(run, 0, find_unlabelled(run), False, Console())


def test_other_images_than_at_the_start_are_refused(sets, tmp_path):
    others = tmp_path / "others"
    shutil.copytree(sets / "others" / "images", others)
    config = config_of(sets, tmp_path, f"semi.unlabelled={others}")
    with pytest.raises(PlugPulled):
        train(config, PullThePlug(2))
    min(others.iterdir()).unlink()
    with pytest.raises(DataError, match=r"the images of semi\.unlabelled changed since"):
        train(config, resume=True)


def test_an_image_that_a_fold_tests_is_left_out_of_that_fold(sets, tmp_path):
    run = open_run(config_of(sets, tmp_path))
    others = tmp_path / "others"
    shutil.copytree(sets / "others" / "images", others)
    tested, learnt = run.splits.folds[0].test[0], run.splits.folds[0].train[0]
    for name in (tested, learnt):
        shutil.copy(run.cases((name,))[0].images[0], others / f"copy-of-{name}.png")
    run = open_run(config_of(sets, tmp_path, f"semi.unlabelled={others}", "output.name=other"))
    told = Recorder()
    usable = apart_from_test(run, 0, find_unlabelled(run), told)
    names = {case.files.id for case in usable}
    assert f"unlabelled.copy-of-{tested}" not in names
    assert f"unlabelled.copy-of-{learnt}" in names
    assert "of 8 images without masks look like cases that this fold tests" in told.warned[0]


def test_images_that_are_all_tested_are_refused(sets, tmp_path):
    run = open_run(config_of(sets, tmp_path))
    others = tmp_path / "others"
    others.mkdir()
    source = run.cases(run.splits.folds[0].test[:1])[0].images[0]
    shutil.copy(source, others / "a.png")
    run = open_run(config_of(sets, tmp_path, f"semi.unlabelled={others}", "output.name=other"))
    with pytest.raises(DataError, match=r"every image of semi\.unlabelled, .* looks like a case"):
        apart_from_test(run, 0, find_unlabelled(run), Console())


def test_a_run_with_images_without_masks_ends_in_a_report(sets, tmp_path):
    config = config_of(sets, tmp_path, "split.validation=0")
    report = crossval.run(config)
    assert report.is_file()
    assert read_json(report.parent / "manifest.json")["folds"].keys() == {"0", "1"}
    sheet = (report.parent / "reporting.md").read_text(encoding="utf-8")
    assert "6 to 6 images without masks in a fold, labelled by the network itself, 2 at" in sheet
    _, info = read_checkpoint(
        report.parent / "fold_1" / "checkpoints" / "model.safetensors", MODEL_FORMAT
    )
    assert info["config"]["semi"]["unlabelled"] is None  # no path of this machine


def test_a_folder_without_images_is_found_before_anything_is_trained(sets, tmp_path):
    (tmp_path / "empty").mkdir()
    config = config_of(sets, tmp_path, f"semi.unlabelled={tmp_path / 'empty'}")
    with pytest.raises(DataError, match="matches no image that can be read"):
        crossval.run(config)
    assert not config.run.exists()
