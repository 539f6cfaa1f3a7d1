"""One image of any size through a trained run, tile by tile, into a file that appears when it is whole."""

import hashlib
import shutil
from contextlib import closing
from dataclasses import asdict, fields
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock

from tqdm import tqdm

from .. import data
from .gate import absent_classes, listen
from .halo_search import blending_report, plan_within
from .journal import GOES_ON, DiskFull, Journal, in_bytes
from .resized import predicted_whole, shrunken
from .results import PROBABILITIES, Result, check_output, cleaned, write_result
from .run import thresholds_for
from .tile_plan import GIGABYTE, Plan, covered_windows, part_windows, predict_tiles

# Images that are predicted side by side share the model that they are planned with.
PLANNING = Lock()
# Tiles from which on it is worth a few more to say what blending does.
WORTH_A_REPORT = 32


def plan_image(run, source, *, seam_tolerance=0.0, tell=None, **options):
    """Plans the tiles of an image for a run.

    Args:
        run: A `Run`, or an `Ensemble`.
        source: An open source of `data.open_source`.
        seam_tolerance: Largest error of a probability at the border of a tile for which a shorter halo than that of the
            whole receptive field is taken, as measured on a few windows; 0 for exact tiles.
        tell: Function that is told as text what was measured.
        **options: Options of `plan_tiles`.

    Raises:
        ValueError: If the image does not fit the run, or the run's model cannot be tiled within the memory.
    """
    tell = tell or (lambda text: None)
    if not 0 <= seam_tolerance < 1:
        raise ValueError(f"--seam-tolerance: expected 0 or a small part of 1; received {seam_tolerance}")
    read = reader(run, source)
    if hasattr(run, "plan"):
        return run.plan(source, seam_tolerance=seam_tolerance, tell=tell, **options)
    plan = plan_within(run, source, read, seam_tolerance, tell, patch=run.data.patch, **options)
    if any(plan.overlap) and seam_tolerance and plan.tiles >= WORTH_A_REPORT:
        tell(blending_report(run, source, read, plan))
    return plan


