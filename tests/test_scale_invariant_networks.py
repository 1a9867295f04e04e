"""Scale-invariant networks: the functions themselves, against an independent forward pass in plain numpy."""

import itertools
import math

import numpy as np
import pytest

import thermosim
from thermosim.case.load import CaseError
from thermosim.engines.networks import platform
from thermosim.models import MODELS

jax = pytest.importorskip("jax")

SMALL = {
    "convnet": {"width": 2, "side": 9, "channels": 2, "classes": 3, "head_seed": 4},
    "resnet18": {"width": 2, "side": 9, "channels": 2, "classes": 3, "head_seed": 4},
    "normalised-perceptron": {"widths": [7, 5, 4, 3], "head_seed": 4},
}
PAPER = {"side": 32, "channels": 3, "classes": 10, "head_seed": 4}


def shapes(name, constants):
    return {group.name: group.shape(constants) for group in MODELS[name].groups(constants)}


def made(name, seed=0, rows=6):
    """Constants, parameters, inputs and classes, float64."""
    constants, random = SMALL[name], np.random.default_rng(seed)
    theta = {group: random.normal(size=shape) for group, shape in shapes(name, constants).items()}
    x = random.normal(size=(rows, MODELS[name].inputs(constants)))
    return constants, theta, x, np.arange(rows) % 3


def plain_convolution(x, w, stride=1):
    """Sums over pixels, one output at a time."""
    size, side = w.shape[1], x.shape[1]
    out = -(-side // stride)
    y = np.zeros((len(x), out, out, len(w)))
    for p in range(out):
        for q in range(out):
            for i in range(size):
                for j in range(size):
                    row, column = stride * p + i - size // 2, stride * q + j - size // 2
                    if 0 <= row < side and 0 <= column < side:
                        y[:, p, q] += x[:, row, column] @ w[:, i, j].T
    return y


def plain_norm(z):
    flat = z.reshape(-1, z.shape[-1])
    return (z - flat.mean(0)) / flat.std(0)


def plain_pool(x):
    half = x.shape[1] // 2
    return np.array(
        [[x[:, 2 * p : 2 * p + 2, 2 * q : 2 * q + 2].max((1, 2)) for q in range(half)] for p in range(half)]
    )


def plain_outputs(name, constants, theta, x):
    """f (B, classes) without the head's weights: what goes into the head."""
    relu = lambda z: np.maximum(z, 0.0)  # noqa: E731
    if name == "normalised-perceptron":
        for w in theta.values():
            x = relu(plain_norm(np.einsum("bi,oi->bo", x, w)))
        return x
    side = constants["side"]
    x = x.reshape(-1, side, side, constants["channels"])
    if name == "convnet":
        for k, w in enumerate(theta.values()):
            x = relu(plain_norm(plain_convolution(x, w)))
            if k and x.shape[1] > 1:
                x = plain_pool(x).transpose(2, 0, 1, 3)
        return x.max((1, 2))
    x = plain_convolution(x, theta["stem"])
    for stage in (1, 2, 3, 4):
        for block in (1, 2):
            get = lambda part: theta.get(f"stage_{stage}_block_{block}_{part}")  # noqa: B023, E731
            stride = 2 if stage > 1 and block == 1 else 1
            h = relu(plain_norm(x))
            x = x if get("shortcut") is None else plain_convolution(h, get("shortcut"), stride)
            x = x + plain_convolution(relu(plain_norm(plain_convolution(h, get("conv_1"), stride))), get("conv_2"))
    return relu(plain_norm(x)).mean((1, 2))


@pytest.fixture(scope="module", params=SMALL)
def network(request):
    """Name, and (loss, outputs), gradient compiled in float64, as one program."""
    name = request.param
    with platform.traced():
        there = MODELS[name].network(SMALL[name])
        both = lambda theta, x, y: (there.loss(theta, x, y), there.outputs(theta, x))  # noqa: E731
        yield name, jax.jit(jax.value_and_grad(both, has_aux=True))


def test_numbers_of_parameters_of_the_paper():
    def count(name, width, classes=10):
        constants = PAPER | {"width": width, "classes": classes}
        return sum(math.prod(shape) for shape in shapes(name, constants).values())

    assert count("convnet", 8) == 24_408
    assert count("convnet", 16, 100) == 97_200
    assert count("resnet18", 4) == 43_692
    assert count("resnet18", 32) == 2_790_240


def test_forward_pass(network):
    from thermosim.models.scale_invariant import head

    name, gradient = network
    constants, theta, x, y = made(name)
    hidden = plain_outputs(name, constants, theta, x)
    weights, bias = head(constants, hidden.shape[1], biased=name == "convnet")
    assert np.linalg.norm(weights) == pytest.approx(10.0)
    f = hidden @ weights.T + bias
    loss = np.mean(np.log(np.exp(f).sum(1)) - f[np.arange(len(y)), y])
    with platform.traced():
        (found, outputs), _ = gradient(theta, x, y)
    assert np.allclose(outputs, f, rtol=0, atol=1e-10)
    assert float(found) == pytest.approx(loss, abs=1e-12)


def test_gradient_against_differences_of_the_loss(network):
    name, gradient = network
    _, theta, x, y = made(name)
    random, step = np.random.default_rng(1), 1e-6
    along = {group: random.normal(size=w.shape) for group, w in theta.items()}
    with platform.traced():
        slope = sum((np.asarray(g) * along[group]).sum() for group, g in gradient(theta, x, y)[1].items())
        ends = [
            float(gradient({group: w + sign * step * along[group] for group, w in theta.items()}, x, y)[0][0])
            for sign in (1.0, -1.0)
        ]
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=2e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e5])
def test_scales_have_no_effect(network, scale):
    """Each by itself; of the ResNet what is added into one stream. The gradient goes with 1/scale, and is across w."""
    name, gradient = network
    constants, theta, x, y = made(name)
    with platform.traced():
        (loss, _), g = gradient(theta, x, y)
        assert sorted(itertools.chain(*MODELS[name].scales(constants))) == sorted(theta)
        for names in MODELS[name].scales(constants):
            other = {group: w * scale if group in names else w for group, w in theta.items()}
            (scaled, _), slope = gradient(other, x, y)
            assert float(scaled) == pytest.approx(float(loss), abs=1e-9)
            for group in names:
                assert np.allclose(slope[group] * scale, g[group], rtol=0, atol=1e-7 * np.abs(g[group]).max())
            across = sum((np.asarray(g[group]) * theta[group]).sum() for group in names)
            size = sum((np.asarray(g[n]) ** 2).sum() for n in names) * sum((theta[n] ** 2).sum() for n in names)
            assert abs(across) < 1e-13 * math.sqrt(size)


