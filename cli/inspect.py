"""Looks at every image and label of a data set: sizes, types, label values, classes, and pairs that look wrong.

Suspicious pairs are listed: files that cannot be read, images without a label, sizes that differ, labels with
undeclared values, empty and full labels, classes that never occur, blank images, and images that occur twice. Nothing
is changed, and no picture is written unless --picture names one.

examples:
  maskzoo inspect FOLDER
      FOLDER/images with FOLDER/masks or FOLDER/labels
  maskzoo inspect set.yaml --picture overlays.png
      also draws labels over some images from all over the data set
  maskzoo inspect set.yaml --against OTHER_FOLDER --picture overlays.png
      also says whether a classifier can tell the images of OTHER_FOLDER from those of the set, and by which features;
      that picture is overlays-against.png
"""

import json
import logging
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

from maskzoo.errors import OptionError
from maskzoo.files import check_no_input
from maskzoo.names import counted

from .. import data
from .parser import Parser
from .tables import text_table

logger = logging.getLogger(__name__)

# How many suspicious pairs of a kind, and how many label values, are printed.
LISTED, SHOWN = 10, 20
# How many images are drawn by default.
SAMPLES = 6
Report = dict[str, Any]  # what was found, as JSON values


def add_arguments(parser: Parser) -> None:
    """Adds the options of `inspect`."""
    parser.add_argument("spec", type=str, help="folder or YAML file of a labelled data set, or `synthetic`")
    parser.add_argument("--picture", type=str | None, default=None, help="PNG to write, with labels drawn over images")
    parser.add_argument(
        "--against", type=str | None, default=None, help="folder or YAML file of other images, with or without labels"
    )
    parser.add_argument("--samples", type=int, default=SAMPLES, help="images in the picture")
    parser.add_argument(
        "--spatial-dims", type=int | None, default=None, help="number of spatial axes, 2 or 3; by default the files'"
    )
    parser.renamed["rank"] = "spatial_dims"
    parser.add_flag("--json", help="print JSON, with every suspicious pair")


def run(arguments: Namespace) -> None:
    """Runs `inspect`."""
    if arguments.samples < 1:
        raise OptionError("samples", "at least 1", arguments.samples)
    if arguments.samples != SAMPLES and arguments.picture is None:
        raise OptionError("samples", "`picture`, which shows them", arguments.samples)
    if arguments.spatial_dims not in (None, 2, 3):
        raise OptionError("spatial_dims", "2 or 3", arguments.spatial_dims)
    if arguments.picture is not None:
        if Path(arguments.picture).suffix.lower() != ".png":
            raise OptionError("picture", "a file name that ends in .png", arguments.picture)
        data.check_writable(arguments.picture)
    if arguments.against is not None:
        data.check_path(arguments.against)
    if arguments.picture is not None:
        others = [] if arguments.against is None else [arguments.against]
        pictures = [arguments.picture, *(against_picture(arguments.picture) for _ in others)]
        images = [file for place in others for file in data.files_of_images(place)]
        check_no_input(pictures, [*data.files_of(arguments.spec), *images])
    found = data.inspect_data(arguments.spec, spatial_dims=arguments.spatial_dims)
    report, shift = found.report, None
    if arguments.against is not None:
        others = data.open_images(arguments.against, report["rank"])
        shift = data.compare_images([pair.image for pair in found.pairs if pair.image is not None], others)
        report = {**report, "against": {"path": arguments.against, **shift.report}}
    print(json.dumps(report, indent=2) if arguments.json else report_text(report), flush=True)
    if arguments.picture is not None:
        rows, class_names = found.samples(arguments.samples)
        data.save_overlays(arguments.picture, rows, class_names, title=str(arguments.spec))
        if shift is not None:
            names = [str(arguments.spec), arguments.against]
            data.save_shift(against_picture(arguments.picture), shift, names)
    elif not arguments.json:
        logger.info("\nto see labels drawn over images: add --picture FILE.png")


