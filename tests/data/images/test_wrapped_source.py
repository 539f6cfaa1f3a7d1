"""Whatever shows an image otherwise passes on what it does not change: files, notes, what is lacking, its own grid."""

import numpy as np
import pytest
from concurrency import whole

from maskzoo.data import Window, open_source
from maskzoo.data.augmentation.stain import StainedSource
from maskzoo.data.images.orientation import SeenSource
from maskzoo.data.images.pixel_meaning import PixelMeaning
from maskzoo.data.images.pyramid import ResampledSource
from maskzoo.data.images.raster_files import open_raster
from maskzoo.data.images.resized_source import ResizedSource
from maskzoo.data.images.selected_bands import SelectedSource
from maskzoo.data.images.turning import Turn, TurnedSource
from maskzoo.data.images.value_range import RescaledSource, ValueRange
from maskzoo.data.images.wrapped_source import WrappedSource

STAINS = {"method": "reinhard", "mean": [60.0, 10.0, 10.0], "std": [10.0, 5.0, 5.0]}
WRAPPERS = {
    "turned": lambda source: TurnedSource(source, Turn((1, 0), (True, False))),
    "seen": lambda source: SeenSource(source, 6),
    "resized": lambda source: ResizedSource(source, (10, 12)),
    "resampled": lambda source: ResampledSource(source, (10, 12)),
    "selected": lambda source: SelectedSource(source, PixelMeaning((2, 0, 1), ("blue", "red", "green"))),
    "rescaled": lambda source: RescaledSource(source, ValueRange(("uint16",), 0, 65535)),
    "stained": lambda source: StainedSource(source, STAINS),
}
# Results of these belong on the grid of what they show.
BROUGHT_BACK = ("turned", "resized")


@pytest.fixture
def image(tmp_path):
    """An image of 20 x 24 pixels whose upper left quarter is nodata, and a note about it."""
    pixels = np.random.default_rng(0).integers(1, 255, (3, 20, 24), np.uint8)
    pixels[:, :10, :12] = 0
    profile = {"driver": "GTiff", "width": 24, "height": 20, "count": 3, "dtype": "uint8", "nodata": 0}
    with open_raster(tmp_path / "a.tif", "w", **profile) as file:
        file.write(pixels)
    source = open_source(tmp_path / "a.tif")
    source.notes, source.bits, source.value_step = ("noted",), 7, 0.5
    return source


@pytest.mark.parametrize("name", WRAPPERS)
def test_what_is_not_changed_is_passed_on(image, name):
    shown = WRAPPERS[name](image)
    assert isinstance(shown, WrappedSource)
    assert (shown.path, shown.name, shown.files) == (image.path, image.name, [image.path])
    assert shown.notes[0] == "noted"
    assert shown.bits == (None if name == "rescaled" else 7)
    assert (shown.own is image) == (name in BROUGHT_BACK)
    assert (shown.own is None) == (name not in BROUGHT_BACK)
    valid = shown.valid(Window((0, 0), shown.shape))
    assert (~valid).mean() == 0.25
    assert valid.shape == whole(shown).shape == (*shown.shape, 3)


@pytest.mark.parametrize("outer", [name for name in WRAPPERS if name != "seen"])
@pytest.mark.parametrize("inner", BROUGHT_BACK)
def test_the_grid_of_the_file_is_known_through_every_wrapper(image, inner, outer):
    shown = WRAPPERS[outer](WRAPPERS[inner](image))
    assert shown.own is image
