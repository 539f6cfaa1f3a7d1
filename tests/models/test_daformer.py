"""The learned mix of DAFormer."""

import keras
import numpy as np

from maskzoo.models.daformer import LearnedMix


def _images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def _numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_the_learned_mix_goes_from_the_second_tensor_to_the_first():
    first, second = _images(1, 2, 2, 1), _images(1, 2, 2, 1) + 1
    mix = LearnedMix()
    np.testing.assert_allclose(_numpy(mix([first, second])), (first + second) / 2, rtol=1e-6)
    mix.mix.assign(0.25)
    np.testing.assert_allclose(_numpy(mix([first, second])), first / 4 + second * 3 / 4, rtol=1e-6)
