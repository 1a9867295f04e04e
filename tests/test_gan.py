"""The adversarial network: the field of its players and its law against plain numpy, and a known solution."""

import numpy as np
import pytest
from scipy import stats

import thermosim
from thermosim.analysis import latent_bounds, machines, update_energy
from thermosim.analysis.gradient_noise import gradient_noise, minibatch
from thermosim.analysis.irreversibility import asymmetry, entropy_of_steps, potentials_in_time
from thermosim.checks.latent_laws import latent_comparisons
from thermosim.models.latent_rules import layer_shapes, rule_of_noise
from thermosim.streams import ROW_NOISE

pytest.importorskip("jax")

N, NOISE, PENALTY, RATE = 2, 0.3, 0.7, 0.1
CASE = f"""
title = "a gan"
[model]
name = "gan"
dimension = {N}
latent = 1
pixel_noise = {NOISE}
gradient_penalty = {PENALTY}
nodes = 96
generator = [3]
discriminator = [4]
[theta]
dynamics = "sgd"
learning_rate = {RATE}
batch = 3
[data]
source = "gaussian"
mean = 0.3
rows = 24
test = 20
[ensemble]
replicas = 3
seed = 5
[engine]
precision = "float64"
[run]
steps = 2
[record]
every = 1
variables = [
  "theta", "minibatch_loss", "displacement_square", "full_loss", "discriminator_loss", "generator_loss",
  "data_surprisal", "test_surprisal",
]
"""


def simulated(folder, text, **overrides):
    path = folder / "case.toml"
    path.write_text(text)
    return thermosim.simulate(thermosim.load_case(path, overrides))


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    return simulated(tmp_path_factory.mktemp("gan"), CASE)


@pytest.fixture(scope="module")
def one(ensemble):
    return machines(ensemble)[0]


def parts(theta, constants):
    """Matrices of discriminator and generator, and how many numbers the first has."""
    found, first, sizes = [], 0, []
    for part in ("discriminator", "generator"):
        matrices = []
        for shape in layer_shapes(constants, part):
            matrices.append(theta[first : first + shape[0] * shape[1]].reshape(shape))
            first += shape[0] * shape[1]
        found.append(matrices)
        sizes.append(first)
    assert first == len(theta)
    return *found, sizes[0]


def through(matrices, h):
    for number, w in enumerate(matrices, start=1):
        h = h @ w[:, :-1].T + w[:, -1]
        h = np.tanh(h) if number < len(matrices) else h
    return h


def players(theta, constants, x, noise, weights):
    """Losses of both, of a discriminator of one hidden layer: its slope in x by hand."""
    discriminator, generator, _ = parts(theta, constants)
    made = through(generator, noise[:, :1]) + NOISE * noise[:, 1:]
    first, last = discriminator
    h = np.tanh(x @ first[:, :-1].T + first[:, -1])
    slope = (last[0, :-1] * (1.0 - h**2)) @ first[:, :-1]
    real, fake = (1.0 / (1.0 + np.exp(-through(discriminator, at)[:, 0])) for at in (x, made))
    penalty = 0.5 * PENALTY * np.mean(np.sum(slope**2, axis=1))
    return -np.mean(np.log(real)) - weights @ np.log(1.0 - fake) + penalty, -weights @ np.log(fake)


def test_both_players_move_by_the_slope_of_their_own_loss(ensemble, one):
    """Finite differences in plain numpy, at the rows and the noise that the addresses give.

    Other signs, a loss that both descend, s^2 for s, a penalty of gamma or of fake rows: each is seen.
    """
    from thermosim.engines.networks.normals import normals_of_steps

    noise = normals_of_steps(5, ROW_NOISE, np.array([1, 2]), 0, 3 * (1 + N), 3)
    weights, own = np.full(3, 1.0 / 3.0), parts(one.theta(0)[0], one.constants)[2]
    for step in (1, 2):
        before, after, rows = one.theta(step - 1), one.theta(step), minibatch(one, step)
        for replica in range(3):
            drawn = noise[step - 1, replica].reshape(3, 1 + N)

            def losses(theta, rows=rows[replica], drawn=drawn):
                return np.array(players(theta, one.constants, rows, drawn, weights))

            shifts = 1e-5 * np.eye(before.shape[1])
            slopes = np.array([losses(before[replica] + e) - losses(before[replica] - e) for e in shifts]) / 2e-5
            field = np.where(np.arange(len(slopes)) < own, slopes[:, 0], slopes[:, 1])
            np.testing.assert_allclose(before[replica] - after[replica], RATE * field, atol=1e-9)
            assert np.abs(field).max() > 0.05
            assert float(ensemble.minibatch_loss[step, replica]) == pytest.approx(losses(before[replica]).sum())


def test_losses_of_all_data_are_averages_over_samples(ensemble, one):
    drawn, weights = rule_of_noise(1 + N)
    assert np.abs(weights @ drawn).max() < 1e-12
    for replica, theta in enumerate(one.theta(2)):
        expected = players(theta, one.constants, one.data.of_set(0), drawn, weights)
        assert float(ensemble.discriminator_loss[2, replica]) == pytest.approx(expected[0], rel=1e-9)
        assert float(ensemble.generator_loss[2, replica]) == pytest.approx(expected[1], rel=1e-9)
        assert float(ensemble.full_loss[2, replica]) == pytest.approx(sum(expected), rel=1e-9)


