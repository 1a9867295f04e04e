"""Every case that comes with thermosim runs, shrunk, and its check has something to say."""

from pathlib import Path

import numpy as np
import pytest

import thermosim
from thermosim.checks.table import check_of, row_of
from thermosim.model import Model
from thermosim.models import MODELS
from thermosim.plots.picture import PICTURES
from thermosim.schedules import AT_STEPS

CASES = sorted((Path(__file__).parent.parent / "cases").rglob("*.toml"))


def last_knot(value):
    """The last step that schedules under sweep axes name, which a shrunk run has too."""
    if isinstance(value, dict):
        named = [np.max(value[key]) for key in AT_STEPS if key in value]
        return int(max([0, *named, *map(last_knot, value.values())]))
    return max(map(last_knot, value), default=0) if isinstance(value, list) else 0


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path):
    if 'source = "mnist"' in path.read_text("utf-8"):
        pytest.skip("its images are fetched: tests/test_network_noise.py runs it on those that are packaged")
    case = thermosim.load_case(path)
    steps = min(case.settings.run.steps, max(40, last_knot(case.settings.sweep)))
    overrides = {"ensemble.replicas": 4, "run.steps": steps, "record.every": 10, "record.first": 0}
    if case.settings.engine is not None and case.settings.engine.name == "networks":
        overrides["engine.tile_width"] = 4  # or lanes that nobody asked for make their steps, too
    ds = thermosim.simulate(thermosim.load_case(path, overrides))
    assert ds.sizes["step"] == steps // 10 + 1
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
