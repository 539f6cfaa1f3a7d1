"""Images on many machines: runs of their parts are tasks of Dask, and what these return goes into the same journal."""

from __future__ import annotations

import logging
import math
import os
import signal
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import pairwise
from multiprocessing import resource_tracker
from threading import Event
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from maskzoo.errors import ConnectionLost

from .. import data
from .cluster_job import packed
from .cluster_worker import free_for_worker, predict_parts
from .gate import LabelRecorder
from .options import check_cluster
from .predictor import Predictor
from .scratch import RESUME_HINT
from .tiles import ALL_TILES, TileSelection
from .values import ImageTask

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

logger = logging.getLogger(__name__)

SECONDS_TO_ANSWER = 5
# How long it takes at most until Ctrl-C is noticed by what runs in a thread.
SECONDS_TO_NOTICE = 0.5
# For each worker, so that it never waits for the next task.
TASKS_AHEAD = 2
# A task's answer: small enough that a worker that dies costs little, and large beside the price of a task.
TASK_PIXELS = 2048 * 2048
# Bands that are blended in one task, which predicts one row of tiles that the task before has predicted too.
TASK_BANDS, TASK_BYTES = 8, 512 * 1024**2

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


@contextmanager
def open_cluster(where: str = "local") -> Iterator[Cluster]:
    """Starts worker processes on this machine, or connects to those of a scheduler; as a context manager.

    Args:
        where: See `options.check_cluster`. `local` starts a worker for every two processor cores.

    Yields:
        A `Cluster`, for `predict_image`. Worker processes of this machine end with the context.

    Raises:
        ConnectionLost: If no scheduler answers within 5 seconds.
        OptionError: See `check_cluster`.
        MissingPackage: See `check_cluster`.
    """
    check_cluster(where)
    import dask.config
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
            raise ConnectionLost(
                f"`cluster`: expected a Dask scheduler at {where}; received none that answers within "
                f"{SECONDS_TO_ANSWER} seconds"
            ) from None
        cluster = Cluster(client)
        number = len(threads_of(client))
        workers = f"{number} worker{'s'[: number != 1]}, each of which needs the memory that a plan names"
        if number == 0:
            workers = f"waiting for the first worker of {where}"
        # Without Bokeh there is a server, but no dashboard.
        if client.run_on_scheduler(lambda: __import__("importlib.util").util.find_spec("bokeh") is not None):
            workers += f"; dashboard at {client.dashboard_link}"
        logger.info("cluster: %s", workers)
        yield cluster


