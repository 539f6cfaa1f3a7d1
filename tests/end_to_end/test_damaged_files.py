"""Damaged files of every format and kind of label: read, or refused in one line that names the file; nothing else."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import file_damage
import numpy as np
import pytest
import read_damaged
import sample_sets

# About 40 seconds with two processors.
FILES = 2000
PROCESSES = 2
MOST_SECONDS, MOST_MEGABYTES = 30, 600
PACKED = 0.4


def write_jobs(root, samples, rng):
    """Writes a data set with a damaged file for each job; every other round damages behind the header."""
    jobs = []
    for number in range(FILES):
        sample = samples[number % len(samples)]
        behind = number // len(samples) % 2 == 0
        folder = root / f"{number:05}"
        shutil.copytree(sample.folder, folder, copy_function=os.link)
        file = folder / sample.file
        kind, content = damage(file.read_bytes(), sample.pixels_from, behind, rng)
        file.unlink()  # what it is a link to stays as it is
        file.write_bytes(content)
        facts = {"group": sample.group, "kind": kind, "behind": behind, "pixels_from": sample.pixels_from}
        facts |= {"spec": sample.spec, "spatial_dims": sample.spatial_dims, "sample": str(sample.folder)}
        jobs.append({"folder": str(folder), "file": str(file), **facts})
    return jobs


def damage(content, pixels_from, behind, rng):
    """Damages a file in its header or behind it; packed files in part before they are packed, which checksums miss."""
    if rng.random() < PACKED:

        def inside(part):
            start, stop = (min(len(part) // 2, 352), len(part)) if behind else (0, min(len(part), 352))
            return file_damage.damaged(part, start, stop, rng)[1]

        if (repacked := file_damage.repacked(content, inside, rng)) is not None:
            return "repacked", repacked
    start, stop = (pixels_from, len(content)) if behind else (0, max(pixels_from, min(64, len(content))))
    return file_damage.damaged(content, start, stop, rng)


def results_of(jobs, root, number):
    """Reads data sets in processes of their own, a new one after each crash or hang, and returns what came of each."""
    place = root / f"process{number}"
    (place / "temporary").mkdir(parents=True)
    (place / "jobs").write_text("".join(json.dumps(job) + "\n" for job in jobs))
    environment = os.environ | {"TMPDIR": str(place / "temporary"), "PYTHONPATH": os.pathsep.join(sys.path)}
    found, first = {}, 0
    while first < len(jobs):
        command = [sys.executable, read_damaged.__file__, place / "jobs", place / "results", str(first)]
        with open(place / "console", "ab") as console:
            code = subprocess.run(command, stderr=console, env=environment, cwd=Path.cwd()).returncode
        lines = [json.loads(line) for line in (place / "results").read_text().splitlines()]
        found |= {line["number"]: line for line in lines if len(line) > 1}
        first = len(jobs)
        if code:
            last = lines[-1]["number"]
            found.setdefault(last, {"died": code})
            first = last + 1
    said = (place / "console").read_text(errors="replace")
    return [found.get(number, {"died": said[-2000:]}) for number in range(len(jobs))], said


def faults_of(job, result):
    """Yields what is wrong with how a damaged file was dealt with."""
    if "died" in result:
        yield f"the process died: {result['died']}"
        return
    for name in ("read", "inspect"):
        found = result.get(name, {})
        if "escaped" in found:
            yield f"{name}: {found['escaped']}"
        if text := found.get("refused"):
            # A label or a place that is damaged may fit the image no more: then either is named.
            if job["folder"] not in text:
                yield f"{name}: no file is named: {text}"
            if "\n" in text or len(text) > 1000:
                yield f"{name}: more than a line: {text}"
    yield from (f"left behind: {part}" for part in result["left"])
    if result["seconds"] > MOST_SECONDS or result["megabytes"] > MOST_MEGABYTES:
        yield f"{result['seconds']:.0f} seconds, {result['megabytes']} megabytes"


def table_of(jobs, results):
    """Returns a line for each format: files tried, read as the undamaged or as another reader does, or not, refused."""
    rows = {}
    for job, result in zip(jobs, results, strict=True):
        rows.setdefault(job["group"], Counter()).update(["tried", result.get("equal", "refused")])
    columns = ("tried", "undamaged", "another reader", "none", "refused")
    rows["all"] = sum(rows.values(), Counter())
    head = f"{'':32}{''.join(f'{name:>15}' for name in columns)}"
    return [head, *(f"{name:32}{''.join(f'{row[column]:15}' for column in columns)}" for name, row in rows.items())]


@pytest.mark.slow
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path):
    samples = sample_sets.write_samples(tmp_path / "samples")
    jobs = write_jobs(tmp_path / "damaged", samples, np.random.default_rng(0))
    parts = [jobs[number::PROCESSES] for number in range(PROCESSES)]
    with ThreadPoolExecutor() as pool:
        ends = list(pool.map(results_of, parts, [tmp_path] * PROCESSES, range(PROCESSES)))
    results = [None] * len(jobs)
    for number, (found, _) in enumerate(ends):
        results[number::PROCESSES] = found
    print("\n".join(table_of(jobs, results)), *(said for _, said in ends), sep="\n")
    faults = [
        f"{job['group']}, {job['kind']}, {job['file']}: {fault}"
        for job, result in zip(jobs, results, strict=True)
        for fault in faults_of(job, result)
    ]
    assert faults == [], "\n".join(faults)
    assert sum(job["behind"] for job in jobs) >= 0.45 * FILES
    assert sum("equal" in result for result in results) >= 0.3 * FILES
