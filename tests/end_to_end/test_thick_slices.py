"""Volumes of two spacings and several orders of axes: trained at the median, predicted onto the grid of each file."""

import itertools
import json
import shutil

import keras
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from run_verb import run

from maskzoo import data
from maskzoo.data.images.scale import Scale, like_image
from maskzoo.data.sets.image_opening import settled

# Axes of each file as signed patient axes (1 is right, 2 front, 3 up), the thick one last of the patient's, and spacing
# in their order; the suffix of its image. All show the same ellipsoid, elsewhere in the world for each.
FINE, COARSE = (0.5, 0.5, 3.0), (0.8, 0.8, 5.0)
SCANS = {
    "plain": ((1, 2, 3), FINE, ".nii.gz"),
    "left": ((-1, -2, 3), FINE, ".nrrd"),
    "permuted": ((-3, 1, -2), (3.0, 0.5, 0.5), ".nii.gz"),
    "coarse": ((1, 2, 3), COARSE, ".nii"),
    "series": ((-1, -2, 3), COARSE, ""),
    "turned": ((2, -1, -3), COARSE, ".mha"),
}
EXTENT, RADII = np.array([24.0, 24.0, 60.0]), np.array([7.0, 5.0, 19.0])
MEDIAN = [0.65, 0.65, 4.0]


def centre(name):
    """Where the ellipsoid lies in the world (right, front, up), in mm from the volume's corner."""
    number = list(SCANS).index(name)
    return EXTENT / 2 + np.array([1.3, -0.7, 2.1]) * (number % 3 - 1)


def affine_of(name):
    axes, spacing, _ = SCANS[name]
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (axis, size) in enumerate(zip(axes, spacing, strict=True)):
        affine[abs(axis) - 1, column] = np.sign(axis) * size
        # The corner of the volume is the world's origin: voxels lie by their centres.
        affine[abs(axis) - 1, 3] = size / 2 if axis > 0 else EXTENT[abs(axis) - 1] - size / 2
    return affine


def shape_of(name):
    axes, spacing, _ = SCANS[name]
    return tuple(round(EXTENT[abs(axis) - 1] / size) for axis, size in zip(axes, spacing, strict=True))


def is_inside(name, offset=(0, 0, 0)):
    """Whether the centre of each voxel, moved by some mm in the world, is in the ellipsoid."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape_of(name)), indexing="ij"), axis=-1)
    places = voxels @ affine_of(name)[:3, :3].T + affine_of(name)[:3, 3]
    return (((places + offset - centre(name)) / RADII) ** 2).sum(axis=-1) < 1


def is_certain(name, size):
    """Whether the ellipsoid's border passes by each voxel at half a size or more, in mm along the world's axes."""
    corners = [is_inside(name, np.multiply(part, size) / 2) for part in itertools.product((-1, 0, 1), repeat=3)]
    number = np.sum(corners, axis=0)
    return (number == 0) | (number == len(corners))


def write_scan(path, voxels, affine):
    """Writes a volume `(x, y, z)` as its suffix says; without one as a folder of DICOM slices."""
    if path.name.endswith((".nii", ".nii.gz")):
        image = nibabel.Nifti1Image(voxels, affine)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, path)
        return
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    turn = np.diag([-1.0, -1, 1]) @ affine[:3, :3]
    spacing = np.linalg.norm(turn, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((turn / spacing).ravel().tolist())
    image.SetOrigin((np.diag([-1.0, -1, 1]) @ affine[:3, 3]).tolist())
    if path.suffix:
        sitk.WriteImage(image, str(path))
        return
    path.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = np.reshape(image.GetDirection(), (3, 3))
    for number in range(image.GetDepth()):
        plane = image[:, :, number]
        place = image.TransformIndexToPhysicalPoint((0, 0, number))
        for tag, value in {
            "0008|0060": "MR",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.7.1",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.7",
            "0020|0032": "\\".join(f"{part:.10g}" for part in place),
            "0020|0037": "\\".join(f"{part:.10g}" for part in (*direction[:, 0], *direction[:, 1])),
            "0028|0030": f"{spacing[1]}\\{spacing[0]}",
        }.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(path / f"{number * 5 % 7}-{number}.dcm"))
        writer.Execute(plane)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A data set of these scans at `spacing: median`; the ellipsoid is bright, and slices hold some noise."""
    root = tmp_path_factory.mktemp("scans")
    (root / "images").mkdir()
    (root / "labels").mkdir()
    rng = np.random.default_rng(0)
    for name, (_, _, suffix) in SCANS.items():
        inside, affine = is_inside(name), affine_of(name)
        voxels = np.where(inside, 400, 100) + rng.normal(0, 10, inside.shape)
        write_scan(root / "images" / f"{name}{suffix}", voxels.astype(np.int16), affine)
        write_scan(root / "labels" / f"{name}.nii.gz", inside.astype(np.uint8), affine)
    (root / "set.yaml").write_text("path: .\nspacing: median\nvalidation: 0.34\n")
    return root


def image_of(root, name):
    return root / "images" / f"{name}{SCANS[name][2]}"


