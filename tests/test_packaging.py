"""The formats that others read: skill, plugin, installers. Judged by their own tools."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deft_aoi.base.versions import VERSION

ROOT = Path(__file__).resolve().parents[1]
NAME = "tao-run-deft-aoi"
NPM = json.loads((ROOT / "tests/npm_tools.json").read_text())
needs_npx = pytest.mark.skipif(shutil.which("npx") is None, reason="npx is not installed (Debian: apt install npm)")


def frontmatter(text: str) -> dict[str, object]:
    return dict(yaml.safe_load(text.split("---\n")[1]))


def project_files() -> list[Path]:
    """What git would keep; in an installed copy every file."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
        return [ROOT / name for name in names if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the project's files in a folder with the skill's name."""
    copy = tmp_path / "from" / NAME
    for path in project_files():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    return copy


def npx(tools: list[str], *words: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a pinned npm tool with a home of its own, no prompts and no telemetry; skip where npm cannot be reached."""
    home = cwd / "npm-home"
    home.mkdir(exist_ok=True)
    where = {name: npm_setting(name) for name in ("cache", "userconfig")}
    environment = os.environ | {f"npm_config_{name}": value for name, value in where.items()}
    environment |= {"HOME": str(home), "DO_NOT_TRACK": "1", "DISABLE_TELEMETRY": "1", "NO_COLOR": "1"} | more
    packages = [item for tool in tools for item in ("-p", f"{tool}@{NPM[tool]}")]
    command = ["npx", "--yes", *packages, *map(str, words)]
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if re.search(r"npm (ERR!|error) .*(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT)", done.stderr):
        pytest.skip("the npm registry cannot be reached")
    return done


def npm_setting(name: str) -> str:
    command = ["npm", "config", "get", name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_both_plugin_manifests_are_the_same_bytes() -> None:
    assert (ROOT / "plugin.json").read_bytes() == (ROOT / ".claude-plugin/plugin.json").read_bytes()


def test_one_version_everywhere() -> None:
    plugin = json.loads((ROOT / "plugin.json").read_text())
    codex = json.loads((ROOT / ".codex-plugin/plugin.json").read_text())
    skill = frontmatter((ROOT / "SKILL.md").read_text())
    assert plugin["name"] == skill["name"] == NAME
    assert plugin["version"] == codex["version"] == VERSION
    assert [codex[name] for name in ("name", "description", "author", "license", "keywords")] == [
        plugin[name] for name in ("name", "description", "author", "license", "keywords")
    ]
    for market in (".claude-plugin/marketplace.json", ".agents/plugins/marketplace.json"):
        (entry,) = json.loads((ROOT / market).read_text())["plugins"]
        assert entry["name"] == NAME
        assert "version" not in entry
    assert isinstance(skill["metadata"], dict)
    assert skill["metadata"].get("version", VERSION) == VERSION
    assert 'version = { attr = "deft_aoi.base.versions.VERSION" }' in (ROOT / "pyproject.toml").read_text()


def test_every_entry_point_leads_to_a_function() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    block = text.split("[project.scripts]\n")[1].split("\n\n")[0]
    targets = re.findall(r'^\w+ = "([\w.]+):(\w+)"$', block, re.MULTILINE)
    assert len(targets) == len(block.splitlines())
    for module, name in targets:
        assert callable(getattr(importlib.import_module(module), name))


def test_the_reference_validator_finds_nothing(tmp_path: Path) -> None:
    skills_ref = pytest.importorskip("skills_ref", reason="skills-ref needs Python 3.11")
    folder = tmp_path / NAME
    folder.symlink_to(ROOT, target_is_directory=True)
    assert skills_ref.validate(folder) == []


def test_the_skill_keeps_the_formats_hard_rules() -> None:
    text = (ROOT / "SKILL.md").read_text()
    head = frontmatter(text)
    assert set(head) <= {"name", "description", "license", "compatibility", "metadata", "allowed-tools"}
    assert len(str(head["description"])) <= 1024
    assert not re.search(r"[<>]", str(head["description"]))
    assert len(str(head.get("compatibility", ""))) <= 500
    assert all(isinstance(value, str) for value in dict(head["metadata"]).values())  # type: ignore[call-overload]
    assert isinstance(head["allowed-tools"], str)
    assert len(text.splitlines()) < 500


def test_codex_is_told_how_to_show_the_skill() -> None:
    told = yaml.safe_load((ROOT / "agents/openai.yaml").read_text())
    manifest = json.loads((ROOT / ".codex-plugin/plugin.json").read_text())
    assert set(told) == {"interface", "policy"}
    assert f"${NAME}" in told["interface"]["default_prompt"]
    assert told["interface"]["display_name"] == manifest["interface"]["displayName"]
    assert told["interface"]["short_description"] == manifest["interface"]["shortDescription"]
    for path in (manifest["skills"] + "/SKILL.md", manifest["hooks"], manifest["interface"]["composerIcon"]):
        assert path.startswith("./")
        assert (ROOT / path).is_file()
    prompts = manifest["interface"]["defaultPrompt"]
    assert len(prompts) <= 3
    assert all(len(prompt) <= 128 for prompt in prompts)
    assert [path.name for path in (ROOT / ".codex-plugin").iterdir()] == ["plugin.json"]


def test_every_agent_says_its_name_and_when_to_use_it() -> None:
    agents = sorted((ROOT / "agents").glob("*.md"))
    assert agents
    for path in agents:
        head = frontmatter(path.read_text())
        assert head["name"] == path.stem
        assert head["description"]


def test_no_file_that_an_installer_would_drop() -> None:
    """Older installers leave out names with a leading underscore and metadata.json; an empty __init__.py is no loss."""
    for path in project_files():
        if path.name == "__init__.py":
            assert path.read_bytes() == b"", path
        else:
            assert not path.name.startswith("_"), path
            assert path.name != "metadata.json", path


def test_links_between_documents_lead_somewhere() -> None:
    for path in project_files():
        if path.suffix == ".md":
            for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
                if "://" not in link:
                    assert (path.parent / link).exists(), f"{path.relative_to(ROOT)}: {link}"


@needs_npx
def test_claude_validates_the_plugin(repository: Path, tmp_path: Path) -> None:
    done = npx(
        ["@anthropic-ai/claude-code"], "claude", "plugin", "validate", "--strict", "--json", repository, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_npx
def test_codex_installs_the_plugin_and_shows_the_skill(repository: Path, tmp_path: Path) -> None:
    home = tmp_path / "codex-home"
    home.mkdir()
    for words in (["marketplace", "add", repository], ["add", f"{NAME}@{NAME}"]):
        done = npx(["@openai/codex"], "codex", "plugin", *words, cwd=tmp_path, CODEX_HOME=str(home))
        assert done.returncode == 0, done.stdout + done.stderr
    shown = npx(["@openai/codex"], "codex", "debug", "prompt-input", "hello", cwd=tmp_path, CODEX_HOME=str(home))
    assert shown.returncode == 0, shown.stderr
    described = re.search(r"^description: (.{60})", (repository / "SKILL.md").read_text(), re.MULTILINE)
    assert described
    assert shown.stdout.count(f"- {NAME}:{NAME}: {described[1]}") == 1
    installed = next(home.glob(f"plugins/cache/{NAME}/{NAME}/{VERSION}"))
    assert (installed / "hooks/hooks.json").is_file()


@needs_npx
@pytest.mark.parametrize("way", ["--copy", ""])
def test_npx_skills_installs_a_copy_that_runs(repository: Path, tmp_path: Path, way: str) -> None:
    project = tmp_path / "project"
    project.mkdir()
    agents = ["--agent", "claude-code", "codex", "cursor"]
    done = npx(["node", "skills"], "skills", "add", repository, *agents, "--yes", *filter(None, [way]), cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    claude, others = (project / folder / "skills" / NAME for folder in (".claude", ".agents"))
    assert claude.is_symlink() == (way == "")
    launcher = claude / "scripts/deft"
    environment = os.environ | {"DEFT_PYTHON": sys.executable, "PYTHONPATH": ""}
    for path in (launcher, others / "scripts/deft"):  # Codex and Cursor read .agents/skills
        assert os.access(path, os.X_OK)
        for command in ([str(path), "--version"], ["sh", str(path), "--version"]):
            answer = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True)
            assert answer.stdout == f"deft {VERSION}\n"
    demo = [str(launcher), "simulate", "--workspace", "line", "--boards", "6", "--rows-per-board", "30"]
    subprocess.run(demo, cwd=project, env=environment, capture_output=True, text=True, check=True)
    assert (project / "line/kpi/testing_set.csv").is_file()
