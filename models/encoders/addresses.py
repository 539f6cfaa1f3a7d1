"""Where ImageNet weights as PyTorch's code bases have them are published, by the source of packages; downloads.

MiT: segmentation_models_pytorch 0.3.3, `encoders/mix_transformer.py`. Swin and CoaT: timm 1.0.19 names the repositories
(`hf_hub_id="timm/"` in `models/swin_transformer.py` and `models/coat.py`), huggingface_hub the address of a file in
one. Encoders called NAME_torch: torchvision 0.29.1, in the file of each family in `models/` (`IMAGENET1K_V1`), whose
names of files end with the beginning of their SHA-256 sum; and timm 1.0.31 for MobileNet.
"""

import hashlib
import os
import re
from pathlib import Path

import keras

from maskzoo.errors import OptionError, WeightsError
from maskzoo.files import written_atomically

from .downloads import downloading

GITHUB = "https://github.com/qubvel/segmentation_models.pytorch/releases/download/v0.0.2"
# Of huggingface_hub, which reads it from the same variable.
HUB = "https://huggingface.co"
FILE_OF_TIMM = "model.safetensors"
TORCHVISION = "https://download.pytorch.org/models"
FILES_OF_TORCHVISION = {
    "resnet18": "resnet18-f37072fd",
    "resnet34": "resnet34-b627a593",
    "resnet50": "resnet50-0676ba61",
    "resnet101": "resnet101-63fe2227",
    "resnet152": "resnet152-394f9c45",
    "mobilenetv2": "mobilenet_v2-b0353104",
    "efficientnet_b0": "efficientnet_b0_rwightman-7f5810bc",
    "efficientnet_b1": "efficientnet_b1_rwightman-bac287d4",
    "efficientnet_b2": "efficientnet_b2_rwightman-c35c1473",
    "efficientnet_b3": "efficientnet_b3_rwightman-b3899882",
    "efficientnet_b4": "efficientnet_b4_rwightman-23ab8bcd",
    "efficientnet_b5": "efficientnet_b5_lukemelas-1a07897c",
    "efficientnet_b6": "efficientnet_b6_lukemelas-24a108a5",
    "efficientnet_b7": "efficientnet_b7_lukemelas-c5b4e57e",
    "efficientnetv2_s": "efficientnet_v2_s-dd5fe13b",
    "efficientnetv2_m": "efficientnet_v2_m-dc08266a",
    "efficientnetv2_l": "efficientnet_v2_l-59c71312",
}

ADDRESSES = {
    **{f"mit_b{size}": f"{GITHUB}/mit_b{size}.pth" for size in range(6)},
    **{
        name: f"{{hub}}/timm/{name}_patch4_window7_224.{tag}/resolve/main/{FILE_OF_TIMM}"
        for name, tag in (
            ("swin_tiny", "ms_in1k"),
            ("swin_small", "ms_in1k"),
            ("swin_base", "ms_in1k"),
            ("swin_large", "ms_in22k_ft_in1k"),
        )
    },
    **{
        f"coat_{size}": f"{{hub}}/timm/coat_{size}.in1k/resolve/main/{FILE_OF_TIMM}"
        for size in ("tiny", "mini", "small", "lite_tiny", "lite_mini", "lite_small", "lite_medium")
    },
    **{f"{name}_torch": f"{TORCHVISION}/{file}.pth" for name, file in FILES_OF_TORCHVISION.items()},
    "mobilenet_torch": f"{{hub}}/timm/mobilenetv1_100.ra4_e3600_r224_in1k/resolve/main/{FILE_OF_TIMM}",
}


def address_of(encoder: str) -> str:
    """Returns where an encoder's ImageNet weights are published.

    Args:
        encoder: The encoder's name.

    Raises:
        OptionError: No address is known.
    """
    if encoder not in ADDRESSES:
        expected = "a file, since no address of ImageNet weights for this encoder is known"
        raise OptionError(f"encoder_weights of {encoder}", expected, "imagenet")
    return ADDRESSES[encoder].format(hub=os.environ.get("HF_ENDPOINT", HUB).rstrip("/"))


def download(encoder: str) -> Path:
    """Returns a file with the ImageNet weights of an encoder, downloaded unless it lies in Keras' cache.

    A file whose published name holds the beginning of its checksum must have it. The checksum of the first download is
    recorded beside the file, which is compared with it whenever the file is used again.

    Args:
        encoder: The encoder's name.

    Raises:
        OptionError: No address is known.
        UnreadableFile: The download failed.
        WeightsError: The file is not the published one, or not the one that was downloaded first.
    """
    address = address_of(encoder)
    with downloading(encoder):
        name = f"{encoder}_imagenet{Path(address).suffix}"
        path = Path(keras.utils.get_file(fname=name, origin=address, cache_subdir="models"))
    record = path.with_name(f"{path.name}.sha256")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    stated = re.search(r"-([0-9a-f]{8})\.pth$", address)
    if stated and not found.startswith(stated[1]):
        raise WeightsError(path, f"a file whose SHA-256 sum begins with {stated[1]}", found)
    if not record.is_file():
        with written_atomically(record) as unfinished:
            unfinished.write_text(f"{found}\n")
    elif (first := record.read_text().strip()) != found:
        raise WeightsError(path, f"the checksum of its first download, {first}", found)
    return path