def test_channels_are_across_the_gradient(network):
    """The finest scales: every channel by itself, with what is added into it. None of a layer that is only a part."""
    name, gradient = network
    constants, theta, x, y = made(name)
    (symmetry,) = MODELS[name].symmetries
    generators = symmetry.generators(constants)
    with platform.traced():
        slope = gradient(theta, x, y)[1]
    g = np.concatenate([np.ravel(slope[group]) for group in theta])
    w = np.concatenate([np.ravel(v) for v in theta.values()])
    assert np.abs(generators @ (w * g)).max() < 1e-13 * np.linalg.norm(w) * np.linalg.norm(g)
    assert np.all(np.asarray(generators.sum(axis=0)) == 1.0)
    if name == "resnet18":  # V of a block alone is not scale-invariant: the loss knows its part in the stream
        assert abs((slope["stage_2_block_1_conv_2"] * theta["stage_2_block_1_conv_2"]).sum()) > 1e-3


def test_a_constant_channel_is_nothing_and_stays_finite():
    from thermosim.models.architectures.normalisers import normalised

    with platform.traced():
        z = np.ones((8, 3))
        z[:, 1] = np.arange(8.0)
        z[:, 2] = 0.3 * (1 + 1e-15 * np.arange(8))  # constant to rounding
        y = np.asarray(normalised(jax.numpy.asarray(z)))
        assert np.all(y[:, [0, 2]] == 0.0)
        assert y[:, 1].std() == pytest.approx(1.0, abs=1e-14)
        slope = np.asarray(jax.grad(lambda z: (normalised(z) ** 3).sum())(jax.numpy.asarray(z)))
    assert np.all(slope[:, [0, 2]] == 0.0)
    assert np.all(np.isfinite(slope))


CASE = {
    "model": {"name": "normalised-perceptron", "widths": [64, 6, 5, 10]},
    "data": {"source": "digits", "rows": 60},
    "theta": {"dynamics": "sgd", "constraint": "fixed-lr", "learning_rate": 0.3, "weight_decay": 0.1, "batch": "all"},
    "engine": {"precision": "float64", "tile_width": 2},
    "ensemble": {"replicas": 2, "seed": 3},
    "run": {"steps": 4},
    "record": {"every": 1, "variables": ["theta", "loss_sum", "gradient_square", "layer_weight_gain", "radius"]},
}
ELR = {"theta.constraint": "fixed-elr", "theta.radius": 1.7, "theta.learning_rate": 0.1}
SPHERE = {"theta.constraint": "fixed-sphere", "theta.radius": 1.7, "theta.weight_decay": 0.0}
CONSTRAINTS = {
    "fixed-lr": {},
    "fixed-elr": ELR,
    "fixed-elr by group": ELR | {"theta.radii": "by-group"},
    "fixed-sphere": SPHERE,
    "fixed-sphere by group": SPHERE | {"theta.radii": "by-group"},
}


