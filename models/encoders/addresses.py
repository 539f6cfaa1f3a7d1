"""Where ImageNet weights of MiT, Swin and CoaT are published, by the source of installable packages; downloads.

MiT: segmentation_models_pytorch 0.3.3, `encoders/mix_transformer.py`. Swin and CoaT: timm 1.0.19 names the repositories
(`hf_hub_id="timm/"` in `models/swin_transformer.py` and `models/coat.py`), huggingface_hub the address of a file in
one.
"""

import hashlib
import os
from pathlib import Path

import keras

from maskzoo.errors import OptionError, WeightsError
from maskzoo.files import written_atomically

from .downloads import downloading

GITHUB = "https://github.com/qubvel/segmentation_models.pytorch/releases/download/v0.0.2"
# Of huggingface_hub, which reads it from the same variable.
HUB = "https://huggingface.co"
FILE_OF_TIMM = "model.safetensors"

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

    No checksum is published for these files: that of the first download is recorded beside the file, which is
    compared with it whenever the file is used again.

    Args:
        encoder: The encoder's name.

    Raises:
        OptionError: No address is known.
        UnreadableFile: The download failed.
        WeightsError: The file is not the one that was downloaded first.
    """
    address = address_of(encoder)
    with downloading(encoder):
        name = f"{encoder}_imagenet{Path(address).suffix}"
        path = Path(keras.utils.get_file(fname=name, origin=address, cache_subdir="models"))
    record = path.with_name(f"{path.name}.sha256")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not record.is_file():
        with written_atomically(record) as unfinished:
            unfinished.write_text(f"{found}\n")
    elif (first := record.read_text().strip()) != found:
        raise WeightsError(path, f"the checksum of its first download, {first}", found)
    return path
