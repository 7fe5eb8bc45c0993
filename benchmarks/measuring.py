"""Timing of whole processes, interleaved, and tables of medians and ratios."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

Command = Sequence[str]


@dataclass(frozen=True)
class Contender:
    """Commands that together do one job, one process after the other, and their environment."""

    name: str
    commands: Sequence[Command]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Sample:
    """One measurement in seconds: on the clock, and of the client's processor."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Row:
    """All measurements of one contender at one job."""

    job: str
    name: str
    samples: Sequence[Sample]

    @property
    def wall(self) -> float:
        """The median on the clock."""
        return median(sample.wall for sample in self.samples)

    @property
    def cpu(self) -> float:
        """The median of the client's processor time."""
        return median(sample.cpu for sample in self.samples)


def measure(contender: Contender, folder: Path) -> Sample:
    """Run a contender once. Raises `SystemExit` with what it said where a command fails."""
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
    """What contenders do in a folder."""

    name: str
    contenders: Sequence[Contender]
    folder: Path


def interleaved(jobs: Sequence[Job], runs: int) -> list[Row]:
    """Every contender once at each of the jobs, `runs` times over, after a round that does not count.

    So a machine that slows down slows all of them; a contender's jobs follow directly upon each other.
    """
    samples: dict[tuple[str, str], list[Sample]] = {
        (job.name, contender.name): [] for job in jobs for contender in job.contenders
    }
    for number in range(runs + 1):
        for at_each in zip(*(job.contenders for job in jobs), strict=True):
            for job, contender in zip(jobs, at_each, strict=True):
                sample = measure(contender, job.folder)
                if number:
                    samples[job.name, contender.name].append(sample)
    return [Row(job, name, found) for (job, name), found in samples.items()]


def ratio(row: Row, base: Row) -> tuple[float, float]:
    """How many times as long as another one took, clock and processor: the medians of the rounds' ratios."""
    pairs = list(zip(row.samples, base.samples, strict=True))
    return median(one.wall / other.wall for one, other in pairs), median(
        one.cpu / other.cpu for one, other in pairs
    )


def table(rows: Sequence[Row], references: Sequence[str], *, grown: bool = False) -> str:
    """A Markdown table: medians, ratios of each to the references of the same job, and what it has grown."""
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