def step_of(constraint, w, g, rate, decay, radius):
    """w' of one part in plain numpy."""
    if constraint == "fixed-sphere":
        v = w - rate * radius**2 * g
        return radius * v / np.linalg.norm(v)
    return w - rate * (w @ w if constraint == "fixed-elr" else 1.0) * (g + decay * w)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.exhaustive if name in ("fixed-elr", "fixed-sphere") else ())
        for name in CONSTRAINTS
    ],
)
def test_constraints_step_by_step(name):
    """Against the updates in plain numpy, with the gradient of all rows; and what is booked of them."""
    from thermosim.analysis.machine import machines

    stretch = ["stretch"] if "sphere" in name else []
    variables = [*CASE["record"]["variables"], *stretch]
    ds = thermosim.simulate(thermosim.load_case(CASE, CONSTRAINTS[name] | {"record.variables": variables}))
    (machine,) = machines(ds)
    given, table = machine.settings.theta, machine.data.values
    theta = ds["theta"].values  # (step, replica, m)
    of_groups = shapes("normalised-perceptron", machine.constants)
    cuts = np.cumsum([0, *map(math.prod, of_groups.values())])
    slices = [slice(a, b) for a, b in itertools.pairwise(cuts)]
    parts = slices if given.radii == "by-group" else [slice(0, cuts[-1])]
    with platform.traced():
        there = MODELS["normalised-perceptron"].network(machine.constants)
        of_rows = jax.jit(jax.value_and_grad(there.loss))
        sums = {"loss_sum": 0.0, "gradient_square": 0.0, "stretch": 0.0}
        for t in range(4):
            w = theta[t, 1]
            split = {group: w[s].reshape(of_groups[group]) for group, s in zip(of_groups, slices, strict=True)}
            loss, slope = of_rows(split, table[:, :64], table[:, 64].astype(int))
            g = np.concatenate([np.ravel(slope[group]) for group in of_groups])
            for part in parts:
                hyper = given.learning_rate, given.weight_decay, given.radius
                moved = step_of(given.constraint, w[part], g[part], *hyper)
                assert np.allclose(theta[t + 1, 1, part], moved, rtol=0, atol=1e-13)
                sums["gradient_square"] += (w[part] @ w[part]) * (g[part] @ g[part])
                grown = 1 + given.learning_rate**2 * (w[part] @ w[part]) * (g[part] @ g[part])
                sums["stretch"] += np.sqrt(grown) - 1.0 if stretch else 0.0
            sums["loss_sum"] += float(loss)
    for variable in ("loss_sum", "gradient_square", *stretch):
        assert float(ds[variable].isel(step=-1, replica=1)) == pytest.approx(sums[variable], rel=1e-11), variable
    gain = [(theta[-1, 1, s] ** 2).sum() - (theta[0, 1, s] ** 2).sum() for s in slices]
    assert np.allclose(ds["layer_weight_gain"].isel(step=-1, replica=1), gain, rtol=0, atol=1e-13)
    assert np.allclose(ds["radius"], np.linalg.norm(theta, axis=-1), rtol=1e-13)
    lengths = [np.linalg.norm(theta[0, :, part], axis=-1) for part in parts]
    assert np.allclose(lengths, given.radius, rtol=1e-13)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"theta.radii": "by-group"}, "theta.radii = 'by-group': at fixed-lr groups have their own radii"),
        ({"theta.momentum": 0.9}, "theta.momentum = 0.9: is not used with a constraint"),
        ({"theta.learn": ["layer_1"]}, "theta.learn = ['layer_1']: is not used with a constraint"),
        ({"theta.dynamics": "adamw"}, "theta.constraint = 'fixed-lr': is one of 'sgd', not of 'adamw'"),
        ({"theta.constraint": "fixed-sphere"}, "theta.weight_decay = 0.1: has no effect where the radius is held"),
        ({"theta.batch": 1}, "theta.batch = 1: is normalised over the rows"),
        ({"theta.initial": "stationary"}, "theta.initial"),
        ({"model.widths": [64, 10], "record.variables": ["loss_sum"]}, "model.widths = [64, 10]: expected inputs"),
        ({"model": {"name": "convnet", "side": 4, "channels": 1}, "data.shrink": 2}, "model.side = 4: too small"),
        ({"model.name": "multilayer-perceptron", "engine.name": "networks"}, "is not scale-invariant"),
    ],
)
def test_refusals(changes, said):
    with pytest.raises(CaseError) as refused:
        thermosim.load_case(CASE, changes)
    assert said in str(refused.value)


