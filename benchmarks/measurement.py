"""Measure processes in turns, and write tables of medians and ratios."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from statistics import median

Command = Sequence[str]


@dataclass(frozen=True)
class Contender:
    """Commands that together do one job, as one process after the other, and their environment."""

    name: str
    commands: Sequence[Command]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Sample:
    """One measurement in seconds: wall time and the client's CPU time."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Row:
    """All measurements of one contender for one job."""

    job: str
    name: str
    samples: Sequence[Sample]

    @property
    def wall(self) -> float:
        """The median wall time."""
        return median(sample.wall for sample in self.samples)

    @property
    def cpu(self) -> float:
        """The median of the client's CPU time."""
        return median(sample.cpu for sample in self.samples)


def measure(contender: Contender, folder: Path) -> Sample:
    """Run a contender once. Raises `SystemExit` with the output of a command that fails."""
    env = {**os.environ, **contender.env}
    cpu, begun = _cpu_of_children(), time.perf_counter()
    for command in contender.commands:
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{contender.name}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return Sample(time.perf_counter() - begun, _cpu_of_children() - cpu)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Job:
    """Contenders that run in a folder."""

    name: str
    contenders: Sequence[Contender]
    folder: Path


def interleaved(jobs: Sequence[Job], runs: int) -> list[Row]:
    """Measure every contender once per job, in `runs` rounds after a round that is not counted.

    A change of the machine's speed then affects all contenders. The jobs of a contender run in a row.
    """
    samples: dict[tuple[str, str], list[Sample]] = {
        (job.name, contender.name): [] for job in jobs for contender in job.contenders
    }
    for number in range(runs + 1):
        for contenders in zip(*(job.contenders for job in jobs), strict=True):
            for job, contender in zip(jobs, contenders, strict=True):
                sample = measure(contender, job.folder)
                if number:
                    samples[job.name, contender.name].append(sample)
    return [Row(job, name, row_samples) for (job, name), row_samples in samples.items()]


def ratio(row: Row, base: Row) -> tuple[float, float]:
    """Return the ratios of wall and CPU time to another row, as medians of the ratios of the rounds."""
    pairs = list(zip(row.samples, base.samples, strict=True))
    return median(one.wall / other.wall for one, other in pairs), median(
        one.cpu / other.cpu for one, other in pairs
    )


def table(rows: Sequence[Row], references: Sequence[str], *, grown: bool = False) -> str:
    """Return a Markdown table of medians, ratios to the references of the same job, and growth."""
    head = ["job", "what", "wall s", "CPU s", *(f"to {name}" for name in references), *["growth"] * grown]
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    for row in rows:
        bases = [other for name in references for other in rows if (other.job, other.name) == (row.job, name)]
        ratios = ["{:.2f} ({:.2f})".format(*ratio(row, base)) for base in bases]
        if grown:
            first = next(other for other in rows if other.name == row.name)
            ratios.append("{:+.0%} ({:+.0%})".format(*(times - 1 for times in ratio(row, first))))
        lines.append([row.job, row.name, f"{row.wall:.3f}", f"{row.cpu:.3f}", *ratios])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


_NOTICED = 0.05
_ACCURACY = 0.01


def exponent(start: float, times: Mapping[int, float]) -> float:
    """Return b of `start + a * size ** b` fitted to times by size; 0 if the last is under 5 % above `start`.

    `start` is the time of the smallest case, such as one revision, not of the smallest size in `times`: that
    one contains growth of its own, without which a linear command would seem to grow faster. The fit is by
    least squares on the logarithm of what exceeds `start`, at least 1 % of it. An error of 1 % of a time is a
    large error of a small excess, so that each is weighted with the square of its share of the time.
    """
    if times[max(times)] < start * (1 + _NOTICED):
        return 0.0
    excess = {size: max(time - start, _ACCURACY * start) for size, time in times.items()}
    points = [(log(size), log(more), (more / (start + more)) ** 2) for size, more in excess.items()]
    total = sum(weight for _, _, weight in points)
    x_mean = sum(x * weight for x, _, weight in points) / total
    y_mean = sum(y * weight for _, y, weight in points) / total
    covariance = sum(weight * (x - x_mean) * (y - y_mean) for x, y, weight in points)
    return covariance / sum(weight * (x - x_mean) ** 2 for x, _, weight in points)
