"""The house: rooms, which may import which, no circles, files of a size to read in one sitting, one table of moves."""

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "thermosim"

# every room and what it may import of the others; the words at the root are everybody's
ROOMS = {
    "cli": {"papers", "report", "plots", "checks", "run", "analysis", "case", "models", "data", "storage"},
    "papers": {"run", "analysis", "case", "models", "data", "storage", "exact", "pages"},
    "report": {"plots", "checks", "analysis", "case", "storage", "pages"},
    "plots": {"checks", "analysis", "case", "models", "data", "storage", "exact"},
    "checks": {"run", "analysis", "case", "models", "data", "storage", "exact", "pages"},
    "run": {"engines", "plan", "case", "models", "data", "kernels", "storage"},
    "engines": {"plan", "kernels"},
    "plan": {"case", "models", "data", "kernels"},
    "analysis": {"case", "models", "data", "kernels", "exact"},
    "case": {"models", "data", "storage", "pages"},
    "models": {"kernels", "exact", "data"},
    "data": {"kernels"},
    "kernels": set(),
    "storage": set(),
    "exact": set(),
    "pages": set(),
}
WORDS = {"addresses", "moves", "model", "network", "ledger", "streams", "schedules", "cohorts"}
ENTRANCES = {"thermosim", "thermosim.__main__"}  # import on first use, from anywhere
LONGEST_FILE, LONGEST_FUNCTION = 400, 100


