"""What waits for a person in a run: suspected labels, rows to label, a contact sheet, goldens, REVIEW parts."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deft_aoi.base import csv_text
from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import RunPaths, Workspace
from deft_aoi.base.rows import PASS, normalise_label, read_sheet
from deft_aoi.data.label_review import read_review
from deft_aoi.data.sets import POOL
from deft_aoi.kpi.reuse import REVIEW
from deft_aoi.loop.score import DECISIONS, RECORD, load_model
from deft_aoi.record import journal
from deft_aoi.record.locations import Places
from deft_aoi.record.order import LOOP_STOP, RCA
from deft_aoi.record.review_log import UNSURE, item_key, label_parts
from deft_aoi.record.run import read_json
from deft_aoi.spec.tree import load_spec
from deft_aoi.stages import spot_check
from deft_aoi.stages.mining_files import QUEUE

LABEL, QUEUED, SPOT, GOLDEN, SCORED = KINDS = ("label", "queue", "spot", "golden", "score")
VERDICTS = {
    SPOT: ("mislabeled", "edge case", "data quality", "systematic"),
    GOLDEN: ("good golden", "bad golden"),
}
FINDINGS = "import/findings.csv"


@dataclass(frozen=True)
class Item:
    """One question. `source` is the file that it comes from; `root` is what its pictures' paths start from, `heat` a
    picture of test, golden and difference next to the source. `choices` is empty where the answer is a label."""

    key: str
    kind: str
    set: str
    label: str
    suggested: str
    reason: str
    board: str
    input_path: str
    golden_path: str
    object_name: str
    root: Path
    source: Path
    score: float | None = None
    doubt: float | None = None
    sheet_row: int = 0
    heat: str = ""

    @property
    def choices(self) -> tuple[str, ...]:
        return VERDICTS.get(self.kind, ())

    def row(self, run: str) -> dict[str, str]:
        """What the log keeps of it."""
        names = ("kind", "set", "input_path", "golden_path", "object_name", "label")
        return {"run": run, **{name: getattr(self, name) for name in names}}

    def accepts(self, chosen: str) -> bool:
        return chosen == UNSURE or (chosen in self.choices if self.choices else bool(chosen))


def review_items(paths: RunPaths, workspace: Workspace, scored: Sequence[Path] = ()) -> list[Item]:
    """Every question of a run, those that hold the loop up first. A file that cannot be read asks nothing."""
    found: list[Item] = []
    entries = Places.at(paths.root).entries(journal.read(paths.log)) if paths.log.is_file() else []
    for part in (
        _queue(paths, workspace, entries), _spots(workspace, entries), _labels(paths, workspace), _goldens(workspace),
        *(_scored(folder) for folder in scored),
    ):  # fmt: skip
        try:
            found += part
        except (InputError, OSError, ValueError, csv.Error):
            continue
    return found


def _row_item(kind: str, row: Mapping[Any, Any], root: Path, source: Path, key: Sequence[str], **more: Any) -> Item:
    names = ("input_path", "golden_path", "object_name")
    cells: dict[str, Any] = {name: str(row.get(name) or "") for name in names} | {
        "board": str(row.get("boardname") or "")
    }
    return Item(item_key(kind, *key), kind, **cells, root=root, source=source, **more)


def _queue(paths: RunPaths, workspace: Workspace, entries: Iterable[Any]) -> Iterator[Item]:
    """Rows of the labelling queue that the loop waits for."""
    last = next((entry for entry in reversed(list(entries)) if entry["stage"] != "prune"), None)
    if last is None or last["status"] != "error" or last.get("facts", {}).get("code") != "labels_needed":
        return
    path = paths.mining(last["iter"]) / f"{QUEUE}.csv"
    for row in read_sheet(path).to_dict("records"):
        yield _row_item(
            QUEUED, row, workspace.root, path, (str(row["input_path"]), str(row["object_name"])), set=POOL,
            label=normalise_label(str(row["label"])), suggested="", reason=str(row.get("reason") or ""),
            score=_number(row.get("score")),
        )  # fmt: skip


def _spots(workspace: Workspace, entries: Iterable[Any]) -> Iterator[Item]:
    """Rows of the newest contact sheet that nobody has judged yet."""
    done = [e for e in entries if e["stage"] in (RCA, LOOP_STOP) and e["status"] == "ok" and e["facts"].get("rca_dir")]
    if not done:
        return
    folder = Path(done[-1]["facts"]["rca_dir"])
    table = read_sheet(folder / "weak_samples.csv")
    known = spot_check.read_verdicts(folder)
    for row in table.to_dict("records"):
        if not str(row["sheet_row"]).isdecimal() or int(row["sheet_row"]) in known:
            continue
        source = str(done[-1]["facts"].get("rca_source") or "kpi")
        yield _row_item(
            SPOT, row, workspace.images, folder / "weak_samples.csv", (folder.name, str(row["sheet_row"])), set=source,
            label=str(row["label"]), suggested="", reason=f"{row.get('cause', '')}: {row.get('evidence', '')}",
            score=_number(row.get("siamese_score")), doubt=_number(row.get("doubt")), sheet_row=int(row["sheet_row"]),
        )  # fmt: skip


def _labels(paths: RunPaths, workspace: Workspace) -> Iterator[Item]:
    """Suspected labels without a verdict, the most suspicious first."""
    for row in read_review(paths.label_review).to_dict("records"):
        if row["verdict"]:
            continue
        doubt, root = _number(row["doubt"]), workspace.root if row["set"] == POOL else workspace.images
        yield _row_item(
            LABEL, row, root, paths.label_review, label_parts(row),
            set=str(row["set"]), label=str(row["label"]), suggested=PASS if row["suggested"] == PASS else "",
            reason=f"{row['level']}: the other rows say {row['suggested']} ({row['source']})", doubt=doubt,
        )  # fmt: skip


def _goldens(workspace: Workspace) -> Iterator[Item]:
    """Goldens that `deft import` suspected, each with a part that uses it."""
    path = workspace.root / FINDINGS
    suspects = [row for row in csv_text.records(path) if row.get("what") == "golden"]
    used = {row["golden"]: row["object_name"] for row in csv_text.records(workspace.root / "import/goldens.csv")}
    parts = {
        row["object_name"]: (row, workspace.root if csv_file == workspace.pool_csv else workspace.images)
        for csv_file in (workspace.training_csv, workspace.validation_csv, workspace.kpi_csv, workspace.pool_csv)
        if csv_file.is_file()
        for row in csv_text.records(csv_file)
    }
    for suspect in suspects:
        stem = Path(suspect["name"]).stem
        golden = next((key for key in used if stem == key or stem.startswith(f"{key}_")), "")
        row, root = parts.get(used.get(golden, ""), ({}, workspace.root))
        item = _row_item(
            GOLDEN, row, root, path, (suspect["name"], suspect["reason"]), set="goldens", label=suspect["name"],
            suggested="", reason=suspect["reason"],
        )  # fmt: skip
        yield item if item.object_name else replace(item, object_name=suspect["name"])


def _scored(folder: Path) -> Iterator[Item]:
    """REVIEW decisions of one `deft score`: of a table, or of a folder of pictures."""
    path = folder / DECISIONS
    rows = read_sheet(path)
    by_table = "input_path" in rows.columns
    root = _scored_images(folder) if by_table else folder
    for row in rows[rows["decision"] == REVIEW].to_dict("records"):
        cells = row if by_table else {"boardname": row["board"], "object_name": row["part"]}
        yield _row_item(
            SCORED, cells, root, path, (str(folder), str(cells["object_name"]), str(cells.get("input_path"))),
            set="score", label=str(row["by_threshold"]), suggested="",
            reason=str(row.get("problem") or "too near the threshold for a machine"),
            score=_number(row.get("siamese_score" if by_table else "score")), heat=str(row.get("heat") or ""),
        )  # fmt: skip


def _scored_images(folder: Path) -> Path:
    """What the paths of a scored table start from."""
    spec = folder / "score.yaml"
    if spec.is_file():
        return Path(str(load_spec(spec)["dataset"]["classify"]["infer_dataset"]["images_dir"]))
    return Path(load_model(Path(read_json(folder / RECORD)["model"]))["images_dir"])


def _number(text: Any) -> float | None:
    try:
        return float(text) if text not in ("", None) else None
    except (TypeError, ValueError):
        return None
