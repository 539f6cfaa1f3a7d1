"""Several hosts that train one model: who they are, which part of each batch is whose, and the fit that keeps step."""

import json
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from .run_folder import HISTORY, LAST, RECIPE, create_run

PORT = 20000
PORTS = 10000
# What a host reads of a run that is resumed.
CHECKPOINT = (RECIPE, HISTORY, LAST, "kept")


def find_hosts(recipe, environment=None):
    """Completes a recipe whose hosts are not said with those that `TF_CONFIG` or SLURM know of.

    Args:
        recipe: A `Recipe`.
        environment: Mapping of environment variables; those of this process by default.

    Returns:
        The recipe with `hosts` and `host`; both are `None` for a single host.

    Raises:
        ValueError: If the hosts are not said in full.
    """
    environment = os.environ if environment is None else environment
    if recipe.hosts is not None:
        hosts, number = recipe.hosts.split(","), recipe.host
    elif environment.get("TF_CONFIG"):
        hosts, number = from_tensorflow(environment["TF_CONFIG"])
    elif int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        hosts, number = from_slurm(environment), int(environment["SLURM_PROCID"])
    else:
        hosts, number = [], None
    if len(hosts) < 2 and recipe.hosts is None:
        return replace(recipe, hosts=None, host=None)
    for host in hosts:
        if not re.fullmatch(r"[\w.-]+:\d+|\[[\da-fA-F:]+\]:\d+", host):
            raise ValueError(f"--hosts: expected NAME:PORT of every host, joined by commas; received {host!r}")
    if len(hosts) < 2 or len(set(hosts)) < len(hosts):
        raise ValueError(f"--hosts: expected at least two hosts, each once; received {','.join(hosts)}")
    if number is None or not 0 <= number < len(hosts):
        raise ValueError(f"--host: expected the number of this one among {len(hosts)}, from 0 on; received {number}")
    if recipe.run is None:
        raise ValueError("--run: expected a folder that all hosts see; received none")
    if recipe.is_several:
        raise ValueError("--folds: expected a single host; received several: start each fold with --fold")
    if recipe.hard_example_fraction:
        raise ValueError(
            f"--hard-example-fraction: expected 0 with several hosts; received {recipe.hard_example_fraction}"
        )
    return replace(recipe, hosts=",".join(hosts), host=number)


def from_tensorflow(text):
    """The hosts and the number of this one in the variable `TF_CONFIG`.

    Raises:
        ValueError: If it names other tasks than workers, or is none.
    """
    try:
        config = json.loads(text)
        (kind, hosts), task = *config["cluster"].items(), config["task"]
        if (kind, task["type"]) != ("worker", "worker"):
            raise ValueError(f"a task {task['type']}")
        return list(hosts), int(task["index"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"TF_CONFIG: expected a cluster of workers and a task of it; received {error}") from None


def from_slurm(environment):
    """The address of every task of a SLURM step: nodes in order, and on a node one port after the other."""
    nodes = expand_nodes(environment["SLURM_STEP_NODELIST"])
    counts = []
    for part in environment["SLURM_STEP_TASKS_PER_NODE"].split(","):
        count, _, times = part.rstrip(")").partition("(x")
        counts += [int(count)] * int(times or 1)
    first = PORT + int(environment["SLURM_JOB_ID"]) % PORTS
    return [f"{node}:{first + task}" for node, count in zip(nodes, counts, strict=True) for task in range(count)]


def expand_nodes(text):
    """The names in a SLURM node list: `gpu[01-03,7],login` is `gpu01 gpu02 gpu03 gpu7 login`."""
    names = []
    for prefix, numbers in re.findall(r"([^,\[]+)(?:\[([^\]]*)\])?", text):
        for part in numbers.split(",") if numbers else [""]:
            first, _, last = part.partition("-")
            span = range(int(first), int(last) + 1) if last else [first]
            names += [f"{prefix}{number:0{len(first)}}" if last else f"{prefix}{number}" for number in span]
    return names


@contextmanager
def folder_of_host(recipe):
    """The folder that a host writes: the chief the run itself, the others one that is thrown away.

    Args:
        recipe: A `Recipe` of `find_hosts`.

    Raises:
        OSError: If it is not a new one, or no run to resume: see `create_run`.
    """
    if not recipe.host:
        yield create_run(recipe)
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