def stored_affine(path):
    """The affine of a scan as its own library has it: `nibabel`, or SimpleITK turned from LPS to RAS."""
    if path.name.endswith((".nii", ".nii.gz")):
        image = nibabel.load(path)
        return image.affine, image.shape
    if path.is_dir():
        image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)))
    else:
        image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1, 1, 1]) @ affine, image.GetSize()


def check_on_own_grid(root, output, size):
    """Checks that a result lies as its file, and is right but for voxels that the border passes at half a size."""
    for name in SCANS:
        result = nibabel.load(output / f"{name}.nii.gz")
        affine, shape = stored_affine(image_of(root, name))
        assert result.shape == shape == shape_of(name)
        np.testing.assert_allclose(result.affine, affine, atol=1e-4)
        np.testing.assert_allclose(result.affine, affine_of(name), atol=1e-4)
        found, truth = np.asarray(result.dataobj) > 0, is_inside(name)
        wrong = found != truth
        assert not (wrong & is_certain(name, size)).any(), name
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9


@pytest.fixture
def bright_run(scans, tmp_path):
    """A run at the median spacing whose model answers to each voxel alone, with certainty of what is bright."""
    (tmp_path / "run").mkdir()
    image = keras.Input((None, None, None, 1))
    keras.Model(image, keras.layers.Rescaling(0.05, offset=-12.5)(image)).save(tmp_path / "run/best.keras")
    described = {"task": "binary", "class_names": ["lesion"], "channels": 1, "rank": 3, "patch": [16, 16, 8]}
    described |= {"normalization": {"kind": "none", "channels": 1}, "spec": {"path": str(scans)}}
    described["spec"] |= {"spacing": MEDIAN, "orientation": "RAS"}
    (tmp_path / "run/data.json").write_text(json.dumps(described))
    (tmp_path / "run/decision.json").write_text(json.dumps({"thresholds": [0.5]}))
    return tmp_path / "run"


def test_the_median_is_that_of_the_axes_as_they_are_read(scans):
    assert settled(data.read_spec(scans / "set.yaml"), 3).spacing == MEDIAN


def test_results_lie_on_the_grid_of_each_file_within_half_a_voxel(scans, bright_run, tmp_path):
    assert run("predict", bright_run, scans / "images", tmp_path / "out", "--suffix", ".nii.gz") == 0
    check_on_own_grid(scans, tmp_path / "out", MEDIAN)


@pytest.mark.parametrize("name", SCANS)
def test_labels_go_to_the_median_and_back_within_half_a_voxel(scans, name):
    label = data.open_source(scans / "labels" / f"{name}.nii.gz")
    scale = Scale(spacing=MEDIAN, orientation="RAS")
    image = scale.applied(data.open_source(image_of(scans, name)))
    there = like_image(label, image)
    assert there.shape == image.shape
    np.testing.assert_allclose(there.frame.affine, image.frame.affine, atol=1e-4)
    back = there.taken_back(lambda window: there.read(window).astype(np.float32))
    if there.source is not label:
        back = there.source.taken_back(back)
    found = back(data.Window((0, 0, 0), label.shape))[..., 0] >= 0.5
    # Half a voxel on the way there, half on the way back.
    size = np.maximum(MEDIAN, FINE if FINE[0] in SCANS[name][1] else COARSE)
    assert not ((found != is_inside(name)) & is_certain(name, 2 * size)).any()


def test_results_of_rescaled_scans_lie_on_the_grid_of_the_file_too(bright_run, tmp_path):
    described = json.loads((bright_run / "data.json").read_text())
    described["pixel_values"] = {"dtypes": ["uint16"], "low": 0, "high": 65535}
    (bright_run / "data.json").write_text(json.dumps(described))
    write_scan(tmp_path / "small.nii", np.where(is_inside("permuted"), 255, 0).astype(np.uint8), affine_of("permuted"))
    output = tmp_path / "mask.nii.gz"
    assert run("predict", bright_run, tmp_path / "small.nii", output, "--rescale") == 0
    assert nibabel.load(output).shape == shape_of("permuted")


@pytest.mark.slow
def test_a_run_that_was_trained_at_the_median_finds_what_it_learned(scans, tmp_path):
    options = ["--model", "unet3d_padded", "--option", "filters=[4,8]", "--patch", "[24,24,8]"]
    steps = ["--steps", 30, "--epochs", 4, "--batch-size", 4, "--learning-rate", 0.01, "--augment", "flips"]
    path = tmp_path / "run"
    assert run("train", *options, *steps, "--data", scans / "set.yaml", "--run", path) == 0
    described = json.loads((path / "data.json").read_text())
    assert described["spec"]["spacing"] == MEDIAN
    images = tmp_path / "images"
    shutil.copytree(scans / "images", images)
    assert run("predict", path, images, tmp_path / "out", "--suffix", ".nii.gz") == 0
    check_on_own_grid(scans, tmp_path / "out", MEDIAN)
    assert yaml.safe_load((path / "recipe.yaml").read_text())["data"] == str(scans / "set.yaml")