def predict_image(
    run,
    source,
    output,
    *,
    probabilities=None,
    cog=False,
    resize=None,
    tissue=False,
    plan=None,
    restart=False,
    archive=None,
    cleaning=None,
    gate=None,
    settings=None,
    cluster=None,
    tell=None,
    **plan_options,
):
    """Segments one image and writes the result.

    Progress is kept beside the output: after a kill, Ctrl-C or a full disk the same call goes on where it stopped and
    ends with the same bytes.

    Args:
        run: A `Run`.
        source: An open source of `data.open_source`.
        output: Path of the file to write; its suffix chooses the format: `results.OUTPUT_SUFFIXES`.
        probabilities: `"float32"`, or `"uint8"` for 255ths: a band per class instead of class ids.
        cog: Write a cloud-optimised TIFF.
        resize: Sizes to resize the whole image to before it is predicted; its probabilities are brought back.
        tissue: Predict only tiles that show tissue, as an overview of the image tells; the others are background.
        plan: A `Plan` of `plan_image`, or `None` to make one.
        restart: Begin anew, whatever an earlier call has left.
        archive: Folder to keep the progress in, and a note on every finished output, which is not predicted again.
        cleaning: A `postprocess.Cleaning` of the class ids.
        gate: Least probability of each class's image-level label, the largest over all tiles, for the class to be in
            the mask; for runs with a label head. What was predicted before a kill is predicted again for its labels.
        settings: What else the values depend on, by the option that says it: JSON values, noticed when they change.
        cluster: A `Cluster` of `open_cluster`, whose workers predict, for an image that they see under the same path.
        tell: Function that is told as text what the plan is, and what is there already.
        **plan_options: Options of `plan_image`, if there is no plan.

    Raises:
        ValueError: If the image does not fit the run (other channels, other rank, NaN in its pixels), or an earlier
            call that did not come to its end was one for another run, image or option.
        OSError: If the image cannot be read to its end, or the output cannot be written.
    """
    tell = tell or (lambda text: None)
    check_probabilities(probabilities)
    check_output(output, len(source.shape), probabilities, cog)
    data.check_writable(output)
    read = reader(run, source)
    thresholds = thresholds_for(run, data.file_stem(source.name))
    result = Result(run.data.task, run.data.class_names, thresholds, probabilities)
    cleaning, gate = (None, None) if probabilities else (cleaning, gate)
    listeners = listen(run) if gate else None
    identity = {
        **fingerprints(run, source),
        "--probabilities": probabilities,
        "--resize": resize,
        "--tissue": tissue,
        "post-processing": str(cleaning or "none"),
        "--gate": gate and list(gate),
        **({option(name): value for name, value in plan_options.items()} if plan is None else {"plan": asdict(plan)}),
        **(settings or {}),
    }
    journal = Journal(output, identity, restart=restart or source.path is None, archive=archive)
    parts = ()
    try:
        with journal:
            if journal.finished:
                return tell(f"finished before: {output}")
            seen = source if resize is None else shrunken(source, resize, plan_options.get("memory", 4 * GIGABYTE))
            if plan is None:
                with PLANNING:
                    plan = noted_plan(journal.notes) or plan_image(run, seen, tell=tell, **plan_options)
            parts = part_windows(plan) if resize is None else [data.Window((0,) * len(source.shape), source.shape)]
            column_major = data.file_suffix(output) == ".csv"
            notes = asdict(plan) if type(plan) is Plan else None
            journal.begin(source.shape, result.bands, result.dtype, parts, notes, column_major=column_major)
            tell(f"{plan}; {in_bytes(journal.size)} of disk beside the output until it is complete")
            if journal.done:
                tell(f"goes on behind {journal.done} of {len(parts)} parts")
            first = 0 if gate else journal.done
            options = {"skip": first, "listeners": listeners}
            if resize is not None:
                options["whole"] = source.shape
            elif tissue:
                options["keep"] = tissue_only(source, plan, tell)
            if cluster is not None:
                values = cluster.values(run, seen, plan, result, parts, **options)
            else:
                values = values_of(run, read if seen is source else reader(run, seen), plan, result, **options)
            fill_journal(journal, parts, values, source, first)
            absent = absent_classes(run, listeners, gate) if gate else []
            if absent:
                tell(f"not in this image by its label: {', '.join(result.class_names[number] for number in absent)}")
            finish(journal, result, source, output, cog, cleaning, absent)
            return tell(f"wrote {output}")
    except KeyboardInterrupt:
        kept = f"; {journal.done} of {len(parts)} parts of {output} are kept" if journal.done else ""
        raise KeyboardInterrupt(f"{kept}; {GOES_ON}") from None


def option(name):
    """The command line's name of a keyword argument."""
    return "--" + name.replace("_", "-")


def tissue_only(source, plan, tell):
    """A function that says which tiles show tissue; told is how many."""
    shows = data.tissue_finder(source)
    number = sum(map(shows, covered_windows(plan)))
    tell(f"tissue on {number} of {plan.tiles} tiles; the others are not predicted")
    return shows


def values_of(run, read, plan, result, *, whole=None, skip=0, stop=None, keep=None, listeners=None):
    """Yields the values of the parts of an image, `(*size, bands)`, in the order of `part_windows`.

    Args:
        run: A `Run`, or an `Ensemble`.
        read: Its reader for the image.
        plan: A `Plan`.
        result: A `Result`.
        whole: Sizes that an image which was resized is brought back to, as one part.
        skip: See `predict_tiles`.
        stop: See `predict_tiles`.
        keep: See `predict_tiles`.
        listeners: What `gate.listen` returned, to note the labels.
    """
    model = scorer(run, plan, listeners)
    if whole is None:
        answers = predict_tiles(model, read, plan, skip=skip, stop=stop, keep=keep, fill=result.background())
    else:
        answers = predicted_whole(model, read, plan, whole, result.task)
    for _, logits in answers:
        yield result.values(logits)


