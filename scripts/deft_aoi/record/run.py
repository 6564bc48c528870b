"""One run as read from disk: approved plan, journal, state. Read again before every stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from deft_aoi.base.console import aside
from deft_aoi.base.errors import InputError
from deft_aoi.base.files import sha256_json
from deft_aoi.base.paths import BASELINE, RunPaths, Workspace, iter_label, iter_number
from deft_aoi.base.safe_paths import check_facts, shown
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.kpi.metric_contract import target_of
from deft_aoi.kpi.target import Contract
from deft_aoi.record import bank_runs, journal, seals, state
from deft_aoi.record.bank_runs import AIR_GAP as AIR_GAP
from deft_aoi.record.facts import Evaluated, F
from deft_aoi.record.locations import Places
from deft_aoi.record.order import OFF, ON, champion_label
from deft_aoi.spec.tree import Optics, Spec, load_spec, optics

IMAGES_OF = "images of "  # an approved input: the hash of all pictures of a set
OPEN = "open"


RCA_SOURCES = ("kpi", "validation")


@dataclass(frozen=True)
class Plan:
    """Every parameter of a run; Pre-Flight shows all of them and the approval code covers them."""

    workspace: str
    kpi_target: str
    max_iterations: int
    metric_contract: str = ""  # JSON of NVIDIA's form, where the metric is the user's own
    platform: str = "local"
    settings: Mapping[str, str] = field(default_factory=dict)  # of the platform: specs/platforms.yaml names them
    network: str = OPEN  # or airgap: nothing is pulled, logged in to or downloaded
    engine: str = "features"
    tao: str = ""  # version of NVIDIA TAO where known; empty for our own engines
    seed: int = 1234
    num_epochs: int = 10
    batch_size: int = 16
    num_gpus: int = 1
    pool: str = ON  # off: no mining_pool.csv, an iteration lives from synthetic rows alone
    policy: str = "knn"
    mine_rows: int = 200
    score_rows: int = 60_000  # pool rows that the model scores in one iteration, at most; 0: all
    screen: bool = True  # keep picks with suspect labels out
    max_per_board: int = 0  # mined rows; 0: a quarter of mine_rows
    min_distance: float = 0.002  # between two mined rows, 1 - cosine of their coarse pictures
    encoder: str = "trunk"  # of knn: trunk, tao, or an ONNX file in the workspace
    top_k_per_target: int = 5
    top_k_per_label: int = 50
    rca_source: str = RCA_SOURCES[0]  # whose rows gap analysis looks at
    knn_metric: str = "cosine"
    min_similarity: float = 0.9
    synthetic: str = "off"
    anomalygen_labels: tuple[str, ...] = ("PASS", "EXCESS_SOLDER", "MISSING", "BRIDGE")  # "*": whatever is weak
    anomalygen_fetch: tuple[str, ...] = ()  # slots that the first iteration lets AnomalyGen's container fill
    anomalygen_finetune: str = OFF  # on: fine-tuned on the workspace's data set before it first generates
    anomalygen_max_iter: int = 75_000  # steps of that training, AnomalyGen's own default
    anomalygen_step: int | None = None  # of the fine-tuned checkpoint; None: the one that it names as its latest
    project: str = "pcb"  # folder below augmentation/anomalygen/{checkpoints,datasets}
    num_sdg: int = 20  # synthetic pairs asked for in one iteration
    min_allocation: float = 1.0  # share of them that must find a place
    max_synthetic_share: float = 0.3  # of a training set
    acceptance: str = "off"  # sealed: kpi/acceptance_set.csv is scored once, by the chosen model, at the loop's end
    baseline_ckpt: str = ""  # the user's own TAO checkpoint, in the workspace: the baseline is scored, not trained
    baseline_scores: tuple[str, ...] = ()  # CSVs in the workspace: that checkpoint's scores, made elsewhere
    noise_floor: bool = False  # train the baseline twice, to see how much FAR moves by the seed alone

    @cached_property
    def target(self) -> Contract:
        """The KPI target, parsed. Raises InputError where it says nothing that the gate takes."""
        return target_of(self.kpi_target, self.metric_contract)

    @property
    def most_scored(self) -> int:
        """Pool rows scored in one iteration, at most: never too few to choose from. 0: all."""
        return max(self.score_rows, 20 * self.mine_rows) if self.score_rows else 0

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Plan:
        """A plan as it was written. Raises InputError where a value is of another type."""
        known = {entry.name for entry in fields(cls)}
        values: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in record.items() if name in known
        }
        for entry in fields(cls):
            if entry.name in values and not _is_kind(values[entry.name], str(entry.type)):
                raise InputError(f"plan: {entry.name} is {shown(values[entry.name])}; expected {entry.type}")
        try:
            return cls(**values)
        except TypeError:
            raise InputError("plan: workspace, kpi_target and max_iterations must be there") from None

    def to_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def _is_kind(value: object, kind: str) -> bool:
    """Whether a plan's value is what its annotation says."""
    if kind.startswith("tuple"):
        return isinstance(value, tuple) and all(isinstance(one, str) for one in value)
    if kind.startswith("Mapping"):
        return isinstance(value, Mapping) and all(isinstance(one, str) for one in (*value, *value.values()))
    if kind == "float":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value).__name__ == kind or kind not in ("str", "int", "bool")


