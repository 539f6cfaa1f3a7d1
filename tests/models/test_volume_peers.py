"""Networks for volumes compute what those of nnU-Net and MONAI do, with their weights; CONTRIBUTING.md says how."""

import collections

import keras
import numpy as np
import pytest

from maskzoo import models

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

Pair = collections.namedtuple("Pair", ["conv", "norm"])
NAMES = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


def pytorch():
    return pytest.importorskip("torch")


def nnunet_modules(network):
    for level, stage in enumerate(network.encoder.stages):
        for index, block in enumerate(stage[0].convs):
            yield from conv_and_norm(f"encoder{level}_{index}", block)
    yield from decoder_modules(network)


def resenc_modules(network):
    yield from conv_and_norm("stem", network.encoder.stem.convs[0])
    for level, stage in enumerate(network.encoder.stages):
        for index, block in enumerate(stage.blocks):
            yield from conv_and_norm(f"encoder{level}_{index}_0", block.conv1)
            yield from conv_and_norm(f"encoder{level}_{index}_1", block.conv2)
            for part in getattr(block.skip, "children", list)():
                if hasattr(part, "conv"):
                    yield from conv_and_norm(f"encoder{level}_{index}_shortcut", part)
    yield from decoder_modules(network)


def decoder_modules(network):
    decoder = network.decoder
    for position, stage in enumerate(decoder.stages):
        level = len(decoder.stages) - 1 - position
        yield f"decoder{level}_up", decoder.transpconvs[position]
        for index, block in enumerate(stage.convs):
            yield from conv_and_norm(f"decoder{level}_{index}", block)
        yield f"aux{level}_logits" if level else "mask", decoder.seg_layers[position]


def conv_and_norm(name, block):
    yield f"{name}_conv", block.conv
    yield f"{name}_norm", block.norm


def segresnet_modules(network):
    def blocks(name, parts):
        for index, block in enumerate(parts):
            yield f"{name}_{index}_0_norm", block.norm1
            yield f"{name}_{index}_0_conv", block.conv1.conv
            yield f"{name}_{index}_1_norm", block.norm2
            yield f"{name}_{index}_1_conv", block.conv2.conv

    yield "stem_conv", network.convInit.conv
    for level, (down, *parts) in enumerate(network.down_layers):
        if level:
            yield f"encoder{level}_down", down.conv
        yield from blocks(f"encoder{level}", parts)
    for position, parts in enumerate(network.up_layers):
        level = len(network.up_layers) - 1 - position
        yield f"decoder{level}_conv", network.up_samples[position][0].conv
        if hasattr(network.up_samples[position][1], "deconv"):
            yield f"decoder{level}_up", network.up_samples[position][1].deconv
        yield from blocks(f"decoder{level}", parts)
    yield "head_norm", network.conv_final[0]
    yield "mask", network.conv_final[2].conv


def mednext_modules(network):
    def block(name, part):
        yield f"{name}_depthwise", part.conv1
        yield f"{name}_norm", part.norm
        yield f"{name}_expand", part.conv2
        yield f"{name}_compress", part.conv3
        if hasattr(part, "res_conv"):
            yield f"{name}_shortcut", part.res_conv

    def stage(name, parts):
        for index, part in enumerate(parts):
            yield from block(f"{name}_{index}", part)

    yield "stem", network.stem
    for level, parts in enumerate(network.enc_stages):
        yield from stage(f"encoder{level}", parts)
        yield from block(f"encoder{level}_down", network.down_blocks[level])
    yield from stage("bottom", network.bottleneck)
    levels = len(network.dec_stages)
    for position, parts in enumerate(network.dec_stages):
        yield from block(f"decoder{levels - 1 - position}_up", network.up_blocks[position])
        yield from stage(f"decoder{levels - 1 - position}", parts)
        yield f"aux{levels - position}_logits", network.out_blocks[position].conv_out
    yield "mask", network.out_0.conv_out