def fill_journal(journal, parts, values, source, first):
    """Writes the parts that are missing; the values begin with part number `first`."""
    done = journal.done
    progress = tqdm(total=len(parts), initial=journal.done, unit="part", desc=source.name, disable=None)
    with progress, closing(values):
        try:
            for number, part in enumerate(values if first < len(parts) else (), start=first):
                if number >= done:
                    journal.write(part)
                    progress.update()
        except (ValueError, OSError) as error:
            # Damaged pixels stay damaged; an image that is gone, as with the share that it lies on, comes back; so do
            # the workers of a cluster.
            if not isinstance(error, (DiskFull, ConnectionError)) and (source.path is None or source.path.exists()):
                journal.discard()
            raise


def finish(journal, result, source, output, cog, cleaning, absent):
    """Writes the output from a complete journal."""
    journal.commit()
    try:
        with cleaned(journal.read, result, source.shape, cleaning, Path(output), absent) as read:
            write_result(result, read, source, output, cog=cog)
    except OSError as error:
        free = in_bytes(shutil.disk_usage(Path(output).absolute().parent).free)
        raise DiskFull(f"{error} ({free} free); everything is predicted: {GOES_ON}") from None
    journal.finish()


def scorer(run, plan, listeners=None):
    """What answers for a run in `predict_tiles`: its model, or what an ensemble makes of its members."""
    if hasattr(run, "scorer"):
        return run.scorer(plan, listeners)
    return listeners[0] if listeners else run.engine or run.model


def check_probabilities(kind):
    """Refuses probabilities of a type that is not written.

    Raises:
        ValueError: If it is unknown.
    """
    if kind not in (None, *PROBABILITIES):
        raise ValueError(f"--probabilities: expected {' or '.join(PROBABILITIES)}; received {kind!r}")


def noted_plan(notes):
    """The plan that a journal keeps; `None` where it keeps none."""
    if not notes:
        return None
    return Plan(**{entry.name: tupled(notes[entry.name]) for entry in fields(Plan)})


def tupled(value):
    return tuple(map(tupled, value)) if isinstance(value, list) else value


def fingerprints(run, source):
    """What tells a run, an image and the software from others, by name."""
    runs = getattr(run, "runs", [run])
    found = {
        "run": [fingerprint(Path(one.path, name)) for one in runs for name in (one.model_file, "data.json")],
        "decision": [list(run.thresholds), run.decision.as_mapping()],
        "software": {name: version(name) for name in ("maskzoo", "keras", "tensorflow", "numpy")},
    }
    if source.path is not None:
        status = source.path.stat()
        found["image"] = [str(source.path.resolve()), status.st_size, status.st_mtime_ns]
    engines = [str(one.engine) for one in runs if one.engine is not None]
    if engines:
        found["--engine"] = engines
    for name in ("weights", "how", "temperature", "tta"):
        if hasattr(run, name):
            found[option(name)] = getattr(run, name)
    return found


def fingerprint(path):
    """A checksum of a file's content."""
    return checksum(path, path.stat().st_mtime_ns)


@lru_cache
def checksum(path, modified):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reader(run, source):
    """The function that reads one window of a source as the run's model was trained to see it.

    Raises:
        ValueError: If the source's rank or channels differ from those of the training images.
    """
    if len(source.shape) != run.data.spatial_dims:
        raise ValueError(
            f"{source.name}: expected an image of {run.data.spatial_dims} spatial axes; "
            f"received one of shape {source.shape}"
        )
    if hasattr(run, "reader"):
        return run.reader(source)
    return data.Normalizer.from_dict(run.data.normalization)(source)
