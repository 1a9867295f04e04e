"""A user's own network in torch: what of its file is used, what is refused in which words, and that a run goes on."""

import numpy as np
import pytest

import thermosim
from thermosim.case.faults import CaseError
from thermosim.models.user_file.load import load_user_model, model_of_text

NET = '''
"""A perceptron as the built-in one lays it out: rows (w_1, ..., w_n, b) of every layer."""
import torch
from torch import nn

shape, classes = (4,), 10


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer_1 = nn.Parameter(torch.randn(6, 5) / 2)
        self.layer_2 = nn.Parameter(torch.randn(10, 7) / 2)

    def forward(self, x):
        h = torch.tanh(nn.functional.linear(x, self.layer_1[:, :-1], self.layer_1[:, -1]))
        return nn.functional.linear(h, self.layer_2[:, :-1], self.layer_2[:, -1])


def module():
    return Net()


def loss(module, x, y):
    return nn.functional.cross_entropy(module(x), y)
'''
STEPS, FIRST = 50, 20
CASE = {
    "model": {"file": "net.py"},
    "theta": {"dynamics": "sgd", "learning_rate": 0.3, "momentum": 0.5, "batch": 4},
    "data": {"source": "digits", "shrink": 4, "encoding": "unit", "rows": 60},
    "engine": {"name": "networks", "precision": "float64", "tile_width": 4},
    "ensemble": {"replicas": 5, "seed": 3},
    "run": {"steps": STEPS},
    "record": {"variables": ["theta", "loss_sum", "accuracy"], "every": 10},
}


def test_what_is_said_without_torch(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "net.py").write_text(NET + "\n# without torch")
    model, (said,) = load_user_model(tmp_path / "net.py")
    assert model is None
    assert "net.py, line 3: " in said
    assert said.endswith('; pip install "thermosim-engine[torch]" installs it.')
    (tmp_path / "net.py").write_text("def module(): ...")
    _, (said,) = load_user_model(tmp_path / "net.py")
    assert said.endswith(
        'is a network in torch, which is not installed; pip install "thermosim-engine[torch]" installs it.'
    )


pytest.importorskip("jax")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("torch")
    (folder / "net.py").write_text(NET)
    thermosim.simulate(thermosim.load_case(CASE, folder=folder), folder / "torch.h5", threads=1).close()
    return folder


def test_its_steps_are_those_of_the_perceptron_here(folder):
    """The same starts, rows and updates in two implementations, in float64 over 50 steps."""
    ds = thermosim.open_ensemble(folder / "torch.h5")
    starts = ds.theta.values[0]
    assert np.unique(starts[:, 0]).size == 5  # every replica has a start of its own
    perceptron = {"name": "multilayer-perceptron", "widths": [4, 6, 10], "activation": "tanh", "bias": "yes"}
    # of the first replica, whose rows are the same
    first = {"layer_1": starts[0, :30].reshape(6, 5).tolist(), "layer_2": starts[0, 30:].reshape(10, 7).tolist()}
    built_in = {
        **CASE,
        "model": {**perceptron, "loss": "cross-entropy"},
        "theta": {**CASE["theta"], "initial": first},
    }
    other = thermosim.simulate(thermosim.load_case(built_in), folder / "built_in.h5", threads=1)
    for name in ("theta", "loss_sum"):
        mine, theirs = ds[name].values[:, 0], other[name].values[:, 0]
        assert abs(mine - theirs).max() <= 1e-12 * abs(theirs).max(), name
    np.testing.assert_array_equal(ds.accuracy.values[:, 0], other.accuracy.values[:, 0])
    assert abs(ds.theta.values[-1] - ds.theta.values[0]).max() > 0.3


