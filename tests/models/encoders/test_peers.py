"""Files of PyTorch's code bases give the features that these compute; CONTRIBUTING.md says what to install."""

import functools

import numpy as np
import pytest

from maskzoo import models

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def torchvision(name):
    return getattr(pytest.importorskip("torchvision").models, name)(weights=None)


def timm(name, **options):
    return pytest.importorskip("timm").create_model(name, **options)


def efficientnet_pytorch():
    return pytest.importorskip("efficientnet_pytorch").EfficientNet.from_name("efficientnet-b0")


def transformers(name, **options):
    package = pytest.importorskip("transformers")
    return getattr(package, f"{name}ForImageClassification")(getattr(package, f"{name}Config")(**options))


def sequential(*after):
    """The outputs of some of the modules in `features`."""

    def features(model, image):
        found = []
        for index, module in enumerate(model.features):
            image = module(image)
            if index in after:
                found.append(image)
        return found

    return features


def intermediates(model, image):
    return model.forward_intermediates(image, intermediates_only=True)


def mobilenet_v2_of_timm(model, image):
    return [*intermediates(model, image)[:4], model.forward_features(image)]


def resnet(model, image):
    x = model.bn1(model.conv1(image)).relu()
    found = [x]
    x = model.maxpool(x)
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        x = stage(x)
        found.append(x)
    return found


def densenet(model, image):
    layers = model.features
    x = layers.norm0(layers.conv0(image)).relu()  # which timm's norms include
    found = [x]
    x = layers.pool0(x)
    for stage in (1, 2, 3):
        x = getattr(layers, f"denseblock{stage}")(x)
        transition = getattr(layers, f"transition{stage}")
        found.append(transition.norm(x).relu())
        x = transition(x)
    return [*found, layers.norm5(layers.denseblock4(x)).relu()]


def convnext_of_torchvision(model, image):
    *found, last = sequential(1, 3, 5, 7)(model, image)
    return [*found, model.classifier[0](last)]


def convnext_of_timm(model, image):
    *found, last = intermediates(model, image)
    return [*found, model.head.norm(last)]


def hidden_states(*indices):
    """Some of the hidden states of a model of transformers, `None` for levels that it does not give."""

    def features(model, image):
        states = model(image, output_hidden_states=True).hidden_states
        return [None if index is None else states[index] for index in indices]

    return features


def convnext_of_transformers(model, image):
    *found, last = hidden_states(1, 2, 3, 4)(model, image)
    return [*found, model.convnext.layernorm(last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)]


def last_hidden_state(model, image):
    return [None] * 4 + [model.mobilenet_v2(image).last_hidden_state]


def swin(model, image):
    """Of torchvision, channels last: only the last level has a norm of its own there."""
    *found, last = sequential(1, 3, 5, 7)(model, image)
    plain = [x.shape[-1:] for x in found]
    norm = pytest.importorskip("torch").nn.functional.layer_norm
    levels = [*map(norm, found, plain), norm(model.norm(last), last.shape[-1:])]
    return [x.permute(0, 3, 1, 2) for x in levels]


def swin_of_timm(model, image):
    norm = pytest.importorskip("torch").nn.functional.layer_norm
    *found, last = (x.permute(0, 2, 3, 1) for x in intermediates(model, image))
    levels = [*(norm(x, x.shape[-1:]) for x in found), norm(model.norm(last), last.shape[-1:])]
    return [x.permute(0, 3, 1, 2) for x in levels]


