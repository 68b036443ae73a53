"""Networks of the user's own: loaded where it is allowed, and held to the contract."""

import re

import pytest
import torch
from torch import nn

from crosslinknet.errors import UsageError
from crosslinknet.models import build_model
from crosslinknet.models.own import check_contract

GOOD = """
from torch import nn
class Net(nn.Module):
    def __init__(self, in_channels, num_classes, width=4):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, num_classes, 3, padding=1)
    def forward(self, x):
        return self.conv(x)
number = 3
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with a module of the user's own, of a name that no other test uses."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    monkeypatch.delenv("XLN_ALLOW_CODE", raising=False)
    (tmp_path / "my_networks_7.py").write_text(GOOD, "utf-8")
    yield tmp_path
    __import__("sys").modules.pop("my_networks_7", None)


def test_code_runs_only_where_it_is_allowed(here, monkeypatch):
    with pytest.raises(UsageError, match="give --allow-code"):
        build_model("my_networks_7:Net")
    assert "my_networks_7" not in __import__("sys").modules
    monkeypatch.setenv("XLN_ALLOW_CODE", "1")
    model = build_model("my_networks_7:Net", 2, 3, width=8)
    assert model(torch.zeros(1, 2, 9, 9)).shape == (1, 3, 9, 9)
    with torch.device("meta"):
        build_model("my_networks_7:Net", 2, 3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_network_7:Net", "my_network_7 cannot be imported"),
        ("my_networks_7:Nett", "has no class or function 'Nett'"),
        ("my_networks_7:number", "has no class or function 'number'"),
    ],
)
def test_code_that_is_not_there_is_named(here, monkeypatch, name, said):
    monkeypatch.setenv("XLN_ALLOW_CODE", "1")
    with pytest.raises(UsageError, match=said):
        build_model(name)


def test_an_unknown_option_of_an_own_class_is_named(here, monkeypatch):
    monkeypatch.setenv("XLN_ALLOW_CODE", "1")
    with pytest.raises(UsageError, match="wdth is unknown; did you mean 'width'"):
        build_model("my_networks_7:Net", wdth=3)


class Broken(nn.Module):
    """Breaks one clause."""

    def __init__(self, forward):
        super().__init__()
        self.run = forward
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.run(x)


def halves(x):
    if x.shape[2] % 2:
        raise RuntimeError("size mismatch")
    return x


@pytest.mark.parametrize(
    ("forward", "clause"),
    [
        (halves, "it must take images of any size, and fails on (2, 1, 45, 67): RuntimeError"),
        (lambda x: (x, x), "its call must give one tensor, and gives a tuple"),
        (lambda x: x[..., ::2, ::2], "logits of (2, 1, 64, 64) must be (2, 1, 64, 64), and are"),
        (lambda x: (x > 0).long(), "logits must be floats, and are torch.int64"),
        (lambda x: x / 0, "logits of a plain image must be finite"),
        (lambda x: x.mul_(2), "it must leave its input as it is, and changes it in place"),
        (lambda x: x - 5 * x.mean(), "in eval mode logits of a slice must not depend"),
    ],
)
def test_the_clause_that_a_network_breaks_is_named(forward, clause):
    with pytest.raises(UsageError, match=re.escape(f"breaks the contract of networks: {clause}")):
        check_contract(Broken(forward), "mine:Net", 1, 1)


def test_what_is_no_module_is_refused():
    with pytest.raises(UsageError, match=r"must be a torch\.nn\.Module, and is a function"):
        check_contract(lambda x: x, "mine:net", 1, 1)


def test_what_has_nothing_to_train_is_refused():
    with pytest.raises(UsageError, match="must have parameters that can be trained"):
        check_contract(nn.Identity(), "mine:Net", 1, 1)


def test_what_looks_like_probabilities_is_pointed_out():
    with pytest.warns(UserWarning, match=r"lies in 0\.\.1, whatever it sees\. If it ends in a"):
        check_contract(Broken(torch.sigmoid), "mine:Net", 1, 1)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nothing_of_that_name", r"It imports nothing_of_that_name, which is not installed"),
        ("def f(:", r"importing broken_7 fails: SyntaxError in \S+broken_7\.py, line 1"),
        ("1 / 0", r"fails: ZeroDivisionError: division by zero \(\S+broken_7\.py, line 1\)"),
        (
            "class Net:\n    def __init__(self, in_channels, num_classes):\n        oops",
            r"cannot be built: NameError: name 'oops' is not defined \(\S+broken_7\.py, line 3\)",
        ),
        (
            "class Net:\n    def __init__(self, in_channels, num_classes):\n        len(3)",
            r"cannot be built with \{\}: TypeError: object of .*broken_7\.py, line 3\)",
        ),
    ],
)
def test_errors_of_the_users_code_are_one_line_with_their_place(here, monkeypatch, code, said):
    monkeypatch.setenv("XLN_ALLOW_CODE", "1")
    (here / "broken_7.py").write_text(code, "utf-8")
    __import__("importlib").invalidate_caches()
    try:
        with pytest.raises(UsageError, match=said):
            build_model("broken_7:Net")
    finally:
        __import__("sys").modules.pop("broken_7", None)
