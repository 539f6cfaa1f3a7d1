"""Several hosts that train one model: who they are, and which folder each of them writes."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from maskzoo.errors import OptionError
from maskzoo.files import locked_folder

from ..inference.run_folders import DATA_FILE
from .history import HISTORY
from .recipe import Recipe
from .run_folder import BEST, CHOICE, LAST, RECIPE, TRAINED_BY_NONE, create_run

PORT = 20000
PORTS = 10000
# What a host reads from a run that is resumed.
CHECKPOINT = (RECIPE, HISTORY, LAST, BEST, CHOICE, DATA_FILE, "kept")


def find_hosts(recipe: Recipe, environment: Mapping[str, str] | None = None) -> Recipe:
    """Completes a recipe that names no hosts with those in `TF_CONFIG` or SLURM's variables.

    Args:
        recipe: The recipe.
        environment: Environment variables; those of this process by default.

    Returns:
        The recipe with `hosts` and `host`; both are `None` for a single host.

    Raises:
        OptionError: If the hosts are incomplete, or the recipe asks for what several hosts cannot do.
    """
    environment = os.environ if environment is None else environment
    number: int | None
    if recipe.hosts is not None:
        hosts, number = recipe.hosts.split(","), recipe.host
    elif environment.get("TF_CONFIG"):
        hosts, number = from_tensorflow(environment["TF_CONFIG"])
    elif int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        hosts, number = from_slurm(environment), int(environment["SLURM_PROCID"])
    else:
        hosts, number = [], None
    if not hosts and recipe.host is not None:
        raise OptionError("host", "`hosts`, among which it is", recipe.host)
    if len(hosts) < 2 and recipe.hosts is None:
        return replace(recipe, hosts=None, host=None)
    for host in hosts:
        if not re.fullmatch(r"[\w.-]+:\d+|\[[\da-fA-F:]+\]:\d+", host):
            raise OptionError("hosts", "NAME:PORT of every host, separated by commas", host)
    if len(hosts) < 2 or len(set(hosts)) < len(hosts):
        raise OptionError("hosts", "at least two different hosts", ",".join(hosts))
    if number is None or not 0 <= number < len(hosts):
        raise OptionError(
            "host", f"the index of this host, from 0 to {len(hosts) - 1}", "none" if number is None else number
        )
    if recipe.run is None:
        raise OptionError("run", "a folder that all hosts can reach", "none")
    if recipe.is_several:
        raise OptionError("folds", "a single host; start each fold with `fold`", f"{len(hosts)} hosts")
    if recipe.hard_example_fraction:
        raise OptionError("hard_example_fraction", "0 with several hosts", recipe.hard_example_fraction)
    return replace(recipe, hosts=",".join(hosts), host=number)


def from_tensorflow(text: str) -> tuple[list[str], int]:
    """Returns the hosts and the index of this one in the variable `TF_CONFIG`.

    Raises:
        OptionError: If it names other tasks than workers, or cannot be read.
    """
    try:
        config = json.loads(text)
        (kind, hosts), task = *config["cluster"].items(), config["task"]
        if (kind, task["type"]) != ("worker", "worker"):
            raise ValueError(f"a task of type {task['type']}")
        return list(hosts), int(task["index"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionError("TF_CONFIG", "a cluster of workers, and one of them as the task", error) from None


def from_slurm(environment: Mapping[str, str]) -> list[str]:
    """Returns the address of every task of a SLURM step: nodes in order, and on a node one port after the other."""
    nodes = expand_nodes(environment["SLURM_STEP_NODELIST"])
    counts: list[int] = []
    for part in environment["SLURM_STEP_TASKS_PER_NODE"].split(","):
        count, _, times = part.rstrip(")").partition("(x")
        counts += [int(count)] * int(times or 1)
    first = PORT + int(environment["SLURM_JOB_ID"]) % PORTS
    return [f"{node}:{first + task}" for node, count in zip(nodes, counts, strict=True) for task in range(count)]


def expand_nodes(text: str) -> list[str]:
    """Returns the names in a SLURM node list: `gpu[01-03,7],login` is `gpu01 gpu02 gpu03 gpu7 login`."""
    names: list[str] = []
    for prefix, numbers in re.findall(r"([^,\[]+)(?:\[([^\]]*)\])?", text):
        for part in numbers.split(",") if numbers else [""]:
            first, _, last = part.partition("-")
            span = range(int(first), int(last) + 1) if last else [first]
            names += [f"{prefix}{number:0{len(first)}}" if last else f"{prefix}{number}" for number in span]
    return names


@contextmanager
def folder_of_host(recipe: Recipe) -> Iterator[Path]:
    """A context with the folder that a host writes: the run itself for the first host, a temporary one for the others.

    Args:
        recipe: A recipe from `find_hosts`.

    Raises:
        MaskzooError: As `create_run`.
        BusyFile: If another process trains in the folder.
    """
    if not recipe.host or recipe.run is None:
        run = create_run(recipe)
        with locked_folder(run, TRAINED_BY_NONE):
            yield run
        return
    with tempfile.TemporaryDirectory(prefix="maskzoo-host-") as folder:
        run = Path(folder)
        for name in CHECKPOINT if recipe.resume else ():
            path = Path(recipe.run, name)
            if path.is_dir():
                shutil.copytree(path, run / name)
            elif path.is_file():
                shutil.copyfile(path, run / name)
        yield run
