"""Language models in JAX against plain numpy: what they say of a sequence, its gradient, and what they may not see."""

import math

import numpy as np
import pytest

from thermosim.models import MODELS

jax = pytest.importorskip("jax")

from thermosim.engines.networks.platform import traced  # noqa: E402

CONSTANTS = {
    "gru": {"vocabulary": 5, "context": 4, "width": 3, "layers": 2, "predict": "all"},
    "transformer": {"vocabulary": 5, "context": 4, "width": 4, "heads": 2, "layers": 2, "predict": "all"},
}
NAMES = sorted(CONSTANTS)


def sigma(z):
    return 1.0 / (1.0 + np.exp(-z))


def affine(w, x):
    return w[:, :-1] @ x + w[:, -1]


def gru_by_hand(p, tokens):
    """Logits after every token of one sequence: gates as in torch.nn.GRU, its two biases in the last columns."""
    states, said = [np.zeros(3), np.zeros(3)], []
    for token in tokens:
        x = p["embedding"][token]
        for layer in (0, 1):
            i, u = affine(p[f"inputs_{layer + 1}"], x), affine(p[f"recurrent_{layer + 1}"], states[layer])
            r, z = sigma(i[0:3] + u[0:3]), sigma(i[3:6] + u[3:6])
            n = np.tanh(i[6:9] + r * u[6:9])
            states[layer] = x = (1 - z) * n + z * states[layer]
        said.append(affine(p["readout"], x))
    return np.array(said)


def norm(w, x):
    return w[0] * (x - x.mean()) / np.sqrt(x.var() + 1e-5) + w[1]


def gelu(z):
    return 0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def transformer_by_hand(p, tokens):
    x = [p["embedding"][token] + p["positions"][place] for place, token in enumerate(tokens)]
    for layer in (1, 2):
        maps, given = p[f"attention_{layer}"], [norm(p[f"norms_{layer}"][0], one) for one in x]
        q, k, v = ([affine(maps[which], one) for one in given] for which in (0, 1, 2))
        for place in range(len(tokens)):
            gathered = []
            for head in (slice(0, 2), slice(2, 4)):
                weights = np.exp([q[place][head] @ k[other][head] / math.sqrt(2) for other in range(place + 1)])
                gathered.append(sum(w * v[other][head] for other, w in enumerate(weights / weights.sum())))
            x[place] = x[place] + affine(maps[3], np.concatenate(gathered))
        for place, one in enumerate(x):
            wide = gelu(affine(p[f"expand_{layer}"], norm(p[f"norms_{layer}"][1], one)))
            x[place] = one + affine(p[f"contract_{layer}"], wide)
    return np.array([affine(p["readout"], norm(p["norm"], one)) for one in x])


BY_HAND = {"gru": gru_by_hand, "transformer": transformer_by_hand}


def surprisals_by_hand(name, p, row):
    logits = BY_HAND[name](p, row[:-1])
    return np.array([np.log(np.exp(f).sum()) - f[following] for f, following in zip(logits, row[1:], strict=True)])


def groups(name, theta, constants=None):
    constants = constants or CONSTANTS[name]
    found, first = {}, 0
    for group in MODELS[name].groups(constants):
        shape = group.shape(constants)
        found[group.name] = theta[first : first + math.prod(shape)].reshape(shape)
        first += math.prod(shape)
    assert first == len(theta)
    return found


def length(name, constants=None):
    constants = constants or CONSTANTS[name]
    return sum(math.prod(group.shape(constants)) for group in MODELS[name].groups(constants))


@pytest.fixture(scope="module", params=NAMES)
def network(request):
    """Its name, parameters as groups, rows, and its functions, compiled."""
    name, random = request.param, np.random.default_rng(3)
    p = groups(name, 0.5 * random.normal(size=length(name)))
    functions = MODELS[name].network(CONSTANTS[name])
    with traced():
        log_probability = jax.jit(functions.log_probability)
        gradient = jax.jit(jax.value_and_grad(lambda p, x: functions.loss(p, x, None)))
    return name, p, random.integers(0, 5, (6, 5)), log_probability, gradient


