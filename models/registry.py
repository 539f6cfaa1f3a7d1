"""Names of models and encoders, and the functions that build them: one dictionary each."""

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import keras

from maskzoo.errors import OptionError
from maskzoo.names import nearest_name

from .blocks import Shape

# `builder(input_shape, num_classes, **options)` of a model, `builder(input_shape, **options)` of an encoder.
Builder = Callable[..., keras.Model]
# What an encoder's weights are: `None` for random ones, `"imagenet"`, or a file.
EncoderWeights = str | os.PathLike[str] | None
AnyBuilder = TypeVar("AnyBuilder", bound=Builder)

MODELS: dict[str, Builder] = {}
ENCODERS: dict[str, Builder] = {}


def register_model(builder: AnyBuilder) -> AnyBuilder:
    """Registers `builder(input_shape, num_classes, **options) -> keras.Model` under its own name and returns it."""
    return _register(MODELS, "model", builder)


def register_encoder(builder: AnyBuilder) -> AnyBuilder:
    """Registers `builder(input_shape, **options) -> keras.Model`, whose outputs are feature maps, finest first."""
    return _register(ENCODERS, "encoder", builder)


def list_models() -> list[str]:
    """Returns the names of the registered models, sorted."""
    return sorted(MODELS)


def list_encoders() -> list[str]:
    """Returns the names of the registered encoders, sorted."""
    return sorted(ENCODERS)


def build_model(name: str, input_shape: Shape, num_classes: int | None = None, **options: Any) -> keras.Model:
    """Builds a registered model.

    Args:
        name: One of `list_models()`.
        input_shape: `(*spatial, channels)`; a spatial size may be `None`.
        num_classes: Number of output channels; by default the builder's own, 1 for nearly all.
        options: Options of the builder, of any type; `model_options(name)` lists them.

    Returns:
        A functional `keras.Model` from images to float32 logits.

    Raises:
        OptionError: The name or an option is unknown (one that is near is named), or the builder refuses a value.
    """
    builder = _find(MODELS, "model", name)
    _check_options(name, ["num_classes", *model_options(name)], options)
    classes = () if num_classes is None else (num_classes,)
    return builder(tuple(input_shape), *classes, **options)


def build_encoder(name: str, input_shape: Shape, **options: Any) -> keras.Model:
    """Builds a registered encoder: a `keras.Model` from images to a list of feature maps at strides 2, 4, 8, 16, 32.

    Args:
        name: One of `list_encoders()`.
        input_shape: `(*spatial, channels)`; a spatial size may be `None`.
        options: Options of the builder, of any type; `encoder_options(name)` lists them.

    Raises:
        OptionError: The name or an option is unknown (one that is near is named), or the builder refuses a value.
    """
    builder = _find(ENCODERS, "encoder", name)
    _check_options(name, encoder_options(name), options)
    return builder(tuple(input_shape), **options)


def model_options(name: str) -> dict[str, Any]:
    """Returns the options of a registered model and their defaults, of any type."""
    return _defaults(_find(MODELS, "model", name), skip=("input_shape", "num_classes"))


def encoder_options(name: str) -> dict[str, Any]:
    """Returns the options of a registered encoder and their defaults, of any type."""
    return _defaults(_find(ENCODERS, "encoder", name), skip=("input_shape",))


def spatial_dims_of(name: str) -> int:
    """Returns the number of spatial axes that a registered model is built for by default: 2 or 3."""
    return len(_defaults(_find(MODELS, "model", name), skip=())["input_shape"]) - 1


def _register(builders: dict[str, Builder], kind: str, builder: AnyBuilder) -> AnyBuilder:
    name = builder.__name__
    if name in builders:
        raise OptionError(f"{kind} {name}", "a name that is not registered yet", "it twice")
    builders[name] = builder
    return builder


def _find(builders: dict[str, Builder], kind: str, name: str) -> Builder:
    if name not in builders:
        raise _unknown(kind, builders, name)
    return builders[name]


def _check_options(name: str, known: Iterable[str], options: Mapping[str, Any]) -> None:
    for option in options:
        if option not in known:
            raise _unknown(f"option of {name}", known, option)


def _defaults(builder: Builder, skip: tuple[str, ...]) -> dict[str, Any]:
    parameters = inspect.signature(builder).parameters
    return {key: value.default for key, value in parameters.items() if key not in skip}


def _unknown(what: str, known: Iterable[str], received: str) -> OptionError:
    near = nearest_name(received, known)
    hint = f" (nearest: {near})" if near else ""
    return OptionError(what, f"one of {', '.join(sorted(known)) or 'none'}", f"{received}{hint}")
