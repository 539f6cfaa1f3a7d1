"""One image is split into regions: what is trained on never shows what is held out, nor the guard band around it."""

import logging

import nibabel
import numpy as np
import pytest

from maskzoo.data import (
    DataSpec,
    ImageIdentity,
    KnownImages,
    WindowDataset,
    WindowOptions,
    identities_of,
    images_to_split,
    labelled_cases,
    load_data,
    open_source,
    read_spec,
    write_folds,
)
from maskzoo.data.images.raster_files import open_raster
from maskzoo.data.sets.regions import Region, boxes_around, guard_band
from maskzoo.data.windows import Window
from maskzoo.errors import DataError, OptionError

MIXED = {"mix_probabilities": {"cutmix": 0.5}, "scales": [1, 0.5], "augment": "none"}
DRAWN = [
    WindowOptions(**MIXED),
    WindowOptions(windows="all", overlap=0.5),
    WindowOptions(windows="positive", hard_example_fraction=0.3),
    WindowOptions(windows="tissue"),
    WindowOptions(balance={"foreground": 1.0}),
]


def coordinates(shape):
    """An image whose channels say which pixel a pixel is, `uint16` `(*shape, axes)`."""
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).astype(np.uint16)


def objects(shape):
    """A mask of squares all over an image."""
    return (sum((axis // 7) % 2 for axis in np.meshgrid(*map(np.arange, shape), indexing="ij")) == 1).astype(np.uint8)


@pytest.fixture
def one_image(tmp_path):
    """Function from a shape to a data set of one raster or volume, whose pixels are their coordinates."""

    def saved(shape, mask=None, folder=tmp_path / "one"):
        for kind, values in (("images", coordinates(shape)), ("masks", objects(shape) if mask is None else mask)):
            (folder / kind).mkdir(parents=True)
            values = values if values.ndim > len(shape) else values[..., None]
            if len(shape) == 3:
                # The first axis of the file runs to the left: it is read from behind.
                image = nibabel.Nifti1Image(np.squeeze(values[::-1]), np.diag([-1.0, 1, 3, 1]))
                nibabel.save(image, folder / kind / "scene.nii.gz")
                continue
            profile = {"height": shape[0], "width": shape[1], "count": values.shape[-1], "dtype": values.dtype}
            with open_raster(folder / kind / "scene.tif", "w", driver="GTiff", **profile) as file:
                file.write(np.moveaxis(values, -1, 0))
        return folder

    return saved


def pixels_seen(dataset, epochs=1):
    """All pixels of the images of a `WindowDataset`, by their coordinates, `(pixels, axes)`."""
    found = []
    for epoch in range(epochs):
        dataset.epoch = epoch
        for number in range(len(dataset)):
            images = dataset[number][0]
            found.append(np.rint(images * 65535).astype(int).reshape(-1, images.shape[-1]))
    return np.unique(np.concatenate(found), axis=0)


def inside(pixels, box):
    return ((pixels >= box.offset) & (pixels < box.stop)).all(axis=-1)


def spec_of(folder, **options):
    return read_spec(folder, {"normalization": "none", **options})


@pytest.mark.parametrize("options", DRAWN, ids=["mixed", "all", "positive", "tissue", "balance"])
@pytest.mark.parametrize(("shape", "field"), [((120, 150), (9, 13)), ((40, 36, 50), (3, 3, 5))])
def test_no_training_window_shows_a_held_out_pixel_or_the_guard_band(one_image, shape, field, options):
    if len(shape) == 3 and options.mix_probabilities:
        options = WindowOptions(scales=[1, 0.5])
    spec = spec_of(one_image(shape))
    dataset = load_data(spec, spatial_dims=len(shape), receptive_field=lambda: field)
    (held_out,) = dataset.validation
    region = dataset.regions[held_out.name]
    # There is no guard band where nothing lies beside the region.
    beside = [size < length for size, length in zip(region.size, shape, strict=True)]
    assert region.context == tuple(np.multiply(field, beside))
    steps = WindowOptions(**{**vars(options), "steps": 30})
    seen = pixels_seen(WindowDataset(dataset.train, 16, 4, steps, halo=2))
    # Whatever lies within a receptive field of a pixel that is trained on is not held out.
    assert not inside(seen, region.box.padded(list(field))).any()
    validated = pixels_seen(WindowDataset(dataset.validation, 8, 4, shuffle=False))
    assert inside(validated, region.box).all()
    assert len(validated) == np.prod(region.size)
    # What models see around it when they are scored lies in the guard band.
    around = pixels_seen(WindowDataset(dataset.validation, 16, 4, shuffle=False, halo=20))
    assert inside(around, region.box.padded(list(field))).all()
    assert len(around) > len(validated)


@pytest.mark.parametrize("shape", [(120, 150), (40, 36, 50)])
@pytest.mark.parametrize("folds", [2, 3, 4])
def test_every_fold_holds_out_another_region(one_image, tmp_path, shape, folds):
    folder = one_image(shape)
    images = images_to_split(read_spec(folder), folds=folds)
    made = images.make_folds(folds)
    assert sorted(made.values()) == list(range(folds))
    write_folds(tmp_path / "folds.json", made, regions=images.regions)
    field = (4,) * len(shape)
    counts = np.zeros(shape, int)
    for fold in range(folds):
        spec = spec_of(folder, folds=str(tmp_path / "folds.json"), fold=fold)
        dataset = load_data(spec, spatial_dims=len(shape), receptive_field=lambda: field)
        (held_out,) = dataset.validation
        box = dataset.regions[held_out.name].box
        counts[box.slices] += 1
        assert not inside(pixels_seen(WindowDataset(dataset.train, 8, 8, shuffle=False)), box.padded(4)).any()
        (again,) = labelled_cases(dataset.as_mapping())
        assert again.name == held_out.name
        whole = Window((0,) * len(shape), box.size)
        np.testing.assert_array_equal(again.read_image(whole), held_out.read_image(whole))
        np.testing.assert_array_equal(again.read_label(whole)[..., 0], objects(shape)[box.slices])
    assert (counts == 1).all()


def test_a_run_finds_its_regions_when_the_file_of_folds_is_gone(one_image, tmp_path):
    folder = one_image((60, 80))
    images = images_to_split(read_spec(folder), folds=2)
    write_folds(tmp_path / "folds.json", images.make_folds(2), regions=images.regions)
    dataset = load_data(spec_of(folder, folds=str(tmp_path / "folds.json"), fold=1), spatial_dims=2)
    mapping = dataset.as_mapping()
    (tmp_path / "folds.json").unlink()
    (case,) = labelled_cases(mapping)
    assert case.image.shape == images.regions["scene-region2"].size
    assert [case.name for case in labelled_cases({**mapping, "validation": mapping["train"]})] == mapping["train"]
    assert [case.name for case in labelled_cases(mapping, folder)] == ["scene"]


@pytest.mark.parametrize("field", [None, (500, 500), (50, 3)])
def test_the_guard_band_is_capped_and_said_to_be(one_image, caplog, field):
    caplog.set_level(logging.INFO)
    folder = one_image((80, 160))
    dataset = load_data(spec_of(folder), spatial_dims=2, receptive_field=lambda: field)
    (name,) = [case.name for case in dataset.validation]
    region = dataset.regions[name]
    beside = [n for n in range(2) if region.size[n] < region.shape[n]]
    assert all(region.context[n] == min((80 // 8, 160 // 8)[n], (field or (999, 999))[n]) for n in beside)
    assert f"{'80 x 160'} are held out; a guard band" in caplog.text
    capped = field is None or any(region.context[n] < field[n] for n in beside)
    assert ("capped; the receptive field is" in caplog.text) == capped
    if field is None:
        assert "capped; the receptive field is the whole image" in caplog.text
    assert sum(np.prod(case.image.shape) for case in dataset.train) > 80 * 160 / 2


def test_seeds_choose_among_what_is_as_good(one_image):
    folder = one_image((120, 150))
    chosen = [tuple(load_data(spec_of(folder), spatial_dims=2, seed=seed).regions) for seed in (3, 3)]
    assert chosen[0] == chosen[1]
    boxes = {
        next(iter(load_data(spec_of(folder), spatial_dims=2, seed=seed).regions.values())).box for seed in range(6)
    }
    assert len(boxes) > 1


def test_regions_are_known_by_what_they_show(one_image, tmp_path):
    """A region is no copy of another region of its image; the whole image is one of both."""
    folder = one_image((40, 36, 50))
    region = Region("scene", (40, 36, 50), (0, 0, 20), (12, 36, 30))
    write_folds(tmp_path / "folds.json", {"scene-region1": 0}, regions={"scene-region1": region})

    def loaded(**options):
        return load_data(spec_of(folder, folds=str(tmp_path / "folds.json"), **options), spatial_dims=3)

    dataset = loaded()
    held_out = dataset.identities["scene-region1"]
    trained = KnownImages([dataset.identities[case.name] for case in dataset.train])
    assert held_out not in trained
    (whole,) = identities_of([open_source(dataset.validation[0].path, spatial_dims=3)])
    assert whole in trained
    assert whole in KnownImages([held_out])
    assert identities_of([dataset.validation[0].image]) == [held_out]
    assert ImageIdentity.from_mapping(held_out.as_mapping()) == held_out
    # The file's first axis is read from behind: the region is named by where it lies in the file.
    np.testing.assert_allclose(held_out.region, [[1 - 12 / 40, 1], [0, 1], [20 / 50, 1]])
    # Read as it is stored, the same box is another part of the volume.
    stored = loaded(orientation="stored").identities["scene-region1"]
    np.testing.assert_allclose(stored.region, [[0, 12 / 40], [0, 1], [20 / 50, 1]])
    assert not stored.meets(held_out)
    assert stored in trained


def test_the_whole_image_in_another_set_is_left_out(one_image, tmp_path, caplog, save_blocks):
    one_image((120, 150), folder=tmp_path / "one")
    one_image((120, 150), folder=tmp_path / "two")
    (tmp_path / "two" / "images" / "scene.tif").rename(tmp_path / "two" / "images" / "other.tif")
    (tmp_path / "two" / "masks" / "scene.tif").rename(tmp_path / "two" / "masks" / "other.tif")
    (tmp_path / "two" / "set.yaml").write_text("path: .\nvalidation: 0\n")
    (tmp_path / "both.yaml").write_text("sets: {one: 3, two/set.yaml: 1}\nnormalization: none\n")
    dataset = load_data(tmp_path / "both.yaml", spatial_dims=2)
    assert {case.name for case in dataset.validation} == {"one-scene-region1"}
    assert all(case.name.startswith("one-scene-training") for case in dataset.train)
    assert "left out of training: 1 image (set-other), held out under another name" in caplog.text
    np.testing.assert_allclose(sum(case.weight for case in dataset.train), 3)
    assert [case.name for case in labelled_cases(dataset.as_mapping())] == ["one-scene-region1"]


def test_of_several_images_none_is_split(one_image, tmp_path):
    for name in ("one", "two"):
        one_image((60, 80), folder=tmp_path / name)
        with open_raster(tmp_path / name / "images" / "scene.tif", "r+") as file:
            file.write(np.full((1, 1), ord(name[0]), np.uint16), 1, window=((0, 1), (0, 1)))
    spec = DataSpec(path="both.yaml", sets={str(tmp_path / "one"): 1, str(tmp_path / "two"): 1})
    images = images_to_split(spec, folds=3)
    assert not images.regions
    with pytest.raises(OptionError, match="folds: expected 2 to 2, the number of images or groups; received 3"):
        images.make_folds(3)
    # Each of the sets holds out a region of its own image.
    (tmp_path / "both.yaml").write_text("sets: {one: 1, two: 1}\n")
    dataset = load_data(tmp_path / "both.yaml", spatial_dims=2)
    assert [case.name for case in dataset.validation] == ["one-scene-region1", "two-scene-region1"]
    np.testing.assert_allclose(sum(case.weight for case in dataset.train), 2)


def test_what_cannot_be_split(one_image, tmp_path):
    folder = one_image((120, 150))
    (folder / "set.yaml").write_text("path: .\ngroup: '^(.)'\n")
    with pytest.raises(OptionError, match="expected at least 2 groups"):
        load_data(folder / "set.yaml", spatial_dims=2)
    with pytest.raises(
        OptionError, match="an image large enough to be split into regions; received scene of 120 x 150"
    ):
        images_to_split(read_spec(folder), folds=97)
    tiny = one_image((12, 12), folder=tmp_path / "tiny")
    with pytest.raises(OptionError, match="scene of 12 x 12 pixels"):
        load_data(tiny, spatial_dims=2)
    region = Region("scene", (100, 100), (0, 0), (50, 50))
    write_folds(tmp_path / "folds.json", {"scene-region1": 0}, regions={"scene-region1": region})
    with pytest.raises(DataError, match="expected 100 x 100 pixels, as when it was split; received 120 x 150"):
        load_data(read_spec(folder, {"folds": str(tmp_path / "folds.json")}), spatial_dims=2)
    with pytest.raises(OptionError, match="fold: expected one of several folds, 0; received 1"):
        load_data(read_spec(folder, {"folds": str(tmp_path / "folds.json"), "fold": 1}), spatial_dims=2)


def test_object_numbers_are_kept_in_regions(one_image):
    rows, columns = np.mgrid[:120, :150]
    numbers = (rows // 10 * 15 + columns // 10 + 1).astype(np.uint16) * ((rows % 10 < 7) & (columns % 10 < 7))
    dataset = load_data(spec_of(one_image((120, 150), numbers), instances=True), spatial_dims=2)
    for case in dataset.train + dataset.validation:
        box = dataset.regions[case.name].box
        np.testing.assert_array_equal(case.read_instances(Window((0, 0), box.size)), numbers[box.slices])


def test_boxes_around_holes_cover_the_rest_once():
    rng = np.random.default_rng(0)
    for shape in [(40, 50), (20, 24, 28)]:
        for _ in range(30):
            start = [rng.integers(-3, length) for length in shape]
            hole = Window(start, [rng.integers(4, length) for length in shape])
            counts = np.zeros(shape, int)
            counts[hole.within(shape).slices] += 1
            for box in boxes_around(shape, [hole]):
                assert box.inside(shape)
                counts[box.slices] += 1
            assert counts.max() == 1
            # What is left out lies in slivers between the hole and a border.
            near = hole.padded(7).within(shape)
            for places in np.argwhere(counts == 0):
                assert any(
                    place < 7 or place >= length - 7 or start <= place < stop
                    for place, length, start, stop in zip(places, shape, near.offset, near.stop, strict=True)
                )
    assert boxes_around((40, 50), [Window((0, 0), (20, 50))]) == [Window((20, 0), (20, 50))]
    two = boxes_around((40, 50), [Window((0, 0), (10, 10)), Window((30, 40), (10, 10))])
    assert sum(np.prod(box.size) for box in two) == 40 * 50 - 200


def test_the_guard_band_leaves_half_of_what_is_beside():
    assert guard_band(Window((0, 0), (90, 100)), (100, 100), (3, 3)) == (3, 0)
    assert guard_band(Window((0, 0), (90, 100)), (100, 100), None) == (5, 0)
    assert guard_band(Window((40, 0), (20, 100)), (100, 100), None) == (12, 0)