def test_a_network_is_what_its_formulas_say(network):
    """Each row's ln p, and the loss as their mean over tokens: float64 against loops over places and units."""
    name, p, rows, log_probability, gradient = network
    by_hand = np.array([surprisals_by_hand(name, p, row) for row in rows])
    with traced():
        assert np.allclose(log_probability(p, rows.astype(float)), -by_hand.sum(1), rtol=1e-12, atol=0)
        assert math.isclose(float(gradient(p, rows.astype(float))[0]), by_hand.mean(), rel_tol=1e-12)
        last = MODELS[name].network(CONSTANTS[name] | {"predict": "last"})
        assert np.allclose(jax.jit(last.log_probability)(p, rows.astype(float)), -by_hand[:, -1], rtol=1e-12)


def test_the_gradient_is_that_of_finite_differences(network):
    """Of the formulas by hand, along two directions in every group of parameters."""
    name, p, rows, _, gradient = network
    with traced():
        slopes = {group: np.asarray(slope) for group, slope in gradient(p, rows.astype(float))[1].items()}
    random, step = np.random.default_rng(4), 1e-5

    def loss(group, shift):
        moved = {**p, group: p[group] + shift}
        return np.mean([surprisals_by_hand(name, moved, row) for row in rows])

    for group, slope in slopes.items():
        for direction in random.normal(size=(2, *slope.shape)):
            difference = (loss(group, step * direction) - loss(group, -step * direction)) / (2 * step)
            assert abs((slope * direction).sum() - difference) < 1e-8 * np.sqrt((slope**2).sum() * slope.size), group
        assert np.abs(slope).max() > 1e-4, group


def test_probabilities_of_all_continuations_add_to_one(network):
    """ln p of a row is that of its tokens given the first one: all 5^4 of them together are certain."""
    _, p, _, log_probability, _ = network
    rest = np.stack(np.meshgrid(*[np.arange(5)] * 4, indexing="ij"), -1).reshape(-1, 4)
    rows = np.concatenate([np.full((len(rest), 1), 2), rest], axis=1).astype(float)
    with traced():
        assert math.isclose(np.exp(np.asarray(log_probability(p, rows))).sum(), 1.0, rel_tol=1e-12)


def test_a_later_token_changes_nothing_before_it(network):
    """And does change what comes after."""
    from thermosim.models.architectures import gru, next_token, transformer

    name, p, rows, *_ = network
    hidden = {"gru": gru, "transformer": transformer}[name].hidden_of(CONSTANTS[name])
    other = rows.copy()
    other[:, 2] = (other[:, 2] + 1) % 5
    with traced():
        logits = jax.jit(lambda p, x: next_token.logits(hidden, p, x))
        before, after = (np.asarray(logits(p, x)) for x in (rows, other))
    assert np.array_equal(before[:, :2], after[:, :2])
    assert (np.abs(before[:, 2:] - after[:, 2:]).max(-1) > 1e-6).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_start_knows_nothing_yet(name):
    """The loss is ln V and half the variance of the logits; all biases are 0."""
    model, constants = MODELS[name], CONSTANTS[name] | {"vocabulary": 40, "context": 8, "width": 32, "heads": 4}
    size = length(name, constants)
    normal = np.random.default_rng(1).normal(size=(size + 1, 3))
    rows = np.random.default_rng(2).integers(0, 40, (50, 9)).astype(float)
    with traced():
        loss = jax.jit(lambda p: model.network(constants).loss(p, rows, None))
    for kind, start in model.initial_theta.items():
        theta = start(constants, {}, normal, np.zeros(3))
        assert theta.shape == (size, 3)
        p = groups(name, theta[:, 0], constants)
        with traced():
            assert 0.0 < float(loss(p)) - math.log(40) < (0.02 if kind == "gpt" else 0.7), kind
        biased = {one: w for one, w in p.items() if one not in ("embedding", "positions") and "norm" not in one}
        assert not any(w[..., -1].any() for w in biased.values())
