"""Small cases that many tests share, and the order in which tests run."""

import os
import time

import pytest

# Tests of many processes: what --quick leaves out, besides everything that runs the long case of the cluster.
SLOW = ("test_kills.py::", "test_cli.py::test_torture")
# Tests of one process that take long, for the kernels that only they compile.
LONG = ("test_readme.py::", "test_pictures.py::test_words_are_legible[classes]")
# Files that compile the kernels of models that learn.
LEARNING = (
    "test_cases.py", "test_continuous_", "test_discrete_", "test_information.py", "test_learning_", "test_memory.py",
    "test_partial_", "test_reservoir.py", "test_user_learning_",
)  # fmt: skip
# Whether tests marked exhaustive run: `scripts/test --all`, or tests named one by one.
ALL = bool(os.environ.get("THERMOSIM_ALL"))
_ENDS = time.monotonic() + float(os.environ.get("THERMOSIM_TEST_SECONDS", "inf"))


def pytest_collection_modifyitems(config, items):
    """Tests marked exhaustive are left out unless all are asked for, or one is named (file::test), as a mutant does.

    Long tests first, so that none is left to the end; tests of learning last, so that with two processes, which
    begin at the first test and in the middle, each kernel is compiled by one of them and found on disk by the other.
    """

    def place(item):
        name = item.nodeid.partition("tests/")[2]
        slow = "long_case" in item.fixturenames or name.startswith(SLOW)
        if slow:
            item.add_marker(pytest.mark.slow)
        return 0 if slow or name.startswith(LONG) else 2 if name.startswith(LEARNING) else 1

    items.sort(key=place)
    if not (ALL or any("::" in argument for argument in config.args)):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("exhaustive")])
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]


def pytest_terminal_summary(terminalreporter):
    if not ALL:
        terminalreporter.write_line("without tests marked exhaustive: scripts/test --all runs those, too")


def pytest_runtest_setup():
    if time.monotonic() > _ENDS:
        pytest.skip("the time for a quick answer is over")


TRAP = """
title = "a small dragged trap"
[model]
name = "harmonic-trap"
dimension = 2
[theta]
dynamics = "protocol"
[theta.protocol]
center = { kind = "linear", initial = [0.0, 0.0], final = [2.0, 1.0] }
stiffness = { kind = "linear", initial = [[1.0, 0.3], [0.3, 2.0]], final = [[2.0, -0.5], [-0.5, 1.0]] }
[x]
dynamics = "ula"
time_step = 0.1
tau = 3
[ensemble]
replicas = 200
seed = 3
[run]
steps = 101
[record]
every = 7
"""

SPHERE = """
title = "a small grid on the sphere"
[model]
name = "isotropic-sphere"
dimension = 5
noise = 0.7
[theta]
dynamics = "sgd"
constraint = "fixed-elr"
weight_decay = 0.02
initial = "stationary"
[ensemble]
replicas = 7
seed = 11
[run]
steps = 120
[record]
first = 20
every = 10
[sweep]
"theta.learning_rate" = { logspace = [0.01, 0.2], num = 5 }
"model.noise" = { values = [0.7, 1.1] }
"""


@pytest.fixture
def trap():
    return TRAP


@pytest.fixture
def sphere():
    return SPHERE
