"""What a task of perception is given, what it returns, and the table of all tasks.

A task is a function of its config and a `Bench`, entered under the name that recipes say:

    @TASKS.register("knn")
    def measure_neighbours(config: NeighboursTaskConfig, bench: Bench) -> Findings: ...

Its config is one of `navloop.configs.perception.AnyTask`; its module is imported in `navloop.training.perception.run`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from navloop.configs.perception import PerceptionEvalConfig
from navloop.configs.perception_tasks import TaskConfig
from navloop.configs.videos import ViewsConfig
from navloop.files import fingerprint
from navloop.registry import Registry
from navloop.training.clip_rows import ClipRow
from navloop.training.clips import ClipBatch
from navloop.training.manifests import read_manifests
from navloop.training.perception.features import Embedded, FeatureStore, Seen
from navloop.training.perception.readouts import Readout
from navloop.training.perception.results import Findings
from navloop.training.perception.subject import Subject


class Task(Protocol):
    """Measures one thing."""

    def __call__(self, config: Any, bench: Bench) -> Findings:
        """Return what was found.

        Raises:
            ValueError: If encoder or videos do not fit the task; the message names what would.
        """
        ...


TASKS: Registry[Task] = Registry("task")
"""Tasks by the name that recipes say."""


class Bench:
    """What one task works with; it notes what videos the task saw.

    Attributes:
        subject: Encoder, classifier if there is one, and the digest of their weights.
        recipe: The run's.
        rng: Source of the task's randomness, its own: it follows from the recipe's seed and the task's name.
        used: What was embedded, by role: "videos", "train".
    """

    def __init__(self, config: TaskConfig, recipe: PerceptionEvalConfig, subject: Subject, store: FeatureStore) -> None:
        self.subject, self.recipe = subject, recipe
        seed = int(fingerprint(config.title.encode()).removeprefix("sha256:"), 16)
        self.rng = np.random.default_rng((recipe.seed, seed))
        self.used: dict[str, Embedded] = {}
        self._config, self._store = config, store

    def embed(
        self,
        readout: Readout,
        *,
        role: str = "videos",
        manifest: Sequence[str] = (),
        single_view: bool = False,
        labelled: bool = True,
        need: Sequence[Literal["label", "captions"]] = (),
    ) -> Embedded:
        """Return what the encoder makes of every video of a list, one row of values each, computed once a run.

        Args:
            readout: "features" (N, D), "pooled" (N, J) of unit length, each a mean over the views; "logits" (N, views, classes).
            role: What the videos are to the task, for the record.
            manifest: Lists; empty: the task's own, or else the recipe's.
            single_view: Take the middle clip and the central crop alone.
            labelled: Whether labels are of the recipe's classes, and wrong if they are not.
            need: What every row has to have.

        Raises:
            ManifestError: If a list is wrong.
            TooManyUnreadableError: If more videos than clips.max_unreadable allows cannot be read.
        """
        views = self.views(manifest, single_view=single_view)
        if not labelled:
            views = views.model_copy(update={"num_classes": None, "classes": None})
        found = self._store.embed(readout, views, need)
        self.used[role] = found
        return found

    def embed_rows(
        self, readout: Readout, rows: Sequence[ClipRow], files: Sequence[str], *, role: str = "videos"
    ) -> Embedded:
        """Return what the encoder makes of videos whose rows a task has read itself.

        They have to be all rows of the files: a later start that reads others there measures the task again.

        Args:
            readout: As of `embed`.
            rows: Of the videos; what cannot be read is missing from the result's rows.
            files: That the rows were read from, for the record.
            role: As of `embed`.

        Raises:
            TooManyUnreadableError: If more videos than clips.max_unreadable allows cannot be read.
        """
        views = self.views().model_copy(update={"manifest": tuple(files), "label_maps": ()})
        found = self._store.embed_rows(readout, views, rows)
        self.used[role] = found
        return found

    def watch(
        self, see: Callable[[ClipBatch], Sequence[Seen]], need: Sequence[Literal["label", "captions"]] = ()
    ) -> tuple[Embedded, list[Seen]]:
        """Return what a function sees in the one view of each video that can be read, and the videos, without values.

        Args:
            see: Given a batch, returns one thing a clip.
            need: As of `embed`.

        Raises:
            ManifestError: If a list is wrong.
            TooManyUnreadableError: If more videos than clips.max_unreadable allows cannot be read.
        """
        views = self.views(single_view=True).model_copy(update={"num_classes": None, "classes": None})
        found, seen = self._store.watch(views, read_manifests(self._store.clips(views), need), see)
        self.used["videos"] = found
        return found, seen

    def views(self, manifest: Sequence[str] = (), *, single_view: bool = False) -> ViewsConfig:
        """Return which videos the task sees, and how; arguments as of `embed`."""
        views, config = self.recipe.clips, self._config
        lists = tuple(manifest) or config.manifest
        changes: dict[str, object] = {"manifest": lists, "label_maps": ()} if lists else {}
        changes["clips"] = 1 if single_view else config.clips or views.clips
        changes["crops"] = 1 if single_view else config.crops or views.crops
        return views.model_copy(update=changes)