@dataclass(frozen=True)
class Run:
    """What a stage may know."""

    paths: RunPaths
    workspace: Workspace
    plan: Plan
    spec: Spec
    optics: Optics
    log: journal.Log
    entries: tuple[journal.Entry, ...]  # of the log; in a run of 7.0.x with the facts that its lines lack
    state: state.State

    def facts(self, label: str, stage: str) -> dict[str, Any]:
        """Facts of the last successful line of `stage` in `label`; raises InputError when there is none."""
        for entry in reversed(self.entries):
            if (entry["iter"], entry["stage"], entry["status"]) == (label, stage, "ok"):
                return self._known(entry)
        raise InputError(
            f"{self.paths.log}: no finished {label}/{stage}; type: deft status --results-dir {self.paths.root}"
        )

    def left(self, label: str, kind: type[F]) -> F:
        """What the last successful line of a stage left, as the record of that stage."""
        return kind.from_json(self.facts(label, kind.STAGE), f"{self.paths.log}: {label}/{kind.STAGE}")

    def champion(self) -> tuple[str, Evaluated]:
        """Label and figures of the best model so far: the last named champion, or the one rolled back to."""
        label = champion_label(self.entries)
        if label is None:
            raise InputError(f"{self.paths.log}: no evaluated model yet")
        return label, self.left(label, Evaluated)

    def _known(self, entry: journal.Entry) -> dict[str, Any]:
        """Facts of a line; the files that it names are read by the stages, so none may be outside the workspace."""
        where = f"{self.paths.log}, line {entry['seq']}"
        return check_facts(dict(entry.get("facts", {})), self.workspace.root, where)

    def previous_label(self, label: str) -> str:
        return iter_label(iter_number(label) - 1)

    def training_csv(self, label: str) -> Path:
        """CSV that `label` trains on: the seed rows, or the iteration's combined rows."""
        return self.workspace.training_csv if label == BASELINE else self.paths.combined_csv(label)


