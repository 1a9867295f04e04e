"""Every case that comes with thermosim runs, shrunk, and its check has something to say."""

from pathlib import Path

import numpy as np
import pytest

import thermosim
from thermosim.checks.table import check_of, row_of
from thermosim.model import Model
from thermosim.models import MODELS
from thermosim.plan.outline import plan
from thermosim.plan.starts import initial_state
from thermosim.plots.picture import PICTURES
from thermosim.schedules import AT_STEPS

# which are run each time, shrunk: of each model a case that compiles fast, of those that move otherwise another one.
# Others are planned only: networks and large kernels are run by the tests of their models, and all by `--all`.
RUN = (
    "dragged_trap", "dragged_trap_forward", "two_beads", "rotational_trap", "coupled_wells", "tilted_well",
    "fixed_elr", "fixed_lr", "fixed_sphere", "three_rows", "gaussian_machine", "boltzmann_machine", "thermal_machine",
    "quartic", "potentials", "tanh_network", "logistic_regression", "entropy_production", "rotation_adamw",
    "translation", "scaling", "sign_flip", "alignment", "alignment_breaks", "gas_perceptron",
)  # fmt: skip
CASES = sorted((Path(__file__).parent.parent / "cases").rglob("*.toml"))


def last_knot(value):
    """The last step that schedules under sweep axes name, which a shrunk run has too."""
    if isinstance(value, dict):
        named = [np.max(value[key]) for key in AT_STEPS if key in value]
        return int(max([0, *named, *map(last_knot, value.values())]))
    return max(map(last_knot, value), default=0) if isinstance(value, list) else 0


def shrunk(path):
    """The case with four replicas and few steps; skips one whose images are fetched."""
    if 'source = "mnist"' in path.read_text("utf-8"):
        pytest.skip("its images are fetched: tests/test_network_noise.py runs it on those that are packaged")
    case = thermosim.load_case(path)
    steps = min(case.settings.run.steps, max(40, last_knot(case.settings.sweep)))
    overrides = {"ensemble.replicas": 4, "run.steps": steps, "record.every": 10, "record.first": 0}
    if case.settings.engine is not None and case.settings.engine.name == "networks":
        overrides["engine.tile_width"] = 4  # or lanes that nobody asked for make their steps, too
    return thermosim.load_case(path, overrides)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case_is_planned(path):
    """Everything but the steps: its blocks, with their start."""
    for outline in plan(shrunk(path)):
        assert outline.block().lanes == outline.lanes
        for name, array in initial_state(outline, 0, outline.lanes).items():
            assert np.isfinite(array).all(), name


@pytest.mark.parametrize(
    "path",
    [path if path.stem in RUN else pytest.param(path, marks=pytest.mark.exhaustive) for path in CASES],
    ids=lambda path: path.stem,
)
def test_case(path):
    case = shrunk(path)
    ds = thermosim.simulate(case)
    assert ds.sizes["step"] == case.settings.run.steps // 10 + 1
    assert (ds.status == 0).all()
    for name, variable in ds.data_vars.items():
        assert np.isfinite(variable).all(), name


@pytest.mark.parametrize("name", MODELS)
def test_models_are_whole(name):
    """Listed under its own name, with a source, a check and a picture."""
    model = MODELS[name]
    assert isinstance(model, Model)
    assert model.name == name
    assert model.summary
    assert model.source
    assert check_of(model) is not None
    assert row_of(PICTURES, model) is not None