def test_it_goes_on_to_the_same_bytes_without_its_file(folder, tmp_path):
    (tmp_path / "net.py").write_text(NET)
    short = thermosim.load_case(CASE, {"run.steps": FIRST}, folder=tmp_path)
    thermosim.simulate(short, tmp_path / "short.h5", threads=1).close()
    (tmp_path / "net.py").unlink()
    longer = thermosim.extend(tmp_path / "short.h5", steps=STEPS - FIRST)
    whole = thermosim.open_ensemble(folder / "torch.h5")
    for name in CASE["record"]["variables"]:
        np.testing.assert_array_equal(longer[name].values, whole[name].values)


def looked_at(text, precision="float32"):
    from thermosim.models.user_file.examine_network import examine_network

    pytest.importorskip("torch")
    return examine_network(model_of_text(text), {}, None, None, precision).faults


FORWARD = "h = torch.tanh"
FAULTS = {
    "loss gives an array of shape (8,); expected one number": ("(module(x), y)", "(module(x), y, reduction='none')"),
    "torch's gradient for layer_2 is not the slope of the loss": (
        "self.layer_2[:, -1])",
        "self.layer_2[:, -1].detach())",
    ),
    "loss is another one each time it is traced": (FORWARD, "import random; h = random.random() + torch.tanh"),
    "line 16: the module draws random numbers (native_dropout)": (FORWARD, "x = nn.functional.dropout(x); " + FORWARD),
    "line 16: decides by the value of a tensor": (FORWARD, "x = -x if x.sum() > 0 else x; " + FORWARD),
    "line 16: the operation aten.sort.default": (FORWARD, "x = x.sort().values; " + FORWARD),
    "module changes its buffer norm.running_mean while": (
        "self.layer_2 =",
        "self.norm = nn.BatchNorm1d(4, affine=False); self.layer_2 =",
    ),
    "init gives other parameters": (
        "self.layer_2 =",
        "import random; self.layer_3 = nn.Parameter(torch.ones(1) * random.random()); self.layer_2 =",
    ),
    "line 17, in forward: RuntimeError": ("self.layer_2[:, :-1]", "self.layer_2"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_loss(fault):
    old, new = FAULTS[fault]
    text = NET.replace(old, new, 1)
    text = text.replace("(x, self.layer_1", "(self.norm(x), self.layer_1") if "BatchNorm" in text else text
    assert text != NET
    (said,) = looked_at(text)
    assert fault in said


LOADED = {
    "defines module and no loss(module, x, y)": NET.replace("def loss", "def cost"),
    "loss takes (outputs, y) (net.py, line 24); it is called as loss(module, x, y)": NET.replace(
        "loss(module, x, y)", "loss(outputs, y)"
    ),
    "module is Linear; expected a function, def module()": NET.replace("def module", "def made")
    + "\nmodule = nn.Linear(4, 3)",
    "module() gives NoneType; expected a torch.nn.Module": NET.replace("return Net()", "Net()"),
    "module() gives a module without a parameter that learns": NET.replace("return Net()", "return nn.ReLU()"),
    "module() draws scale, which does not learn, anew for every seed": NET.replace(
        "self.layer_1 =", "self.register_buffer('scale', torch.randn(4)); self.layer_1 ="
    ),
}


@pytest.mark.parametrize("fault", LOADED)
def test_faults_of_a_file(tmp_path, fault):
    pytest.importorskip("torch")
    (tmp_path / "net.py").write_text(LOADED[fault])
    model, (said,) = load_user_model(tmp_path / "net.py")
    assert model is None
    assert said.startswith("model.file = 'net.py': ")
    assert fault in said


def test_predictions_that_are_no_rows(tmp_path):
    """Accuracy is measured of module(x) where it is a row of numbers; elsewhere the case is told to name outputs."""
    pytest.importorskip("torch")
    text = NET.replace("        return nn", "        return x, nn").replace("module(x)", "module(x)[1]")
    (tmp_path / "net.py").write_text(text)
    with pytest.raises(CaseError, match=r"accuracy.*define outputs\(module, x\)"):
        thermosim.load_case(CASE, folder=tmp_path)
    (tmp_path / "net.py").write_text(text + "\n\ndef outputs(module, x):\n    return module(x)[1]\n")
    assert thermosim.load_case(CASE, folder=tmp_path)
