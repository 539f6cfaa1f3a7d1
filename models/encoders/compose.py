"""Encoders inside models: building one by name, its strides, and inserting custom blocks."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from maskzoo.errors import OptionError

from .. import analysis
from ..blocks import Shape, Tensor
from ..checks import check_input_shape
from ..registry import EncoderWeights, build_encoder, encoder_options


def encode(
    model: str,
    encoder: str | keras.Model,
    input_shape: Shape,
    *,
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    output_stride: int | None = None,
    token_maps: bool = False,
) -> tuple[keras.Model, list[int]]:
    """Builds the encoder of a model.

    Args:
        model: The model's name, for messages.
        encoder: A name among `list_encoders()`, or a `keras.Model` from an image to feature maps, finest first, each
            half as large as the one before.
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of the encoder's stride.
        encoder_weights: See the encoder; a `keras.Model` has its own.
        freeze_encoder: Whether training leaves the encoder as it is.
        output_stride: Stride of the coarsest features, in encoders that know this option.
        token_maps: Whether vision transformers return the maps of their own stride, each position beside the class
            token, instead of a pyramid.

    Returns:
        The encoder, and the strides of its feature maps.

    Raises:
        OptionError: The sizes do not fit, or a `keras.Model` takes another image than `input_shape`.
    """
    if isinstance(encoder, keras.Model):
        if encoder_weights is not None:
            raise OptionError("encoder_weights", "None beside a model as encoder", encoder_weights)
        if tuple(encoder.inputs[0].shape[1:]) != tuple(input_shape):
            raise OptionError(
                f"encoder of {model}",
                f"a model for images {tuple(input_shape)}",
                f"one for {tuple(encoder.inputs[0].shape[1:])}",
            )
        if freeze_encoder:
            encoder.trainable = False
    else:
        check_input_shape(model, input_shape, spatial_dims=(2,), multiple=32, minimum=32)
        known = encoder_options(encoder)
        options: dict[str, Any] = {}
        if output_stride and "output_stride" in known:
            options["output_stride"] = output_stride
        if token_maps and "class_tokens" in known:
            options |= {"pyramid": False, "class_tokens": True}
        encoder = build_encoder(
            encoder, input_shape, encoder_weights=encoder_weights, freeze_encoder=freeze_encoder, **options
        )
    strides = feature_strides(encoder)
    check_input_shape(model, input_shape, spatial_dims=(2,), multiple=strides[-1], minimum=strides[-1])
    return encoder, strides


def feature_strides(encoder: keras.Model) -> list[int]:
    """Returns the strides of an encoder's feature maps, finest first."""
    size, channels = 512, encoder.inputs[0].shape[-1]
    if None in encoder.inputs[0].shape[1:]:
        image = keras.KerasTensor((1, size, size, channels))
        features = analysis.output_specs(encoder, encoder.outputs, [image])
    else:
        size, features = encoder.inputs[0].shape[1], encoder.outputs
    return [size // x.shape[1] for x in features]


def insert_blocks(encoder: keras.Model, blocks: Mapping[str | int, Callable[[Tensor], Tensor]]) -> keras.Model:
    """Inserts custom blocks into an encoder; the layers that follow take what they return.

    Args:
        encoder: An encoder with weights of any origin; it is left as it is.
        blocks: Dict from a layer's name, or the stride of one of the feature maps, to a function from that layer's
            output to a tensor of the same shape, such as `{16: lambda x: attention_gate(x, name="gate16")}`.

    Returns:
        A new encoder with copies of the weights, to be passed to a model as `encoder`.

    Raises:
        OptionError: There is no such layer or stride.
    """
    last = (analysis.layer_behind(x).name for x in encoder.outputs)
    ends: dict[str | int, str] = dict(zip(feature_strides(encoder), last, strict=True))
    names = {layer.name for layer in encoder.layers}
    inserted = {ends.get(place, str(place)): block for place, block in blocks.items()}
    for place in inserted:
        if place not in names:
            raise OptionError(
                f"place in {encoder.name}",
                f"the name of a layer or one of the strides {', '.join(map(str, ends))}",
                place,
            )

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Tensor:
        x = layer(*args, **kwargs)
        return inserted[layer.name](x) if layer.name in inserted else x

    composed = keras.models.clone_model(encoder, call_function=call)
    for layer in encoder.layers:
        composed.get_layer(layer.name).set_weights(layer.get_weights())
    return composed
