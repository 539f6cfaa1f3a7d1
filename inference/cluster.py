"""Images on many machines: runs of their parts are tasks of Dask, and what these return goes into the same journal."""

import copy
import logging
import math
import os
import pickle
import re
import signal
import socket
import sys
import tempfile
from collections import deque
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from multiprocessing import resource_tracker
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np

from .journal import GOES_ON
from .run import LAST, load_run

SECONDS_TO_ANSWER = 5
# So long at most until Ctrl-C is noticed by what runs in a thread.
SECONDS_TO_LISTEN = 0.5
# For each worker, so that it never waits for the next task.
TASKS_AHEAD = 2
# A task's answer: small enough that a worker that dies costs little, and large beside the price of a task.
TASK_PIXELS = 2048 * 2048
# Bands that are blended in one task, which predicts one row of tiles that the task before has predicted too.
TASK_BANDS, TASK_BYTES = 8, 512 * 1024**2
# Keras models answer one thread at a time; Dask may give a process several.
ANSWERING = Lock()


def check_cluster(where):
    """Refuses what names no cluster, before anything is loaded.

    Args:
        where: `local`, `local:N` for N workers, or the address of a scheduler such as `tcp://host:8786`.

    Raises:
        ValueError: If it is none of these, or Dask is not installed.
    """
    if not re.fullmatch(r"local(:[1-9]\d*)?|(tcp|tls|ucx|ws|wss)://\S+", where):
        raise ValueError(
            f"--cluster: expected local, local:N for N workers, or the address of a scheduler such as "
            f"tcp://host:8786; received {where!r}"
        )
    if find_spec("distributed") is None:
        raise ValueError(
            "--cluster: expected the package distributed; received an installation without it: "
            'pip install "maskzoo[cluster]"'
        )


@contextmanager
def open_cluster(where="local", tell=print):
    """Starts worker processes on this machine, or connects to those of a scheduler; as a context manager.

    Args:
        where: See `check_cluster`. `local` starts a worker for every two processor cores.
        tell: Function that is told as text who works.

    Yields:
        A `Cluster`, for `predict_image`. Worker processes of this machine end with the context.

    Raises:
        ConnectionError: If no scheduler answers within 5 seconds.
        ValueError: See `check_cluster`.
    """
    check_cluster(where)
    import dask
    from distributed import Client

    # What is to be said of a lost scheduler or worker is said once, as an error.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        # An image that was resized travels with its task.
        stack.enter_context(dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"}))
        if where.startswith("local"):
            address = stack.enter_context(local_workers(int(where.partition(":")[2] or 0)))
        else:
            address = where
        try:
            client = stack.enter_context(Client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False))
        except OSError:
            raise ConnectionError(
                f"--cluster: expected a Dask scheduler at {where}; received none that answers within "
                f"{SECONDS_TO_ANSWER} seconds"
            ) from None
        cluster = Cluster(client)
        number = len(client.nthreads())
        told = f"{number} worker{'s'[: number != 1]}, each of which needs the memory that a plan names"
        if number == 0:
            told = f"waiting for the first worker of {where}"
        # Without Bokeh there is a server, but no dashboard.
        if client.run_on_scheduler(lambda: __import__("importlib.util").util.find_spec("bokeh") is not None):
            told += f"; dashboard at {client.dashboard_link}"
        tell(f"cluster: {told}")
        yield cluster