def test_ln_p_is_its_integral_and_a_density(ensemble, one):
    theta, test = one.theta(2), one.test_rows
    z = np.linspace(-9.0, 9.0, 9001)
    side = np.linspace(-6.0, 6.0, 161)
    square = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, N)
    mass = np.exp(-one.evaluator.surprisals(square, theta)).sum(axis=1) * (side[1] - side[0]) ** 2
    np.testing.assert_allclose(mass, 1.0, atol=1e-6)
    phi = one.evaluator.surprisals(test, theta)
    np.testing.assert_allclose(ensemble.test_surprisal[2], phi.mean(axis=1), rtol=1e-9)
    rows = one.data.of_set(0)
    np.testing.assert_allclose(ensemble.data_surprisal[2], one.evaluator.surprisals(rows, theta).mean(axis=1))
    for weights, values in zip(theta, phi, strict=True):
        images = through(parts(weights, one.constants)[1], z[:, None])
        for x, value in zip(test[::6], values[::6], strict=True):
            density = stats.norm.pdf(x, images, NOISE).prod(axis=1) * stats.norm.pdf(z)
            assert value == pytest.approx(-np.log(np.trapezoid(density, z)), abs=1e-6)


def test_check_knows_the_rule_the_sampler_and_the_chains(ensemble, one, monkeypatch):
    """Samples in JAX against numpy's moments, and Jarzynski's equality; a pixel noise of s^2 is off in both."""
    rows = latent_comparisons(ensemble, [one])
    assert len(rows) == 4
    assert all(np.min(row.p_value) > 1e-4 for row in rows)
    from thermosim.analysis import latent_likelihoods

    moments = latent_likelihoods.moments_by_rule
    monkeypatch.setitem(latent_comparisons.__globals__, "moments_by_rule", lambda m, t: _with_s_squared(moments, m, t))
    assert latent_comparisons(ensemble, [one])[2].p_value.max() < 1e-6


def _with_s_squared(moments, machine, theta):
    total, square = moments(machine, theta)
    return total, square + N * (NOISE**4 - NOISE**2)


def test_a_game_has_no_potential(ensemble, one, tmp_path):
    """Its Jacobian is far from symmetric; whatever presumes that it is says so."""
    rows = one.data.of_set(0)
    field = lambda theta: one.evaluator.data_gradient(rows, theta)[1]  # noqa: E731
    assert np.min(asymmetry(field, one.theta(0))) > 0.1
    for analysis in (update_energy, potentials_in_time, lambda ds: entropy_of_steps(ds, 0.1)):
        with pytest.raises(ValueError, match="game of players"):
            analysis(ensemble)
    with pytest.raises(ValueError, match="noise of its own"):
        gradient_noise(one)
    path = tmp_path / "case.toml"
    path.write_text(CASE)
    with pytest.raises(thermosim.CaseError, match=r"irreversibility: .*remove the section"):
        thermosim.load_case(path, {"irreversibility.scalars": False})
    with pytest.raises(thermosim.CaseError, match="3 dimensions is known between bounds only"):
        thermosim.load_case(path, {"model.latent": 3})


LINE = """
title = "one normal law from another"
[model]
name = "gan"
dimension = 1
latent = 1
pixel_noise = 0.5
gradient_penalty = 0.6
generator = []
discriminator = [8]
[theta]
dynamics = "sgd"
learning_rate = 0.2
batch = 64
[data]
file = "rows.npy"
[ensemble]
replicas = 32
seed = 3
[engine]
tile_width = 32
[run]
steps = 1500
[record]
first = 700
every = 100
variables = ["theta"]
"""


def test_a_linear_generator_finds_mean_and_variance(tmp_path):
    """x = a z + b + s xi: in equilibrium b and a^2 + s^2 are those of normal data, here at 1,024 quantiles.

    Four standard errors of replicas, each averaged over eight frames; s for s^2, or none, would be 0.25 off.
    """
    rows = 0.7 + 0.8 * stats.norm.ppf((np.arange(1024) + 0.5) / 1024)
    np.save(tmp_path / "rows.npy", rows[:, None])
    ds = simulated(tmp_path, LINE)
    assert ds.sizes["step"] == 9
    a, b = (ds.theta.isel(theta_dim=place).values for place in (-2, -1))
    for values, exact, known in ((b, rows.mean(), 0.02), (a**2 + 0.25, rows.var(), 0.02)):
        of_replica = values.mean(axis=0)
        error = of_replica.std(ddof=1) / np.sqrt(len(of_replica))
        assert error < known
        assert abs(of_replica.mean() - exact) < 4.0 * error


def test_bounds_of_a_larger_latent_hold_what_is_exact(ensemble, tmp_path):
    """A linear generator of a latent of three: x is normal, its entropy and ln p of rows held out are known."""
    linear = {"model.latent": 3, "model.generator": [], "run.steps": 1, "record.variables": ["theta"]}
    ds = simulated(tmp_path, CASE, **linear)
    found = latent_bounds(ds, replicas=3, samples=64, chains=4, jumps=60)
    (machine,) = machines(ds.isel(step=[-1]))
    entropy, held_out = [], []
    picked = machine.test_rows
    for theta in machine.theta(0):
        w = parts(theta, machine.constants)[1][0]
        law = stats.multivariate_normal(w[:, -1], w[:, :-1] @ w[:, :-1].T + NOISE**2 * np.eye(N))
        entropy.append(law.entropy())
        held_out.append(-law.logpdf(picked).mean())
    names = ("surprisal_lower", "surprisal_upper", "test_surprisal_upper")
    low, high, above = (float(found[name][0]) for name in names)
    errors = [float(found[f"{name}_error"][0]) for name in names[:2]]
    scale = np.sqrt(N / 2.0 / (3 * 64))  # of a mean of -ln p over samples
    assert low - np.mean(entropy) < 4.0 * scale
    assert high - np.mean(entropy) > -4.0 * scale
    assert -4.0 * np.hypot(*errors) < high - low < 0.3
    assert -0.02 < above - np.mean(held_out) < 0.3
