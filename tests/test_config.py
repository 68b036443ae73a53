"""config: what a user may write, how it is refused, and that nothing is lost on the way to disk."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from crosslinknet.config import (
    PUBLISHED,
    RECIPES,
    Config,
    DataConfig,
    ModelConfig,
    TrainConfig,
    json_schema,
    load_config,
    override,
    parse_config,
    to_dict,
    to_yaml,
)
from crosslinknet.config.of_training import DECIDED_ELSEWHERE
from crosslinknet.config.recipes import SECOND_STAGES, defaults_of
from crosslinknet.errors import UsageError

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))
LEAST: dict[str, Any] = {"data": {"root": "data"}}
SCHEMA = jsonschema.Draft202012Validator(json_schema())

names = st.text("abcdefgh_.+-0123456789", min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..")
)
texts = st.text(st.characters(exclude_categories=("C", "Z")), max_size=30)
OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "data.root": st.text("abc /éß#:'\"\\-", min_size=1, max_size=20),
        "data.label_map": st.dictionaries(
            names, st.lists(st.integers(1, 65535), min_size=1, max_size=3), min_size=1, max_size=4
        ),
        "data.subject": st.sampled_from([r"^(.+)_", r"(\d+) # \w", "(: x)", None]),
        "image.size": st.tuples(st.integers(32, 4096), st.integers(32, 4096)),
        "image.window": st.sampled_from(["lung", "minmax", (-160.0, 240.0), (0.0, 1e-7)]),
        "image.slice_axis": st.sampled_from(["sagittal", 0, 2]),
        "model.options": st.dictionaries(
            texts.filter(lambda key: key not in DECIDED_ELSEWHERE), texts | st.lists(st.integers())
        ),
        "loss.dice": st.floats(0, 10),
        "train.recipe": st.sampled_from(sorted(RECIPES)),
        "train.lr": st.floats(1e-12, 1e3),
        "train.clip": st.none() | st.floats(1e-6, 1e6),
        "train.progressive": st.sampled_from([[], [(0.5, 0.5), (0.5, 1.0)]]),
        "evaluate.bootstrap": st.integers(0, 10**9),
        "output.name": names,
    },
)


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"data": {"root": "data"}}
    for key, value in flat.items():
        section, name = key.split(".")
        content.setdefault(section, {})[name] = value
    return content


@settings(deadline=None, max_examples=15)
@given(OVERRIDES)
def test_what_is_written_is_read_back_the_same(flat: dict[str, Any]):
    config = parse_config(nested(flat))
    for comments in (True, False):
        content = yaml.safe_load(to_yaml(config, comments))
        assert parse_config(content) == config


@settings(deadline=None, max_examples=15)
@given(OVERRIDES)
def test_every_config_obeys_the_json_schema(flat: dict[str, Any]):
    SCHEMA.validate(json.loads(json.dumps(to_dict(parse_config(nested(flat))))))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_committed_configs_obey_the_json_schema_and_survive_a_round_trip(path: Path):
    config = load_config(path)
    SCHEMA.validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    SCHEMA.validate(yaml.safe_load(to_yaml(config)))
    assert parse_config(yaml.safe_load(to_yaml(config))) == config


def test_the_json_schema_refuses_an_unknown_key():
    with pytest.raises(jsonschema.ValidationError, match="epoch"):
        SCHEMA.validate({**LEAST, "train": {"epoch": 3}})


@pytest.mark.parametrize("section", Config.model_fields)
def test_every_key_says_what_it_means_and_every_section_too(section: str):
    model = Config.model_fields[section].annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    assert model.__doc__
    for name, field in model.model_fields.items():
        assert field.description, f"{section}.{name} has no description"
        assert "\n" not in field.description


def test_a_written_config_has_a_comment_at_every_key():
    lines = to_yaml(parse_config(LEAST)).splitlines()
    keys = [line for line in lines if line.startswith("  ")]
    assert len(keys) > 50
    assert [line for line in keys if "  # " not in line] == []


def test_a_setting_wins_over_the_file_and_is_read_as_yaml(tmp_path: Path):
    (tmp_path / "exp.yaml").write_text("data: {root: x}\ntrain: {epochs: 5}\n")
    settings = ("train.epochs=7", "train.lr=1e-4", "train.clip=null", "image.size=[64, 96]")
    config = load_config(tmp_path / "exp.yaml", settings)
    train = config.train
    assert (train.epochs, train.lr, train.clip) == (7, 1e-4, None)
    assert config.image.size == (64, 96)


def test_relative_paths_start_at_the_config_and_results_where_the_user_stands(tmp_path: Path):
    (tmp_path / "exp.yaml").write_text(
        "data: {root: ../scans}\nsplit: {file: splits.json}\nmodel: {weights: a/b.safetensors}\n"
    )
    config = load_config(tmp_path / "exp.yaml")
    assert config.data.root == tmp_path.parent / "scans"
    assert config.split.file == tmp_path / "splits.json"
    assert config.model.weights == tmp_path / "a/b.safetensors"
    assert config.run == Path("runs/experiment")


def test_a_recipe_sets_what_is_not_written_and_a_written_key_wins():
    paper = parse_config({**LEAST, "train": {"recipe": "paper", "lr": 0.25}}).train
    assert (paper.optimizer, paper.init, paper.batch_size) == ("adam", "gaussian", 2)
    assert (paper.weight_decay, paper.schedule, paper.clip) == (0.005, "constant", None)
    assert paper.lr == 0.25


def test_a_recipe_from_the_command_line_wins_over_a_resolved_file():
    resolved = to_dict(parse_config({**LEAST, "train": {"seed": 3}}))
    changed = parse_config(override(resolved, ("train.recipe=paper", "train.epochs=2")))
    assert changed.train == TrainConfig(recipe="paper", epochs=2, seed=3)
    back = parse_config(override(to_dict(changed), ("train.recipe=practical",)))
    assert back.train == TrainConfig(seed=3)


@pytest.mark.parametrize("network", PUBLISHED)
def test_every_recipe_is_a_config_and_names_no_other_keys(network):
    for recipe in RECIPES:
        first = {"first": "runs/first"} if network in SECOND_STAGES else {}
        model = {"name": network, **first}
        config = parse_config({**LEAST, "model": model, "train": {"recipe": recipe}})
        again = parse_config(to_dict(config))
        assert again == config
        for section, values in defaults_of(network, recipe).items():
            for key, value in values.items():
                assert to_dict(config)[section][key] == value


@pytest.mark.parametrize(
    ("network", "options", "term"),
    [
        ("unet", {}, "sides"),
        ("unet++", {}, "sides"),
        ("unet++", {"deep_supervision": False}, "sides"),
        ("spnet", {}, "edge"),
        ("inf-net", {}, "crossover"),
    ],
)
def test_a_weight_that_would_weigh_nothing_is_refused(network, options, term):
    model = {"name": network, "options": options}
    with pytest.raises(UsageError, match=rf"loss\.{term} is 0\.5, but {re.escape(network)} gives"):
        parse_config({**LEAST, "model": model, "loss": {term: 0.5}})
    assert parse_config({**LEAST, "model": model, "loss": {term: 1.0}})


@pytest.mark.parametrize(
    ("network", "options", "term"),
    [
        ("spnet", {}, "sides"),
        ("dynunet", {"deep_supervision": True}, "sides"),
        ("inf-net", {}, "edge"),
        ("crossover-net", {}, "crossover"),
        ("package.module:Net", {}, "sides"),  # nobody knows
    ],
)
def test_a_weight_of_what_a_network_gives_is_taken(network, options, term):
    model = {"name": network, "options": options}
    assert getattr(parse_config({**LEAST, "model": model, "loss": {term: 0.5}}).loss, term) == 0.5


def test_a_weight_of_nothing_is_taken_by_every_network():
    """So that -s model.name=unet works on a config of inf-net."""
    assert parse_config({**LEAST, "model": {"name": "unet"}, "loss": {"sides": 0.0}})


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"model": {"first": "runs/a"}, "semi": {"unlabelled": "more"}},
            "Train the first run with semi",
        ),
        (
            {"loss": {"classes": "softmax"}, "predict": {"stretch": True}},
            "whose shares must sum to 1",
        ),
    ],
)
def test_methods_that_contradict_each_other_are_refused(sections, message):
    with pytest.raises(UsageError, match=message):
        parse_config({**LEAST, **sections})


def test_another_network_from_the_command_line_stays_behind_the_first():
    config = {**LEAST, "model": {"name": "inf-net-stage", "first": "runs/a", "options": {}}}
    assert override(config, ("model.name=unet",))["model"]["first"] == "runs/a"


def test_a_second_stage_asks_for_its_first():
    with pytest.raises(UsageError, match=r"name its run: model\.first=runs/NAME"):
        parse_config({**LEAST, "model": {"name": "inf-net-stage"}})


def test_a_network_without_attention_heads_is_trained_without_their_loss():
    config = parse_config({**LEAST, "model": {"name": "unet"}})
    assert (config.loss.bce, config.loss.dice, config.loss.attention) == (0.8, 0.2, 0.0)
    with pytest.raises(UsageError, match=r"^config: loss\.attention is 0\.5, but unet has no"):
        parse_config({**LEAST, "model": {"name": "unet"}, "loss": {"attention": 0.5}})


def test_the_recipe_published_with_a_network_sets_loss_and_options_too():
    given = {**LEAST, "model": {"name": "dynunet", "options": {"stages": 6}}}
    config = parse_config({**given, "train": {"recipe": "published", "epochs": 3}})
    assert config.model.options == {"stages": 6, "deep_supervision": True}
    assert (config.train.optimizer, config.train.momentum, config.train.epochs) == ("sgd", 0.99, 3)
    assert (config.loss.bce, config.loss.dice) == (0.5, 0.5)
    typed = Config(
        data=DataConfig(root=Path()),
        model=ModelConfig(name="inf-net"),
        train=TrainConfig(recipe="published"),
    )
    assert (typed.loss.structure, typed.train.clip_value, typed.augment.preset) == (1, 0.5, "none")


def test_a_recipe_from_the_command_line_leaves_what_recipes_do_not_set():
    written = {
        **LEAST,
        "model": {"options": {"preset": "paper"}},
        "loss": {"dice": 0.3},
        "augment": {"preset": "covid-paper"},
    }
    first = to_dict(parse_config(written))
    changed = parse_config(override(first, ("train.recipe=paper",)))
    assert changed.model.options == {"preset": "paper"}
    assert (changed.loss.dice, changed.augment.preset) == (0.3, "covid-paper")


def test_the_published_recipe_of_one_network_does_not_stay_with_another():
    given = {**LEAST, "model": {"name": "inf-net"}, "train": {"recipe": "published"}}
    first = to_dict(parse_config(given))
    other = parse_config(override(first, ("model.name=unet",)))
    plain = parse_config({**given, "model": {"name": "unet"}})
    assert (other.train, other.loss, other.augment) == (plain.train, plain.loss, plain.augment)
    deep = {**LEAST, "model": {"name": "dynunet"}, "train": {"recipe": "published"}}
    back = override(to_dict(parse_config(deep)), ("train.recipe=practical",))
    assert parse_config(back).model.options == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"model": {"name": "mine:Net"}, "train": {"recipe": "published"}},
            "nothing is known of mine:Net",
        ),
        ({"model": {"name": "unet"}, "loss": {"form": "released"}}, "needs attention heads"),
        ({"model": {"options": {"classes": "softmax"}}}, "'classes' is decided by loss.classes"),
        ({"model": "unet"}, "model"),
    ],
)
def test_what_a_network_cannot_have_is_refused(given, said):
    with pytest.raises(UsageError, match=said):
        parse_config(override({**LEAST, **given}, ("train.seed=1",)))


def test_another_network_from_the_command_line_leaves_the_options_of_the_first_behind():
    first = to_dict(parse_config({**LEAST, "model": {"options": {"preset": "paper"}}}))
    other = parse_config(override(first, ("model.name=spnet", "model.options.backbone=resnet101")))
    assert other.model.options == {"backbone": "resnet101"}
    assert (other.loss.bce, other.loss.attention) == (0.8, 0.0)
    ablation = parse_config(override(first, ("model.name=ver-crosslink",)))
    assert (ablation.model.options, ablation.loss.attention) == ({}, 0.5)
    same = parse_config(override(first, ("model.name=crosslink-net",)))
    assert same.model.options == {"preset": "paper"}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("train.epoch=3", "unknown key 'train.epoch'; did you mean 'train.epochs'?"),
        ("trian.epochs=3", "unknown key 'trian'; did you mean 'train'?"),
        ("epochs=3", "unknown key 'epochs'; did you mean 'train.epochs'?"),
        ("train.size=3", "unknown key 'train.size'; did you mean 'image.size'?"),
        ("zzz=1", "unknown key 'zzz'; known are augment, data, "),
        ("train.epochs=many", "train.epochs: Input should be a valid integer"),
        ("train.epochs={x: 1}", "train.epochs: Input should be a valid integer"),
        ("train=3", "train: expected keys with values, as in {name: value} (got 3)"),
        ("train.seed=-1", "train.seed: Input should be greater than or equal to 0 (got -1)"),
        ("train.lr=.inf", "train.lr: Input should be a finite number"),
        ("train.recipe=papr", "train.recipe: Input should be 'practical', 'paper' or 'published'"),
        ("train.progressive=[[0.5, 0.5]]", "train.progressive: [(0.5, 0.5)]: the shares of"),
        ("image.size=256", "image.size: expected a list, as in [256, 256] (got 256)"),
        ("image.size=[16, 64]", "[16, 64] is too small: five poolings need at least [32, 32]"),
        ("image.window=lungs", "window 'lungs' is unknown; did you mean 'lung'?"),
        ("image.window=[3, 1]", "window [3.0, 1.0] must be [low, high] with low < high"),
        ("image.window=[1, 2, 3]", "image.window: Input should be a valid string"),
        ("image.slice_axis=axal", "Input should be 'axial', 'coronal', 'sagittal', 0, 1 or 2"),
        ("data.label_map={}", "at least one class is needed"),
        ("data.label_map={a: 1}", "data.label_map.a: expected a list, as in [1] (got 1)"),
        ("data.label_map={a: []}", "class 'a' names no mask value"),
        ("data.label_map={a: [0]}", "0 of class 'a' is outside 1..65535; 0 is the background"),
        ("data.label_map={a b: [1]}", "class name 'a b' may hold letters, digits"),
        ("model.options={name: unet5}", "'name' is decided by model.name; remove it here"),
        ("model.options={num_classes: 2}", "'num_classes' is decided by data.label_map"),
        ("model.options={in_channels: 3}", "'in_channels' is decided by image.channels"),
        ("model.options={attention_blocks: [1]}", "'attention_blocks' is decided by loss.blocks"),
        ("data.label_map={a: ['#f0']}", "'#f0' of class 'a' is no colour like '#ff0000'"),
        ("data.label_map={a: ['#ff0000', 1]}", "grey values, colours and names cannot be mixed"),
        ("data.subject=(", "'(' is no regular expression"),
        ("data.subject=x", "'x' needs exactly one (group), it has 0"),
        ("loss.blocks=[3, 3]", "blocks [3, 3] must be different numbers of 1..5"),
        ("loss.bce=-1", "loss.bce: Input should be greater than or equal to 0 (got -1)"),
        ("evaluate.levels=[imag]", "evaluate.levels.0: Input should be 'image', 'case' or"),
        ("output.name=a/b", "'a/b' is no folder name"),
        ("output.name=..", "'..' is no folder name"),
        ("train.epochs", "-s 'train.epochs' is not of the form key=value"),
        ("=3", "is not of the form key=value"),
        ("train.epochs=[", "the value is not valid YAML"),
        ("data.root.x=1", "'root' is a value, it has no keys below it"),
        ("data.label_map={a: [1], a: [2]}", "the key 'a' is written twice"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line_that_names_it(setting: str, said: str):
    with pytest.raises(UsageError) as caught:
        parse_config(override(LEAST, (setting,)), "exp.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_loss_that_trains_nothing_is_refused():
    with pytest.raises(UsageError, match="bce, dice and structure are 0"):
        parse_config({**LEAST, "loss": {"bce": 0, "dice": 0}})


def test_several_mistakes_are_told_at_once():
    with pytest.raises(UsageError) as caught:
        parse_config({"trian": {}, "image": {"size": [1, 1]}, "data": {}}, "exp.yaml")
    assert str(caught.value).startswith("exp.yaml: ")
    for part in ("'trian'", "image.size", "data.root: is missing"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: [", "is not valid YAML"),
        ("- a\n- b\n", "holds list, expected sections such as data: and train:"),
        ("", "holds nothing, expected sections"),
        ("data: {root: x}\ntrain: {lr: 1}\ntrain: {epochs: 2}\n", "'train' is written twice"),
        ("data: {root: !!python/object/apply:os.getcwd []}\n", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, text: str, said: str):
    path = tmp_path / "exp.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_a_missing_config_says_how_to_get_one(tmp_path: Path):
    with pytest.raises(UsageError, match=r"nowhere\.yaml cannot be read.*xln init"):
        load_config(tmp_path / "nowhere.yaml")


def test_an_empty_section_means_its_defaults(tmp_path: Path):
    (tmp_path / "exp.yaml").write_text("data: {root: x}\ntrain:\n  # epochs: 3\n")
    assert load_config(tmp_path / "exp.yaml", ("train.epochs=4",)).train == TrainConfig(epochs=4)


def test_a_config_cannot_be_changed():
    config = parse_config(LEAST)
    with pytest.raises(ValueError, match="frozen"):
        config.train.epochs = 3  # type: ignore[misc]
