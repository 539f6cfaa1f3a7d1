"""Distributes the images of a data set over folds and writes them to a file that every run and tool reads.

A specification with the keys `folds: FILE` and `fold: N` holds out the images of one fold; `repeat: N` takes
another distribution of the same file.

examples:
  maskzoo folds set.yaml folds.json
  maskzoo folds set.yaml folds.json --k 5 --repeats 3 --stratify --group "^(patient[0-9]+)"
      three times five folds; no patient is split, and each fold has its part of images with much foreground
  maskzoo folds set.yaml folds.json --split block
      runs of neighbours: serial sections, frames of a video
"""

from pathlib import Path

from .. import data


def add_arguments(parser):
    parser.add_argument("spec", type=str, help="folder or YAML file of a labelled data set")
    parser.add_argument("output", type=str, help="JSON file to write")
    parser.add_argument("--k", type=int, default=5, help="number of folds")
    parser.add_argument("--repeats", type=int, default=1, help="distributions, each with the next seed")
    parser.add_argument("--split", type=str, default="random", help="random, or block: runs of the sorted names")
    parser.add_argument("--group", type=str | None, default=None, help="regular expression: what is never split")
    parser.add_argument(
        "--stratify", action="store_true", default=False, help="every fold gets its part of images with much foreground"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same folds")


def run(arguments):
    if arguments.repeats < 1:
        raise ValueError(f"--repeats: expected at least 1; received {arguments.repeats}")
    if arguments.seed < 0:
        raise ValueError(f"--seed: expected at least 0; received {arguments.seed}")
    if arguments.split == "block" and (arguments.repeats > 1 or arguments.stratify):
        raise ValueError("--split: expected random with --repeats and --stratify; received block, which has one way")
    if Path(arguments.output).suffix != ".json":
        raise ValueError(f"output: expected a file name that ends in .json; received {arguments.output}")
    data.check_writable(arguments.output)
    spec = data.read_spec(arguments.spec)
    strata = data.foreground_shares(spec) if arguments.stratify else None
    names = list(strata) if strata else data.image_names(spec)
    pattern = arguments.group or spec.group
    groups = data.groups_by_pattern(names, pattern) if pattern else None
    options = {"split": arguments.split, "groups": groups, "strata": strata}
    made = [
        data.make_folds(names, arguments.k, seed=seed, **options)
        for seed in range(arguments.seed, arguments.seed + arguments.repeats)
    ]
    data.write_folds(arguments.output, *made)
    print(summary(made[0], groups, strata), f"\nwrote {arguments.output}", sep="")


def summary(folds, groups, strata):
    """A table of the folds: how many images and groups, and how much foreground they have on average."""
    lines = [f"  fold{'images':>10}{'groups':>10}{'foreground':>12}"]
    for fold in range(max(folds.values()) + 1):
        names = [name for name, number in folds.items() if number == fold]
        number = len({groups[name] for name in names}) if groups else "-"
        share = f"{sum(strata[name] for name in names) / len(names):.2%}" if strata else "-"
        lines.append(f"  {fold:<4}{len(names):>10}{number:>10}{share:>12}")
    return "\n".join(lines)
