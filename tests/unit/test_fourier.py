"""Power spectra in OpenCV's layout."""

import numpy as np
import pytest

from speechrep.frontend import fourier


@pytest.mark.parametrize("length", [2, 3, 5, 400, 401, 512])
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_power_and_weights_are_those_of_the_plain_spectrum(length: int, count: int, precision: type):
    rng = np.random.default_rng(length)
    frames = rng.standard_normal((count, length)).astype(precision)
    power = np.abs(np.fft.rfft(frames.astype(np.float64))) ** 2
    squares = fourier.squares(frames, np.empty_like(frames))
    tolerance = {"rtol": 1e-12, "atol": 1e-10} if precision == np.float64 else {"rtol": 1e-4, "atol": 1e-3}
    np.testing.assert_allclose(fourier.power(squares), power, **tolerance)
    for known in (power.shape[1], power.shape[1] - 1):  # with the highest bin, and without it as in Kaldi
        weights = rng.random((known, 3)).astype(precision)
        np.testing.assert_allclose(
            squares @ fourier.over_squares(weights, length), power[:, :known] @ weights, **tolerance
        )
