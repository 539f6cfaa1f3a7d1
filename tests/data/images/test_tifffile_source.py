"""TIFFs that tifffile reads: codecs that GDAL lacks, OME's planes and pyramids, stacks of pages."""

import tracemalloc

import nibabel
import numpy as np
import pytest
import tifffile
from concurrency import whole

from maskzoo.data import Window, WriterOptions, open_source, open_writer
from maskzoo.data.images.tifffile_source import TifffileSource

TILES = {"tile": (64, 48)}


def noise(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


@pytest.mark.parametrize("layout", [TILES, {"rowsperstrip": 17}])
@pytest.mark.parametrize("compression", ["jpeg2000", 33005, "jpegxl", "png"])
def test_codecs_that_gdal_lacks(tmp_path, compression, layout):
    image = noise((150, 131, 3))
    path = tmp_path / "slide.svs"
    tifffile.imwrite(path, image, photometric="rgb", compression=compression, **layout)
    source = open_source(path, spatial_dims=2)
    assert isinstance(source, TifffileSource)
    assert (source.shape, source.channels, source.dtype) == ((150, 131), 3, np.uint8)
    np.testing.assert_array_equal(whole(source), image)
    np.testing.assert_array_equal(source.read(Window((50, 40), (33, 70))), image[50:83, 40:110])
    outside = np.pad(image, [(20, 5), (30, 9), (0, 0)], mode="reflect")
    np.testing.assert_array_equal(source.read(Window((-20, -30), outside.shape[:2])), outside)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("axes", ["CYX", "YXS", "CYXS", "SYX"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_channels_of_ome_are_channels(tmp_path, axes, dtype, compression):
    lengths = {"C": 4, "Y": 90, "X": 70, "S": 3}
    image = noise([lengths[axis] for axis in axes], dtype)
    layout = {"photometric": "rgb" if "S" in axes else "minisblack"}
    layout |= {"planarconfig": "separate"} if axes == "SYX" else {}
    path = tmp_path / "image.ome.tif"
    tifffile.imwrite(path, image, metadata={"axes": axes}, compression=compression, **layout, **TILES)
    source = open_source(path)
    expected = {
        "CYX": np.moveaxis(image, 0, -1),
        "SYX": np.moveaxis(image, 0, -1),
        "YXS": image,
        "CYXS": np.concatenate([image[n] for n in range(len(image))], axis=-1),
    }[axes]
    assert (source.shape, source.channels, source.dtype) == ((90, 70), expected.shape[-1], np.dtype(dtype))
    np.testing.assert_array_equal(whole(source), expected)
    np.testing.assert_array_equal(source.read(Window((60, 33), (25, 30))), expected[60:85, 33:63])


def saved_pyramid(path, **metadata):
    volume = noise((5, 2, 120, 140), np.uint16)
    levels = [volume, volume[..., ::2, ::2], volume[..., ::4, ::4]]
    with tifffile.TiffWriter(path, ome=True) as file:
        for number, level in enumerate(levels):
            first = {"subifds": 2, "metadata": {"axes": "ZCYX", **metadata}} if number == 0 else {"subfiletype": 1}
            file.write(level, photometric="minisblack", compression="zlib", tile=(32, 32), **first)
    return [np.moveaxis(level, (0, 1), (2, 3)) for level in levels]


def test_sections_and_pyramids_of_ome(tmp_path):
    path = tmp_path / "stack.ome.tif"
    sizes = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 500, "PhysicalSizeYUnit": "nm", "PhysicalSizeZ": 2.0}
    levels = saved_pyramid(path, **sizes)
    source = open_source(path)
    assert [shape for shape, _ in source.levels] == [(120, 140, 5), (60, 70, 5), (30, 35, 5)]
    assert [downsample for _, downsample in source.levels] == [1, 2, 4]
    for number, expected in enumerate(levels):
        source = open_source(path, spatial_dims=3, level=number)
        assert (source.shape, source.channels) == (expected.shape[:3], 2)
        np.testing.assert_array_equal(whole(source), expected)
        np.testing.assert_array_equal(source.read(Window((11, 7, 2), (15, 20, 3))), expected[11:26, 7:27, 2:5])
        np.testing.assert_allclose(source.frame.spacing, (0.5 * 2**number, 0.25 * 2**number, 2))
        np.testing.assert_allclose(np.diag(source.frame.affine), (*source.frame.spacing, 1))
    with pytest.raises(ValueError, match=r"stack.ome.tif: expected an image with 2 .*; received a stack of 5"):
        open_source(path, spatial_dims=2)
    with pytest.raises(ValueError, match=r"stack.ome.tif: expected a level from 0 to 2; received 3"):
        open_source(path, level=3)


def test_a_prediction_of_a_stack_keeps_its_micrometres(tmp_path):
    saved_pyramid(tmp_path / "stack.ome.tif", PhysicalSizeX=0.25, PhysicalSizeY=0.5, PhysicalSizeZ=2.0)
    source = open_source(tmp_path / "stack.ome.tif", level=1)
    with open_writer(tmp_path / "mask.nii.gz", source.shape, WriterOptions(like=source)) as writer:
        writer.write(Window((0, 0, 0), source.shape), np.zeros((*source.shape, 1), np.uint8))
    header = nibabel.load(tmp_path / "mask.nii.gz").header
    assert header.get_xyzt_units()[0] == "micron"
    np.testing.assert_allclose(header.get_zooms(), (1.0, 0.5, 2.0))


@pytest.mark.parametrize("kind", ["pages", "pages compressed", "imagej"])
def test_a_stack_of_pages_is_a_volume_and_never_its_first_page(tmp_path, kind):
    stack = noise((6, 50, 40), np.uint16)
    path = tmp_path / "stack.tif"
    options = {"imagej": {"imagej": True, "metadata": {"axes": "ZYX"}}, "pages compressed": {"compression": "lzma"}}
    tifffile.imwrite(path, stack, photometric="minisblack", **options.get(kind, {"metadata": None}))
    for spatial_dims in (3, None):
        source = open_source(path, spatial_dims=spatial_dims)
        assert (source.shape, source.channels) == ((50, 40, 6), 1)
        np.testing.assert_array_equal(whole(source)[..., 0], np.moveaxis(stack, 0, -1))
        np.testing.assert_array_equal(source.read(Window((3, 4, 2), (9, 8, 1)))[..., 0, 0], stack[2, 3:12, 4:12])
    with pytest.raises(ValueError, match=r"stack.tif: expected an image .*; received a stack of 6 sections, a volume"):
        open_source(path, spatial_dims=2)


def test_channels_of_imagej_are_channels_and_its_unit_is_read(tmp_path):
    image = noise((3, 50, 40), np.uint16)
    path = tmp_path / "image.tif"
    metadata = {"axes": "CYX", "unit": "um"}
    tifffile.imwrite(path, image, imagej=True, resolution=(2, 4), metadata=metadata)
    source = open_source(path, spatial_dims=2)
    np.testing.assert_array_equal(whole(source), np.moveaxis(image, 0, -1))
    assert source.frame.spacing == (0.25, 0.5)


def test_several_times_are_refused_and_pages_of_other_sizes_are_no_stack(tmp_path):
    path = tmp_path / "times.ome.tif"
    tifffile.imwrite(path, noise((2, 3, 30, 30)), metadata={"axes": "TZYX"}, photometric="minisblack")
    with pytest.raises(OSError, match=r"times.ome.tif: expected a readable image; received axes TZYX"):
        open_source(path)
    with tifffile.TiffWriter(tmp_path / "slide.tif") as file:
        for size in (90, 40):
            file.write(noise((size, size, 3)), photometric="rgb", metadata=None)
    np.testing.assert_array_equal(whole(open_source(tmp_path / "slide.tif")), noise((90, 90, 3)))


def test_transparency_and_palettes(tmp_path):
    image = noise((64, 64, 4)) + 1
    image[:20, :, 3], image[20:, :, 3] = 0, 255
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", extrasamples=["unassalpha"], compression="jpeg2000")
    shown = image[..., :3] * (image[..., 3:] > 0)
    np.testing.assert_array_equal(whole(open_source(tmp_path / "a.tif")), shown)
    asked = whole(open_source(tmp_path / "a.tif", alpha=True))
    np.testing.assert_array_equal(asked, np.concatenate([shown, image[..., 3:]], axis=-1))
    np.testing.assert_array_equal(whole(open_source(tmp_path / "a.tif", palette="index")), image)
    colors = noise((3, 256), np.uint16) << 8
    indices = noise((64, 64))
    tifffile.imwrite(tmp_path / "p.tif", indices, photometric="palette", colormap=colors, compression="png")
    np.testing.assert_array_equal(whole(open_source(tmp_path / "p.tif")), (colors.T >> 8)[indices])
    np.testing.assert_array_equal(whole(open_source(tmp_path / "p.tif", palette="index"))[..., 0], indices)


def test_a_window_decodes_only_the_tiles_that_it_touches(tmp_path, monkeypatch):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, noise((1024, 1024, 3)), photometric="rgb", compression="jpeg2000", tile=(128, 128))
    source = open_source(path)
    decoded = []
    key = source._planes().key
    decode = key.decode

    def counted(content, index, **options):
        decoded.append(index)
        return decode(content, index, **options)

    monkeypatch.setattr(key, "decode", counted)
    source.read(Window((100, 300), (60, 60)))
    assert decoded == [2, 10]
    source.read(Window((120, 290), (60, 60)))
    assert decoded == [2, 10], "tiles are kept"


def test_a_window_of_a_huge_slide_costs_no_memory(tmp_path):
    path = tmp_path / "huge.tif"
    tile = noise((256, 256))
    tiles = (tile if number == 0 else None for number in range(391 * 391))
    layout = {"shape": (100_000, 100_000), "tile": (256, 256), "compression": "jpegxl"}
    tifffile.imwrite(path, tiles, dtype="uint8", photometric="minisblack", **layout)
    tracemalloc.start()
    source = open_source(path)
    pixels = source.read(Window((0, 0), (512, 512)))[..., 0]
    np.testing.assert_array_equal(pixels[:256, :256], tile)
    assert not pixels[256:].any()
    assert not source.read(Window((99_000, 99_000), (1000, 1000))).any()
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
