"""A user's own network: what of its file is used, what is refused and in which words, and that a run goes on."""

from __future__ import annotations

import numpy as np
import pytest

import thermosim
from thermosim.case.faults import CaseError
from thermosim.models.user_file.load import load_user_model, model_of_text

jax = pytest.importorskip("jax")

NET = """
import jax
import jax.numpy as jnp
import numpy as np

inputs, classes = 3, 2

def init(key):
    a, b = jax.random.split(key)
    return {"hidden": {"w": jax.random.normal(a, (3, 4)), "b": jnp.zeros(4)}, "out": jax.random.normal(b, (4, 2))}

def outputs(params, x):
    return jnp.tanh(x @ params["hidden"]["w"] + params["hidden"]["b"]) @ params['out']

def loss(params, batch):
    x, y = batch
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(outputs(params, x)) * jax.nn.one_hot(y, 2), axis=1))
"""
CASE = {
    "model": {"file": "net.py"},
    "theta": {"dynamics": "sgd", "learning_rate": 0.5, "batch": 8},
    "data": {"source": "mixture", "centers": [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.5]], "rows": 32},
    "ensemble": {"replicas": 6, "seed": 3},
    "run": {"steps": 8},
    "record": {"variables": ["theta", "full_loss", "accuracy", "loss_sum"], "every": 4},
}


def looked_at(text, rows=None, precision="float32"):
    from thermosim.models.user_file.examine_network import examine_network

    model = model_of_text(text)
    return examine_network(model, {"inputs": 3, "classes": 2, "targets": 1}, None, rows, precision)


def test_a_network_becomes_a_model():
    model = model_of_text(NET)
    assert [(group.name, group.shape({})) for group in model.parameters] == [
        ("hidden_b", (4,)),
        ("hidden_w", (3, 4)),
        ("out", (4, 2)),
    ]
    assert (model.inputs({}), model.classes({}), model.targets({})) == (3, 2, 1)
    found = looked_at(NET)
    assert found.faults == []
    assert len(found.checked) == 2
    assert looked_at(NET, precision="float64").faults == []


