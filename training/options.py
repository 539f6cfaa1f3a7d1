"""The options of a training by topic: each a frozen value with its defaults and help, which a recipe puts together."""

from dataclasses import dataclass
from typing import Any, Literal

from maskzoo.errors import OptionError
from maskzoo.options import setting

# What YAML can hold: text, a number, true or false, nothing, a list or a mapping of these.
Value = Any


@dataclass(frozen=True)
class ModelOptions:
    """Which network is trained, and from which weights it starts."""

    model: str = setting("vnet3d", "registered architecture; `maskzoo compare` lists them all", group="model")
    option: dict[str, Value] = setting({}, "builder option as NAME=VALUE, such as filters=[8,16,32]; may be repeated")
    norm: Literal["batch", "sync", "group"] = setting(
        "batch", "normalisation layers: as built, with statistics over all devices, or group norms instead"
    )
    slices: int | None = setting(
        None, "use a 2D model on volumes: how many neighbouring slices it sees, odd, with `patch` such as [256,256,5]"
    )
    auxiliary: int | dict[str, str] | None = setting(
        None,
        "auxiliary mask outputs for deep supervision: the number of decoder levels, finest first, or the layers to "
        "attach them to: {aux1: decoder1_1_relu}",
    )
    roi_classes: list[str] | None = setting(
        None,
        "small classes that are segmented in an enlarged region around the other classes; needs a model with two "
        "inputs, such as fine_grained_unet",
    )
    region: Literal["box", "square", "mask"] = setting(
        "square",
        "that region: the bounding box, a box with the proportions of the window, or the bounding box with everything "
        "but the structure set to zero",
    )
    init_from: str | None = setting(
        None, "run folder or .keras file to copy weights from, for all layers whose names and shapes match"
    )


@dataclass(frozen=True)
class DataOptions:
    """Which images are trained on, and which are held out. What is `None` is read from the data set itself."""

    data: str = setting(
        "synthetic",
        "a folder with images/ and masks/ (or labels/) with the same file names, a YAML file that describes a data "
        "set, or `synthetic` for generated images",
        group="data",
    )
    task: Literal["binary", "multilabel", "multiclass"] | None = setting(
        None, "binary, multilabel (classes may overlap) or multiclass; derived from the label files by default"
    )
    classes: dict[str, Value] | list[str] | None = setting(
        None, "class names, each with its value in the label files: {membrane: 0}"
    )
    ignore: list[int] | None = setting(None, "label values that are excluded from loss and metrics")
    normalization: Literal["dataset", "image", "percentile", "none"] | None = setting(
        None,
        "by the mean and standard deviation of the data set or of each image, by the percentiles of each image, or "
        "by the range of the data type only",
    )
    validation: float | None = setting(
        None, "fraction of the images held out for validation; 0: none, all are trained on"
    )
    split: Literal["random", "block"] | None = setting(
        None, "how images are held out: at random, or as one block of neighbours (serial sections, video frames)"
    )

    resize: int | float | list[int] | str | None = setting(
        None,
        "resize every image as it is read, to this many pixels per axis such as 512 or 384x576, or to a fraction such "
        "as 0.5; predictions come back at the size of the file",
    )
    spacing: float | list[float] | str | None = setting(
        None, "size of a voxel that volumes are resampled to: [1,1,3], one number, or median"
    )

    def specified(self) -> dict[str, Value]:
        """Returns the keys of a data set specification that are given here."""
        names = ("task", "classes", "ignore", "normalization", "validation", "split", "resize", "spacing")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class BatchOptions:
    """How much is trained: epochs, steps, and the size of batches and windows."""

    epochs: int = setting(6, "number of epochs; with stages, of each stage that does not set its own", group="windows")
    steps: int = setting(50, "training steps (batches) per epoch")
    batch_size: int = setting(4, "windows per step, over all devices and micro-batches together")
    accumulate: int = setting(1, "micro-batches that each device splits its part of the batch into, to save memory")
    patch: list[int] | int | None = setting(
        None, "size of the model's input window, per axis; rounded up to a size that the model accepts"
    )
    validation_windows: int | None = setting(
        None,
        "maximum number of validation windows per epoch, of every image and every class; by default twice the number "
        "of training windows per epoch",
    )

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "batch_size", "accumulate"):
            check(self, name, getattr(self, name) >= 1, "at least 1")
        check(self, "validation_windows", (self.validation_windows or 1) >= 1, "at least 1")


@dataclass(frozen=True)
class LossOptions:
    """What is minimised."""

    loss: str | None = setting(
        None,
        "names of losses, summed with weights: 0.5*bce+0.5*dice; by default bce+dice, or cross_entropy+dice for "
        "multiclass tasks",
        group="loss",
    )
    loss_weights: dict[str, Value] | None = setting(
        None,
        "weights of the loss's terms by epoch, as points that are interpolated linearly: {bce: [[0, 1], [10, 0.2]]}",
    )
    class_weights: list[float] | None = setting(None, "weight of each class in the loss; only their ratios matter")
    output_weights: dict[str, float] | None = setting(
        None, "loss weight of each mask output: {mask: 1, aux1: 0.4}; by default 1 for mask and 0.5 for the others"
    )
    label_head: float | None = setting(
        None,
        "loss weight of an additional image-level output that predicts which classes a window contains; none by "
        "default; in stages 0 where another stage trains it",
    )

    def __post_init__(self) -> None:
        check(self, "label_head", self.label_head is None or self.label_head >= 0, "0 or more")


