"""Everything that fixes a training run, as one small value: the options of `train` and the keys of a recipe file."""

import difflib
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from maskzoo.options import setting

# What may differ from stage to stage; the rest makes the model and the data.
STAGE_KEYS = (
    "epochs",
    "steps",
    "batch_size",
    "accumulate",
    "patch",
    "augment",
    "balance",
    "windows",
    "overlap",
    "hard",
    "scales",
    "mix",
    "soften",
    "validation_windows",
    "loss",
    "loss_weights",
    "class_weights",
    "output_weights",
    "label_head",
    "optimizer",
    "learning_rate",
    "encoder_learning_rate",
    "weight_decay",
    "schedule",
    "warm_up",
    "plateau_patience",
    "clip_norm",
    "ema",
    "freeze_encoder_epochs",
    "patience",
    "min_epochs",
)


@dataclass(frozen=True)
class Recipe:
    """What to train, on what, and how. Every field is an option of `train` and a key of a recipe file.

    Raises:
        ValueError: If a number is out of range; the message names the option.
    """

    model: str = setting("vnet3d", "registered architecture; `maskzoo compare` lists them all", group="model")
    option: dict[str, Any] = setting({}, "builder option as NAME=VALUE, such as filters=[8,16,32]; may be repeated")
    norm: Literal["batch", "sync", "group"] = setting(
        "batch", "normalisation layers: as built, with statistics over all devices, or group norm in their place"
    )
    slices: int | None = setting(
        None, "open a 2D model for volumes: slices that it sees together, odd, with --patch such as [256,256,5]"
    )
    auxiliary: int | dict[str, str] | None = setting(
        None,
        "auxiliary mask outputs for deep supervision: how many levels of the decoder, finest first, or the layers that "
        "they read: {aux1: decoder1_1_relu}",
    )
    label_head: float | None = setting(
        None, "weight of the loss of an image-level output, trained on which classes a window shows; none by default"
    )
    fine: list[str] | None = setting(
        None,
        "tiny classes, looked for in the region around the others: a model of two images such as fine_grained_unet",
    )
    region: Literal["box", "square", "mask"] = setting(
        "square", "that region: the box, a box of the window's proportions, or the box with nothing but the structure"
    )
    start_from: str | None = setting(
        None, "run folder or .keras file whose weights are taken over where layers' names and shapes fit"
    )

    data: str = setting(
        "synthetic",
        "a folder with images/ and masks/ (or labels/) of the same names, a YAML file that describes a data set, "
        "or `synthetic` for images made on the fly",
        group="data",
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

    epochs: int = setting(6, "epochs; of each stage that does not say", group="windows")
    steps: int = setting(50, "training steps (batches) per epoch")
    batch_size: int = setting(4, "windows per step over all devices and micro-batches together")
    accumulate: int = setting(1, "micro-batches that a device's share of a batch is cut into, for less memory")
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
    windows: Literal["random", "all", "tissue", "positive"] = setting(
        "random", "training windows: anywhere, all of a grid, on tissue only, or with a foreground class only"
    )
    overlap: float = setting(0.0, "share by which neighbouring windows of the grid overlap, below 1")
    hard: float = setting(0.0, "share of the windows drawn in proportion to their loss after the epoch before")
    scales: list[float] | None = setting(None, "scales at which images are shown, one per window: [1, 0.5, 0.25]")
    mix: dict[str, float] | None = setting(
        None, "share of windows put together from several: {cutmix: 0.3, mosaic: 0.2}"
    )
    soften: float = setting(0.0, "standard deviation in pixels by which binary and multilabel masks are blurred")
    validation_windows: int | None = setting(
        None, "most validation windows per epoch, evenly spread; by default twice the training windows of an epoch"
    )

    loss: str | None = setting(
        None,
        "losses by name, summed with weights: 0.5*bce+0.5*dice; by default bce+dice, or cross_entropy+dice",
        group="loss",
    )
    loss_weights: dict[str, Any] | None = setting(
        None,
        "weights of the loss's terms by epoch, as points between which they change evenly: {bce: [[0, 1], [10, 0.2]]}",
    )
    class_weights: list[float] | None = setting(None, "weight of each class in the loss; only their ratios matter")
    output_weights: dict[str, float] | None = setting(
        None, "weight of each mask output's loss: {mask: 1, aux1: 0.4}; by default 1 for mask, 0.5 for others"
    )

    optimizer: Literal["adam", "adamw", "sgd"] = setting(
        "adam", "Adam, Adam with decoupled weight decay, or SGD with Nesterov momentum 0.9", group="optimisation"
    )
    learning_rate: float = setting(1e-3, "peak learning rate")
    encoder_learning_rate: float | None = setting(None, "peak learning rate of the encoder, where it has its own")
    weight_decay: float | None = setting(
        None, "decoupled decay of kernels per step, times the learning rate; by default 0.01 with adamw, else none"
    )
    schedule: Literal["cosine", "constant", "plateau", "one_cycle"] = setting(
        "cosine", "learning rate after the warm-up: down to zero, constant, halved on stagnation, or up and down once"
    )
    warm_up: int | None = setting(None, "steps in which the rate rises; by default 50 or a tenth of all, if fewer")
    plateau_patience: int = setting(5, "epochs without a better validation Dice after which plateau halves the rate")
    clip_norm: float | None = setting(None, "largest norm of all gradients together, over all devices")
    ema: float | None = setting(
        None, "decay of an exponential average of the weights, such as 0.999, which is validated and kept as best"
    )
    freeze_encoder_epochs: int = setting(0, "first epochs in which the encoder stays as it is")
    patience: int | None = setting(None, "epochs without a better validation Dice after which training stops early")
    min_epochs: int = setting(0, "epochs before which it does not stop early")
    average_best: int | None = setting(
        None, "average the weights of this many best epochs at the end, and keep it as best where it is no worse"
    )
    stages: list[dict[str, Any]] | None = setting(
        None,
        "trainings that follow each other, each with the options in which it differs: "
        "[{epochs: 5, patch: 256, loss: bce}, {patch: 512, learning_rate: 1e-4, freeze_encoder: true}]",
    )

    run: str | None = setting(None, "run folder to write; runs/MODEL-DATA by default", group="run")
    resume: bool = setting(False, "go on with the run in --run where it stopped")
    seed: int = setting(0, "seed of weights, windows, augmentation and split")
    folds: int | str | None = setting(
        None, "train on every fold, each in a process: how many, or the JSON file of `maskzoo folds` that says which"
    )
    fold: int | None = setting(None, "train only with this fold of the --folds file held out")
    seeds: int = setting(1, "train this many times, with --seed and those that follow, on the same folds")
    track: list[Literal["wandb", "mlflow"]] | None = setting(None, "follow the run with these too, beside TensorBoard")
    devices: str = setting("auto", "auto: all visible GPUs; gpu:N: the first N; cpu:N: N logical CPU devices")
    hosts: str | None = setting(
        None, "NAME:PORT of all hosts that train together, joined by commas; read off TF_CONFIG or SLURM by default"
    )
    host: int | None = setting(None, "which of them this one is, from 0 on; the first writes the run folder")
    mixed_precision: Literal["none", "float16", "bfloat16"] = setting("none", "compute type of the layers")
    xla: bool = setting(False, "compile the step with XLA, on a single device: often faster on a GPU, slower on a CPU")
    deterministic: bool = setting(False, "the same numbers at every start on a GPU too, where that is slower")

    def __post_init__(self):
        for name in ("epochs", "steps", "batch_size", "accumulate", "plateau_patience"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        for name in ("patience", "average_best", "validation_windows"):
            self._check(name, getattr(self, name) is None or getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "encoder_learning_rate", "clip_norm", "label_head"):
            self._check(name, getattr(self, name) is None or getattr(self, name) > 0, "more than 0")
        for name in ("warm_up", "min_epochs", "freeze_encoder_epochs"):
            self._check(name, getattr(self, name) is None or getattr(self, name) >= 0, "0 or more")
        self._check("ema", self.ema is None or 0 < self.ema < 1, "a decay between 0 and 1")
        decay = self.weight_decay
        self._check("weight_decay", decay is None or decay >= 0, "0 or more")
        self._check("weight_decay", not decay or self.optimizer != "adam", "--optimizer adamw or sgd beside it")
        self._check("folds", isinstance(self.folds, str | None) or self.folds >= 2, "a file, or a number from 2 on")
        self._check("folds", self.fold is None or isinstance(self.folds, str), "the JSON file of the folds with --fold")
        self._check("seeds", self.seeds >= 1, "at least 1")
        if self.resume and self.run is None:
            raise ValueError("--resume: expected --run DIR, the folder of the run to go on with; received none")
        self.each_stage()

    def _check(self, name, holds, expected):
        if not holds:
            raise ValueError(f"--{name.replace('_', '-')}: expected {expected}; received {getattr(self, name)}")

    def each_stage(self):
        """The recipes of the stages, one after the other; just this one where there are no stages.

        Raises:
            ValueError: If a stage has a key that no stage can change, or a value out of range.
        """
        if self.stages is None:
            return [self]
        self._check("stages", len(self.stages) > 0, "at least one stage")
        return [self._stage(number, changes) for number, changes in enumerate(self.stages, 1)]

    def _stage(self, number, changes):
        changes = dict(changes)
        frozen = changes.pop("freeze_encoder", False)
        for key in changes:
            if key not in STAGE_KEYS:
                close = difflib.get_close_matches(str(key), (*STAGE_KEYS, "freeze_encoder"), n=1, cutoff=0.5)
                hint = f"{close[0]} (of {', '.join(STAGE_KEYS)})" if close else f"one of {', '.join(STAGE_KEYS)}"
                raise ValueError(f"--stages: expected {hint} in stage {number}; received {key}")
        try:
            stage = replace(self, stages=None, **{key: like(getattr(self, key), changes[key]) for key in changes})
            return replace(stage, freeze_encoder_epochs=stage.epochs) if frozen else stage
        except (TypeError, ValueError) as error:
            raise ValueError(f"--stages: stage {number}: {error}") from error

    def data_options(self):
        """The keys of the data set specification that this recipe fixes."""
        names = ("task", "classes", "ignore", "normalization", "validation", "split")
        held_out = {} if self.fold is None else {"folds": self.folds, "fold": self.fold}
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None} | held_out

    @property
    def is_several(self):
        """Whether it asks for several trainings: of every fold, or with several seeds."""
        return (self.folds is not None and self.fold is None) or self.seeds > 1

    def window_options(self):
        """The options of `data.WindowDataset` for training windows that this recipe fixes."""
        names = ("steps", "augment", "balance", "windows", "overlap", "hard", "scales", "mix", "soften")
        return {name: getattr(self, name) for name in names}

    def as_mapping(self):
        """The recipe as it stands in a run folder: plain values; where it is and how it was started left out."""
        return {name: value for name, value in asdict(self).items() if name not in ("run", "resume", "hosts", "host")}

    @classmethod
    def of(cls, namespace):
        """The recipe in a parsed command line, whose other entries are left alone."""
        return cls(**{f.name: getattr(namespace, f.name) for f in fields(cls)})


def like(default, value):
    """A value of a stage; a number that YAML reads as text, such as 1e-4, as the number that it is."""
    if isinstance(value, str) and (isinstance(default, int | float) or default is None):
        try:
            return float(value)
        except ValueError:
            return value
    return value
