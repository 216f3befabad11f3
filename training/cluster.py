"""Jobs done on the machines of a Ray cluster, as `navloop.training.pool` does them in processes of one. Its machines share the files."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Generator, Hashable, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any, Generic

from navloop.training.pool import Hire, J, R, WorkerError

LOCAL = "local"
"""Address that begins a cluster of this machine alone."""

DEATHS = 3
"""Workers that may be lost with one job: whole machines go, and take jobs with them that did nothing wrong."""


def do_jobs_on(
    address: str, hire: Hire[J, R], jobs: Sequence[J], workers: int, on_gpu: bool = False
) -> Generator[tuple[J, R], None, None]:
    """Do every job on a cluster and yield each with what came of it as it finishes. Closing the iterator ends the workers.

    The jobs of a worker that is lost, with its machine or alone, are done again by others.

    Args:
        address: "auto", "ray://HOST:PORT" or "HOST:PORT" of a cluster, or `LOCAL`.
        hire: Makes what works.
        jobs: What to do, in about this order.
        workers: Processes; 0 takes one a processor of the cluster.
        on_gpu: Whether the cluster's GPUs, where it has any, are dealt out among the workers: Ray shows a worker none but its own.

    Raises:
        ValueError: If Ray is not installed, or there is no such cluster.
        WorkerError: If a job raises in its worker, or is lost with `DEATHS` of them.
    """
    ray = _import()
    own = not ray.is_initialized()
    if own:
        _join(ray, address)
    cluster: _Cluster[J, R] | None = None
    try:
        count = workers or int(ray.cluster_resources().get("CPU", 1))
        count = min(count, len(jobs))
        gpus = share_of(int(ray.cluster_resources().get("GPU", 0)), count) if on_gpu else 0.0
        cluster = _Cluster(ray, hire, jobs, count, gpus)
        yield from cluster.run()
    finally:
        if cluster is not None:
            cluster.close()
        if own:
            ray.shutdown()


def share_of(gpus: int, workers: int) -> float:
    """Return the share of a GPU that each worker gets, so that all of them find room: a GPU is parted evenly, and no worker has two."""
    return 1 / math.ceil(workers / gpus) if gpus and workers else 0.0


class _Worker:
    """What works in a process of the cluster."""

    def __init__(self, hire: Any, place: int) -> None:
        self._make = hire(place)
        self._hand: Any = None

    def do(self, job: Any) -> Any:
        if self._hand is None:  # not before: what goes wrong here is told of the job
            self._hand = self._make()
        return self._hand.do(job)


class _Cluster(Generic[J, R]):
    def __init__(self, ray: ModuleType, hire: Hire[J, R], jobs: Sequence[J], workers: int, gpus: float) -> None:
        self._ray, self._hire, self._gpus = ray, hire, gpus
        self._waiting = deque(jobs)
        self._actors: dict[int, Any] = {}
        self._groups: dict[int, Hashable] = {}
        self._under_way: dict[Any, tuple[int, J]] = {}
        self._deaths: Counter[Hashable] = Counter()
        for place in range(workers):
            self._feed(place)

    def run(self) -> Generator[tuple[J, R], None, None]:
        lost = self._ray.exceptions.RayActorError
        failed = self._ray.exceptions.RayTaskError
        while self._under_way:
            (done,), _ = self._ray.wait(list(self._under_way), num_returns=1)
            place, job = self._under_way.pop(done)
            try:
                result = self._ray.get(done)
            except lost as error:
                self._lose(place, job, error)
                self._feed(place)
                continue
            except failed as error:
                cause = error.cause
                message = f"{job}: {type(cause).__name__}: {cause}"
                raise WorkerError(message, str(error), isinstance(cause, ValueError | OSError)) from error
            self._feed(place)
            yield job, result

    def close(self) -> None:
        for place in list(self._actors):
            self._dismiss(place)

    def _feed(self, place: int) -> None:
        """Give a worker the first job in its scene, or the first of all; one that has none gives its processor back."""
        if not self._waiting:
            self._dismiss(place)
            return
        group = self._groups.get(place)
        job = next((job for job in self._waiting if job.group == group), self._waiting[0])
        self._waiting.remove(job)
        if place not in self._actors:
            made = self._ray.remote(num_cpus=1, num_gpus=self._gpus)(_Worker)
            self._actors[place] = made.remote(self._hire, place)
        self._groups[place] = job.group
        self._under_way[self._actors[place].do.remote(job)] = (place, job)

    def _lose(self, place: int, job: J, error: Exception) -> None:
        del self._actors[place]
        self._deaths[job.key] += 1
        if self._deaths[job.key] >= DEATHS:
            raise WorkerError(f"{job}: {DEATHS} workers of the cluster died on it", str(error)) from error
        self._waiting.appendleft(job)

    def _dismiss(self, place: int) -> None:
        actor = self._actors.pop(place, None)
        if actor is not None:
            with suppress(Exception):  # it may be gone with its machine
                self._ray.kill(actor)


def _import() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise ValueError(
            "cluster: needs Ray, which is not installed; pip install -e '.[ray]' in navloop's source folder, or take cluster=null"
        ) from error
    found: ModuleType = ray
    return found


def _join(ray: ModuleType, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    except Exception as error:  # Ray raises its own, and plain ones where a machine does not begin in time
        raise ValueError(
            f"cluster: no Ray cluster at {address!r} ({error}); begin one with `ray start --head`, or write cluster=local"
        ) from error
