"""Names of published tensors in other code bases, brought to those that our encoders' layers carry."""

import re
from collections.abc import Mapping

import numpy as np

# The authors' code of SegFormer -> transformers.
MIT = (
    (r"patch_embed(\d)\.proj\.", r"patch_embeddings.<\1>.proj."),
    (r"patch_embed(\d)\.norm\.", r"patch_embeddings.<\1>.layer_norm."),
    (r"norm(\d)\.", r"layer_norm.<\1>."),
    (r"block(\d)\.(\d+)\.norm(\d)\.", r"block.<\1>.\2.layer_norm_\3."),
    (r"block(\d)\.(\d+)\.attn\.q\.", r"block.<\1>.\2.attention.self.query."),
    (r"block(\d)\.(\d+)\.attn\.kv\.", r"block.<\1>.\2.attention.self.kv."),
    (r"block(\d)\.(\d+)\.attn\.proj\.", r"block.<\1>.\2.attention.output.dense."),
    (r"block(\d)\.(\d+)\.attn\.sr\.", r"block.<\1>.\2.attention.self.sr."),
    (r"block(\d)\.(\d+)\.attn\.norm\.", r"block.<\1>.\2.attention.self.layer_norm."),
    (r"block(\d)\.(\d+)\.mlp\.fc(\d)\.", r"block.<\1>.\2.mlp.dense\3."),
    (r"block(\d)\.(\d+)\.mlp\.dwconv\.dwconv\.", r"block.<\1>.\2.mlp.dwconv.dwconv."),
)
# Modules of transformers 5 in memory -> its files.
_BLOCK = r"(?:segformer\.)?stages\.(\d)\.blocks\.(\d+)\."
MIT_IN_MEMORY = (
    (r"(?:segformer\.)?stages\.(\d)\.patch_embeddings\.", r"patch_embeddings.\1."),
    (r"(?:segformer\.)?stages\.(\d)\.layer_norm\.", r"layer_norm.\1."),
    *(
        (_BLOCK + old.replace(".", r"\."), rf"block.\1.\2.{new}")
        for old, new in (
            ("layernorm_before.", "layer_norm_1."),
            ("layernorm_after.", "layer_norm_2."),
            ("attention.q_proj.", "attention.self.query."),
            ("attention.k_proj.", "attention.self.key."),
            ("attention.v_proj.", "attention.self.value."),
            ("attention.o_proj.", "attention.output.dense."),
            ("attention.sequence_reduction.sequence_reduction.", "attention.self.sr."),
            ("attention.sequence_reduction.layer_norm.", "attention.self.layer_norm."),
            ("mlp.fc1.", "mlp.dense1."),
            ("mlp.fc2.", "mlp.dense2."),
            ("mlp.dwconv.", "mlp.dwconv."),
        )
    ),
)
# torchvision's Swin, which counts stages and the merging between them together, -> timm.
SWIN_TORCHVISION = (
    (r"features\.0\.0\.", "patch_embed.proj."),
    (r"features\.0\.2\.", "patch_embed.norm."),
    (r"features\.([1357])\.(\d+)\.mlp\.0\.", r"layers.{\1}.blocks.\2.mlp.fc1."),
    (r"features\.([1357])\.(\d+)\.mlp\.3\.", r"layers.{\1}.blocks.\2.mlp.fc2."),
    (r"features\.([1357])\.(\d+)\.", r"layers.{\1}.blocks.\2."),
    (r"features\.([246])\.", r"layers.{\1}.downsample."),
)


def transformers_names(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the tensors of a Mix Transformer under the names in files of transformers.

    Those are understood that the authors' code gives, where keys and values, one after the other in one tensor, are
    divided; and those of transformers' own modules since version 5. Others stay as they are.
    """
    if any(re.match(r"(segformer\.)?stages\.0\.patch_embeddings\.", name) for name in tensors):
        return {_renamed(name, MIT_IN_MEMORY): tensor for name, tensor in tensors.items()}
    tensors = {
        re.sub(r"^(module\.)?(backbone|encoder)\.(?=(patch_embed|block|norm)\d)", "", n): t for n, t in tensors.items()
    }
    if "patch_embed1.proj.weight" not in tensors:
        return dict(tensors)
    found: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        new = re.sub(r"<(\d)>", lambda stage: str(int(stage[1]) - 1), _renamed(name, MIT))
        if ".kv." in new:
            half = len(tensor) // 2
            found[new.replace(".kv.", ".key.")], found[new.replace(".kv.", ".value.")] = tensor[:half], tensor[half:]
        else:
            found[new] = tensor
    return found


def timm_names(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the tensors of a Swin Transformer of torchvision or of the authors' code under timm's names."""
    if "features.0.0.weight" in tensors:
        # Stages are 1, 3, 5, 7; the merging before them 2, 4, 6.
        return {
            re.sub(r"\{(\d)\}", lambda number: str(int(number[1]) // 2), _renamed(name, SWIN_TORCHVISION)): tensor
            for name, tensor in tensors.items()
        }
    if "layers.0.downsample.norm.weight" in tensors:
        # The authors merge at the end of a stage, timm at the start of the next.
        return {
            re.sub(r"^layers\.(\d)\.downsample", lambda stage: f"layers.{int(stage[1]) + 1}.downsample", name): tensor
            for name, tensor in tensors.items()
        }
    return dict(tensors)


def _renamed(name: str, patterns: tuple[tuple[str, str], ...]) -> str:
    for pattern, new in patterns:
        if re.match(pattern, name):
            return re.sub(f"^{pattern}", new, name)
    return name