@contextmanager
def local_workers(number: int) -> Iterator[LocalCluster]:
    """Starts worker processes that share the processor's cores, for 0 one for every two cores; as a context."""
    from dask.system import CPU_COUNT
    from distributed import LocalCluster

    number = number or max(1, CPU_COUNT // 2)
    settings = {
        "TF_NUM_INTRAOP_THREADS": str(max(1, CPU_COUNT // number)),
        # Workers share the GPU, of which TensorFlow would take all for the first.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with interrupts_blocked():
            cluster = LocalCluster(
                n_workers=number,
                threads_per_worker=1,
                # The plan bounds the memory; Dask would pause and kill workers by a guess of its own.
                memory_limit=0,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
                local_directory=folder,
                env=settings,
            )
        with cluster:
            yield cluster


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Keeps the Ctrl-C that is meant for this process from the processes that are started here, as a context."""
    if os.name == "nt":
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

    def __init__(self, client: Client) -> None:
        self._client = client
        self._images_at_once = 1
        self._stopping = Event()

    def values(
        self,
        predictor: Predictor,
        source: data.Source,
        task: ImageTask,
        selection: TileSelection = ALL_TILES,
        recorders: Sequence[LabelRecorder] | None = None,
    ) -> Generator[np.ndarray, None, None]:
        """Yields the values of the parts of an image, as `values.values_of` does, in the same order.

        A task of Dask is a run of parts. A few are under way for each worker and wait there until their turn has come,
        so that the memory needed here is that of one task. What a worker that dies was at is given to another.

        Args:
            predictor: A `Run`, or an `Ensemble`; the workers load it from the same folders.
            source: An open source, which the workers open under the same path.
            task: The image.
            selection: The parts that are asked for.
            recorders: What `gate.label_recorders` returned; the workers' recorders report to them.

        Raises:
            ConnectionLost: If the workers cannot do the task: they see no such file, have another version of the
                software, or die of it; or if the scheduler is gone.
            ValueError: As `values_of`; so OSError.
        """
        parts = task.parts()
        if not parts[selection.first :]:
            return
        job = packed(predictor, source, task, selection.keep, records=bool(recorders))
        per_task = parts_per_task(task, parts, max(1, self._threads()))
        first = selection.first
        tasks = pairwise([first, *range(first - first % per_task + per_task, len(parts), per_task), len(parts)])
        pending: deque[Future] = deque()
        submit = partial(self._client.submit, predict_parts, job.predictor, job.image, job.needed, pure=False)
        try:
            while True:
                while len(pending) < self._tasks_at_once() and (edges := next(tasks, None)):
                    # What comes first is needed first.
                    pending.append(submit(*edges, priority=-edges[0]))
                if not pending:
                    return
                values, labels = self._outcome(pending[0])
                pending.popleft()
                for recorder, probabilities in zip(recorders or (), labels, strict=True):
                    recorder.record(probabilities)
                yield from values
        except (Exception, CancelledError) as error:
            if self._client.status == "running" and not isinstance(error, CancelledError):
                raise
            raise ConnectionLost(
                f"`cluster`: expected a scheduler that stays; received none that answers any more; {RESUME_HINT}"
            ) from error
        finally:
            with suppress(Exception):  # a scheduler that is gone has nothing to cancel
                self._client.cancel(list(pending), force=True)

    def free_memory(self) -> int | None:
        """Returns the bytes that each worker may still take, of which those of one machine share what is free there.

        Returns:
            The least of all workers; `None` where none answers yet.
        """
        free: dict[str, tuple[str, int]] = {}
        # What is wrong with workers is said when they are given their first task.
        with suppress(Exception):
            free = cast(dict[str, tuple[str, int]], self._client.run(free_for_worker))
        hosts = Counter(host for host, _ in free.values())
        return min((bytes_ // hosts[host] for host, bytes_ in free.values()), default=None)

    def side_by_side(self, function: Callable[[Job], Outcome], jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yields what a function returns for each of many jobs, in their order; as many at once as there are workers.

        Args:
            function: Called with one job each, in threads.
            jobs: The jobs.
        """
        self._images_at_once = max(1, min(self._threads(), len(jobs)))
        with ThreadPoolExecutor(self._images_at_once) as threads:
            outcomes = threads.map(function, jobs)
            try:
                yield from outcomes
            except KeyboardInterrupt:
                self._stopping.set()
                raise KeyboardInterrupt(f"; {RESUME_HINT}") from None
            except BaseException:
                self._stopping.set()
                raise

    def _threads(self) -> int:
        return sum(threads_of(self._client).values())

    def _tasks_at_once(self) -> int:
        return max(1, math.ceil(TASKS_AHEAD * self._threads() / self._images_at_once))

    def _outcome(self, future: Future) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """What a task returns."""
        from distributed import KilledWorker, wait

        try:
            while not future.done():
                if self._stopping.is_set():
                    raise KeyboardInterrupt
                with suppress(TimeoutError), self._client.as_current():
                    wait(future, timeout=SECONDS_TO_NOTICE)
            return future.result()
        except KilledWorker:
            raise ConnectionLost(
                f"`cluster`: expected workers that live; received several that died of the same tiles, perhaps for "
                f"want of `memory`; {RESUME_HINT}"
            ) from None
        except (ImportError, RuntimeError) as error:
            if not isinstance(error, ImportError) and "deserialization" not in str(error):
                raise
            raise ConnectionLost(
                f"`cluster`: expected a scheduler and workers with this version of maskzoo; received {error}"
            ) from error


def threads_of(client: Client) -> dict[str, int]:
    """The number of threads of each worker."""
    # A coroutine only of clients that are asynchronous.
    return cast(dict[str, int], client.nthreads())


def parts_per_task(task: ImageTask, parts: Sequence[data.Window], workers: int) -> int:
    """The number of parts in one task: of a good size, and few enough for every worker to have some."""
    plan, result = task.plan, task.result
    if plan.is_blended:
        part = math.prod(parts[0].size) * result.bands * np.dtype(result.dtype).itemsize
        return max(1, min(TASK_BANDS, TASK_BYTES // part, math.ceil(len(parts) / workers)))
    # Four tasks for each worker, so that none works long after the others; whole batches, so that none is done twice.
    number = min(TASK_PIXELS // math.prod(plan.tile), math.ceil(len(parts) / (4 * workers)))
    return max(1, number // plan.batch) * plan.batch