SUMS = ["loss_sum", "gradient_square", "layer_weight_square", "layer_gradient_square", "layer_weight_gain"]
GAS = {
    "model": {"name": "normalised-perceptron", "widths": [64, 8, 8, 10]},
    "data": {"source": "digits"},
    "theta": {"dynamics": "sgd", "constraint": "fixed-lr", "learning_rate": 0.2, "weight_decay": 0.05, "batch": 32},
    "ensemble": {"replicas": 16, "seed": 5},
    "run": {"steps": 1200},
    "record": {"first": 400, "every": 20, "variables": [*SUMS, "radial_cosine_square", "displacement_square"]},
    "sweep": {
        "theta.learning_rate": {"values": [0.2, 0.4]},
        "theta.weight_decay": {"values": [0.05, 0.1]},
    },
}
BALANCE, TURN = "balance of the radius at fixed-lr", "mean |w' - w|^2 over that of a stationary state"
RESIDUAL = "largest residual of |w|^2 between frames, over its sum"


@pytest.fixture(scope="module")
def gas():
    """At a fixed learning rate, float32; two points have one product of rate and decay."""
    return thermosim.simulate(thermosim.load_case(GAS)).load()


def rows_of(ds):
    report = thermosim.check(ds)
    return report, {row.quantity: row for row in report.comparisons}


def test_a_gas_agrees_with_its_laws(gas):
    report, rows = rows_of(gas)
    assert report.consistent
    assert {BALANCE, TURN, RESIDUAL, "largest <w, g>/|w||g|, root mean square over steps"} <= set(rows)
    # rounding stays well below what is allowed, which is well below what the law says of these steps, 2 r lambda
    worst = rows[RESIDUAL].measured.max()
    assert worst < 0.3 * np.max(rows[RESIDUAL].tolerance) < 1e-3 * 2 * 0.2 * 0.05
    assert rows[BALANCE].measured.size >= 2
    alike = [row for name, row in rows.items() if "another unit of length" in name]
    assert [row.measured.size for row in alike] == [1, 1]  # (0.2, 0.1) and (0.4, 0.05)
    assert all(np.all(row.standard_error < 0.05) for row in alike)


@pytest.mark.parametrize(
    ("change", "quantity"),
    [
        ({"gradient_square": 1.1}, BALANCE),
        ({"layer_gradient_square": 1.001}, RESIDUAL),
        ({"layer_weight_square": 1.001}, RESIDUAL),
        ({"displacement_square": 1.05}, TURN),
    ],
)
def test_checks_of_a_gas_have_power(gas, change, quantity):
    ((name, factor),) = change.items()
    report, rows = rows_of(gas.assign({name: gas[name] * factor}))
    assert not report.accepts(rows[quantity])


def test_a_gas_that_is_not_the_same_at_another_unit_of_length_is_seen(gas):
    """A loss that is a third higher at one of the two points that are alike."""
    warm = gas["loss_sum"].copy()
    warm.loc[{"learning_rate": 0.4, "weight_decay": 0.05}] *= 1.33
    report, rows = rows_of(gas.assign(loss_sum=warm))
    assert not report.accepts(rows["U over that at another unit of length, less 1"])


def test_a_run_that_drifts_is_not_compared(gas):
    drifting = gas.assign(loss_sum=gas["loss_sum"] * (1.0 + gas["step"] / 300.0))
    report, rows = rows_of(drifting)
    assert BALANCE not in rows
    assert any("4 of 4 points drift" in note for note in report.notes)


def test_thermodynamics_of_a_gas(gas):
    from thermosim.analysis.network_gas import network_gas

    found = network_gas(gas.assign(gradient_noise_trace=0.0 * gas["loss_sum"] + 2.0))
    square, rate = found["radius"] ** 2, found["effective_learning_rate"]
    size = 64 * 8 + 64
    assert np.allclose(rate, gas["learning_rate"] / square, rtol=1e-2)
    assert np.allclose(found["temperature"], rate * square * 2.0 / (size - 1) / 2, rtol=1e-2)
    state = found["pV_over_RT"] * (size - 1) * found["temperature"] / (gas["weight_decay"] * square)
    assert np.allclose(state, 1.0, rtol=1e-2)
    assert np.allclose(found["balance"], 1.0, atol=0.03)


