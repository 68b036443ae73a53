"""The doctor: says what is there, and what would fail."""

import shutil
from pathlib import Path

from crosslinknet.experiments import doctor as module
from crosslinknet.experiments.doctor import Finding, doctor


def named(findings: list[Finding]) -> dict[str, Finding]:
    found = {finding.name: finding for finding in findings}
    assert len(found) == len(findings)
    return found


def test_versions_devices_memory_and_disk_are_examined(tmp_path: Path):
    found = named(doctor(tmp_path))
    assert {"python", "torch", "crosslinknet", "processor", "gpu", "bf16", "disk"} <= set(found)
    assert found["python"].ok
    assert found["torch"].ok
    assert float(found["speed"].value.split()[0]) > 0
    assert found["folder"].value == f"{tmp_path} is writable"
    assert all(finding.value for finding in found.values())


def test_a_folder_that_does_not_exist_yet_is_judged_by_its_parent(tmp_path: Path):
    assert named(doctor(str(tmp_path / "a" / "b")))["folder"].value == f"{tmp_path} is writable"


def test_a_nearly_full_disk_is_found(tmp_path: Path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=2**30))
    disk = named(doctor(tmp_path))["disk"]
    assert not disk.ok
    assert disk.value == f"1 GiB free in {tmp_path}"


def test_a_missing_package_is_found(monkeypatch):
    monkeypatch.setattr(module, "versions", lambda: {"python": "3", "monai": "not installed"})
    found = named(doctor())
    assert not found["monai"].ok


def test_a_folder_that_cannot_be_written_is_found(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module.os, "access", lambda path, mode: False)
    folder = named(doctor(tmp_path))["folder"]
    assert folder == Finding("folder", f"{tmp_path} is not writable", ok=False)
