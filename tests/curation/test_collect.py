"""How much is looked at together: claims of headers, no large memory."""

import threading
import time

import nibabel as nib
import numpy as np
import pytest

from crosslinknet.case import CaseFiles
from crosslinknet.config import parse_config
from crosslinknet.curation import collect as module
from crosslinknet.curation.collect import collect, weight_of
from crosslinknet.curation.facts import CaseFacts
from crosslinknet.readers import claimed_bytes
from tests.curation.conftest import scene, write


class Watch:
    """In place of looking: notes which cases are looked at together, and what they weigh."""

    def __init__(self, weights: dict[str, int]) -> None:
        self.weights, self.lock = weights, threading.Lock()
        self.now: list[str] = []
        self.together: list[tuple[str, ...]] = []

    def look(self, cases, config, named):
        (files,) = cases
        with self.lock:
            self.now.append(files.id)
            self.together.append(tuple(self.now))
        time.sleep(0.01)
        with self.lock:
            self.now.remove(files.id)
        return [CaseFacts(files, None, None, ())]

    def weigh(self, cases):
        return self.weights[cases[0].id]


def watched(monkeypatch, tmp_path, weights: list[int]) -> Watch:
    watch = Watch({f"c{k:03}": weight for k, weight in enumerate(weights)})
    monkeypatch.setattr(module, "look_at", watch.look)
    monkeypatch.setattr(module, "weight_of", watch.weigh)
    monkeypatch.setattr(module, "_processors", lambda: 8)
    files = [CaseFiles(name, name, (tmp_path / name,), None) for name in watch.weights]
    facts = collect(files, parse_config({"data": {"root": str(tmp_path)}}), None)
    assert [case.files.id for case in facts] == list(watch.weights)
    return watch


GIB = 2**30


def test_what_is_looked_at_together_claims_at_most_1_gib(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    watch = watched(monkeypatch, tmp_path, rng.integers(0, GIB // 2, 60).tolist())
    claims = [sum(watch.weights[name] for name in names) for names in watch.together]
    assert max(claims) <= GIB
    assert max(len(names) for names in watch.together) > 1


def test_a_case_that_claims_more_is_looked_at_alone(monkeypatch, tmp_path):
    kits = 1059 * 512 * 512 * 3  # 16-bit image and 8-bit mask
    watch = watched(monkeypatch, tmp_path, [10**6, kits, 3 * GIB, 10**6, kits, kits])
    for names in watch.together:
        heavy = [name for name in names if watch.weights[name] >= kits]
        assert len(heavy) <= 1
        assert len(names) == 1 or "c002" not in names


def test_small_cases_fill_all_threads(monkeypatch, tmp_path):
    watch = watched(monkeypatch, tmp_path, [10**6] * 40)
    assert max(len(names) for names in watch.together) > 2


def test_a_group_weighs_what_the_pixels_of_its_files_claim(tmp_path):
    write(tmp_path / "i.png", scene(0))  # 64 rows of 80 pixels and a byte that names a filter
    write(tmp_path / "m.nii.gz", np.zeros((40, 48, 3), np.int16))  # 11,520 bytes, packed or not
    (tmp_path / "o.json").write_text("{}")
    (tmp_path / "b.png").write_bytes(b"broken")
    paths = {name: tmp_path / name for name in ("i.png", "m.nii.gz", "o.json", "b.png")}
    assert claimed_bytes(paths["i.png"]) == 64 * 81
    assert claimed_bytes(paths["m.nii.gz"]) == 40 * 48 * 3 * 2
    assert claimed_bytes(paths["o.json"]) == 0
    pair = CaseFiles("a", "a", (paths["i.png"],), paths["m.nii.gz"])
    assert weight_of([pair]) == 64 * 81 + 11_520
    assert weight_of([pair, pair]) == weight_of([pair])  # slices of the same files
    assert weight_of([CaseFiles("b", "b", (paths["b.png"],), paths["o.json"])]) == 0


def test_a_header_is_weighed_without_its_voxels(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((512, 512, 1059))
    header.set_data_dtype(np.int16)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    (tmp_path / "kits.nii").write_bytes(header.binaryblock + bytes(4))
    assert claimed_bytes(tmp_path / "kits.nii") == 512 * 512 * 1059 * 2


def test_a_series_of_dicom_weighs_all_its_files(tmp_path):
    pytest.importorskip("pydicom")
    from tests.readers.dicoms import write_series

    paths = write_series(tmp_path, np.zeros((5, 6, 7), np.int16))
    assert claimed_bytes(paths[0]) == 5 * 6 * 7 * 2