def unetr_modules(network):
    def block(name, part):
        yield from conv_and_norm(f"{name}_0", Pair(part.conv1.conv, part.norm1))
        yield from conv_and_norm(f"{name}_1", Pair(part.conv2.conv, part.norm2))
        if hasattr(part, "conv3"):
            yield from conv_and_norm(f"{name}_shortcut", Pair(part.conv3.conv, part.norm3))

    vit = network.vit
    yield "patches", vit.patch_embedding.patch_embeddings
    for index, part in enumerate(vit.blocks):
        yield f"block{index}_attention_norm", part.norm1
        yield f"block{index}_qkv", part.attn.qkv
        yield f"block{index}_project", part.attn.out_proj
        yield f"block{index}_mlp_norm", part.norm2
        yield f"block{index}_expand", part.mlp.linear1
        yield f"block{index}_compress", part.mlp.linear2
    yield "bottom_norm", vit.norm
    yield from block("encoder0", network.encoder1.layer)
    for level, part in enumerate((network.encoder2, network.encoder3, network.encoder4), start=1):
        yield f"encoder{level}_up", part.transp_conv_init.conv
        for index, (up, convs) in enumerate(part.blocks):
            yield f"encoder{level}_{index}_up", up.conv
            yield from block(f"encoder{level}_{index}", convs)
    for level in range(4):
        part = getattr(network, f"decoder{level + 2}")
        yield f"decoder{level}_up", part.transp_conv.conv
        yield from block(f"decoder{level}", part.conv_block)
    yield "mask", network.out.conv.conv


def in_kerass_order(layer, module):
    """A kernel with its axes as Keras orders them; flipped where it transposes and MedNeXt convolves between zeros."""
    array = module.weight.detach().numpy()
    array = np.transpose(array, (*range(2, array.ndim), 1, 0))
    grouped = getattr(module, "groups", 1) > 1
    renewed = getattr(module, "transposed", False) and "Transpose" not in type(layer).__name__
    if renewed:
        array = np.flip(array, tuple(range(array.ndim - 2)))
    return np.swapaxes(array, -1, -2) if grouped or renewed else array


def compare(model, network, modules, size, ours=("mask",), tolerance=1e-4):
    """Copies a network's weights into a model of the zoo, all of them, and compares what both compute."""
    torch = pytorch()
    torch.manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)  # or a norm that is left out would not be seen
    modules = {name: module for name, module in modules(network) if module.weight is not None}
    weighted = {layer.name for layer in model.layers if layer.trainable_weights}
    assert weighted - {"positions"} <= set(modules)
    assert all(name.startswith("aux") for name in set(modules) - weighted)
    for name in weighted - {"positions"}:
        layer = model.get_layer(name)
        for variable in layer.trainable_weights:
            kernel = variable.name == "kernel"
            value = getattr(modules[name], NAMES[variable.name])
            variable.assign(in_kerass_order(layer, modules[name]) if kernel else value.detach().numpy())
    image = np.random.default_rng(0).normal(size=(2, *size, model.input_shape[-1])).astype("float32")
    with torch.no_grad():
        theirs = network(torch.from_numpy(np.moveaxis(image, -1, 1).copy()))
    theirs = theirs if isinstance(theirs, (list, tuple)) else [theirs]
    found = keras.Model(model.input, [model.get_layer(name).output for name in ours])(image)
    for one, other in zip(found if isinstance(found, list) else [found], theirs, strict=True):
        other = np.moveaxis(other.numpy(), 1, -1)
        np.testing.assert_allclose(np.asarray(one), other, rtol=0, atol=tolerance * np.abs(other).max())


def planned(kind, axes, stages, norm="InstanceNorm", **options):
    """A network of nnU-Net as its plans describe it."""
    nn = pytorch().nn
    architectures = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    network = getattr(architectures, kind)(
        input_channels=2,
        n_stages=stages,
        conv_op=getattr(nn, f"Conv{axes}d"),
        num_classes=3,
        conv_bias=True,
        norm_op=getattr(nn, f"{norm}{axes}d"),
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        **options,
    )
    return network.eval()


@pytest.mark.parametrize("supervised", [False, True])
def test_nnunet_in_3d_with_a_plan_for_thick_slices(supervised):
    kernels = [(1, 3, 3), (3, 3, 3), (3, 3, 3)]
    strides = [(1, 1, 1), (1, 2, 2), (2, 2, 2)]
    network = planned(
        "PlainConvUNet",
        3,
        3,
        features_per_stage=[4, 6, 8],
        kernel_sizes=kernels,
        strides=strides,
        n_conv_per_stage=[2, 1, 2],
        n_conv_per_stage_decoder=[1, 2],
        deep_supervision=supervised,
    )
    model = models.build_model(
        "nnunet",
        (None, None, None, 2),
        3,
        filters=[4, 6, 8],
        kernel_size=kernels,
        strides=strides,
        encoder_convs=[2, 1, 2],
        decoder_convs=[1, 2],
        deep_supervision=supervised,
    )
    ours = ("mask", "aux1_logits") if supervised else ("mask",)
    compare(model, network, nnunet_modules, (6, 8, 12), ours)