def load_run(results_dir: Path) -> Run:
    """Read a started run; raises InputError where a part is absent or damaged.

    Lines of 7.0.x carry no facts; theirs are taken from the state and the scores, in memory only.
    """
    paths = RunPaths.at(results_dir)
    snapshot = state.load(paths.state)
    if bank_runs.is_foreign(snapshot):
        bank_runs.require_started(snapshot, paths)
        raise InputError(
            f"{paths.root}: no approved plan in this run (of 7.0.x, or written by hand); type: deft preflight "
            f"--workspace W --max-iterations {snapshot['max_iterations']} --results-dir {paths.root}, then deft start"
        )
    places = Places.of(paths, snapshot["config"])
    workspace = Workspace.at(places.workspace)
    workspace.inside(paths.root, "run directory")
    plan = replace(Plan.from_json(snapshot["config"]["plan"]), workspace=str(workspace.root))
    spec = load_spec(workspace.spec)
    log = journal.read_log(paths.log)
    entries = log.entries
    folded = state.fold(snapshot, entries)
    if state.is_legacy(entries):
        from deft_aoi.record.older_runs import with_facts  # reads inference CSVs; no other run pays for that import

        entries = with_facts(entries, folded, plan.target, (paths.root, workspace.root))
    return Run(paths, workspace, plan, spec, optics(spec, workspace.spec), log, places.entries(entries), folded)


def add_line(run: Run, **line: Any) -> Run:
    """Append a line to the journal (arguments of :func:`journal.append`), write the state that follows, and return the
    run as it then is; the journal is read again only where another program has changed it since. The new head of the
    chain is sealed where the environment asks for it."""
    after = _added(run, line)
    seal(after)
    return after


def seal(run: Run) -> None:
    """Seal the current head of the chain, where that is asked for and was not done; a failure is reported on stderr."""
    head = (run.state.get("journal") or {}).get("digest")
    if head and run.log.entries:
        problem = seals.keep(run.paths, run.workspace.root, run.log.entries[-1], head)
        if problem:
            aside(f"deft: {problem}")


def _added(run: Run, line: Mapping[str, Any]) -> Run:
    known = run.log.plus(journal.append(run.paths.log, **line))
    if not state.is_legacy(known.entries):
        after = state.record(run.paths.state, run.paths.log, run.state, known)
        if after is not None:
            located = Places.of(run.paths, after["config"]).entries(known.entries)
            return replace(run, log=known, entries=located, state=after)
    state.refresh(run.paths.state, run.paths.log)
    return load_run(run.paths.root)


def approved(paths: RunPaths, snapshot: Mapping[str, Any]) -> None:
    """Raise InputError unless the state's plan is the one that a person has approved."""
    approval = snapshot["config"].get("approval")
    if not approval:
        raise InputError(f"{paths.root}: nobody has approved this run; type: deft preflight, then deft start")
    problem = approval_problem(paths, snapshot)
    if problem:
        raise InputError(f"{paths.root}: {problem}; type: deft rebuild-state --results-dir {paths.root}")


def approval_problem(paths: RunPaths, snapshot: Mapping[str, Any]) -> str | None:
    """None where plan, target and iterations of the state are those of the approved Summary, else what is off."""
    record, config = read_json(paths.preflight), snapshot["config"]
    if config["approval"] != record["digest"] or approval_digest(record) != record["digest"]:
        return "the approval in deft_state.json does not belong to preflight.json"
    plan = record["plan"]
    pairs = {f"config.plan.{name}": (config["plan"].get(name), value) for name, value in plan.items()}
    pairs |= {name: (snapshot[name], plan[name]) for name in ("kpi_target", "max_iterations")}
    changed = [
        f"{name} is {found!r}, approved was {value!r}" for name, (found, value) in pairs.items() if found != value
    ]
    return f"deft_state.json: {'; '.join(changed)}" if changed else None


def approval_digest(record: Mapping[str, Any]) -> str:
    """Digest of a Summary: every parameter, spec and CSVs by their bytes, image pins, the skill's version."""
    plan = dict(record["plan"])
    if record.get("version", 1) > 1:
        plan.pop("workspace")  # its files are covered by their bytes, so that it can be moved or copied
    parts = {"plan": plan, "inputs": record["inputs"], "skill": record["versions"]["skill"]}
    return sha256_json(parts | ({"images": record["images"]} if record.get("images") else {}))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises InputError with the path when it is absent or damaged."""
    try:
        value = parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except ValueError as error:
        raise InputError(f"{path}: damaged JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object")
    return value
