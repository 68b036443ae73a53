"""What a check calls alike is what the splits keep together."""

import numpy as np
import pytest

from crosslinknet.config import parse_config
from crosslinknet.curation.alike import twins
from crosslinknet.curation.collect import collect
from crosslinknet.datasets import find_cases
from crosslinknet.duplicates import groups_of
from crosslinknet.lookalikes import find_lookalikes
from tests.curation.conftest import scene, target, write


@pytest.mark.parametrize("seed", range(20))
def test_check_and_splits_keep_the_same_cases_together(tmp_path, seed):
    rng = np.random.default_rng(seed)
    scenes = [scene(100 * seed + n) for n in range(4)]
    for number in range(8):
        picture = scenes[rng.integers(4)]
        if rng.random() < 0.5:
            picture = np.rot90(picture, 2)
        if rng.random() < 0.3:
            picture = np.rint(0.8 * picture + 10).astype(np.uint8)
        write(tmp_path / "data" / "images" / f"p{number}.png", picture)
        write(tmp_path / "data" / "masks" / f"p{number}.png", target())
    config = parse_config({"data": {"root": str(tmp_path / "data")}})
    cases = find_cases(config.data).cases
    subject_of = {case.id: case.subject for case in cases}
    pairs = twins(collect(cases, config, None))
    seen = groups_of(subject_of, [(cases[t.first].id, cases[t.second].id) for t in pairs])
    links = find_lookalikes(cases, "axial", tmp_path / "cache").links
    assert seen == groups_of(subject_of, links)
    assert len(set(seen.values())) < 8
