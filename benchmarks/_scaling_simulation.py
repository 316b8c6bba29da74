"""How many workers a day's jobs need: a queue simulated job by job, for want of a cluster to measure."""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np

DAY = 86_400.0


class Load(NamedTuple):
    """A day of jobs. They arrive at random, three times as often at noon as at midnight; their durations
    are lognormal with the given mean, and `spread` is the standard deviation of the logarithm."""

    jobs_per_day: int
    mean_seconds: float
    spread: float = 1.0


class Queue(NamedTuple):
    """The result of the simulation for one number of workers."""

    workers: int
    busy: float
    """Share of the workers' time."""
    wait_p50: float
    wait_p95: float
    """Both are seconds from queued to claimed."""
    running_peak: int


def simulate(load: Load, workers: int, *, days: int = 7, seed: int = 0) -> Queue:
    """Simulate jobs served oldest first, each by the first worker that is free."""
    rng = np.random.default_rng(seed)
    jobs_count = rng.poisson(load.jobs_per_day * days)
    arrivals = np.sort(_arrivals(rng, jobs_count, days))
    mean = np.log(load.mean_seconds) - load.spread**2 / 2
    durations = rng.lognormal(mean, load.spread, jobs_count)
    free = [0.0] * workers
    waits = np.empty(jobs_count)
    starts = np.empty(jobs_count)
    for number, (arrival, duration) in enumerate(zip(arrivals, durations, strict=True)):
        start = max(arrival, heapq.heappop(free))
        heapq.heappush(free, start + duration)
        starts[number], waits[number] = start, start - arrival
    changes = np.concatenate([starts, starts + durations])
    order = np.argsort(changes, kind="stable")
    running = np.cumsum(np.repeat([1, -1], jobs_count)[order])
    p50, p95 = np.percentile(waits, [50, 95]) if jobs_count else (0.0, 0.0)
    return Queue(
        workers, float(durations.sum() / (workers * days * DAY)), p50, p95, int(running.max(initial=0))
    )


def fewest(load: Load, *, wait_p95: float) -> Queue:
    """The smallest number of workers, within 1 %, with which 95 in 100 jobs wait at most `wait_p95` s."""
    low, high = 0, max(1, int(load.jobs_per_day * load.mean_seconds / DAY))
    while (simulation := simulate(load, high)).wait_p95 > wait_p95:
        low, high = high, high * 2
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        tried = simulate(load, middle)
        low, high, simulation = (
            (low, middle, tried) if tried.wait_p95 <= wait_p95 else (middle, high, simulation)
        )
    return simulation


def _arrivals(rng: np.random.Generator, count: int, days: int) -> np.ndarray:
    """Sampled by rejection from a rate of 1 − cos/2 over each day."""
    starts: list[np.ndarray] = []
    missing = count
    while missing > 0:
        at = rng.uniform(0, days * DAY, 2 * missing)
        keep = rng.uniform(0, 1.5, at.size) < 1 - 0.5 * np.cos(2 * np.pi * at / DAY)
        starts.append(at[keep][:missing])
        missing -= starts[-1].size
    return np.concatenate(starts) if starts else np.empty(0)
