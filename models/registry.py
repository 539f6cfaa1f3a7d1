"""Names of models and encoders, and the functions that build them: one dictionary each."""

import difflib
import inspect

MODELS = {}
ENCODERS = {}


def register_model(builder):
    """Registers `builder(input_shape, num_classes, **options) -> keras.Model` under its own name and returns it."""
    return _register(MODELS, "model", builder)


def register_encoder(builder):
    """Registers `builder(input_shape, **options) -> keras.Model`, whose outputs are feature maps, finest first."""
    return _register(ENCODERS, "encoder", builder)


def list_models():
    """Returns the names of the registered models, sorted."""
    return sorted(MODELS)


def list_encoders():
    """Returns the names of the registered encoders, sorted."""
    return sorted(ENCODERS)


def build_model(name, input_shape, num_classes=None, **options):
    """Builds a registered model.

    Args:
        name: One of `list_models()`.
        input_shape: `(*spatial, channels)`; a spatial size may be `None`.
        num_classes: Number of output channels; by default the builder's own, 1 for nearly all.
        options: Options of the builder; `model_options(name)` lists them.

    Returns:
        A functional `keras.Model` from images to float32 logits.

    Raises:
        ValueError: The name or an option is unknown (the nearest right one is named), or the builder refuses a value.
    """
    builder = _find(MODELS, "model", name)
    _check_options(name, model_options(name), options)
    classes = () if num_classes is None else (num_classes,)
    return builder(tuple(input_shape), *classes, **options)


def build_encoder(name, input_shape, **options):
    """Builds a registered encoder: a `keras.Model` from images to a list of feature maps at strides 2, 4, 8, 16, 32.

    Args:
        name: One of `list_encoders()`.
        input_shape: `(*spatial, channels)`; a spatial size may be `None`.
        options: Options of the builder; `encoder_options(name)` lists them.

    Raises:
        ValueError: The name or an option is unknown (the nearest right one is named), or the builder refuses a value.
    """
    builder = _find(ENCODERS, "encoder", name)
    _check_options(name, encoder_options(name), options)
    return builder(tuple(input_shape), **options)


def model_options(name):
    """Returns the options of a registered model and their defaults."""
    return _defaults(_find(MODELS, "model", name), skip=("input_shape", "num_classes"))


def encoder_options(name):
    """Returns the options of a registered encoder and their defaults."""
    return _defaults(_find(ENCODERS, "encoder", name), skip=("input_shape",))


def spatial_dims_of(name):
    """Returns the number of spatial axes that a registered model is built for by default: 2 or 3."""
    return len(_defaults(_find(MODELS, "model", name), skip=())["input_shape"]) - 1


def _register(builders, kind, builder):
    name = builder.__name__
    if name in builders:
        raise ValueError(f"{kind} {name}: expected a name that is not registered yet; received it twice")
    builders[name] = builder
    return builder


def _find(builders, kind, name):
    if name not in builders:
        raise ValueError(_unknown(f"{kind}: expected one of", builders, name))
    return builders[name]


def _check_options(name, known, options):
    for option in options:
        if option not in known:
            raise ValueError(_unknown(f"option of {name}: expected one of", known, option))


def _defaults(builder, skip):
    parameters = inspect.signature(builder).parameters
    return {key: value.default for key, value in parameters.items() if key not in skip}


def _unknown(expected, known, received):
    nearest = difflib.get_close_matches(str(received), known, n=1, cutoff=0.0)
    hint = f" (nearest: {nearest[0]})" if nearest else ""
    return f"{expected} {', '.join(sorted(known)) or 'none'}; received {received}{hint}"
