"""What a configuration makes before the first number is computed."""

import pytest

from flaxmask.data.config import DataConfig
from flaxmask.experiment import Config
from flaxmask.names import Refused
from flaxmask.setting import Setting
from flaxmask.training.config import TrainingConfig
from tests import toy

DATA = DataConfig(name="cmudict", train_examples=32, evaluation_examples=8, batch_examples=16)
BEST = TrainingConfig(best_by="per", curve_every=1)


def test_parameters_are_chosen_by_another_split_than_rows_are_judged_on():
    for split in (None, "test"):
        said = DataConfig(**{**vars(DATA), "validation_split": split})
        with pytest.raises(Refused, match=r"best_by=per: set data.validation_split to another split than test"):
            Setting.of(Config(said, toy.CONFIG, training=BEST), 0, 1)
    said = DataConfig(**{**vars(DATA), "validation_split": "validation"})
    setting = Setting.of(Config(said, toy.CONFIG, training=BEST), 0, 1)
    assert setting.watched.references != setting.task.references
    assert setting.watched.train.fingerprint == setting.task.train.fingerprint
    assert Setting.of(Config(DATA, toy.CONFIG), 0, 1).watched.references == setting.task.references
