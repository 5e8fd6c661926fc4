"""A scan is a directory, local or on an object store: the names in it and how plan and scenes get there."""

from __future__ import annotations

import fsspec

from minescale.errors import OutputMismatch, StoreError
from minescale.planning.plan import PLAN_FILE, SCENES_FILE, ScanPlan
from minescale.sources.freeze import read_scenes, scenes_digest, write_scenes


class RunDir:
    """Paths and small files of one run. Picklable; does no I/O when made."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") or "/"

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    @property
    def is_local(self) -> bool:
        return "://" not in self.root or self.root.startswith("file://")

    def exists(self, name: str) -> bool:
        fs, path = fsspec.core.url_to_fs(self.path(name))
        return bool(fs.exists(path))

    def has_plan(self) -> bool:
        return self.exists(PLAN_FILE)

    def save_plan(self, plan: ScanPlan) -> None:
        """Scenes first, plan last: a directory with a plan is complete."""
        try:
            fs, path = fsspec.core.url_to_fs(self.root)
            fs.makedirs(path, exist_ok=True)
            write_scenes(self.path(SCENES_FILE), plan.scenes)
            self.write_text(PLAN_FILE, plan.to_json())
        except OSError as error:
            raise StoreError(
                f"cannot write the plan to {self.root}", got=error, fix="a writable --out with free space"
            ) from error

    def load_plan(self) -> ScanPlan:
        """Read ``plan.json`` and ``scenes.parquet`` back.

        Raises
        ------
        OutputMismatch
            where the directory holds no plan, or its scenes are not those the plan was made with.
        """
        if not self.has_plan():
            raise OutputMismatch(
                f"{self.root} holds no scan", expected=f"a directory with {PLAN_FILE}", fix="minescale scan --out DIR"
            )
        scenes = read_scenes(self.path(SCENES_FILE))
        plan = ScanPlan.from_json(self.read_text(PLAN_FILE), scenes)
        if scenes_digest(scenes) != plan.scenes_digest:
            raise OutputMismatch(
                f"{SCENES_FILE} in {self.root} is not the one the plan was made with",
                got=scenes_digest(scenes)[:12],
                expected=plan.scenes_digest[:12],
            )
        return plan

    def write_text(self, name: str, text: str) -> None:
        fs, path = fsspec.core.url_to_fs(self.path(name))
        partial = f"{path}.partial"
        with fs.open(partial, "w", encoding="utf-8") as file:
            file.write(text)
        fs.mv(partial, path)

    def read_text(self, name: str) -> str:
        with fsspec.open(self.path(name), "r", encoding="utf-8") as file:
            return str(file.read())
