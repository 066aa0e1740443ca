"""config.data.degradation: what the pipeline does, and only that."""

import numpy as np
import pytest

from configs import common
from experiments import train


def _config(data=None, task=None):
  config = common.base()
  config.data.degradation = data
  config.task = {"name": "restoration", "degradation": task}
  return config


def test_the_named_degradation_is_built_with_its_arguments():
  degrade = train._pipeline_degradation(
      _config({"name": "resize.bicubic_down", "scale": 2})
  )
  degraded, _ = degrade(
      np.random.default_rng(0), np.ones((2, 8, 12, 3), np.float32)
  )
  assert degraded.shape == (2, 4, 6, 3)
  assert train._pipeline_degradation(_config(task=common.awgn(5, 55))) is None
  no_key = _config()
  no_key.task = {"name": "optical_flow", "sigma": (0.0, 0.2)}
  assert train._pipeline_degradation(no_key) is None


@pytest.mark.parametrize(
    ("data", "task", "message"),
    [
        (
            common.awgn(5, 55), None,
            r"config\.data\.degradation is noise\.gaussian, which runs on the"
            r" device.*Give it as config\.task\.degradation",
        ),
        (
            None, {"name": "rain.streaks"},
            r"config\.task\.degradation is rain\.streaks, which runs in the"
            r" data pipeline.*Give it as config\.data\.degradation",
        ),
        (
            {"name": "rain.streaks"}, common.awgn(5, 55),
            r"degraded once, .* is rain\.streaks and .* is noise\.gaussian",
        ),
        ("rain.streaks", None, r"config\.data\.degradation needs a name"),
        (None, {"sigma": (0, 1)}, r"config\.task\.degradation needs a name"),
        ({"name": "rain.streeks"}, None, r"no degradation 'rain\.streeks'"),
        (
            {"name": "rain.streaks", "lenth": 3}, None,
            r"rain\.streaks' takes no argument lenth",
        ),
    ],
)
def test_a_degradation_in_the_wrong_place_is_refused(data, task, message):
  with pytest.raises(ValueError, match=message):
    train._pipeline_degradation(_config(data, task))