def test_nnunet_in_2d_with_batch_normalisation():
    network = planned(
        "PlainConvUNet",
        2,
        4,
        "BatchNorm",
        features_per_stage=[4, 6, 8, 8],
        kernel_sizes=3,
        strides=[1, 2, 2, 2],
        n_conv_per_stage=2,
        n_conv_per_stage_decoder=2,
    )
    model = models.build_model("nnunet", (None, None, 2), 3, filters=[4, 6, 8, 8], norm="batch")
    compare(model, network, nnunet_modules, (24, 32))


@pytest.mark.parametrize("axes", [2, 3])
def test_resenc_unet(axes):
    network = planned(
        "ResidualEncoderUNet",
        axes,
        4,
        features_per_stage=[4, 6, 8, 8],
        kernel_sizes=3,
        strides=[1, 2, 2, 2],
        n_blocks_per_stage=[1, 2, 2, 1],
        n_conv_per_stage_decoder=[1, 1, 2],
    )
    model = models.build_model(
        "resenc_unet", (*[None] * axes, 2), 3, filters=[4, 6, 8, 8], blocks=[1, 2, 2, 1], decoder_convs=[1, 1, 2]
    )
    compare(model, network, resenc_modules, (16, 24, 16)[:axes])


@pytest.mark.parametrize(("axes", "mode", "up"), [(3, "nontrainable", "linear"), (2, "deconv", "transpose")])
def test_segresnet(axes, mode, up):
    nets = pytest.importorskip("monai.networks.nets")
    network = nets.SegResNet(
        axes,
        8,
        2,
        3,
        norm=("GROUP", {"num_groups": 4}),
        blocks_down=(1, 2, 1),
        blocks_up=(2, 1),
        upsample_mode=mode,
    ).eval()
    model = models.build_model(
        "segresnet", (*[None] * axes, 2), 3, groups=4, encoder_blocks=(1, 2, 1), decoder_blocks=(2, 1), up=up
    )
    compare(model, network, segresnet_modules, (16, 12, 8)[:axes])


@pytest.mark.parametrize(("axes", "kernel_size"), [(3, 3), (3, 5), (2, 5)])
def test_mednext(axes, kernel_size):
    nets = pytest.importorskip("monai.networks.nets")
    network = nets.MedNeXt(
        axes,
        4,
        2,
        3,
        encoder_expansion_ratio=(2, 3),
        decoder_expansion_ratio=(4, 2),
        bottleneck_expansion_ratio=3,
        kernel_size=kernel_size,
        deep_supervision=True,
        use_residual_connection=True,
        blocks_down=(1, 2),
        blocks_bottleneck=1,
        blocks_up=(2, 1),
    ).train()
    model = models.build_model(
        "mednext",
        (*[None] * axes, 2),
        3,
        kernel_size=kernel_size,
        filters=4,
        blocks=(1, 2, 1, 2, 1),
        expansions=(2, 3, 3, 4, 2),
        deep_supervision=True,
    )
    compare(model, network, mednext_modules, (16, 12, 8)[:axes], ("mask", "aux1_logits", "aux2_logits"))


@pytest.mark.parametrize(("axes", "norm"), [(3, "instance"), (2, "batch")])
def test_unetr(axes, norm):
    nets = pytest.importorskip("monai.networks.nets")
    size = (32, 48, 16)[:axes]
    network = nets.UNETR(2, 3, size, 4, 12, 20, 3, norm_name=norm, spatial_dims=axes).eval()
    model = models.build_model("unetr", (*size, 2), 3, filters=4, hidden_filters=12, mlp_filters=20, heads=3, norm=norm)
    table = network.vit.patch_embedding.position_embeddings.detach().numpy()
    positions = model.get_layer("positions")
    positions.table.assign(table.reshape(positions.table.shape))
    compare(model, network, unetr_modules, size)
