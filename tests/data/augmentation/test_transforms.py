"""Augmented images and labels stay aligned, in every preset and transform, and follow from the seed alone."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from labelled_cases import batches, cases

from maskzoo.data import Case, Normalizer, open_source
from maskzoo.data.augmentation.transforms import NEED_COLORS, OURS, PRESETS, Augmentation
from maskzoo.data.labels.finding import find_scheme
from maskzoo.data.sampling.options import WindowOptions
from maskzoo.data.sampling.random_windows import RandomWindows
from maskzoo.errors import OptionError

REFLECT = {"border_mode": 4, "p": 1}
GEOMETRIC = [
    "symmetries",
    {"HorizontalFlip": {"p": 1}},
    {"Affine": {"scale": [0.7, 1.4], "rotate": [-90, 90], "translate_percent": [-0.2, 0.2], **REFLECT}},
    {"ElasticTransform": {"alpha": 40, "sigma": 6, **REFLECT}},
    {"GridDistortion": {"distort_limit": 0.3, **REFLECT}},
    {"RandomResizedCrop": {"size": [48, 48], "scale": [0.4, 0.9], "p": 1}},
    {"D4": {"p": 1}},
    {"RandomRotate90": {"p": 1}},
    {"Affine": {"translate_percent": [-0.3, 0.3], **REFLECT}},
    {"RandomSizedCrop": {"min_max_height": [24, 44], "size": [48, 48], "p": 1}},
    {"Rotate": {"limit": [-90, 90], **REFLECT}},
]
COLOURS = [
    {"RandomBrightnessContrast": {"p": 1}},
    {"HueSaturationValue": {"p": 1}},
    {"RandomGamma": {"p": 1}},
    {"GaussianBlur": {"sigma_limit": [0.3, 1.5], "p": 1}},
    {"GaussNoise": {"std_range": [0.01, 0.05], "p": 1}},
    {"CoarseDropout": {"num_holes_range": [1, 4], "p": 1}},
    {"jitter": {"strength": 0.1}},
    {"noise": {"strength": 0.1}},
    {"stain": {"strength": 0.1}},
]
IMAGES_ONLY = ["RandomBrightnessContrast", "GaussNoise"]
CHANNELS = {2: (1, 3, 5), 3: (1, 2)}


def marker(spatial_dims):
    """A label with a marker without any symmetry, and an image that is bright where the label is."""
    label = np.zeros((48,) * spatial_dims, np.uint8)
    label[10:30, 12:20] = 1
    label[24:30, 12:38] = 1
    label[..., 30:] = 0 if spatial_dims == 3 else label[..., 30:]
    return (label * 200 + 20)[..., None], label


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("step", GEOMETRIC, ids=lambda step: step if isinstance(step, str) else next(iter(step)))
def test_a_marker_stays_where_its_label_is(spatial_dims, step):
    image, label = marker(spatial_dims)
    change = Augmentation([step])
    moved = 0
    for seed in range(10):
        changed, changed_label = change(image, label, np.random.default_rng(seed))
        bright = changed[..., 0] > 120
        united = (bright | (changed_label > 0)).sum()
        assert (bright & (changed_label > 0)).sum() >= 0.9 * united
        assert united > 0
        moved += (changed_label != label).any()
    assert moved >= 4


def always(step):
    """A step of a preset, acting every time."""
    name, options = step
    return {name: options if name in OURS else {**options, "p": 1}}


EVERY_STEP = COLOURS + [always(step) for preset in PRESETS.values() for step in preset]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("step", EVERY_STEP, ids=lambda step: next(iter(step)))
def test_every_step_of_every_preset_keeps_a_marker_aligned(step, spatial_dims, channels):
    image, label = marker(spatial_dims)
    image = np.repeat(image, channels, axis=-1)
    change = Augmentation([step])
    colors_only = any(step.keys() == other.keys() for other in COLOURS)
    if spatial_dims == 3 and next(iter(step)) in IMAGES_ONLY:
        with pytest.raises(ValueError, match="augment: expected transforms for volumes, such as jitter"):
            change(image, label, np.random.default_rng(0))
        return
    changes = 0
    for seed in range(4):
        changed, changed_label = change(image, label, np.random.default_rng(seed))
        if colors_only:
            np.testing.assert_array_equal(changed_label, label)
        changes += (changed != image).any()
        inside, outside = changed[changed_label == 1].astype(float), changed[changed_label == 0].astype(float)
        # Holes of dropout are dark; noise and blur move a few pixels across the middle.
        assert (inside.mean(axis=-1) > 120).mean() > (0.5 if "CoarseDropout" in step else 0.85)
        assert (outside.mean(axis=-1) < 120).mean() > 0.97
    grey = channels == 1 and next(iter(step)) in (*NEED_COLORS, "stain")
    assert changes == 0 if grey else changes >= 2


THICK = (0.5, 0.5, 3.0)


@pytest.mark.parametrize("through", [2, 0])
@pytest.mark.parametrize("step", EVERY_STEP, ids=lambda step: next(iter(step)))
def test_every_step_of_every_preset_keeps_a_marker_in_its_thick_slice(step, through):
    name = next(iter(step))
    if name in IMAGES_ONLY:
        return
    # Slice 5 of 16 alone holds a marker; a mirrored stack has it in slice 10.
    volume = np.zeros((16, 16, 16), np.uint8)
    volume[4:12, 6:9, 5] = volume[8:12, 6:14, 5] = 1
    volume, spacing = np.moveaxis(volume, 2, through), tuple(np.roll(THICK, through - 2))
    change = Augmentation([step])
    slices = [set(), set()]
    for seed in range(20):
        image, label = change((volume * 200 + 20)[..., None], volume, np.random.default_rng(seed), spacing)
        for found, marked in zip(slices, (image[..., 0] > 120, label > 0), strict=True):
            found.update(np.nonzero(np.moveaxis(marked, through, 2).any((0, 1)))[0].tolist())
    assert slices[0] <= slices[1] or name == "noise"
    assert slices[1] == ({5, 10} if name == "symmetries" else {5})


@pytest.mark.parametrize("preset", ["light", "volume", "flips"])
def test_the_samples_of_a_volume_of_thick_slices_are_turned_in_their_plane(preset, tmp_path):
    import nibabel

    volume = np.zeros((16, 16, 16), np.uint8)
    volume[4:12, 6:9, 5] = volume[8:12, 6:14, 5] = 1
    for name, values in (("image", volume * 200.0), ("label", volume)):
        array = values.astype(np.float32 if name == "image" else np.uint8)
        nibabel.save(nibabel.Nifti1Image(array, np.diag([*THICK, 1])), tmp_path / f"{name}.nii")
    image, label = (open_source(tmp_path / f"{name}.nii") for name in ("image", "label"))
    case = Case("v", None, image, Normalizer("none", 1)(image), find_scheme([label]).reader(label))
    options = WindowOptions(windows="all", augment=preset, steps=20)
    seen = set()
    for _, labels in batches(RandomWindows([case], 16, 1, options)):
        seen.update(np.nonzero(labels.any((0, 1, 2, 4)))[0].tolist())
    assert seen == {5, 10}


@pytest.mark.parametrize("name", ["D4", "RandomRotate90", "Transpose", "CubicSymmetry"])
def test_axes_of_unequal_spacing_are_exchanged_by_no_transform(name):
    image, label = marker(3)
    change = Augmentation([{name: {"p": 1}}])
    change(image, label, np.random.default_rng(0), (1, 1, 1))
    with pytest.raises(
        OptionError, match=f"augment: expected symmetries instead of {name} for pixels of 0.5 x 0.8 x 3"
    ):
        change(image, label, np.random.default_rng(0), (0.5, 0.8, 3))
    if name == "CubicSymmetry":
        with pytest.raises(OptionError, match="symmetries instead of CubicSymmetry"):
            change(image, label, np.random.default_rng(0), THICK)
    else:
        _, turned = change(image, label, np.random.default_rng(0), THICK)
        np.testing.assert_array_equal(turned.any((0, 1)), label.any((0, 1)))


@pytest.mark.parametrize("shape", [(32, 48), (32, 48, 16)])
def test_transforms_that_change_the_size_of_a_window_are_refused(shape):
    label = np.zeros(shape, np.uint8)
    with pytest.raises(OptionError, match=r"augment: expected transforms that leave a window of .* as large; received"):
        Augmentation([{"Transpose": {"p": 1}}])(label[..., None], label, np.random.default_rng(0))


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("preset", ["light", "volume"])
def test_presets_keep_a_marker_aligned(spatial_dims, preset):
    image, label = marker(spatial_dims)
    change = Augmentation(preset)
    for seed in range(15):
        changed, changed_label = change(image, label, np.random.default_rng(seed))
        inside, outside = changed[changed_label == 1].mean(), changed[changed_label == 0].mean()
        assert inside - outside > 100


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_presets_keep_shapes_types_and_label_values(preset, spatial_dims, dtype):
    if spatial_dims == 3 and preset in ("pathology", "xray"):
        change = Augmentation(preset)

        def change_often():
            for seed in range(30):
                change(*marker(3), np.random.default_rng(seed))

        with pytest.raises(ValueError, match="augment: expected transforms for volumes, such as jitter"):
            change_often()
        return
    rng = np.random.default_rng(0)
    shape = (40, 32, 24)[:spatial_dims]
    for channels in CHANNELS[spatial_dims]:
        image = rng.random((*shape, channels)).astype(np.float32)
        image = (image * 255).astype(dtype) if dtype == np.uint8 else image
        for label_shape in (shape, (*shape, 1), (*shape, 3)):
            label = rng.choice(np.array([0, 1, 255], np.uint8), label_shape)
            change = Augmentation(preset)
            for seed in range(4):
                changed, changed_label = change(image, label, np.random.default_rng(seed))
                assert (changed.dtype, changed_label.dtype) == (image.dtype, np.uint8)
                assert sorted(changed.shape) == sorted(image.shape)
                assert sorted(changed_label.shape) == sorted(label.shape)
                assert set(np.unique(changed_label)) <= {0, 1, 255}
                assert np.isfinite(changed).all()


@pytest.mark.parametrize("preset", list(PRESETS))
def test_the_same_seed_gives_the_same_in_any_thread_and_process(preset):
    image, label = marker(2)
    image = np.repeat(image, 3, axis=-1)
    change = Augmentation(preset)
    expected = [change(image, label, np.random.default_rng(seed)) for seed in range(6)]
    again = pickle.loads(pickle.dumps(change))

    def changed(seed):
        return again(image, label, np.random.default_rng(seed))

    with ThreadPoolExecutor(3) as pool:
        for seed, result in reversed(list(zip(range(6), pool.map(changed, range(6)), strict=True))):
            for one, other in zip(result, expected[seed], strict=True):
                np.testing.assert_array_equal(one, other)
    assert len({result[0].tobytes() for result in expected}) >= 4


def test_transforms_act_independently_of_each_other():
    change = Augmentation([{"HorizontalFlip": {"p": 0.5}}, {"VerticalFlip": {"p": 0.5}}])
    image, label = marker(2)
    results = [change(image, label, np.random.default_rng(seed))[1].tobytes() for seed in range(200)]
    counts = [results.count(result) for result in set(results)]
    assert len(counts) == 4
    assert min(counts) > 25


def pictures(dtype, shape=(64, 64)):
    made = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        values = rng.integers(0, 200, shape)
        label = (values > 100).astype(np.uint8)
        image = open_source(
            (values[..., None] * (300 if dtype == np.uint16 else 1)).astype(dtype), spatial_dims=len(shape)
        )
        source = open_source(label, spatial_dims=len(shape))
        normalizer = Normalizer.measured("image", [image])
        made.append(Case(str(seed), None, image, normalizer(image), find_scheme([source]).reader(source)))
    return made


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(("augment", "shape"), [("light", (64, 64)), ("volume", (32, 32, 32))])
@pytest.mark.parametrize("halo", [0, 4])
def test_batches_with_a_preset(dtype, augment, shape, halo):
    options = WindowOptions(steps=3, augment=augment)
    for images, labels in batches(RandomWindows(pictures(dtype, shape), 16, 4, options, halo=halo)):
        assert images.shape == (4, *(16 + 2 * halo,) * len(shape), 1)
        assert labels.shape == (4, *(16,) * len(shape), 1)
        assert images.dtype == np.float32
        assert 0.3 < images.std() < 3
        inner = images[(slice(None), *(slice(halo, halo + 16),) * len(shape))]
        assert inner[labels == 1].mean() > inner[labels == 0].mean() + 0.5


def test_one_shear_may_be_asked_for_as_in_a_recipe():
    steps = ["symmetries", {"Affine": {"shear": [-10, 10], "p": 1.0}}, {"noise": {"strength": 0.1}}]
    windows = RandomWindows(cases([(40, 40)], channels=3), 16, 2, WindowOptions(augment=steps))
    assert windows.batch(0, 0)[0].shape == (2, 16, 16, 3)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("ligt", r"augment: expected light \(of light, pathology, xray, volume\); received ligt"),
        (["Affin"], r"augment: expected Affine .*; received Affin"),
        ([{"Affine": {"scal": 2}}], r"augment: expected as an option of Affine scale \(of .*; received scal"),
        ([{"Affine": {"scale": "x"}}], "augment: expected options of Affine; received"),
        ([{"a": {}, "b": {}}], "augment: expected a list of names or"),
        (
            [{"jitter": {"strengt": 1}}],
            r"augment: expected as an option of jitter strength .*; received strengt",
        ),
    ],
)
def test_unknown_names_and_options_are_refused(steps, message):
    with pytest.raises(OptionError, match=message) as caught:
        Augmentation(steps)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("step", "spacing", "is_said"),
    [
        ({"Affine": {"rotate": [-15, 15]}}, (0.5, 0.71, 3.0), True),
        ({"Rotate": {"limit": 9}}, (10.0, 21.0), True),
        ({"Affine": {"rotate": 0, "scale": 1.1}}, (0.5, 0.72, 3.0), False),
        ({"Affine": {"rotate": [-15, 15]}}, (0.5, 0.5, 3.0), False),
        ("symmetries", (0.5, 0.73, 3.0), False),
    ],
)
def test_turning_pixels_that_are_longer_than_wide_is_said_once(step, spacing, is_said, caplog):
    change = Augmentation([step])
    image = np.zeros((8,) * len(spacing), np.uint8)
    for seed in range(2):
        change(image[..., None], image, np.random.default_rng(seed), spacing)
    assert caplog.text.count("shears what they show; `spacing` makes pixels square") == is_said
