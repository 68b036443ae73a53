"""errors: one tree, an exit code for each branch, and suggestions that help."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslinknet import errors
from crosslinknet.errors import CrosslinkError, suggest

EVERY = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, CrosslinkError)
]


@pytest.mark.parametrize("kind", EVERY)
def test_every_error_is_explained_and_has_an_exit_code_of_the_command_line(kind):
    assert kind.__doc__
    assert kind.exit_code in (1, 2, 3, 4, 130)
    assert str(kind("what came, what was expected, what to do")).startswith("what came")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("CrosslinkError", 1),
        ("TrainingError", 1),
        ("UsageError", 2),
        ("DataError", 3),
        ("LabelError", 3),
        ("ShapeError", 3),
        ("SystemProblem", 4),
        ("Stopped", 130),
    ],
)
def test_the_exit_codes_are_those_of_the_documentation(name, code):
    assert getattr(errors, name).exit_code == code


def test_a_typing_error_gets_the_nearest_name():
    assert suggest("epoch", ["lr", "epochs", "seed"]) == "; did you mean 'epochs'?"


def test_a_name_far_from_all_gets_the_list():
    assert suggest("qqq", ["seed", "lr"]) == "; known are lr, seed"


@given(st.sampled_from(["alpha", "beta", "gamma"]))
def test_a_known_name_suggests_itself(name):
    assert suggest(name, ["alpha", "beta", "gamma"]) == f"; did you mean '{name}'?"
