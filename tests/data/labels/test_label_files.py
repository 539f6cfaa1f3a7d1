"""What transparency and palettes of label files mean is decided over the files of a folder."""

import numpy as np
import pytest
from rasterio.enums import ColorInterp

from maskzoo.data import Window
from maskzoo.data.images.raster_files import open_raster
from maskzoo.data.labels.label_files import LabelFiles
from maskzoo.errors import LabelError, UnreadableFile

MASK = np.zeros((8, 8), np.uint8)
MASK[2:5, 1:4] = 255
OTHER = np.zeros((8, 8), np.uint8)
OTHER[6:, 5:] = 255
FULL = np.full((8, 8), 255, np.uint8)


def write(path, *bands, roles=None, palette=None):
    shape = {"height": 8, "width": 8, "count": len(bands), "dtype": "uint8"}
    with open_raster(path, "w", driver="GTiff" if path.suffix == ".tif" else "PNG", **shape) as file:
        if palette:
            file.write_colormap(1, palette)
        if roles:
            file.colorinterp = [ColorInterp[role] for role in roles]
        file.write(np.stack(bands))
    return path


def opened(paths, **options):
    files = LabelFiles({path.stem: path for path in paths}, 2, **options)
    return files, [files.open(path.stem) for path in paths]


def whole(source):
    return source.read(Window((0, 0), source.shape))


COLORS = ("red", "green", "blue", "alpha")


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_opaque_alpha_is_no_class(tmp_path, suffix):
    paths = [write(tmp_path / f"{n}{suffix}", np.roll(MASK, n), FULL, roles=("gray", "alpha")) for n in range(2)]
    _, sources = opened(paths)
    for number, source in enumerate(sources):
        assert source.channels == 1
        np.testing.assert_array_equal(whole(source)[..., 0], np.roll(MASK, number))


def test_what_is_transparent_is_no_object(tmp_path):
    white = np.where(MASK + OTHER, 255, 0).astype(np.uint8)
    pixels = np.where(white, MASK, 255).astype(np.uint8)  # white where it is transparent
    _, (source,) = opened([write(tmp_path / "a.tif", pixels, white, roles=("gray", "alpha"))])
    np.testing.assert_array_equal(whole(source)[..., 0], MASK)


@pytest.mark.parametrize("value", [0, 255])
def test_a_mask_in_alpha_alone_is_refused(tmp_path, value):
    flat = np.full((8, 8), value, np.uint8)
    path = write(tmp_path / "a.tif", flat, flat, flat, MASK, roles=COLORS)
    with pytest.raises(LabelError, match=r"a.tif: expected a mask in a band that is not alpha; received one in alpha"):
        opened([path])


