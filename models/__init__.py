"""Architectures by name: `build_model("unet", (572, 572, 1))`; importing this package registers them all."""

from . import (  # noqa: F401 (registers)
    attention_unet,
    backbone_unet,
    branch2_unet,
    daformer,
    deeplabv3,
    deeplabv3plus,
    dpt,
    encoders,
    fine_grained_unet,
    fpn,
    linknet,
    lraspp,
    manet,
    mednext,
    nnunet,
    pan,
    pspnet,
    r2_unet,
    resenc_unet,
    resunet,
    resunet_a,
    segformer,
    segnet,
    segresnet,
    u2net,
    unet,
    unet3d,
    unet25d,
    unet_3plus,
    unet_aspp_fpn,
    unet_plus_plus,
    unetr,
    upernet,
    vnet,
    vnet3d,
    vnet3d_depthwise,
)
from .crf import with_crf
from .cropped import cropped
from .finite import broken_weights
from .heads import add_auxiliary_heads, add_label_head
from .kernel_growth import grow_kernels
from .logits import with_logits
from .regions import cut_regions, two_stage
from .registry import (
    build_encoder,
    build_model,
    encoder_options,
    list_encoders,
    list_models,
    model_options,
    register_encoder,
    register_model,
    spatial_dims_of,
)
from .segmentation_models_weights import (
    holds_segmentation_models,
    load_segmentation_models,
    read_segmentation_models,
)
from .slices import inflate_25d
from .unet_plus_plus import prune

__all__ = [
    "add_auxiliary_heads",
    "add_label_head",
    "broken_weights",
    "build_encoder",
    "build_model",
    "cropped",
    "cut_regions",
    "encoder_options",
    "grow_kernels",
    "holds_segmentation_models",
    "inflate_25d",
    "list_encoders",
    "list_models",
    "load_segmentation_models",
    "model_options",
    "prune",
    "read_segmentation_models",
    "register_encoder",
    "register_model",
    "spatial_dims_of",
    "two_stage",
    "with_crf",
    "with_logits",
]
