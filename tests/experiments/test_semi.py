import shutil

import numpy as np
import pytest
import torch

from crosslinknet.checkpoint import MODEL_FORMAT, read_checkpoint
from crosslinknet.config import Config, load_config
from crosslinknet.errors import DataError, UsageError
from crosslinknet.experiments import crossval
from crosslinknet.experiments import semi as semi_module
from crosslinknet.experiments.semi import (
    apart_from_test,
    find_unlabelled,
    fix_unlabelled,
    label,
    train_semi,
)
from crosslinknet.files import read_json
from crosslinknet.phantoms import write_phantoms
from crosslinknet.runs import Run, open_run
from crosslinknet.train import Console

from ..train.tiny import (  # noqa: TID252
    PlugPulled,
    PullThePlug,
    Recorder,
    assert_equal_tensors,
    tiny_config,
    weights_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = ("train.epochs=1", "semi.group=2", "semi.epochs=1", "semi.lr=0.001")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Eight made-up subjects with masks, and the images of three others."""
    folder = tmp_path_factory.mktemp("sets")
    write_phantoms(folder / "cases", "lung", subjects=8, slices=2, size=(32, 32))
    write_phantoms(folder / "others", "lung", subjects=3, slices=2, size=(32, 32), seed=5)
    for path in sorted((folder / "others" / "images").iterdir()):  # nobody of the cases
        path.rename(path.with_name(path.name.replace("subject", "person")))
    return folder


def config_of(sets, out, *settings: str) -> Config:
    unlabelled = f"semi.unlabelled={sets / 'others' / 'images'}"
    return tiny_config(sets / "cases", out, unlabelled, *SHORT, *settings)


def train(config: Config, console: Console | None = None, resume: bool = False) -> Run:
    """Fold 0 of a run."""
    run = open_run(config, resume)
    unlabelled = find_unlabelled(run)
    fix_unlabelled(run, unlabelled)
    train_semi(run, 0, unlabelled, resume, console or Console())
    return run


@pytest.fixture(scope="module")
def trained(sets, tmp_path_factory) -> Run:
    return train(config_of(sets, tmp_path_factory.mktemp("trained")))


def test_images_get_labels_in_groups_and_the_stages_follow_each_other(trained):
    place = trained.fold_folder(0) / "semi"
    assert sorted(path.name for path in (place / "maps").iterdir()) == sorted(
        f"unlabelled.{path.stem}.npy" for path in trained.config.semi.unlabelled.iterdir()
    )
    assert len(read_json(trained.folder / "unlabelled.json")["images"]) == 6
    assert {p.name for p in place.iterdir() if p.is_dir()} == {
        "labelled", "group-003", "pool", "maps",
    }  # fmt: skip
    facts = read_json(trained.fold_folder(0) / "fold.json")["unlabelled"]
    assert (facts["images"], facts["left_out"]) == (6, [])
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
    likelier = soft.labels.max(axis=1) / 255  # the values of this set's masks exclude each other
    sure = np.abs(likelier - 0.45) > 1 / 255
    assert ((hard.labels.max(axis=1) == 255) == (likelier > 0.45))[sure].all()
    assert (hard.labels > 0).sum(axis=1).max() <= 1


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "batches", [pytest.param(n, marks=() if n == 15 else slow) for n in range(1, 23)]
)
def test_it_goes_on_to_the_same_bits_from_any_place(trained, sets, tmp_path, batches):
    config = config_of(sets, tmp_path)
    with pytest.raises(PlugPulled):
        train(config, PullThePlug(batches))
    run = train(config, resume=True)
    assert_equal_tensors(*(weights_of(each.fold_folder(0)) for each in (run, trained)))
    for path in (trained.fold_folder(0) / "semi" / "maps").iterdir():
        assert (run.fold_folder(0) / "semi" / "maps" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("step", "call"),
    [("write_array", 4), ("write_run", 3)]
    + [pytest.param("write_array", n, marks=slow) for n in (1, 6)]
    + [pytest.param(step, n, marks=slow) for step, n in (("write_run", 1), ("save", 1))]
    + [pytest.param("write_json", n, marks=slow) for n in range(1, 7)]
    + [pytest.param("rmtree", n, marks=slow) for n in (1, 2)],
)
def test_a_crash_between_stages_changes_no_bit(trained, sets, tmp_path, monkeypatch, step, call):
    """And the config of no stage: each keeps the weights it began with."""
    owner = shutil if step == "rmtree" else semi_module
    whole, calls = getattr(owner, step), []

    def crash(*arguments, **options):
        calls.append(step)
        if len(calls) == call:
            raise PlugPulled
        return whole(*arguments, **options)

    config = config_of(sets, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(owner, step, crash)
        with pytest.raises(PlugPulled):
            train(config)
    torch.set_num_threads(2)  # as a new process would have; the config says 1
    run = train(config, resume=True)
    assert_equal_tensors(*(weights_of(each.fold_folder(0)) for each in (run, trained)))
    stage = run.fold_folder(0) / "semi" / "group-003" / "config.yaml"
    assert "group-002" in str(load_config(stage).model.weights)
    facts, same = (read_json(each.fold_folder(0) / "fold.json") for each in (run, trained))
    assert facts["unlabelled"]["stages"].keys() == same["unlabelled"]["stages"].keys()


def test_a_fold_that_was_begun_is_not_begun_again_unasked(sets, tmp_path):
    with pytest.raises(PlugPulled):
        train(config_of(sets, tmp_path), PullThePlug(2))
    run = open_run(config_of(sets, tmp_path), resume=True)
    with pytest.raises(UsageError, match=r"semi exists: fold 0 was begun\. Continue it with"):
        train_semi(run, 0, find_unlabelled(run), False, Console())


def test_a_fold_whose_weights_are_gone_learns_from_the_images_again(trained, sets, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "tiny")
    shutil.rmtree(tmp_path / "tiny" / "fold_0" / "checkpoints")
    config = config_of(sets, tmp_path)
    config = config.model_copy(
        update={"output": config.output.model_copy(update={"dir": tmp_path})}
    )
    crossval.run_fold(config, 0, resume=True)
    assert_equal_tensors(weights_of(config.run / "fold_0"), weights_of(trained.fold_folder(0)))


def test_other_images_or_labels_than_at_the_start_are_refused_for_every_fold(sets, tmp_path):
    others = tmp_path / "others"
    shutil.copytree(sets / "others" / "images", others)
    config = config_of(sets, tmp_path, f"semi.unlabelled={others}")
    run = open_run(config)
    fix_unlabelled(run, find_unlabelled(run))
    flipped = open_run(
        config_of(sets, tmp_path, f"semi.unlabelled={others}", "predict.flip=true"), resume=True
    )
    with pytest.raises(UsageError, match=r"images without masks: predict\.flip changed since"):
        fix_unlabelled(flipped, find_unlabelled(flipped))
    free = ("predict.threshold=0.4", "predict.batch_size=1")  # change no label that is soft
    other = open_run(config_of(sets, tmp_path, f"semi.unlabelled={others}", *free), resume=True)
    fix_unlabelled(other, find_unlabelled(other))
    min(others.iterdir()).unlink()
    with pytest.raises(UsageError, match=r"the images of semi\.unlabelled changed since"):
        fix_unlabelled(run, find_unlabelled(run))


def test_a_finished_fold_is_scored_again_without_the_images(sets, tmp_path):
    others = tmp_path / "others"
    shutil.copytree(sets / "others" / "images", others)
    config = config_of(sets, tmp_path, f"semi.unlabelled={others}")
    crossval.run_fold(config, 0)
    shutil.rmtree(others)
    assert crossval.run_fold(config, 0, resume=True).is_file()


def with_more(sets, tmp_path, *settings: str, **copies: str) -> Run:
    """A run with the images of the set, and copies of cases under other names."""
    run = open_run(config_of(sets, tmp_path, *settings))
    others = tmp_path / "others"
    shutil.copytree(sets / "others" / "images", others)
    for name, of in copies.items():
        case = {"tested": run.splits.folds[0].test[0], "learnt": run.splits.folds[0].train[0]}[of]
        shutil.copy(run.cases((case,))[0].images[0], others / f"{name.replace('CASE', case)}.png")
    found = (f"semi.unlabelled={others}", "output.name=other")
    return open_run(config_of(sets, tmp_path, *found, *settings))


ALONE = "data.subject=null"  # every image counts as a person of its own


@pytest.mark.parametrize("settings", [(), (ALONE,)])
def test_an_image_that_a_fold_tests_is_left_out_of_that_fold(sets, tmp_path, settings):
    """Whatever it is called; also under its own name."""
    run = with_more(sets, tmp_path, *settings, other="tested", CASE="tested", fine="learnt")
    tested = run.splits.folds[0].test[0]
    names = {case.files.id for case in apart_from_test(run, 0, find_unlabelled(run))}
    assert not names & {"unlabelled.other", f"unlabelled.{tested}"}
    assert "unlabelled.fine" in names


def test_changed_copies_are_told_by_their_names(sets, tmp_path):
    run = with_more(sets, tmp_path, ALONE)
    others, (tested, learnt) = (
        tmp_path / "others",
        (run.splits.folds[0].test[0], run.splits.folds[0].train[0]),
    )
    source = min(others.iterdir())
    for name in (tested, learnt):
        shutil.copy(source, others / f"{name}_rot30.png")
    names = {case.files.id for case in apart_from_test(run, 0, find_unlabelled(run))}
    assert f"unlabelled.{tested}_rot30" not in names
    assert f"unlabelled.{learnt}_rot30" in names


def test_other_slices_of_a_tested_person_are_left_out(sets, tmp_path):
    run = with_more(sets, tmp_path)
    split = run.splits.folds[0]
    by_id = {case.id: case.subject for case in run.found.cases}
    source = min((tmp_path / "others").iterdir())
    for name in (split.test[0], split.train[0]):
        shutil.copy(source, tmp_path / "others" / f"{by_id[name]}_more.png")
    names = {case.files.id for case in apart_from_test(run, 0, find_unlabelled(run))}
    assert f"unlabelled.{by_id[split.test[0]]}_more" not in names
    assert f"unlabelled.{by_id[split.train[0]]}_more" in names


def test_it_is_said_how_many_are_left_out(sets, tmp_path):
    run = with_more(sets, tmp_path, copy="tested")
    told, pull, unlabelled = Recorder(), PullThePlug(1), find_unlabelled(run)
    pull.warn = told.warn
    with pytest.raises(PlugPulled):
        train_semi(run, 0, unlabelled, False, pull)
    assert told.warned[0].endswith(
        "1 of 7 images without masks show what this fold tests or watches, and are left out of it: "
        "copy"
    )


def test_images_that_are_all_tested_are_found_before_anything_is_trained(sets, tmp_path):
    run = open_run(config_of(sets, tmp_path))
    others = tmp_path / "others"
    others.mkdir()
    shutil.copy(run.cases(run.splits.folds[1].test[:1])[0].images[0], others / "a.png")
    config = config_of(sets, tmp_path, f"semi.unlabelled={others}", "output.name=other")
    with pytest.raises(DataError, match=r"shows what fold 1 tests or watches"):
        crossval.run(config)
    assert not config.run.exists()


def test_what_is_ahead_counts_the_slices_that_are_drawn(sets, tmp_path):
    run = with_more(sets, tmp_path, "train.draws=100", "train.epochs=10")
    (split,) = (run.splits.folds[0],)
    cases = len(run.cached(split.train))
    unlabelled = find_unlabelled(run)
    groups = [unlabelled[:3], unlabelled[3:]]

    def drawn(slices: int) -> int:
        return slices * -(-100 // slices)

    seen = 10 * (2 * drawn(cases) + drawn(cases + 6)) + drawn(cases + 3) + drawn(cases + 6)
    assert f"see {seen / (10 * drawn(cases)):.1f} times as many" in semi_module._plan(
        run, 0, groups
    )


def test_of_exclusive_classes_masks_are_those_that_prediction_writes(sets, tmp_path):
    """Shares of 0.46 and 0.34 leave 0.2: the first class, though below one half."""
    for kind in ("softmax", "one-vs-rest"):
        run = open_run(config_of(sets, tmp_path / kind, f"loss.classes={kind}"))
        probs = np.array([[[[0.46, 0.1]], [[0.34, 0.15]]]], np.float32)  # (D, K, H, W)
        assert semi_module._decided(probs, run).tolist() == [[[[True, False]], [[False, False]]]]


def test_a_run_with_images_without_masks_ends_in_a_report(sets, tmp_path):
    config = config_of(sets, tmp_path, "split.validation=0")
    report = crossval.run(config)
    assert report.is_file()
    assert read_json(report.parent / "manifest.json")["folds"].keys() == {"0", "1"}
    sheet = (report.parent / "reporting.md").read_text(encoding="utf-8")
    assert "; 6 images without masks in a fold, labelled by the network itself, 2 at" in sheet
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
