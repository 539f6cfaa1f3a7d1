"""The name that was meant: spellings of papers and other libraries, misspellings, and no hint where nothing is near."""

import pytest

from maskzoo.names import nearest_name, one_of

MODELS = ["attention_unet", "deeplabv3plus", "fpn", "pspnet", "unet", "unet3d", "unet_3plus", "unet_plus_plus", "vnet"]
OPTIONS = ["input_shape", "num_classes", "filters", "encoder", "dropout"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("Unet", "unet"),
        ("U-Net", "unet"),
        ("unte", "unet"),
        ("unet++", "unet_plus_plus"),
        ("UNet3+", "unet_3plus"),
        ("UNet_3D", "unet3d"),
        ("attention-unet", "attention_unet"),
        ("deeplab", "deeplabv3plus"),
        ("PSPNet", "pspnet"),
        ("transformer", None),
        ("resnet", None),
        ("", None),
    ],
)
def test_names_of_models(word, meant):
    assert nearest_name(word, MODELS) == meant


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("backbone", "encoder"),
        ("classes", "num_classes"),
        ("n_classes", "num_classes"),
        ("filter", "filters"),
        ("input", "input_shape"),
        ("dropout_rate", "dropout"),
        ("colour", None),
    ],
)
def test_names_of_options(word, meant):
    assert nearest_name(word, OPTIONS) == meant


def test_a_known_name_is_itself_whatever_else_is_like_it():
    assert [nearest_name(name, MODELS) for name in MODELS] == MODELS


def test_what_was_expected_is_the_nearest_name_of_all_or_one_of_all():
    assert one_of("trian", ["train", "predict"]) == "train (of train, predict)"
    assert one_of("export", ["train", "predict"]) == "one of train, predict"
    assert one_of("export", []) == "one of none"