def test_a_sphere_holds_its_radius_and_its_pressure():
    changes = {
        "sweep": {"theta.radius": {"values": [0.5, 2.0]}},
        "theta.constraint": "fixed-sphere",
        "theta.weight_decay": 0.0,
        "theta.learning_rate": 0.02,
        "run.steps": 400,
        "record.first": 200,
        "record.variables": [*SUMS, "stretch"],
        "ensemble.replicas": 8,
    }
    report, rows = rows_of(thermosim.simulate(thermosim.load_case(GAS, changes)))
    assert report.consistent
    assert rows["largest |w|/R - 1"].measured.max() < 4e-7
    assert rows["balance of the radius at fixed-sphere"].measured == pytest.approx(1.0, abs=0.01)


@pytest.mark.exhaustive
def test_layers_are_booked_in_the_order_of_the_model():
    """Which is not that of the alphabet in a ResNet: streams and recursions are of the layers that they name."""
    model = {"name": "resnet18", "width": 1, "side": 8, "channels": 1}
    changes = {"model": model, "ensemble.replicas": 2, "run.steps": 3, "record.first": 0, "record.every": 1}
    case = {name: table for name, table in GAS.items() if name != "sweep"} | {"engine": {"tile_width": 2}}
    ds = thermosim.simulate(thermosim.load_case(case, changes | {"record.variables": ["theta", *SUMS]}))
    _, rows = rows_of(ds)
    assert rows[RESIDUAL].z == 0.0
    sizes = [math.prod(shape) for shape in shapes("resnet18", model).values()]
    before = np.split(ds["theta"].values[2], np.cumsum(sizes)[:-1], axis=-1)
    booked = ds["layer_weight_square"].diff("step").isel(step=-1)
    assert np.allclose(booked, np.stack([(w**2).sum(-1) for w in before], axis=-1), rtol=1e-5)


@pytest.mark.parametrize(
    "theta", [{"constraint": "fixed-elr", "learning_rate": 0.02}, {"constraint": "fixed-lr", "learning_rate": 0.1}]
)
def test_squared_gradients_on_the_unit_sphere_are_not_taken_for_those_of_minibatches(theta):
    """Under a constraint |w|^2 |g|^2 is booked: a right run far from radius 1 must not be called wrong."""
    names = ["gradient_square", "gradient_noise_trace", "mean_gradient_square"]
    case = {
        "model": {"name": "normalised-perceptron", "widths": [64, 6, 10]},
        "theta": {"dynamics": "sgd", "weight_decay": 0.01, "radius": 3.0, "batch": 16, **theta},
        "data": {"source": "digits", "rows": 200},
        "ensemble": {"replicas": 8},
        "run": {"steps": 12},
        "record": {"every": 1, "variables": names},
    }
    report = thermosim.check(thermosim.simulate(thermosim.load_case(case)))
    assert not any("next step" in row.quantity for row in report.comparisons)


def test_a_run_there_and_back_is_no_gas_and_not_called_wrong():
    """On the way back r has the other sign, so that |w| follows another recursion."""
    case = {
        "model": {"name": "normalised-perceptron", "widths": [64, 6, 10]},
        "theta": {"dynamics": "sgd", "learning_rate": 0.05, "weight_decay": 0.05, "batch": 16},
        "data": {"source": "digits", "rows": 200},
        "ensemble": {"replicas": 8},
        "run": {"steps": 40, "direction": "there-and-back"},
        "record": {
            "every": 4,
            "variables": ["loss_sum", "gradient_square", "layer_weight_square", "layer_gradient_square"]
            + ["layer_weight_gain", "radial_cosine_square"],
        },
    }
    report = thermosim.check(thermosim.simulate(thermosim.load_case(case)))
    assert report.consistent
    assert [row.quantity for row in report.comparisons] == ["largest <w, g>/|w||g|, root mean square over steps"]


def test_laws_that_leave_too_much_open_are_told():
    """Large steps: the law of the radius is left out, and a reader is told so."""
    case = {
        "model": {"name": "normalised-perceptron", "widths": [64, 6, 10]},
        "theta": {"dynamics": "sgd", "constraint": "fixed-elr", "learning_rate": 0.1, "weight_decay": 0.1, "batch": 16},
        "data": {"source": "digits", "rows": 200},
        "ensemble": {"replicas": 8},
        "run": {"steps": 400},
        "record": {"first": 200, "every": 20, "variables": ["loss_sum", "gradient_square", "layer_weight_square"]},
    }
    report = thermosim.check(thermosim.simulate(thermosim.load_case(case)))
    assert not any("balance" in row.quantity for row in report.comparisons)
    assert any("law of the radius is not compared" in note for note in report.notes)
