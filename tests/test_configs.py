"""The configs of configs/: each parses, and finds and reads its data, real or a twin."""

from pathlib import Path

import numpy as np
import pytest

from crosslinknet.config import Config, load_config
from crosslinknet.datasets import Found, find_cases
from crosslinknet.labels import label_table
from crosslinknet.preprocess import normalise
from crosslinknet.readers import read_case

FOLDER = Path(__file__).resolve().parents[1] / "configs"
CONFIGS = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}

SHARED = {  # config: folder, cases, subjects, as the README of the folder says
    "covid19-100": ("covid19_i_ct", 98, 10),
    "covid19-100-small": ("covid19_i_ct", 98, 10),
    "covid19-networks": ("covid19_i_ct", 98, 10),
    "em": ("isbi2012_em", 30, 3),
    "kits19-slices": ("kits19_slices", 64, 25),
    "kvasir": ("kvasir_seg_100", 100, 100),
    "msd-hippocampus": ("msd_hippocampus", 182, 182),
    "msd-liver": ("msd_liver_256", 422, 81),
    "sunnybrook-endo": ("sunnybrook_lv", 526, 30),
    "sunnybrook-endo-crop": ("sunnybrook_lv", 526, 30),
    "sunnybrook-epi": ("sunnybrook_lv", 273, 30),
    "sunnybrook-lv": ("sunnybrook_lv", 273, 30),
}
TWINS = {  # config: cases and subjects of the twin of that name
    "covid19-i": (30, 3),
    "covid19-volumes": (6, 6),
    "kits19": (6, 6),
    "york-cardiac": (17, 6),
}


def read_some(config: Config, found: Found) -> None:
    """A few cases, read and windowed; every class is in one of them, and no image is flat."""
    table = label_table(config.data.label_map)
    seen = np.zeros(len(table.classes), bool)
    for case in found.cases[:: max(1, len(found.cases) // 5)][:6]:
        read = read_case(case, config.data, config.image)
        assert read.mask is not None
        assert normalise(read, config.image).image.std() > 0.01
        seen |= table.member[np.unique(read.mask)].any(axis=0)
    assert seen.all()


def test_every_config_is_for_a_set_that_is_tested():
    assert set(CONFIGS) == {*SHARED, *TWINS}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_says_how_to_start_and_where_its_data_go(name):
    config, text = load_config(CONFIGS[name]), CONFIGS[name].read_text(encoding="utf-8")
    assert config.data.root.parent.name == "data"
    assert config.split.folds == 3
    assert f"xln run configs/{name}.yaml" in text
    assert name in TWINS or name in SHARED
    if name in TWINS:
        assert config.data.layout == name
        assert f"xln data twin {name} -o PATH" in text
        assert config.data.root.name == name


@pytest.mark.parametrize("name", TWINS)
def test_a_config_of_a_set_of_the_paper_fits_its_twin_and_its_recipe(twin, name):
    config = load_config(CONFIGS[name], (f"data.root={twin(name)}",))
    found = find_cases(config.data)
    assert (len(found.cases), len({case.subject for case in found.cases})) == TWINS[name]
    read_some(config, found)
    for section, keys in found.suggestions.items():
        for key, value in keys.items():
            assert getattr(getattr(config, section), key) == value, f"{section}.{key}"


@pytest.mark.parametrize("name", SHARED)
def test_a_config_of_a_public_set_finds_and_reads_it(real_data, name):
    folder, cases, subjects = SHARED[name]
    config = load_config(CONFIGS[name], (f"data.root={real_data / folder}",))
    assert load_config(CONFIGS[name]).data.root.name == folder
    found = find_cases(config.data)
    assert (len(found.cases), len({case.subject for case in found.cases})) == (cases, subjects)
    read_some(config, found)
