import shutil

import numpy as np
import pytest
import torch

from crosslinknet.config import Config
from crosslinknet.errors import DataError, UsageError
from crosslinknet.experiments import crossval
from crosslinknet.files import read_json
from crosslinknet.phantoms import write_phantoms
from crosslinknet.predict import load
from crosslinknet.readers import read_image

from .tiny import PlugPulled, PullThePlug, assert_same_bits, tiny_config, weights_of

SECOND = ("output.name=second", "loss.classes=one-vs-rest")


@pytest.fixture(scope="module")
def first(phantoms, tmp_path_factory):
    """A finished run of two folds, to be looked at only."""
    config = tiny_config(
        phantoms, tmp_path_factory.mktemp("first"), "data.label_map={any: [1, 2]}", "train.epochs=1"
    )
    crossval.run(config)
    return config.run


def second(phantoms, out, first, *settings: str) -> Config:
    return tiny_config(phantoms, out, f"model.first={first}", *SECOND, *settings)


def test_the_first_hands_on_its_mask_or_as_published_its_probability(phantoms, first, tmp_path):
    image = torch.rand(1, 1, 32, 32)
    for kind, name in (("mask", "a"), ("probability", "b")):
        settings = (f"model.first_map={kind}", "train.epochs=1")
        config = second(phantoms, tmp_path / name, first, *settings)
        crossval.run_fold(config, 0)
        (staged,) = load(config.run / "fold_0").models
        values = staged.found(image).unique().tolist()
        assert (set(values) <= {0.0, 1.0}) == (kind == "mask")


def test_each_fold_gets_the_first_network_of_that_fold(phantoms, first, tmp_path):
    config = second(phantoms, tmp_path, first, "train.epochs=1")
    crossval.run(config)
    for fold in (0, 1):
        trained, given = weights_of(config.run / f"fold_{fold}"), weights_of(first / f"fold_{fold}")
        for name, value in given.items():
            assert torch.equal(trained[f"first.{name}"], value)
    one, other = (weights_of(first / f"fold_{fold}") for fold in (0, 1))
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_the_trained_pair_predicts_without_the_first_run(phantoms, first, tmp_path):
    moved = tmp_path / "first"
    shutil.copytree(first, moved)
    config = second(phantoms, tmp_path, moved, "train.epochs=1")
    crossval.run_fold(config, 0)
    shutil.rmtree(moved)
    predictor = load(config.run / "fold_0")
    image = read_image(next((phantoms / "images").iterdir()), 0)[0][0, 0]
    mask = predictor.predict(image)
    assert mask.shape == image.shape
    probs = predictor.predict_probabilities(image)
    background = 1 - probs.sum(axis=0)
    largest = np.concatenate([background[None], probs]).argmax(axis=0)
    assert np.array_equal(mask, largest)  # codes 1 and 2 are the mask's values here
    assert read_json(config.run / "manifest.json")["folds"].keys() == {"0"}


def test_a_second_stage_goes_on_to_the_same_bits(phantoms, first, tmp_path):
    whole, cut = (second(phantoms, tmp_path / name, first) for name in ("whole", "cut"))
    crossval.run_fold(whole, 0)
    with pytest.raises(PlugPulled):
        crossval.run_fold(cut, 0, console=PullThePlug(4))
    crossval.run_fold(cut, 0, resume=True)
    assert_same_bits(cut.run / "fold_0", whole.run / "fold_0")


def test_a_second_stage_starts_from_the_weights_of_another(phantoms, first, tmp_path):
    one = second(phantoms, tmp_path, first, "train.epochs=1")
    crossval.run_fold(one, 0)
    model = one.run / "fold_0" / "checkpoints" / "model.safetensors"
    frozen = ("train.epochs=1", "train.lr=1e-30", "train.weight_decay=0", "output.name=third")
    other = second(phantoms, tmp_path, first, f"model.weights={model}", *frozen)
    crossval.run_fold(other, 0)
    before, after = (weights_of(config.run / "fold_0") for config in (one, other))
    for name in ("second.classifier.weight", "second.classifier.bias"):
        assert torch.equal(before[name], after[name])