@contextmanager
def local_workers(number):
    """Starts so many worker processes, or a good number for 0, which share the processor's cores."""
    from dask.system import CPU_COUNT
    from distributed import LocalCluster

    number = number or max(1, CPU_COUNT // 2)
    settings = {
        "TF_NUM_INTRAOP_THREADS": str(max(1, CPU_COUNT // number)),
        # Workers share the GPU, of which TensorFlow would take all for the first.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with deaf_to_interrupts():
            cluster = LocalCluster(
                n_workers=number,
                threads_per_worker=1,
                # The plan bounds the memory; Dask would pause and kill workers by a guess of its own.
                memory_limit=0,
                dashboard_address="127.0.0.1:0",
                silence_logs="CRITICAL",
                local_directory=folder,
                env=settings,
            )
        with cluster:
            yield cluster


@contextmanager
def deaf_to_interrupts():
    """Lets processes that are started here, and by threads that are, not see the Ctrl-C that is meant for this one."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Started later, it would let the signal through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Cluster:
    """Workers that predict the parts of images; made by `open_cluster`."""

    def __init__(self, client):
        self._client = client
        self._images_at_once = 1
        self._stopping = Event()

    def values(self, run, source, plan, result, parts, *, whole=None, skip=0, keep=None, listeners=None):
        """Yields the values of the parts of an image, as `predictor.values_of` does, in the same order.

        A task is a run of parts. A few are under way for each worker and wait there until their turn has come, so that
        the memory needed here is that of one task. What a worker that dies was at is given to another.

        Args:
            run: A `Run`, or an `Ensemble`; the workers load it from the same folders.
            source: An open source, which the workers open under the same path.
            plan: A `Plan`.
            result: A `Result`.
            parts: The windows of the plan's parts.
            whole: See `values_of`.
            skip: See `predict_tiles`.
            keep: See `predict_tiles`.
            listeners: What `gate.listen` returned, to be told what the workers' have heard.

        Raises:
            ConnectionError: If the workers cannot do the task: they see no such file, have another version of the
                software, or die of it; or if the scheduler is gone.
            ValueError: As `values_of`; so OSError.
        """
        if not parts[skip:]:
            return
        trained, job, needed = packed(run, source, plan, result, whole, keep, listeners)
        per_task = parts_per_task(plan, result, parts, max(1, self._threads()))
        edges = [skip, *range(skip - skip % per_task + per_task, len(parts), per_task), len(parts)]
        tasks = pairwise(edges)
        pending = deque()
        try:
            while True:
                while len(pending) < self._tasks_at_once() and (task := next(tasks, None)):
                    pending.append(
                        self._client.submit(
                            # What comes first is needed first.
                            *(predict_parts, needed, trained, job, *task),
                            pure=False,
                            priority=-task[0],
                        )
                    )
                if not pending:
                    return
                values, chances = self._outcome(pending[0])
                pending.popleft()
                for listener, heard in zip(listeners or (), chances, strict=True):
                    listener.chances = np.maximum(listener.chances, heard)
                yield from values
        except (Exception, CancelledError) as error:
            if self._client.status == "running" and not isinstance(error, CancelledError):
                raise
            raise ConnectionError(
                f"--cluster: expected a scheduler that stays; received none that answers any more; {GOES_ON}"
            ) from error
        finally:
            with suppress(Exception):  # a scheduler that is gone has nothing to cancel
                self._client.cancel(list(pending), force=True)

    def side_by_side(self, function, jobs):
        """Yields what a function returns for each of many jobs, in their order; as many at once as there are workers.

        Args:
            function: Called with one job each, in threads.
            jobs: List.
        """
        self._images_at_once = max(1, min(self._threads(), len(jobs)))
        with ThreadPoolExecutor(self._images_at_once) as threads:
            outcomes = threads.map(function, jobs)
            try:
                with closing(outcomes):
                    yield from outcomes
            except KeyboardInterrupt:
                self._stopping.set()
                raise KeyboardInterrupt(f"; {GOES_ON}") from None
            except BaseException:
                self._stopping.set()
                raise

    def _threads(self):
        return sum(self._client.nthreads().values())

    def _tasks_at_once(self):
        return max(1, math.ceil(TASKS_AHEAD * self._threads() / self._images_at_once))

    def _outcome(self, future):
        """What a task returns."""
        from distributed import KilledWorker, wait

        try:
            while not future.done():
                if self._stopping.is_set():
                    raise KeyboardInterrupt
                with suppress(TimeoutError), self._client.as_current():
                    wait(future, timeout=SECONDS_TO_LISTEN)
            return future.result()
        except KilledWorker:
            raise ConnectionError(
                f"--cluster: expected workers that live; received several that died of the same tiles, for want of "
                f"memory perhaps (--memory); {GOES_ON}"
            ) from None
        except (ImportError, RuntimeError) as error:
            if not isinstance(error, ImportError) and "deserialization" not in str(error):
                raise
            raise ConnectionError(
                f"--cluster: expected a scheduler and workers with this version of maskzoo; received {error}"
            ) from error


@dataclass(frozen=True)
class Job:
    """What all tasks of one image have in common, but for the run: see `Cluster.values`."""

    source: Any
    plan: Any
    result: Any
    whole: tuple[int, ...] | None
    kept: np.ndarray | None
    listens: bool
    fingerprints: dict


def packed(run, source, plan, result, whole, keep, listeners):
    """The run and the job as bytes, equal ones of which are unpacked once, and the paths that both need."""
    from .predict_image import fingerprints
    from .tile_plan import covered_windows

    bare = without_networks(run)
    needed = [str(one.path) for one in getattr(bare, "runs", [bare])]
    needed += [] if source.path is None else [str(source.path)]
    kept = None if keep is None else np.packbits([keep(window) for window in covered_windows(plan)])
    job = Job(source, plan, result, whole, kept, bool(listeners), fingerprints(run, source))
    return pickle.dumps(bare), pickle.dumps(job), needed


def parts_per_task(plan, result, parts, workers):
    """The number of parts in one task: of a good size, and few enough for every worker to have some."""
    if any(plan.overlap):
        part = math.prod(parts[0].size) * result.bands * np.dtype(result.dtype).itemsize
        return max(1, min(TASK_BANDS, TASK_BYTES // part, math.ceil(len(parts) / workers)))
    # Four tasks for each worker, so that none works long after the others; whole batches, so that none is done twice.
    number = min(TASK_PIXELS // math.prod(plan.tile), math.ceil(len(parts) / (4 * workers)))
    return max(1, number // plan.batch) * plan.batch


def predict_parts(needed, trained, job, skip, stop):
    """Predicts the parts from number `skip` to before `stop`; this is what a worker does.

    Returns:
        A list of values, and what each listener heard.
    """
    for path in needed:
        if not Path(path).exists():
            raise ConnectionError(
                f"--cluster: expected workers that see {path}; received {socket.gethostname()}, which does not"
            )
    try:
        with ANSWERING:
            return answer(trained, job, skip, stop)
    except (ValueError, OSError) as error:
        # Those of GDAL, which it may stem from, cannot be sent.
        error.__cause__ = error.__context__ = None
        raise


def answer(trained, job, skip, stop):
    with without_notices():
        from .gate import listen
        from .predict_image import reader, values_of

        run = loaded(trained)
    job, keep = opened(job, trained)
    listeners = listen(run) if job.listens else []
    options = {"whole": job.whole, "skip": skip, "stop": stop, "keep": keep, "listeners": listeners}
    values = list(values_of(run, reader(run, job.source), job.plan, job.result, **options))
    return values, [listener.chances for listener in listeners]


@contextmanager
def without_notices():
    """Keeps from stderr what TensorFlow's C++ code prints past every log level while it is imported."""
    if "tensorflow" in sys.modules:
        yield
        return
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(nowhere)
        os.close(stderr)


@lru_cache(maxsize=1)
def loaded(trained):
    return with_networks(pickle.loads(trained))


@lru_cache(maxsize=4)
def opened(job, trained):
    """A job, and its function that says which tiles are predicted."""
    from .predict_image import fingerprints
    from .tile_plan import covered_windows

    job = pickle.loads(job)
    expected, found = job.fingerprints, fingerprints(loaded(trained), job.source)
    for name in ("run", "software"):
        if expected[name] != found[name]:
            raise ConnectionError(
                f"--cluster: expected workers with the same {name}, {expected[name]}; received {found[name]} on "
                f"{socket.gethostname()}"
            )
    if job.kept is None:
        return job, None
    return job, dict(zip(covered_windows(job.plan), np.unpackbits(job.kept).tolist(), strict=False)).__getitem__


def without_networks(run):
    """A run, or an ensemble, as it can be sent."""
    if hasattr(run, "runs"):
        return with_runs(run, map(without_networks, run.runs))
    return replace(run, path=run.path.resolve(), model=None, engine=run.engine and str(run.engine))


def with_networks(run):
    """A run, or an ensemble, as it was before it was sent."""
    if hasattr(run, "runs"):
        return with_runs(run, map(with_networks, run.runs))
    path = run.path.with_name(f"{run.path.name}:last") if run.model_file == LAST else run.path
    whole = replace(run, model=load_run(path).model, engine=None)
    if run.engine is None:
        return whole
    from .engines import open_engine

    return replace(whole, engine=open_engine(whole, *run.engine.split()))


def with_runs(ensemble, runs):
    changed = copy.copy(ensemble)
    changed.runs = list(runs)
    return changed
