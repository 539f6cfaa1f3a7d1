"""What the first bytes of raster files say."""

import numpy as np
import pytest
from PIL import Image

from maskzoo.data import open_source
from maskzoo.errors import ImageError


def test_an_animation_is_refused_and_one_picture_is_not(tmp_path):
    pictures = [Image.fromarray(np.full((8, 9), value, np.uint8)) for value in (10, 20, 30)]
    path = tmp_path / "a.png"
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    with pytest.raises(ImageError, match=r"a.png: expected one picture; received an animation of 3"):
        open_source(path)
    pictures[0].save(path)
    assert open_source(path).shape == (8, 9)
