import numpy as np
import pytest
from PIL import Image

from crosslinknet import cache, lookalikes
from crosslinknet.case import CaseFiles
from crosslinknet.lookalikes import Lookalikes, find_lookalikes


def smooth(seed):
    rough = np.random.default_rng(seed).integers(0, 256, (7, 6), dtype=np.uint8)
    return Image.fromarray(rough).resize((40, 48), Image.Resampling.BICUBIC)


@pytest.fixture
def case(tmp_path):
    def make(name, subject, seed):
        path = tmp_path / "data" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        smooth(seed).save(path)
        return CaseFiles(name, subject, (path,))

    return make


def test_only_cases_of_different_subjects_are_linked(case, tmp_path):
    cases = [case("a1", "a", 1), case("a2", "a", 1), case("b", "b", 1), case("c", "c", 2)]
    found = find_lookalikes(cases, "axial", tmp_path / "cache")
    assert found == Lookalikes(alike=(("a1", "b"), ("a2", "b")), named=())
    assert found.notes == (
        "2 pairs of cases look alike (a1 and b; a2 and b); their subjects are kept together",
    )


def test_copies_by_name_are_linked_though_they_look_different(case, tmp_path):
    cases = [case("x", "x", 1), case("x_ro-20", "x_ro-20", 2), case("y", "y", 3)]
    found = find_lookalikes(cases, "axial", tmp_path / "cache")
    assert found.links == found.named == (("x", "x_ro-20"),)
    assert found.notes == (
        "1 pair of cases has names that differ by an ending of augmentation only (x and x_ro-20); "
        "their subjects are kept together",
    )


def test_volumes_are_linked_by_one_slice_that_is_not_flat(tmp_path):
    cases = []
    for name, seeds in (("v", (1, 2, None)), ("w", (3, 1, None)), ("z", (4, 5, None))):
        pages = [Image.new("L", (40, 48)) if seed is None else smooth(seed) for seed in seeds]
        path = tmp_path / f"{name}.tif"
        pages[0].save(path, save_all=True, append_images=pages[1:])
        cases.append(CaseFiles(name, name, (path,)))
    assert find_lookalikes(cases, "axial", tmp_path / "cache").links == (("v", "w"),)


def test_what_was_found_is_remembered_while_the_files_stay(case, tmp_path, monkeypatch):
    cases = [case("a", "a", 1), case("b", "b", 1)]
    first = find_lookalikes(cases, "axial", tmp_path / "cache")
    with monkeypatch.context() as patch:
        for module, name in ((cache, "read_case_image"), (lookalikes, "case_fingerprints")):
            patch.setattr(module, name, None)
        assert find_lookalikes(cases, "axial", tmp_path / "cache") == first
    case("b", "b", 22)
    assert find_lookalikes(cases, "axial", tmp_path / "cache").links == ()


def test_many_pairs_are_not_all_listed():
    links = tuple((f"a{n}", f"b{n}") for n in range(5))
    (note,) = Lookalikes(links, ()).notes
    assert "5 pairs of cases look alike (a0 and b0; a1 and b1; a2 and b2 and 2 more)" in note
    assert Lookalikes((), ()).notes == ()
