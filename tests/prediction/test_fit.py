"""Fitting, and what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest

from insight_lib.prediction.fit import calibration


@pytest.mark.parametrize("factor", [1.0, 100.0, 1e6])
def test_calibration_of_amounts_does_not_depend_on_the_currency(factor: float) -> None:
    """In cents a spend model was taken to a thirtieth of what came: its steps never arrived."""
    draw = np.random.default_rng(5)
    scores = draw.lognormal(6, 1, 400)
    label = draw.poisson(3 * scores**0.7).astype(float)
    plain = calibration("amount", scores, label)
    found = calibration("amount", factor * scores, factor * label)
    assert found["slope"] == pytest.approx(plain["slope"], rel=1e-6)
    assert found["slope"] == pytest.approx(0.7, abs=0.03)
    shift = np.log(factor) * (1 - plain["slope"])
    assert found["intercept"] == pytest.approx(plain["intercept"] + shift, abs=1e-5)
