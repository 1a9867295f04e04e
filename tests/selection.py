"""Which test files a change asks for: what `scripts/test --quick` runs.

    python tests/selection.py [PATHS]

Prints the arguments for pytest. PATHS are sources, rooms (folders of thermosim) or tests; without any, git says what
was changed: since the last commit, or by it. A test file belongs to the modules that it, or a helper it imports, names:
in an import, a patch or a script. Files that name what was changed come first, then those that name its room, then a
few that run everything from end to end.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
END_TO_END = ("tests/test_case.py", "tests/test_engine.py", "tests/test_storage.py")
OTHER = {  # what no test file imports, and who reads it
    "cases": ("tests/test_cases.py", "tests/test_library.py"),
    "README.md": ("tests/test_readme.py",),
    "pyproject.toml": ("tests/test_library.py",),
    "tests/conftest.py": END_TO_END,
    "scripts/get_data": ("tests/test_data.py",),
}
_MODULE = re.compile(r"\bthermosim\.(\w+(?:\.\w+)*)")
_FROM = re.compile(r"^\s*from (thermosim|tests)(?:\.([\w.]+))? import (\([^)]*\)|.*)", re.MULTILINE)


def selected(paths: list[str]) -> list[str]:
    """The test files for these paths, relative to the checkout; the most telling first."""
    names = {file: _named(file) for file in sorted((ROOT / "tests").glob("test_*.py"))}
    modules = [_module(path) for path in paths if path.startswith("thermosim")]
    chosen = [path for path in paths if re.fullmatch(r"tests/test_\w+\.py(::.*)?", path)]
    helpers = {Path(path).stem for path in paths if path.startswith("tests/")}
    chosen += [f"tests/{file.name}" for file in names if helpers & _helpers(file)]
    for start, files in OTHER.items():
        chosen += files if any(path == start or path.startswith(f"{start}/") for path in paths) else ()
    for wanted in (modules, [module.split(".")[0] for module in modules]):
        chosen += [f"tests/{file.name}" for file, named in names.items() if any(_within(n, wanted) for n in named)]
    chosen += END_TO_END if modules else ()
    return [path for path in dict.fromkeys(chosen) if (ROOT / path.partition("::")[0]).exists()]


def changed() -> list[str]:
    """What differs from the last commit; where nothing does, what that commit changed."""
    now = _git("diff", "--name-only", "HEAD") + _git("ls-files", "--others", "--exclude-standard")
    return now or _git("diff", "--name-only", "HEAD~1", "HEAD")


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def _module(path: str) -> str:
    """Dotted, without the package: `storage.parts` of thermosim/storage/parts.py, empty of the package itself."""
    parts = Path(path).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1:] == ("__init__",) else parts)


def _within(name: str, wanted: list[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in wanted if module)


def _named(file: Path) -> set[str]:
    """Modules that a test file or one of its helpers names."""
    found = set()
    for source in (file, *(ROOT / "tests" / f"{helper}.py" for helper in _helpers(file))):
        text = source.read_text("utf-8")
        found |= set(_MODULE.findall(text))
        for package, module, imported in _FROM.findall(text):
            if package == "thermosim":
                found |= {".".join(filter(None, (module, name))) for name in re.findall(r"\w+", imported)}
    return found


def _helpers(file: Path) -> set[str]:
    """Modules of tests/ that a file imports, and what those import."""
    found: set[str] = set()
    ahead = [file]
    while ahead:
        text = ahead.pop().read_text("utf-8")
        names = {module or name for _, module, name in re.findall(r"from (tests)\.?(\w*) import (\w+)", text)}
        new = {name for name in names - found if (ROOT / "tests" / f"{name}.py").exists()}
        found |= new
        ahead += [ROOT / "tests" / f"{name}.py" for name in new]
    return found - {"conftest"}


def main() -> int:
    """Paths become test files, everything else goes to pytest as it is."""
    words = sys.argv[1:]
    given = [word for word in words if not word.startswith("-")]
    paths = []
    for word in given:
        path = Path(word.partition("::")[0]).resolve()
        if not path.is_relative_to(ROOT) or not path.exists():
            print(f"test: no such file or room: {word}", file=sys.stderr)
            return 2
        paths.append(path.relative_to(ROOT).as_posix() + word[len(word.partition("::")[0]) :])
    files = selected(paths or changed())
    if not files:
        print("test: nothing was changed that a test reads; name a path, or leave --quick out", file=sys.stderr)
        return 2
    print("\n".join([*(word for word in words if word.startswith("-")), *files]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
