"""With weights of PyTorch's code bases decoders give the logits that these compute; CONTRIBUTING.md says how to run."""

import keras
import numpy as np
import pytest

from maskzoo import models

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


def smp(name, encoder="resnet18", **options):
    package = pytest.importorskip("segmentation_models_pytorch")
    return getattr(package, name)(encoder, encoder_weights=None, classes=2, **options)


def blocks(names, theirs=("0", "1")):
    """Names of convolutions and of the norms behind them, for blocks of both."""
    conv, norm = theirs
    return {
        layer: module
        for ours, block in names.items()
        for layer, module in ((f"{ours}_conv", f"{block}.{conv}"), (f"{ours}_bn", f"{block}.{norm}"))
    }


def deeplabv3(separable=False):
    """The peer dilates a stage's first block like the others, ours as torchvision does."""
    dilations = (2, 3, 5)
    peer = smp("DeepLabV3", decoder_channels=24, decoder_atrous_rates=dilations, decoder_aspp_separable=separable)
    for stage, dilation in ((peer.encoder.layer3, 1), (peer.encoder.layer4, 2)):
        for conv in (stage[0].conv1, stage[0].conv2):
            conv.dilation = conv.padding = (dilation, dilation)
    names = blocks({"aspp1": "decoder.aspp.convs.0", "aspp_project": "decoder.aspp.project"})
    names |= blocks({"aspp_pooled": "decoder.aspp.convs.4"}, ("1", "2"))
    for index, dilation in enumerate(dilations, start=1):
        names[f"aspp{dilation}_{'separable' if separable else 'conv'}"] = f"decoder.aspp.convs.{index}.0"
        names[f"aspp{dilation}_bn"] = f"decoder.aspp.convs.{index}.1"
    names |= {"decoder_conv": "decoder.conv", "decoder_bn": "decoder.bn", "mask_logits": "segmentation_head.0"}
    return peer, "deeplabv3", {"decoder_filters": 24, "dilations": dilations, "separable": separable}, names


def separable_deeplabv3():
    return deeplabv3(separable=True)


def manet():
    names = {f"position_{part}": f"decoder.center.{part}_conv" for part in ("top", "center", "bottom", "out")}
    for level in range(5):
        block, ours = f"decoder.blocks.{level}", f"decoder{level}"
        names |= blocks({f"{ours}a": f"{block}.conv1", f"{ours}b": f"{block}.conv2"})
        if level < 4:
            names |= blocks({f"{ours}_high_a": f"{block}.hl_conv.0", f"{ours}_high_b": f"{block}.hl_conv.1"})
            for side, theirs in (("low", "SE_ll"), ("high", "SE_hl")):
                names |= {
                    f"{ours}_{side}_squeeze": f"{block}.{theirs}.1",
                    f"{ours}_{side}_excite": f"{block}.{theirs}.3",
                }
    return smp("MAnet"), "manet", {}, names | {"mask": "segmentation_head.0"}


def pan():
    names = {"pyramid_pooled": "branch1.1", "pyramid_middle": "mid.0", "pyramid_down1": "down1.1"}
    names |= {"pyramid_down2": "down2.1", "pyramid_down3": "down3.1", "pyramid_up3": "down3.2"}
    names |= {"pyramid_up2": "conv2", "pyramid_up1": "conv1"}
    names = {ours: f"decoder.fpa.{theirs}" for ours, theirs in names.items()}
    for level in range(3):
        names |= {f"decoder{level}_weights": f"decoder.gau{level + 1}.conv1.1"}
        names |= {f"decoder{level}_low": f"decoder.gau{level + 1}.conv2"}
    names = blocks(names, ("conv", "bn")) | {"mask_logits": "segmentation_head.0"}
    return smp("PAN", encoder_output_stride=32), "pan", {"output_stride": 32}, names


def scse_unet():
    names = {}
    for level in range(5):
        block, ours = f"decoder.blocks.{level}", f"decoder{level}"
        names |= blocks({f"{ours}a": f"{block}.conv1", f"{ours}b": f"{block}.conv2"})
        for side, theirs in (("in", "attention1.attention"), ("out", "attention2.attention")):
            # The peer has this one, too, but does not call it, as the last level has no skip.
            absent = None if (level, side) == (4, "in") else f"{block}.{theirs}"
            names |= {
                f"{ours}_{side}_{layer}": absent and f"{absent}.{module}"
                for layer, module in (("channel_squeeze", "cSE.1"), ("channel_excite", "cSE.3"), ("position", "sSE.0"))
            }
    peer = smp("Unet", decoder_attention_type="scse")
    return peer, "backbone_unet", {"attention": "scse"}, names | {"mask": "segmentation_head.0"}