FAULTS = {
    "loss gives an array of shape (8,); expected one number": ("-jnp.mean(jnp.sum(", "-(jnp.sum("),
    "loss is inf at the start, of 8 random rows": ("-jnp.mean", "1 / jnp.zeros(()) - jnp.mean"),
    "the gradient for out is not finite at the start": (
        "return -",
        "return jnp.linalg.norm(params['out'] - jax.lax.stop_gradient(params['out'])) -",
    ),
    "the loss has no gradient for spare": ('{"hidden"', '{"spare": jnp.ones(2), "hidden"'),
    "the gradient gives": ("@ params['out']", "@ (params['out'] + jax.lax.stop_gradient(params['out']))"),
    "loss is another one each time it is traced": ("return -", "return np.random.normal() -"),
    "loss calls Python while it runs": ("x, y = batch", "x, y = batch\n    jax.debug.print('{}', x[0, 0])"),
    "init gives other parameters for the same key": (
        "return {",
        "a = jax.random.key(np.random.randint(1 << 30))\n    return {",
    ),
    "decides by the value of an array": ("x, y = batch", "x, y = batch\n    if x[0, 0] > 0: x = -x"),
    "outputs gives shape (8, 3) for 8 rows; expected (8, 2), one for each class": (
        "(4, 2))}",
        "(4, 3))}",
    ),
    "NameError: name 'nowhere'": ("x, y = batch", "x, y = batch\n    x = nowhere(x)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_loss(fault):
    old, new = FAULTS[fault]
    text = NET.replace(old, new)
    assert text != NET
    (said,) = looked_at(text.replace("one_hot(y, 2)", "one_hot(y, 3)") if "(8, 3)" in fault else text).faults
    assert fault in said


def test_a_slope_that_is_twice_too_steep():
    own = """
@jax.custom_vjp
def f(w):
    return w
f.defvjp(lambda w: (f(w), None), lambda kept, g: (FACTOR * g,))
"""
    text = NET.replace("def outputs", own + "\ndef outputs").replace("@ params['out']", "@ f(params['out'])")
    assert looked_at(text.replace("FACTOR", "1.0")).faults == []
    assert looked_at(text.replace("FACTOR", "1.02")).faults != []


def test_state_that_a_compiled_function_hides():
    """A function that the file compiles itself is traced anew, too."""
    text = NET.replace("def loss", "@jax.jit\ndef loss").replace("return -", "return np.random.normal() -")
    assert "loss is another one" in looked_at(text).faults[0]


def test_float64_in_a_network_that_a_model_declares():
    text = (
        NET
        + """
from thermosim import Model, Parameter
from thermosim.network import Network
SCALE = np.ones(2)
MODEL = Model(
    name="mine", summary="a test", source="a test", inputs=lambda c: 3, classes=lambda c: 2, targets=lambda c: 1,
    parameters=(Parameter("w", "weights", lambda c: (3, 2), lambda c: np.ones((3, 2))),),
    network=lambda c: Network(
        lambda p, x, y: jnp.mean((x @ p["w"]) ** 2
                                 * SCALE)
    ),
)
"""
    )
    (said,) = looked_at(text).faults
    line = text.splitlines().index("                                 * SCALE)")
    assert f"line {line}" in said or f"line {line + 1}" in said
    assert "computes in float64 where engine.precision is float32" in said
    assert looked_at(text, precision="float64").faults == []


LOADED = {
    "defines no MODEL = thermosim.Model(...), and no network": "x = 1",
    "defines init and no loss(params, batch)": NET.replace("def loss", "def cost"),
    "loss takes (params, batch, key)": NET.replace("(params, batch)", "(params, batch, key)"),
    "init gives the leaf ['count'] of int32": NET.replace('{"hidden"', '{"count": jnp.arange(2), "hidden"'),
    "init gives the leaf ['act'] of type": NET.replace('{"hidden"', '{"act": jnp.tanh, "hidden"').replace(
        "def init", "import builtins\ndef init"
    ),
    "would both be called 'hidden_w'": NET.replace('{"hidden"', '{"hidden_w": jnp.ones(2), "hidden"'),
    "classes = 1; expected a whole number, at least 2": NET.replace("3, 2\n", "3, 1\n", 1),
    "shape = (2, 2) has 4 numbers, inputs = 3": NET + "shape = (2, 2)",
    "says both classes and targets": NET + "targets = 3",
    "which would end thermosim": NET.replace("return {", "import os; os._exit(3)\n    return {"),
    "No module named 'jaxx'": "import jaxx",
}


@pytest.mark.parametrize("fault", LOADED)
def test_faults_of_a_file(tmp_path, fault):
    (tmp_path / "net.py").write_text(LOADED[fault])
    model, (said,) = load_user_model(tmp_path / "net.py")
    assert model is None
    assert said.startswith("model.file = 'net.py': ")
    assert fault in said


def test_a_loss_whose_rows_share():
    shared = NET.replace("x, y = batch", "x, y = batch\n    x = x / jnp.sqrt(jnp.mean(x**2, axis=0))")
    found = looked_at(shared)
    assert found.faults == []
    assert not model_of_text(shared).network({}).by_row
    assert model_of_text(NET).network({}).by_row
    assert "rows of a minibatch share" in found.checked[-1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "net.py").write_text(NET)
    return folder, thermosim.simulate(thermosim.load_case(CASE, folder=folder), folder / "net.h5", threads=2)


def test_a_run_against_numpy(run):
    """Its steps are those of plain numpy in float64, of the same starts and rows, to the rounding of float32."""
    from thermosim.kernels.noise import uniform_array
    from thermosim.streams import MINIBATCH

    folder, ds = run
    case = thermosim.load_case(CASE, folder=folder)
    from thermosim.plan.outline import plan

    rows = plan(case)[0].data.values
    theta = ds.theta.values[0].copy()
    assert np.unique(theta[:, 12:20], axis=0).shape == (6, 8)  # every replica has a start of its own
    assert not theta[:, :4].any()
    for step in range(1, 9):
        drawn = uniform_array(3, MINIBATCH, step, 0, (8, 6))
        for replica in range(6):
            chosen = rows[np.floor((1.0 - drawn[:, replica]) * 32).astype(int)]
            theta[replica] -= 0.5 * _slope(theta[replica], chosen[:, :3], chosen[:, 3].astype(int))
        if step % 4 == 0:
            np.testing.assert_allclose(ds.theta.sel(step=step).values, theta, rtol=2e-4, atol=2e-5)


def _slope(theta, x, y):
    b, w, v = theta[:4], theta[4:16].reshape(3, 4), theta[16:].reshape(4, 2)
    h = np.tanh(x @ w + b)
    p = np.exp(h @ v)
    back = (p / p.sum(1, keepdims=True) - np.eye(2)[y]) / len(x)
    z = back @ v.T * (1.0 - h**2)
    return np.concatenate([z.sum(0), (x.T @ z).ravel(), (h.T @ back).ravel()])


def test_it_goes_on_to_the_same_bytes_without_its_file(run, tmp_path):
    _, ds = run
    (tmp_path / "net.py").write_text(NET)
    whole = thermosim.load_case(CASE, {"run.steps": 4}, folder=tmp_path)
    thermosim.simulate(whole, tmp_path / "short.h5", threads=1).close()
    (tmp_path / "net.py").unlink()
    longer = thermosim.extend(tmp_path / "short.h5", steps=4)
    for name in ("theta", "full_loss", "accuracy", "loss_sum"):
        np.testing.assert_array_equal(longer[name].values, ds[name].values)


def test_another_text_is_another_fingerprint(tmp_path):
    from thermosim.plan.outline import plan
    from thermosim.run.fingerprint import changes, fingerprint

    found = []
    for text in (NET, NET, NET.replace("jnp.tanh", "jax.nn.relu")):
        (tmp_path / "net.py").write_text(text)
        case = thermosim.load_case(CASE, folder=tmp_path)
        found.append(fingerprint(case, plan(case)))
    assert changes(found[0], found[1]) == []
    assert "the network" in changes(found[0], found[2])


def test_lengths_are_those_of_the_data(tmp_path):
    text = NET.replace("inputs, classes = 3, 2", "")
    (tmp_path / "net.py").write_text(text)
    case = thermosim.load_case(CASE, folder=tmp_path)
    assert case.settings.model.constants == {"inputs": 3, "classes": 2, "targets": 1}
    wide = {**CASE["data"], "centers": [[1.0, 0.0], [-1.0, 0.0]]}
    with pytest.raises(CaseError, match=r"net.py, line \d+, in outputs: TypeError: .*shape"):
        thermosim.load_case({**CASE, "data": wide}, folder=tmp_path)
