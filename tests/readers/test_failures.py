"""Errors and warnings of libraries: named, and the process as it was, whatever thread reads."""

import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from nibabel import imageglobals
from PIL import Image

from crosslinknet.errors import DataError, UsageError
from crosslinknet.readers import read_image
from crosslinknet.readers.failures import Shared, errors_named

PATH = Path("scan.x")


@pytest.fixture
def hurried():
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def test_an_exception_is_named_with_its_reason_and_errors_of_ours_pass():
    said = r"scan\.x cannot be read as NIfTI \(no header\)\. It may"
    with pytest.raises(DataError, match=said), errors_named(PATH, "NIfTI"):
        raise ValueError("no\n   header")
    with pytest.raises(DataError, match=r"\(EOFError\)"), errors_named(PATH, "NIfTI"):
        raise EOFError
    with pytest.raises(DataError, match=r"\(\.\.\. x{292} the end\)"), errors_named(PATH, "NIfTI"):
        raise ValueError("x" * 900 + " the end")
    with pytest.raises(UsageError, match="ours"), errors_named(PATH, "NIfTI"):
        raise UsageError("ours")


def test_a_warning_is_damage_or_nothing_as_the_format_says():
    with pytest.raises(DataError, match="half of it"), errors_named(PATH, "TIFF"):
        warnings.warn("half of it", stacklevel=1)
    with errors_named(PATH, "DICOM", warnings_mean="nothing"):
        warnings.warn("odd", stacklevel=1)
        with pytest.raises(DataError, match="inner"), errors_named(PATH, "PNG"):
            warnings.warn("inner", stacklevel=1)
        warnings.warn("odd again", stacklevel=1)


def test_threads_that_read_leave_the_process_as_it_was(tmp_path, hurried):
    for number in range(30):
        Image.fromarray(np.full((40, 40), number, np.uint8)).save(tmp_path / f"{number}.png")
    paths = sorted(tmp_path.iterdir()) * 20
    filters, shown = list(warnings.filters), warnings.showwarning
    with ThreadPoolExecutor(8) as pool:
        means = list(pool.map(lambda path: read_image(path, 0)[0].mean(), paths))
    assert sorted(set(means)) == list(range(30))
    assert warnings.filters == filters
    assert warnings.showwarning is shown


def test_each_thread_decides_for_itself_what_a_warning_means(hurried):
    together = threading.Barrier(8)

    def work(number: int) -> str:
        meaning = ("damage", "nothing")[number % 2]
        together.wait(20)
        for _ in range(200):
            try:
                with errors_named(PATH, "x", warnings_mean=meaning):
                    warnings.warn("odd", stacklevel=1)
            except DataError:
                if meaning == "nothing":
                    return "an error for nothing"
            else:
                if meaning == "damage":
                    return "damage that was not seen"
        return "right"

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(8))) == {"right"}


def test_other_threads_still_hear_their_own_warnings():
    def warn_elsewhere() -> None:
        thread = threading.Thread(target=lambda: warnings.warn("mine", stacklevel=1))
        with errors_named(PATH, "x"):
            thread.start()
            thread.join()

    with pytest.warns(UserWarning, match="mine"):
        warn_elsewhere()


def test_a_shared_change_is_made_once_and_taken_back_by_the_last():
    told = []

    class Change:
        def __enter__(self):
            told.append("made")

        def __exit__(self, *raised):
            told.append("taken back")

    shared = Shared(Change)
    with shared:
        with shared:
            assert told == ["made"]
        assert told == ["made"]
    assert told == ["made", "taken back"]
    with pytest.raises(ValueError, match="x"), shared:
        raise ValueError("x")
    assert told == ["made", "taken back"] * 2


def test_nibabel_is_left_as_it_was(tmp_path):
    level, disabled = imageglobals.error_level, imageglobals.logger.disabled
    (tmp_path / "a.nii").write_bytes(b"no header")
    with pytest.raises(DataError):
        read_image(tmp_path / "a.nii", 0)
    assert (imageglobals.error_level, imageglobals.logger.disabled) == (level, disabled)