def dpt():
    names = blocks({"head": "segmentation_head.head"}) | {"mask_logits": "segmentation_head.head.4"}
    for level in range(4):
        block = f"decoder.reassemble_blocks.{level}"
        names |= {f"level{level}_readout": f"decoder.projection_blocks.{level}.project.0"}
        names |= {f"level{level}_reduce": f"{block}.project_to_out_channel"}
        names |= {f"level{level}_project": f"{block}.project_to_feature_dim"}
        if level != 2:
            names[f"level{level}_{'down' if level == 3 else 'up'}"] = f"{block}.upsample"
        block, ours = f"decoder.fusion_blocks.{3 - level}", f"fusion{level}"
        names[f"{ours}_project"] = f"{block}.project"
        for part, residual in (("a", "residual_conv_block1"), ("b", "residual_conv_block2")):
            for half, number in (("a", 1), ("b", 2)):
                modules = (f"conv_{number}", f"batch_norm_{number}")
                names |= blocks({f"{ours}_{part}_{half}": f"{block}.{residual}"}, modules)
    peer = smp(
        "DPT",
        "tu-vit_tiny_patch16_224",
        decoder_intermediate_channels=(16, 24, 32, 40),
        decoder_fusion_channels=16,
        dynamic_img_size=True,
    )
    options = {"encoder": "vit_tiny_16", "level_filters": (16, 24, 32, 40), "decoder_filters": 16}
    return peer, "dpt", options, names


def lraspp():
    torchvision = pytest.importorskip("torchvision").models
    levels = {"layer2": "low", "layer4": "high"}
    encoder = torchvision._utils.IntermediateLayerGetter(torchvision.resnet18(weights=None), levels)
    peer = torchvision.segmentation.LRASPP(encoder, 128, 512, 2)
    names = blocks({"high": "classifier.cbr"}) | {"weights": "classifier.scale.1"}
    names |= {f"{level}_votes": f"classifier.{level}_classifier" for level in ("low", "high")}
    return peer, "lraspp", {"output_stride": 32}, names


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def randomised(peer, torch):
    """A network in which no two channels are alike, and whose features stay of moderate size."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, values in [*peer.named_parameters(), *peer.named_buffers()]:
            if name.endswith("running_var"):
                values.uniform_(0.5, 1.5, generator=generator)
            elif values.ndim == 1 and values.is_floating_point():
                values.mul_(0.6).add_(0.1 * torch.randn(values.shape, generator=generator))
    return peer.eval()


def assign(layer, module):
    """Gives a layer the weights of a module; zeros without one, with which scSE leaves features as they are."""
    if module is None:
        layer.set_weights([np.zeros(weight.shape) for weight in layer.weights])
        return
    if isinstance(layer, keras.layers.SeparableConv2D):
        depthwise, pointwise = (each.weight.detach().numpy().transpose(2, 3, 1, 0) for each in module)
        layer.set_weights([depthwise.transpose(0, 1, 3, 2), pointwise])
        return
    values = [module.weight, module.bias]
    if isinstance(layer, keras.layers.BatchNormalization):
        values += [module.running_mean, module.running_var]
        layer.epsilon = module.eps
    arrays = [value.detach().numpy() for value in values if value is not None]
    layer.set_weights([array.transpose({4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim)) for array in arrays])


# A side of 8 elements is the least that PAN's peer halves three times; 9 are odd. DPT's transformer has a table of 14 x
# 14 positions, which is reduced along one axis and enlarged along the other.
CASES = [(build, (288, 256)) for build in (deeplabv3, lraspp, manet, pan, scse_unet, separable_deeplabv3)]
CASES += [(dpt, (224, 224)), (dpt, (96, 448))]


@pytest.mark.parametrize(("build", "size"), CASES)
def test_logits_are_those_of_the_peer(build, size, torch, tmp_path, monkeypatch):
    peer, name, options, names = build()
    peer = randomised(peer, torch)
    interpolate = torch.nn.functional.interpolate

    def by_neighbours(x, size=None, scale_factor=None, mode="nearest", align_corners=None, **kwargs):
        """Ours depends on neighbours only, not on where the image ends."""
        return interpolate(x, size, scale_factor, mode, align_corners and False, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "interpolate", by_neighbours)
    prefix = {"dpt": "encoder.model.", "lraspp": "backbone."}.get(name, "encoder.")
    state = {key.removeprefix(prefix): value for key, value in peer.state_dict().items() if key.startswith(prefix)}
    torch.save(state, tmp_path / "weights.pth")
    options = {"encoder": "resnet18_torch", "encoder_weights": tmp_path / "weights.pth", **options}
    model = models.build_model(name, (None, None, 3), 2, **options)
    of_encoder = {layer.name for layer in models.build_encoder(options["encoder"], (None, None, 3)).layers}
    assert {layer.name for layer in model.layers if layer.weights} - of_encoder == set(names)
    for layer, module in names.items():
        assign(model.get_layer(layer), module and peer.get_submodule(module))
    image = np.random.default_rng(3).normal(size=(1, *size, 3)).astype("float32")
    with torch.no_grad():
        expected = peer(torch.from_numpy(image.transpose(0, 3, 1, 2)))
    expected = (expected["out"] if isinstance(expected, dict) else expected).numpy().transpose(0, 2, 3, 1)
    logits = model.predict_on_batch(image)
    # With -s, the table of largest differences beside the largest logits.
    print(build.__name__, size, np.abs(logits - expected).max(), np.abs(expected).max())
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