def against_picture(picture: str) -> Path:
    """The path of the picture of a comparison with another set, beside that of the set itself."""
    return Path(picture).with_name(f"{Path(picture).stem}-against.png")


def report_text(report: Report) -> str:
    """The report as text; of many suspicious pairs of a kind, the first ones."""
    lines = [
        f"{report['path']}: {counted(report['files'], 'image')}, {report['pairs']} with a label",
        f"  files     {tally(report['suffixes'])}",
        f"  sizes     {tally(report['sizes'])}",
        *([size_range(report)] if len(report["sizes"]) > 1 else []),
        f"  channels  {tally(report['channels'])}",
        f"  types     {tally(report['dtypes'])}; labels {tally(report['label_dtypes']) or 'none'}",
    ]
    if report["values"]:
        lines.append("  values    {:g} to {:g}".format(*report["values"]))
    for group in report["groups"]:
        low, high = group["values"]
        lines.append(f"  group     {group['kind']}: {counted(group['images'], 'image')}, values {low:g} to {high:g}")
    lines += [f"  pixels    {note}" for note in report["pixels"]]
    if report["sampled"]:
        lines.append(f"  {counted(report['sampled'], 'large image')}: only windows spread over them were read")
    if values := report["label_values"]:
        rows = [[str(row["value"]), f"{row['share']:.2%}", str(row["files"])] for row in values[:SHOWN]]
        lines += ["", indent(text_table([["label value", "pixels", "files"], *rows]), "  ")]
        lines += [f"  and {len(values) - SHOWN} more values"] if len(values) > SHOWN else []
    if report["classes"]:
        rows = [[row["name"], f"{row['share']:.2%}", str(row["images"])] for row in report["classes"]]
        lines += ["", indent(text_table([[f"{report['task']} class", "pixels", "images"], *rows]), "  ")]
    if report["ignore"]:
        lines.append(f"  fractions of the pixels that count; ignored values: {', '.join(map(str, report['ignore']))}")
    lines += [f"  labels    {remark}" for remark in report["remarks"]]
    lines.append("")
    for kind, names in report["suspicious"].items():
        lines.append(f"suspicious: {kind} ({len(names)})")
        lines += [f"  {name}" for name in names[:LISTED]]
        lines += [f"  and {len(names) - LISTED} more: see --json"] if len(names) > LISTED else []
    lines += [] if report["suspicious"] else ["nothing suspicious"]
    return "\n".join([*lines, *against_lines(report["against"])] if "against" in report else lines)


def against_lines(against: Report) -> list[str]:
    """Whether two sets of images differ, and the features that do most."""
    low, high = against["interval"]
    verdict = "they differ" if low > 0.5 else "no difference found"
    (here, there), (some, others) = against["images"], against["windows"]
    rows = [
        [row["name"], f"{row['first']:.4g}", f"{row['second']:.4g}", f"{row['deviations']:+.2f}"]
        for row in against["features"][:5]
    ]
    return [
        "",
        f"against {against['path']}: {here} and {there} images, {some} and {others} windows, {against['side']} px wide",
        f"  a classifier tells them apart with an AUC of {against['auc']:.3f} (95 % interval {low:.3f} to {high:.3f}): "
        f"{verdict}",
        indent(text_table([["mean per window", "set", "other", "deviations"], *rows]), "  "),
    ]


def size_range(report: Report) -> str:
    """The smallest and the largest size per axis."""
    low, high = (" x ".join(map(str, report[key])) for key in ("smallest", "largest"))
    return f"            per axis at least {low}, at most {high}"


def tally(counts: Mapping[str, int]) -> str:
    """`256 x 256 (80), 360 x 360 (5)`; without a number where there is one only."""
    if len(counts) == 1:
        return str(next(iter(counts)))
    parts = [f"{thing} ({number})" for thing, number in list(counts.items())[:8]]
    return ", ".join(parts) + (f" and {len(counts) - 8} others" if len(counts) > 8 else "")
