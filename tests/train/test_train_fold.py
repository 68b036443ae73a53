"""Whole trainings of one fold: stopped and continued, refused, warned about, written down."""

import csv
import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from crosslinknet import files, train
from crosslinknet.checkpoint import (
    MODEL_FORMAT,
    STATE_FORMAT,
    part,
    prefixed,
    read_checkpoint,
    write_checkpoint,
)
from crosslinknet.config import to_yaml
from crosslinknet.errors import DataError, SystemProblem, TrainingError, UsageError
from crosslinknet.files import read_json, sha256_of_file
from crosslinknet.models import build_model
from crosslinknet.predict import load
from crosslinknet.runs import open_run
from crosslinknet.train import Interrupted, loop, train_fold

from .tiny import (
    PlugPulled,
    PullThePlug,
    Recorder,
    assert_equal_tensors,
    assert_same_bits,
    state_of,
    tiny_config,
    train_tiny,
    weights_of,
)


# Stopped and continued: the same bits. An uninterrupted run of six training slices has three
# batches an epoch, and two epochs.


@pytest.mark.parametrize("batches", [1, 2, 3, 4])
def test_a_crash_after_any_batch_changes_no_bit(config, batches):
    whole = train_tiny(config(out="whole"))
    with pytest.raises(PlugPulled):
        train_tiny(config(), PullThePlug(batches))
    assert_same_bits(train_tiny(config(), resume=True), whole)