def coat(model, image):
    """Of timm: what leaves the last blocks of each level, without the class token."""
    found, sizes = {}, [(image.shape[2] // stride, image.shape[3] // stride) for stride in (4, 8, 16, 32)]

    def keep(level):
        return lambda module, given, made: found.update({level: made})

    for level in range(4):
        getattr(model, f"serial_blocks{level + 1}")[-1].register_forward_hook(keep(level))
    if model.parallel_blocks is not None:
        model.parallel_blocks[-1].register_forward_hook(
            lambda module, given, made: found.update({level: made[level] for level in (1, 2, 3)})
        )
    model(image)
    return [found[level][:, 1:].reshape(len(image), *size, -1).permute(0, 3, 1, 2) for level, size in enumerate(sizes)]


def endpoints(model, image):
    found = model.extract_endpoints(image)
    return [found[f"reduction_{level}"] for level in range(1, 6)]


def unit_range(image):
    """From standardised values to -1 to 1."""
    torch = pytest.importorskip("torch")
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    return 2 * (image * deviation + mean) - 1


EFFICIENTNET = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280, "image_size": 224}
V1, V2 = sequential(1, 2, 3, 5, 7), sequential(1, 2, 3, 5, 6)
# Peers that take images of one size.
FIXED_SIZE = (
    "swin_tiny, timm",
    "coat_mini, timm",
    "coat_lite_mini, timm",
    "efficientnet_b0, EfficientNet-PyTorch",
)
# Encoder, the peer's model, its features, and the range of its images.
PEERS = {
    "vgg16, torchvision": ("vgg16", functools.partial(torchvision, "vgg16"), sequential(8, 15, 22, 29, 30)),
    "vgg19, timm": ("vgg19", functools.partial(timm, "vgg19"), sequential(8, 17, 26, 35, 36)),
    "densenet121, torchvision": ("densenet121", functools.partial(torchvision, "densenet121"), densenet),
    "densenet169, timm": ("densenet169", functools.partial(timm, "densenet169"), densenet),
    "convnext, torchvision": (
        "convnext_tiny",
        functools.partial(torchvision, "convnext_tiny"),
        convnext_of_torchvision,
    ),
    "convnext, timm": ("convnext_tiny", functools.partial(timm, "convnext_tiny"), convnext_of_timm),
    "convnext, transformers": ("convnext_tiny", functools.partial(transformers, "ConvNext"), convnext_of_transformers),
    "mobilenet, timm": ("mobilenet_torch", functools.partial(timm, "mobilenetv1_100"), intermediates, unit_range),
    "mobilenet, transformers": (
        "mobilenet",
        functools.partial(transformers, "MobileNetV1"),
        hidden_states(1, 5, 9, 21, 25),
        unit_range,
    ),
    "mobilenetv2, torchvision": (
        "mobilenetv2_torch",
        functools.partial(torchvision, "mobilenet_v2"),
        sequential(1, 3, 6, 13, 18),
    ),
    "mobilenetv2, timm": ("mobilenetv2_torch", functools.partial(timm, "mobilenetv2_100"), mobilenet_v2_of_timm),
    "mobilenetv2, transformers": (
        "mobilenetv2",
        functools.partial(transformers, "MobileNetV2"),
        last_hidden_state,
        unit_range,
    ),
    "efficientnet_b0, torchvision": ("efficientnet_b0_torch", functools.partial(torchvision, "efficientnet_b0"), V1),
    "efficientnet_b5, torchvision": ("efficientnet_b5_torch", functools.partial(torchvision, "efficientnet_b5"), V1),
    "efficientnet_b1, timm": ("efficientnet_b1_torch", functools.partial(timm, "efficientnet_b1"), intermediates),
    "efficientnet_b0, timm's tf_": ("efficientnet_b0", functools.partial(timm, "tf_efficientnet_b0"), intermediates),
    "efficientnet_b0, transformers": (
        "efficientnet_b0",
        functools.partial(transformers, "EfficientNet", **EFFICIENTNET),
        hidden_states(1, 3, 5, 11, 16),
    ),
    "efficientnet_b0, EfficientNet-PyTorch": ("efficientnet_b0", efficientnet_pytorch, endpoints),
    "efficientnetv2_b0, timm's tf_": (
        "efficientnetv2_b0",
        functools.partial(timm, "tf_efficientnetv2_b0"),
        intermediates,
    ),
    "efficientnetv2_s, timm's tf_": (
        "efficientnetv2_s",
        functools.partial(timm, "tf_efficientnetv2_s"),
        intermediates,
        unit_range,
    ),
    "efficientnetv2_s, torchvision": (
        "efficientnetv2_s_torch",
        functools.partial(torchvision, "efficientnet_v2_s"),
        V2,
    ),
    "resnet18, torchvision": ("resnet18_torch", functools.partial(torchvision, "resnet18"), resnet),
    "resnet34, timm": ("resnet34_torch", functools.partial(timm, "resnet34"), resnet),
    "resnet50, torchvision": ("resnet50_torch", functools.partial(torchvision, "resnet50"), resnet),
    "resnet50, transformers": (
        "resnet50_torch",
        functools.partial(transformers, "ResNet"),
        hidden_states(None, 1, 2, 3, 4),
    ),
    "swin_tiny, torchvision": ("swin_tiny", functools.partial(torchvision, "swin_t"), swin),
    "swin_tiny, timm": (
        "swin_tiny",
        functools.partial(timm, "swin_tiny_patch4_window7_224"),
        swin_of_timm,
    ),
    "coat_lite_mini, timm": ("coat_lite_mini", functools.partial(timm, "coat_lite_mini"), coat),
    "coat_mini, timm": ("coat_mini", functools.partial(timm, "coat_mini"), coat),
    "mit_b0, transformers": ("mit_b0", functools.partial(transformers, "Segformer"), hidden_states(0, 1, 2, 3)),
}


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def randomised(model, torch):
    """A model in which no two channels are alike, and whose features stay of moderate size."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, values in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                values.uniform_(0.5, 1.5, generator=generator)
            elif values.ndim == 1 and values.is_floating_point():
                values.mul_(0.6).add_(0.1 * torch.randn(values.shape, generator=generator))
    return model.eval()


# Every network from one format of files, some from both.
FORMATS = [(name, "pth") for name in PEERS] + [
    (name, "safetensors") for name, (encoder, *_) in PEERS.items() if "tiny" in encoder or "50" in encoder
]


@pytest.mark.parametrize(("name", "suffix"), FORMATS)
def test_features_are_those_of_the_peer(name, suffix, torch, tmp_path):
    encoder, build, features, *image_range = PEERS[name]
    model = randomised(build(), torch)
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save(model.state_dict(), path)
    else:
        pytest.importorskip("safetensors.torch").save_file(
            {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path
        )
    size = (224, 224) if name in FIXED_SIZE else (64, 96)
    image = np.random.default_rng(0).normal(size=(1, *size, 3)).astype("float32")
    theirs = torch.from_numpy(image.transpose(0, 3, 1, 2).copy())
    for change in image_range:
        theirs = change(theirs)
    with torch.no_grad():
        expected = features(model, theirs)
    found = models.build_encoder(encoder, (None, None, 3), encoder_weights=path)(image)
    for ours, other in zip(found, expected, strict=True):
        if other is not None:
            other = other.numpy().transpose(0, 2, 3, 1)
            np.testing.assert_allclose(ours, other, rtol=0, atol=1e-4 * np.abs(other).max())


def test_the_last_stage_is_dilated_as_in_torchvision(torch, tmp_path):
    build = pytest.importorskip("torchvision").models.resnet50
    model = randomised(build(weights=None, replace_stride_with_dilation=[False, False, True]), torch)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    image = np.random.default_rng(0).normal(size=(1, 64, 96, 3)).astype("float32")
    with torch.no_grad():
        expected = resnet(model, torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))[-1]
    encoder = models.build_encoder(
        "resnet50_torch", (None, None, 3), encoder_weights=tmp_path / "weights.pth", output_stride=16
    )
    other = expected.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(encoder(image)[-1], other, rtol=0, atol=1e-4 * np.abs(other).max())