def _name(file: Path) -> str:
    parts = ("thermosim", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def _room(module: str) -> str:
    """The room of a module; words have none."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ""


def _imports(file: Path, at_run_time: bool = True) -> set[str]:
    """Modules of the package that a file imports, inside functions too; for types as well unless `at_run_time`."""
    tree = ast.parse(file.read_text("utf-8"))
    typing = {id(node) for test in ast.walk(tree) if _is_for_types(test) for node in ast.walk(test)}
    found = set()
    for node in ast.walk(tree):
        if at_run_time and id(node) in typing:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("thermosim")}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "thermosim":
            inside = {f"{node.module}.{alias.name}" for alias in node.names if alias.name != "__version__"}
            found |= {name for name in inside if name in FILES} or ({node.module} if inside else set())
    return found


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


IMPORTS = {module: _imports(file) for module, file in FILES.items()}


def test_every_file_is_in_a_room_or_is_a_word():
    rooms = {_room(module) for module in FILES if module not in ENTRANCES}
    assert rooms == {*ROOMS, ""}
    assert {module.removeprefix("thermosim.") for module in FILES if not _room(module)} - {
        "thermosim",
        "__main__",
    } == WORDS
    assert not {file.stem for file in FILES.values()} & {"utils", "helpers", "common", "manager"}


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_down(room):
    """Also those inside functions, and those for types only."""
    allowed = ROOMS[room] | {room, ""}
    wrong = {
        f"{module} -> {other}"
        for module, file in FILES.items()
        if _room(module) == room
        for other in _imports(file, at_run_time=False)
        if _room(other) not in allowed or other == "thermosim"
    }
    assert not wrong


def test_words_import_words_only():
    wrong = {
        f"{module} -> {other}"
        for module in FILES
        if not _room(module) and module not in ENTRANCES
        for other in IMPORTS[module]
        if _room(other) or other == "thermosim"
    }
    assert not wrong


def test_rooms_are_in_an_order():
    """What a room may import comes after it in the table: so there is no circle of rooms."""
    order = list(ROOMS)
    assert all(order.index(room) < order.index(other) for room, others in ROOMS.items() for other in others)


def test_no_circle_of_files():
    """At run time; a section and the settings made of it name each other for types."""
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        path.append(module)
        for other in sorted(IMPORTS.get(module, ())):
            if other != "thermosim":
                visit(other)
        path.pop()
        done.add(module)

    for module in FILES:
        if module not in ENTRANCES:
            visit(module)


def test_files_and_functions_fit_one_sitting():
    long = {name: n for name, file in FILES.items() if (n := len(file.read_text("utf-8").splitlines())) > LONGEST_FILE}
    assert not long
    functions = {
        f"{name}.{node.name}": node.end_lineno - node.body[0].lineno + 1
        for name, file in FILES.items()
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert not {name: length for name, length in functions.items() if length > LONGEST_FUNCTION}


CROSSED = """
import sys, threading
from collections import Counter
import thermosim
seen, last, switches = Counter(), None, 0
def watch(frame, event, arg):
    global last, switches
    file = frame.f_code.co_filename
    if event == "call" and "/thermosim/" in file and "site-packages" not in file:
        seen[file] += 1
        switches += file != last
        last = file
case = thermosim.load_case(sys.argv[1], {"ensemble.replicas": 4, "run.steps": 2, "record.every": 1})
case = thermosim.load_case(sys.argv[1], {"ensemble.replicas": 4, "run.steps": 2, "record.every": 1})
thermosim.simulate(case, sys.argv[2] + "/warm.h5", threads=1)
sys.setprofile(watch)
case = thermosim.load_case(sys.argv[1], {"ensemble.replicas": 4, "run.steps": 2, "record.every": 1})
thermosim.simulate(case, sys.argv[2] + "/run.h5", threads=1)
sys.setprofile(None)
print(switches)
print("\\n".join(seen))
"""


def test_the_smallest_learning_run_crosses_few_rooms_and_files(tmp_path):
    """From a case to its file, kernels compiled: what a reader has to walk through."""
    case = PACKAGE.parent / "cases" / "learning" / "gaussian_machine.toml"
    command = [sys.executable, "-c", CROSSED, str(case), str(tmp_path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    switches, files = int(said[0]), [Path(line) for line in said[1:]]
    rooms = {file.relative_to(PACKAGE).parts[0] for file in files if len(file.relative_to(PACKAGE).parts) > 1}
    assert len(rooms) <= 10, sorted(rooms)
    # files that this thread runs: those of one tile are seen, which a thread of an `Evaluator` hides
    assert len(files) <= 80, sorted(str(file.relative_to(PACKAGE)) for file in files)
    assert switches <= 1510, switches


def test_every_kernel_of_every_engine_is_in_the_table():
    from thermosim.engines.lanes.link import CONSTRAINTS, ONE_LANE, THETA_KERNELS, X_KERNELS
    from thermosim.moves import CONSTRAINED, THETA_MOVES, X_MOVES

    assert set(THETA_KERNELS) == {name for name, move in THETA_MOVES.items() if not move.rests}
    assert set(X_KERNELS) == set(X_MOVES)
    assert set(ONE_LANE) <= set(X_MOVES)
    assert set(CONSTRAINTS) == set(CONSTRAINED)


def test_functionals_book_with_the_arguments_that_the_step_loop_gives():
    from thermosim.kernels.signatures import argument_names, books
    from thermosim.ledger import BOOK_ARGUMENTS

    assert argument_names(books) == (*BOOK_ARGUMENTS[:-1], "path")


def test_the_table_books_what_the_ledger_declares():
    from thermosim.ledger import FUNCTIONALS, VARIABLES
    from thermosim.moves import CONSTRAINED, THETA_MOVES, X_MOVES

    for move in [*THETA_MOVES.values(), *CONSTRAINED.values(), *X_MOVES.values()]:
        assert {FUNCTIONALS[name].of for name in move.books} <= {move.of}, move.name
        assert move.source
        assert not (move.of == "theta" and move.density) or "log_ratio_theta" in move.books, move.name
    assert all(term in FUNCTIONALS for variable in VARIABLES.values() for term in variable.terms)


def test_names_of_moves_stand_in_the_table_and_the_engines_only():
    """A forgotten string would be silently wrong physics: conditions ask the table what is true of a move."""
    from thermosim.moves import THETA_MOVES, X_MOVES

    names = {*THETA_MOVES, *X_MOVES}
    at_home = {"thermosim.moves", "thermosim.engines.lanes.link"}
    found = defaultdict(list)
    for module, file in FILES.items():
        if module in at_home or _room(module) == "exact":  # exact theory of single moves has names for them
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            parts = list(ast.walk(node)) if isinstance(node, ast.Compare) else []
            if any(str(getattr(part, "attr", getattr(part, "id", ""))).endswith("dynamics") for part in parts):
                found[module] += [p.value for p in parts if isinstance(p, ast.Constant) and p.value in names]
    assert not any(found.values()), dict(found)
