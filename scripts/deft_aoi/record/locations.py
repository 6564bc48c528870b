"""How journal and state name files: relative to the run directory, else to the workspace, so that both can be moved."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft_aoi.base.paths import RunPaths
from deft_aoi.base.safe_paths import workspace_of
from deft_aoi.base.safe_yaml import parse_json

# Facts of the journal, and parts of the state's config, whose value is a file or folder. `checkpoints` of a training
# has always been relative to the run.
PATH_FACTS = frozenset(
    {
        "backbone_weight_dir", "best_ckpt_path", "checkpoint", "checkpoint_dir", "combined_training_csv", "csv",
        "dataset", "dataset_dir_source", "defect_spec", "evidence", "images_dir", "inference_csv", "init_from",
        "kpi_test_csv", "mining_mined_parquet", "provenance_csv", "rca_dir", "rca_gaps_parquet",
        "routing_anomalygen_parquet", "routing_mining_parquet", "rows_csv", "sdg_csv", "source_embeddings",
        "specs_file", "training_csv", "validation_csv",
    }
)  # fmt: skip
# What is in a run directory: its files, and folders of these names; everything else is in the workspace.
_OF_RUN = re.compile(r"[^/]+\Z|(baseline|iter\d+|jobs|synth_pool|acceptance|ablation|audit)(/|\Z)")


@dataclass(frozen=True)
class Places:
    """Where a run and its workspace are now, and where the workspace was when its plan was approved."""

    run: Path
    workspace: Path
    before: Path | None = None

    @classmethod
    def of(cls, paths: RunPaths, config: Mapping[str, Any]) -> Places:
        """Places of a run by its own folder, `<workspace>/results/<run>`; a run elsewhere is in its plan's workspace.

        `config`: the state's; its plan names the workspace as it was approved.
        """
        named = (config.get("plan") or {}).get("workspace")
        before = Path(named) if isinstance(named, str) and named.startswith("/") else None
        workspace = workspace_of(paths.root)
        if workspace == paths.root and before is not None and paths.root.is_relative_to(before.resolve()):
            workspace = before.resolve()
        return cls(paths.root, workspace, before)

    @classmethod
    def at(cls, run_dir: Path) -> Places:
        """Places of a run directory by its Summary; of a folder without one, by its own place alone."""
        paths = RunPaths(run_dir.resolve())
        record: Mapping[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            record = parse_json(paths.preflight.read_bytes())
        return cls.of(paths, record if isinstance(record, Mapping) else {})

    def portable(self, value: Any) -> Any:
        """`value` (JSON) with every absolute path inside run or workspace made relative."""
        if isinstance(value, Mapping):
            return {name: self.portable(one) for name, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.portable(one) for one in value]
        if isinstance(value, str) and value.startswith("/"):
            for root in (self.run, self.workspace):
                if Path(value).is_relative_to(root):
                    return Path(value).relative_to(root).as_posix()
        return value

    def located(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Facts of a line with every path of :data:`PATH_FACTS` as it can be opened now.

        Absolute paths, as older journals have them, follow the workspace to where it is now.
        """
        return {
            name: self.located(one)
            if isinstance(one, Mapping)
            else str(self.file(one))
            if name in PATH_FACTS and isinstance(one, str) and one and self._is_path(name, one)
            else one
            for name, one in facts.items()
        }

    def entries(self, entries: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
        """Journal lines with located facts; a line without facts (7.0.x) stays as it is."""
        return tuple(
            {**entry, "facts": self.located(entry["facts"])} if isinstance(entry.get("facts"), Mapping) else dict(entry)
            for entry in entries
        )

    def file(self, name: str) -> Path:
        """A path of journal or state, absolute."""
        if name.startswith("/"):
            path = Path(name)
            if path.is_relative_to(self.workspace):
                return path
            if self.run.name in path.parts:
                return self.run.joinpath(*path.parts[path.parts.index(self.run.name) + 1 :])
            inside = self.before is not None and path.is_relative_to(self.before)
            return self.workspace / path.relative_to(self.before) if inside and self.before else path
        return (self.run if _OF_RUN.match(name) else self.workspace) / name

    def _is_path(self, name: str, value: str) -> bool:
        """Evidence may be words as well as a file."""
        return name != "evidence" or value.startswith("/") or self.file(value).exists()