def test_a_first_network_that_was_trained_on_what_is_tested_is_refused(phantoms, first, tmp_path):
    config = second(phantoms, tmp_path, first, "split.seed=7", "split.duplicates=ignore")
    with pytest.raises(DataError, match=r"was trained\. Name that run .* -s split\.file="):
        crossval.run(config)
    assert not config.run.exists()


def test_weights_that_know_what_is_tested_are_refused_and_those_of_each_fold_taken(
    phantoms, first, tmp_path
):
    """Fold 0's network was trained on what fold 1 tests."""
    settings = ("data.label_map={any: [1, 2]}", "train.epochs=1", "train.lr=1e-30")
    file = first / "fold_0" / "checkpoints" / "model.safetensors"
    with pytest.raises(DataError, match=r"fold 1 tests .* fold_0 of model\.weights, \S+, was tr"):
        crossval.run(tiny_config(phantoms, tmp_path, *settings, f"model.weights={file}"))
    config = tiny_config(phantoms, tmp_path, *settings, f"model.weights={first}")
    crossval.run(config)
    for fold in ("fold_0", "fold_1"):
        own, source = weights_of(config.run / fold), weights_of(first / fold)
        assert torch.equal(own["classifier.bias"], source["classifier.bias"])
    sheet = (config.run / "reporting.md").read_text(encoding="utf-8")
    assert "what its first weights saw is for the author" in sheet


def test_weights_that_learnt_from_images_tested_here_are_refused(phantoms, tmp_path):
    """Images without masks of an earlier run are cases of this one."""
    earlier, now = tmp_path / "earlier", tmp_path / "now"
    write_phantoms(earlier, "lung", subjects=8, slices=1, size=(32, 32), seed=9)
    for path in sorted((phantoms / "images").iterdir()):
        (now / "images").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, now / "images" / path.name.replace("subject", "person"))
    semi = (f"semi.unlabelled={now / 'images'}", "semi.group=20", "semi.epochs=1")
    config = tiny_config(earlier, tmp_path / "a", "train.epochs=1", *semi)
    crossval.run_fold(config, 0)
    file = config.run / "fold_0" / "checkpoints" / "model.safetensors"
    with pytest.raises(DataError, match="on which fold_0 of model"):
        crossval.run(tiny_config(phantoms, tmp_path / "b", f"model.weights={file}"))


def test_where_data_are_gone_names_tell_and_it_is_said(phantoms, first, tmp_path):
    moved = tmp_path / "first"
    shutil.copytree(first, moved)
    text = (moved / "config.yaml").read_text(encoding="utf-8")
    (moved / "config.yaml").write_text(text.replace(str(phantoms), "/gone"), encoding="utf-8")
    file = moved / "fold_0" / "checkpoints" / "model.safetensors"
    settings = ("data.label_map={any: [1, 2]}", f"model.weights={file}")
    with (
        pytest.raises(DataError, match="fold 1 tests"),
        pytest.warns(UserWarning, match="was trained on /gone, which is not there"),
    ):
        crossval.run_fold(tiny_config(phantoms, tmp_path, *settings), 1)


def test_the_folds_of_the_first_can_be_taken(phantoms, first, tmp_path):
    folds = f"split.file={first / 'splits.json'}"
    config = second(phantoms, tmp_path, first, folds, "split.seed=7", "train.epochs=1")
    crossval.run_fold(config, 1)
    assert (config.run / "report.html").is_file()


def test_a_first_network_of_other_images_is_refused(phantoms, first, tmp_path):
    config = second(phantoms, tmp_path, first, "image.size=[64, 64]")
    with pytest.raises(UsageError, match=r"image\.size \(32, 32\), here \(64, 64\)"):
        crossval.run(config)


def test_a_folder_that_is_no_run_is_refused(phantoms, tmp_path):
    with pytest.raises(UsageError, match="is no folder of a run"):
        crossval.run(second(phantoms, tmp_path, tmp_path))


def test_a_first_run_that_has_not_ended_is_refused(phantoms, first, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(first, half)
    (half / "fold_1" / "checkpoints" / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="has no trained fold_1"):
        crossval.run(second(phantoms, tmp_path, half))
    crossval.run_fold(second(phantoms, tmp_path, half, "train.epochs=1"), 0)  # needs fold 0 alone
