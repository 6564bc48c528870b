"""`deft preflight`: check, plan, show the Summary."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.base.errors import OK

HELP = "Check everything (reads only), write the plan and print the Summary that a person must approve."


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of every run parameter; a flag left out takes the spec's value, then the default."""
    parser.add_argument("--workspace", default="~/workspace", help="workspace folder (default: ~/workspace)")
    parser.add_argument("--max-iterations", type=int, help="required, or --hours: iterations after the baseline")
    parser.add_argument(
        "--hours", type=float, help="time at hand: how many iterations fit is estimated from platform and data"
    )
    parser.add_argument("--kpi-target", help='default: "FAR < 0.1%% at recall=100%%"')
    parser.add_argument(
        "--metric-contract", metavar="FILE",
        help="JSON of NVIDIA's metric contract instead of a target: name, operator, target, unit, evaluator (builtin, "
        "command or artifact), constraints",
    )  # fmt: skip
    parser.add_argument("--platform", help="where heavy work runs (default: local); see list_tao_platforms")
    parser.add_argument(
        "--set", action="append", metavar="KEY=VALUE", help="a setting of the platform; list_tao_platforms names them"
    )
    parser.add_argument(
        "--engine", help="engine of platform local: features (default), net (needs torch), or auto (net where a GPU is)"
    )
    parser.add_argument(
        "--network", help="open, or airgap: no pull, no login, no download (default: airgap where AIR_GAPPED=1)"
    )
    parser.add_argument("--num-epochs", type=int, help="default: the spec's train.num_epochs")
    parser.add_argument("--batch-size", type=int, help="default: the spec's dataset.classify.batch_size")
    parser.add_argument("--num-gpus", type=int, help="default: the spec's train.num_gpus")
    parser.add_argument("--seed", type=int, help="default: the spec's train.seed")
    parser.add_argument(
        "--policy",
        help="how pool rows are chosen: auto (default: what wins for the data at hand), weakness, weakness+diverse, "
        "knn+label, knn, uncertain, random-balanced or random",
    )
    parser.add_argument(
        "--screen", choices=("on", "off"), help="keep picks with a suspect label out of training (default: on)"
    )
    parser.add_argument("--max-per-board", type=int, help="mined rows of one board (default: a quarter of --mine-rows)")
    parser.add_argument("--min-distance", type=float, help="1 - cosine between two mined rows (default: 0.002)")
    parser.add_argument(
        "--encoder", help="of knn: trunk (default), tao (NVIDIA's container), or a staged ONNX file of the workspace"
    )
    parser.add_argument("--knn-metric", help="of knn: cosine (default), euclidean or manhattan")
    parser.add_argument("--mine-rows", type=int, help="pool rows taken in one iteration, at most (default: 200)")
    parser.add_argument(
        "--score-rows", type=int,
        help="pool rows that the best model scores in one iteration, at most (default: 60000; 0: all)",
    )  # fmt: skip
    parser.add_argument("--top-k-per-target", type=int, help="pool rows for one weak sample, at most (default: 5)")
    parser.add_argument(
        "--rca-source", choices=("kpi", "validation"), help="whose weak rows ask for more (default: kpi)"
    )
    parser.add_argument("--top-k-per-label", type=int, help="weak samples for each label (default: 50)")
    parser.add_argument("--min-similarity", type=float, help="cosine floor of a mined row (default: 0.9)")
    parser.add_argument(
        "--synthetic",
        choices=("off", "pregen_ingest", "inference_only", "patches"),
        help="default: pregen_ingest where pairs are, else off; inference_only generates in each iteration; patches "
        "makes defects of no known type from PASS rows",
    )
    parser.add_argument("--num-sdg", type=int, help="synthetic pairs asked for in one iteration (default: 20)")
    parser.add_argument("--project", help="AnomalyGen project: its checkpoint and data set folders (default: pcb)")
    parser.add_argument(
        "--anomalygen-finetune", choices=("auto", "on", "off"),
        help="fine-tune AnomalyGen on the project's data set once, before it generates (default: auto, where there is "
        "no checkpoint, but base models and a data set)",
    )  # fmt: skip
    parser.add_argument("--anomalygen-max-iter", type=int, help="steps of that fine-tuning (default: 75000)")
    parser.add_argument("--anomalygen-step", type=int, help="AnomalyGen checkpoint step (default: its latest)")
    parser.add_argument(
        "--anomalygen-label",
        action="append",
        dest="anomalygen_labels",
        help="defect that AnomalyGen makes, repeatable; * for every weak one (default: EXCESS_SOLDER, MISSING and "
        "BRIDGE; * on platform local)",
    )
    parser.add_argument(
        "--min-allocation", type=float, help="share of the pairs whose masks must find a place (default: 1)"
    )
    parser.add_argument(
        "--max-synthetic-share", type=float, help="synthetic rows of a training set, at most (default: 0.3)"
    )
    parser.add_argument(
        "--acceptance", choices=("off", "sealed"), help="default: sealed where kpi/acceptance_set.csv is"
    )
    parser.add_argument(
        "--baseline-scores", action="append", metavar="CSV",
        help="inference.csv of your own ChangeNet over the KPI set (and pool, validation), a file of the workspace; "
        "repeatable; the first FAR is that of your model, and training is done elsewhere (deft export-training)",
    )  # fmt: skip
    parser.add_argument(
        "--baseline-ckpt", metavar="FILE",
        help="your own TAO checkpoint in the workspace: TAO scores it as the baseline instead of training one",
    )  # fmt: skip
    parser.add_argument(
        "--noise-floor", action="store_true", default=None,
        help="train the baseline a second time with another seed, to see how much FAR moves by chance",
    )  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_plan_arguments(parser)
    parser.add_argument("--results-dir", type=Path, help="use this run directory (default: a new one)")
    parser.add_argument("--json", action="store_true", help="print preflight.json instead of the Summary")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import command_line, print_json, whole
    from deft_aoi.preflight import preflight
    from deft_aoi.record.run import read_json

    result = preflight.preflight(vars(args))
    paths = preflight.write(result, args.results_dir)
    if args.json:
        print_json(read_json(paths.preflight))
    else:
        whole(paths.preflight_summary.read_text(encoding="utf-8"))
        command = command_line("start", "--workspace", result.plan.workspace, "--approve", result.code)
        print(f"After a person's yes: {command}")
    return OK