@dataclass(frozen=True)
class OptimizerOptions:
    """The optimizer, its learning rate by step, and the average of the weights."""

    optimizer: Literal["adam", "adamw", "sgd"] = setting(
        "adam", "Adam, Adam with decoupled weight decay, or SGD with Nesterov momentum 0.9", group="optimisation"
    )
    learning_rate: float = setting(1e-3, "peak learning rate")
    encoder_learning_rate: float | None = setting(None, "peak learning rate of the encoder, if it has its own")
    weight_decay: float | None = setting(
        None,
        "decoupled decay of kernels per step, times the learning rate; by default 0.01 with adamw, otherwise none",
    )
    schedule: Literal["cosine", "constant", "plateau", "one_cycle"] = setting(
        "cosine",
        "learning rate after the warm-up: cosine decay to zero, constant, halved on a plateau, or one cycle up and "
        "down",
    )
    warm_up: int | None = setting(
        None, "steps in which the learning rate rises; by default 50, or a tenth of all steps if that is fewer"
    )
    plateau_patience: int = setting(
        5, "epochs without a better validation Dice after which the plateau schedule halves the learning rate"
    )
    clip_norm: float | None = setting(None, "maximum norm of all gradients together, over all devices")
    ema: float | None = setting(
        None,
        "decay of an exponential moving average of the weights, such as 0.999, which is then validated and saved as "
        "the best model",
    )

    def __post_init__(self) -> None:
        check(self, "plateau_patience", self.plateau_patience >= 1, "at least 1")
        for name in ("learning_rate", "encoder_learning_rate", "clip_norm"):
            value = getattr(self, name)
            check(self, name, value is None or value > 0, "more than 0")
        check(self, "warm_up", (self.warm_up or 0) >= 0, "0 or more")
        check(self, "ema", self.ema is None or 0 < self.ema < 1, "a decay between 0 and 1")
        decay = self.weight_decay or 0
        check(self, "weight_decay", decay >= 0, "0 or more")
        check(self, "weight_decay", not decay or self.optimizer != "adam", "`optimizer` to be adamw or sgd")


@dataclass(frozen=True)
class StoppingOptions:
    """In which epochs the encoder joins, and after which the training ends."""

    freeze_encoder_epochs: int = setting(0, "number of first epochs in which the encoder's weights are frozen")
    patience: int | None = setting(None, "epochs without a better validation Dice after which training stops early")
    min_epochs: int = setting(0, "number of epochs before which training neither stops early nor chooses the best")

    def __post_init__(self) -> None:
        check(self, "patience", self.patience is None or self.patience >= 1, "at least 1")
        for name in ("min_epochs", "freeze_encoder_epochs"):
            check(self, name, getattr(self, name) >= 0, "0 or more")


@dataclass(frozen=True)
class RunOptions:
    """Where a run is written, with which seed and folds, and who follows it."""

    run: str | None = setting(None, "run folder to write; runs/MODEL-DATA by default", group="run")
    resume: bool = setting(False, "resume the run in `run` where it stopped")
    seed: int = setting(0, "random seed of weights, windows, augmentation and split")
    folds: int | str | None = setting(
        None,
        "train on every fold, each in a process of its own: the number of folds, or a JSON file from `maskzoo folds`",
    )
    fold: int | None = setting(None, "train with only this fold of the `folds` file held out")
    seeds: int = setting(1, "train this many times, with `seed` and the seeds after it, on the same folds")
    track: list[Literal["wandb", "mlflow"]] | None = setting(
        None, "also log the run to these, in addition to TensorBoard"
    )

    def __post_init__(self) -> None:
        check(self, "folds", not isinstance(self.folds, int) or self.folds >= 2, "a file, or at least 2")
        file_needed = self.fold is None or isinstance(self.folds, str)
        check(self, "folds", file_needed, "the JSON file of the folds, which `fold` needs")
        check(self, "seeds", self.seeds >= 1, "at least 1")
        if self.resume and self.run is None:
            raise OptionError("resume", "`run`, the folder of the run to resume", "none")


@dataclass(frozen=True)
class DeviceOptions:
    """What computes, and how exactly."""

    devices: str = setting("auto", "auto: all visible GPUs; gpu:N: the first N; cpu:N: N logical CPU devices")
    hosts: str | None = setting(
        None,
        "NAME:PORT of all hosts that train together, separated by commas; by default taken from TF_CONFIG or SLURM",
    )
    host: int | None = setting(None, "index of this host among them, from 0; the first one writes the run folder")
    mixed_precision: Literal["none", "float16", "bfloat16"] = setting("none", "data type in which layers compute")
    xla: bool = setting(False, "compile the step with XLA, on a single device: often faster on a GPU, slower on a CPU")
    deterministic: bool = setting(False, "make runs on a GPU reproducible to the last bit, at the cost of speed")


def check(options: object, name: str, holds: bool, expected: str) -> None:
    """Refuses the value of an option.

    Args:
        options: The value that has the option.
        name: Name of the option.
        holds: Whether its value is as expected.
        expected: What was expected, in words.

    Raises:
        OptionError: If it is not.
    """
    if not holds:
        value = getattr(options, name)
        raise OptionError(name, expected, "none" if value is None else value)


def number_from_text(default: Value, value: Value) -> Value:
    """Returns a value from YAML; a number that YAML reads as text, such as 1e-4, as that number.

    Args:
        default: The value of the same option elsewhere, which may be text, a number or `None`.
        value: What YAML read.
    """
    if isinstance(value, str) and (isinstance(default, int | float) or default is None):
        try:
            return float(value)
        except ValueError:
            return value
    return value
