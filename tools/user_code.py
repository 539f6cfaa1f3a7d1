"""What a user's editor sees of the installed package: `tools/check-wheel` has pyright check it, and Python run it."""

from typing import assert_type

import maskzoo
from maskzoo import data
from maskzoo.models import analysis

window = data.Window((0, 0), (4, 4))
assert_type(window, data.Window)
assert_type(maskzoo.models.list_models(), list[str])
assert_type(data.encode_rle(data.decode_rle("1 2", (2, 2)), relative=False), str)
model = maskzoo.models.build_model("unet_padded", (None, None, 1), filters=(4, 8))
assert_type(analysis.geometry(model), analysis.Geometry)
assert_type(analysis.geometry(model).is_global, bool)
print(f"{maskzoo.__file__}: {model.name}, {analysis.parameters(model)[0]} parameters")