@pytest.mark.parametrize("high", [1, 255])
def test_a_fourth_class_that_is_marked_as_alpha_is_a_class(tmp_path, high):
    """The first file alone would not show it."""
    empty = np.zeros_like(MASK)
    first = write(tmp_path / "a.tif", empty, empty, empty, empty, roles=COLORS)
    second = write(tmp_path / "b.tif", MASK // 255 * high, empty, empty, OTHER // 255 * high, roles=COLORS)
    files, sources = opened([first, second])
    assert [source.channels for source in sources] == [4, 4]
    assert "alpha is a class" in files.remarks[0]


def test_alpha_that_hides_values_is_refused_unless_bands_are_declared(tmp_path):
    path = write(tmp_path / "a.tif", MASK, OTHER, MASK, np.roll(MASK, 1), roles=COLORS)
    with pytest.raises(
        LabelError, match="or `classes` with a name for every band; received one that hides label values"
    ):
        opened([path])
    assert opened([path], bands=4)[1][0].channels == 4


BLACK_WHITE = {0: (0, 0, 0), 1: (255, 255, 255)}
WHITE_BLACK = {0: (255, 255, 255), 1: (0, 0, 0)}


def test_palettes_that_differ_are_matched_by_colour(tmp_path):
    inside = MASK // 255
    paths = [
        write(tmp_path / "a.tif", 1 - inside, palette=WHITE_BLACK),
        write(tmp_path / "b.tif", inside, palette=BLACK_WHITE),
        write(tmp_path / "c.tif", 1 - inside, palette=WHITE_BLACK),
    ]
    files, sources = opened(paths)
    for source in sources:
        np.testing.assert_array_equal(whole(source)[..., 0], inside)
    assert files.remarks == [
        "palettes differ between label files, such as b.tif and a.tif: label values are those that their colours have "
        "in b.tif"
    ]


@pytest.mark.parametrize("color", [(255, 255, 255), (255, 0, 0)])
def test_black_is_the_background_of_masks_whose_palettes_begin_otherwise(tmp_path, color):
    """As programs write them that number colours by how often they occur."""
    inside = MASK // 255
    palette = {0: color, 1: (0, 0, 0)}
    paths = [write(tmp_path / "a.tif", 1 - inside, palette=palette), write(tmp_path / "b.tif", MASK)]
    paths.append(write(tmp_path / "c.tif", np.ones_like(inside), palette=palette))
    files, sources = opened(paths)
    assert [whole(source)[..., 0].tolist() for source in sources] == [x.tolist() for x in (inside, MASK, 0 * inside)]
    assert files.remarks == ["palettes that begin with another colour than black: black is 0, the other 1"]


def test_palettes_of_several_classes_that_do_not_begin_with_black_are_indices(tmp_path):
    ids = MASK // 255 + OTHER // 255 * 2
    palette = {0: (9, 9, 9), 1: (0, 0, 0), 2: (255, 0, 0)}
    files, sources = opened([write(tmp_path / f"{name}.tif", ids, palette=palette) for name in "ab"])
    np.testing.assert_array_equal(whole(sources[0])[..., 0], ids)
    assert files.remarks == []


def test_palettes_that_differ_where_nothing_is_shown_are_left_alone(tmp_path):
    inside = MASK // 255
    one = write(tmp_path / "a.tif", inside, palette={0: (0, 0, 0), 1: (9, 9, 9), 2: (1, 0, 0)})
    two = write(tmp_path / "b.tif", inside, palette={0: (0, 0, 0), 1: (9, 9, 9), 2: (2, 0, 0)})
    files, sources = opened([one, two])
    assert files.remarks == []
    assert whole(sources[1]).max() == 1


def test_a_colour_that_other_palettes_lack_is_refused(tmp_path):
    inside = MASK // 255
    paths = [write(tmp_path / f"{name}.tif", inside, palette=BLACK_WHITE) for name in "ab"]
    paths.append(write(tmp_path / "c.tif", inside, palette={0: (0, 0, 0), 1: (255, 0, 0)}))
    with pytest.raises(LabelError, match=r"c.tif: expected the colours that the palettes .*; received \[255, 0, 0\]"):
        opened(paths)


def test_a_damaged_file_stops_no_other(tmp_path):
    (tmp_path / "b.tif").write_bytes(b"II*\0damaged")
    files = LabelFiles(
        {"a": write(tmp_path / "a.tif", MASK, FULL, roles=("gray", "alpha")), "b": tmp_path / "b.tif"}, 2
    )
    assert files.open("a").channels == 1
    with pytest.raises(UnreadableFile, match=r"b.tif"):
        files.open("b")


RED, GREEN, GREY = (255, 0, 0), (0, 255, 0), (90, 90, 90)
TRAINED = ((0, 0, 0, 0), (1, *RED), (2, *GREEN))


def test_palettes_are_read_as_those_that_a_run_was_trained_on(tmp_path):
    labels = np.arange(64, dtype=np.uint8).reshape(8, 8) % 3
    turned = np.array([0, 2, 1], np.uint8)[labels]
    black = (0, 0, 0)
    first = write(tmp_path / "a.tif", turned, palette={0: black, 1: GREEN, 2: RED})
    second = write(tmp_path / "b.tif", turned, palette={0: black, 1: GREEN, 2: RED})
    for palette, expected in ((TRAINED, labels), ((), turned)):
        _, sources = opened([first, second], palette=palette)
        for source in sources:
            np.testing.assert_array_equal(whole(source)[..., 0], expected)
    files, (source,) = opened(
        [write(tmp_path / "c.tif", labels, palette={0: black, 1: RED, 2: GREEN})], palette=TRAINED
    )
    np.testing.assert_array_equal(whole(source)[..., 0], labels)
    assert not files.remarks


def test_palettes_with_other_colours_than_a_run_was_trained_on(tmp_path):
    labels = np.arange(64, dtype=np.uint8).reshape(8, 8) % 3
    other = write(tmp_path / "a.tif", labels, palette={0: (0, 0, 0), 1: RED, 2: GREY})
    with pytest.raises(LabelError, match=r"a.tif: expected the colours .*; received \[90, 90, 90\]"):
        opened([other], palette=TRAINED)
    strange = write(tmp_path / "b.tif", labels, palette={0: (0, 0, 0), 1: (1, 1, 1), 2: GREY})
    files, (source,) = opened([strange], palette=TRAINED)
    np.testing.assert_array_equal(whole(source)[..., 0], labels)
    assert files.remarks == ["no colour is one of those that the run was trained on: indices are label values"]
