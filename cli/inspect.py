"""Looks at every image and label of a data set: sizes, types, label values, classes, and pairs that look wrong.

Suspicious are: files that cannot be read, images without label, sizes that differ, labels with undeclared values,
empty and full labels, blank images, and images that occur twice. They are listed; nothing is changed, and no picture
is written unless --picture names one.

examples:
  maskzoo inspect FOLDER
      FOLDER/images with FOLDER/masks or FOLDER/labels
  maskzoo inspect set.yaml --picture overlays.png
      also draws labels over some images, spread over the data set
"""

import json
from pathlib import Path

from maskzoo import data

LISTED = 10


def add_arguments(parser):
    parser.add_argument("spec", type=str, help="folder or YAML file of a labelled data set, or `synthetic`")
    parser.add_argument("--picture", type=str | None, default=None, help="PNG to write, with labels drawn over images")
    parser.add_argument("--samples", type=int, default=6, help="images in the picture")
    parser.add_argument("--rank", type=int | None, default=None, help="spatial axes, 2 or 3; by default the files'")
    parser.add_argument("--json", action="store_true", default=False, help="print JSON, with every suspicious pair")


def run(arguments):
    if arguments.samples < 1:
        raise ValueError(f"--samples: expected at least 1; received {arguments.samples}")
    if arguments.rank not in (None, 2, 3):
        raise ValueError(f"--rank: expected 2 or 3; received {arguments.rank}")
    if arguments.picture is not None:
        if Path(arguments.picture).suffix.lower() != ".png":
            raise ValueError(f"--picture: expected a file name that ends in .png; received {arguments.picture}")
        data.check_writable(arguments.picture)
    found = data.inspect_data(arguments.spec, rank=arguments.rank)
    print(json.dumps(found.report, indent=2) if arguments.json else report_text(found.report), flush=True)
    if arguments.picture is not None:
        rows, class_names = found.samples(arguments.samples)
        data.save_overlays(arguments.picture, rows, class_names, title=str(arguments.spec))
    elif not arguments.json:
        print("\nlabels drawn over images: add --picture FILE.png")


def report_text(report):
    """The report as text; of many suspicious pairs of a kind, the first ones."""
    lines = [
        f"{report['path']}: {report['files']} images, {report['pairs']} with a label",
        f"  files     {tally(report['suffixes'])}",
        f"  sizes     {tally(report['sizes'])}",
        *([size_range(report)] if len(report["sizes"]) > 1 else []),
        f"  channels  {tally(report['channels'])}",
        f"  types     {tally(report['dtypes'])}; labels {tally(report['label_dtypes'])}",
    ]
    if report["values"]:
        lines.append("  values    {:g} to {:g}".format(*report["values"]))
    if report["sampled"]:
        lines.append(f"  of {report['sampled']} large images only windows spread over them were looked at")
    if values := report["label_values"]:
        lines += ["", f"  {'label value':<20}{'pixels':>10}{'files':>8}"]
        shown = values[:20]
        lines += [f"  {row['value']!s:<20}{row['share']:>10.2%}{row['files']:>8}" for row in shown]
        lines += [f"  and {len(values) - 20} more values"] if len(values) > 20 else []
    if report["classes"]:
        head = f"{report['task']} class"
        lines += ["", f"  {head:<20}{'pixels':>10}{'images':>8}"]
        lines += [f"  {row['name']:<20}{row['share']:>10.2%}{row['images']:>8}" for row in report["classes"]]
    if report["ignore"]:
        lines.append(f"  shares are of the pixels that count; ignored values: {', '.join(map(str, report['ignore']))}")
    lines.append("")
    for kind, names in report["suspicious"].items():
        lines.append(f"suspicious: {kind} ({len(names)})")
        lines += [f"  {name}" for name in names[:LISTED]]
        lines += [f"  and {len(names) - LISTED} more: see --json"] if len(names) > LISTED else []
    return "\n".join(lines if report["suspicious"] else [*lines, "nothing suspicious"])


def size_range(report):
    low, high = (" x ".join(map(str, report[key])) for key in ("smallest", "largest"))
    return f"            per axis at least {low}, at most {high}"


def tally(counts):
    """`256 x 256 (80), 360 x 360 (5)`; a thing that is alone needs no number."""
    if len(counts) == 1:
        return str(next(iter(counts)))
    parts = [f"{thing} ({number})" for thing, number in list(counts.items())[:8]]
    return ", ".join(parts) + (f" and {len(counts) - 8} others" if len(counts) > 8 else "")
