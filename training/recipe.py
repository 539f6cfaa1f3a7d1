"""Everything that fixes a training run, as one small value: the options of `train` and the keys of a recipe file."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal


def setting(default, help):
    """A field of a recipe with the sentence that `--help` shows for it."""
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Recipe:
    """What to train, on what, and how. Every field is an option of `train` and a key of a recipe file.

    Raises:
        ValueError: If a number is out of range; the message names the option.
    """

    model: str = setting("vnet3d", "registered architecture; `maskzoo compare` lists them all")
    option: dict[str, Any] = setting({}, "builder option as NAME=VALUE, such as filters=[8,16,32]; may be repeated")
    data: str = setting(
        "synthetic",
        "a folder with images/ and masks/ (or labels/) of the same names, a YAML file that describes a data set, "
        "or `synthetic` for images made on the fly",
    )
    task: Literal["binary", "multilabel", "multiclass"] | None = setting(
        None, "binary, multilabel (classes may overlap) or multiclass; read off the label files by default"
    )
    classes: dict[str, Any] | list[str] | None = setting(
        None, "class names, each with its value in the label files: {membrane: 0}"
    )
    ignore: list[int] | None = setting(None, "values of the label files that are left out of loss and metrics")
    normalization: Literal["dataset", "image", "percentile", "none"] | None = setting(
        None,
        "by mean and deviation of the data set or of each image, its percentiles, or the dtype's range only",
    )
    validation: float | None = setting(None, "share of the images held out for validation")
    split: Literal["random", "block"] | None = setting(
        None, "how they are held out: at random, or as one block of neighbours (serial sections, frames)"
    )
    run: str | None = setting(None, "run folder to write; runs/MODEL-DATA by default")
    epochs: int = setting(8, "epochs")
    steps: int = setting(50, "training steps (batches) per epoch")
    batch_size: int = setting(4, "windows per step over all devices together")
    patch: list[int] | int | None = setting(
        None, "window size that the model is given, per axis; rounded up to what the model allows"
    )
    augment: str | list[Any] = setting(
        "flips",
        "random changes of the training windows: none, flips (with right-angle rotations and a little contrast), a "
        "preset (light, pathology, xray, volume), or a list of transforms",
    )
    balance: dict[str, float] | None = setting(
        None, "share of the training windows that show a class: {foreground: 0.5}; by default as it comes"
    )
    loss: str | None = setting(
        None, "losses by name, summed with weights: 0.5*bce+0.5*dice; by default bce+dice, or cross_entropy+dice"
    )
    loss_weights: dict[str, Any] | None = setting(
        None,
        "weights of the loss's terms by epoch, as points between which they change evenly: {bce: [[0, 1], [10, 0.2]]}",
    )
    class_weights: list[float] | None = setting(None, "weight of each class in the loss; only their ratios matter")
    learning_rate: float = setting(1e-3, "peak learning rate of Adam: a short warm-up, then a cosine down to zero")
    seed: int = setting(0, "seed of weights, windows, augmentation and split")
    devices: str = setting("auto", "auto: all visible GPUs; gpu:N: the first N; cpu:N: N logical CPU devices")
    mixed_precision: Literal["none", "float16", "bfloat16"] = setting("none", "compute type of the layers")
    resume: bool = setting(False, "go on with the run in --run where it stopped")

    def __post_init__(self):
        for name in ("epochs", "steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')}: expected at least 1; received {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"--learning-rate: expected more than 0; received {self.learning_rate}")
        if self.resume and self.run is None:
            raise ValueError("--resume: expected --run DIR, the folder of the run to go on with; received none")

    def data_options(self):
        """The keys of the data set specification that this recipe fixes."""
        names = ("task", "classes", "ignore", "normalization", "validation", "split")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def as_mapping(self):
        """The recipe as it stands in a run folder: plain values; where it is and how it was started left out."""
        return {name: value for name, value in asdict(self).items() if name not in ("run", "resume")}

    @classmethod
    def of(cls, namespace):
        """The recipe in a parsed command line, whose other entries are left alone."""
        return cls(**{f.name: getattr(namespace, f.name) for f in fields(cls)})
