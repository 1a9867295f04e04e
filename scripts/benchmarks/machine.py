"""The Gaussian learning machine, everything booked: thermosim against JAX, and against thermosim's own dragged trap.

8 components, minibatches of 4 rows, tau = 10 Euler-Maruyama moves of x a step, work, heat and exact log ratio of every
move. Before anything is timed, mean work and heat of each engine must agree with the exact moments of the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import trap
from benchmarks.timing import BENCH, Row, installed, interleaved, missing, target
from benchmarks.trap_rivals import Drag

__all__ = ["rows"]

TITLE = "Gaussian machine, 8 components, tau = 10, batch 4, everything booked: 8192 replicas, float64"
COMPONENTS, TAU, BATCH, DATA_ROWS = 8, 10, 4, 256
RATE, TIME_STEP = 0.1, 0.05
Booked = tuple[np.ndarray, np.ndarray]  # work and heat of every replica


@dataclass(frozen=True)
class Task:
    """How much work."""

    replicas: int
    steps: int

    @property
    def moves(self) -> int:
        """Moved components of x."""
        return self.replicas * self.steps * TAU * COMPONENTS


def case_text(task: Task) -> str:
    """The run as a user writes it."""
    return f"""
    [model]
    name = "gaussian"
    dimension = {COMPONENTS}
    [theta]
    dynamics = "sgd"
    learning_rate = {RATE}
    batch = {BATCH}
    learn = ["mean"]
    [x]
    dynamics = "ula"
    time_step = {TIME_STEP}
    tau = {TAU}
    [data]
    source = "gaussian"
    mean = 1.0
    deviation = 0.5
    rows = {DATA_ROWS}
    [ensemble]
    replicas = {task.replicas}
    [run]
    steps = {task.steps}
    [record]
    first = {task.steps}
    every = 1
    variables = ["x", "work", "heat", "log_ratio_x"]
    """


def own(task: Task) -> Callable[[], Booked]:
    """What a user gets: thermosim.simulate, from the case to the dataset."""
    import thermosim

    case = thermosim.load_case(case_text(task))

    def run() -> Booked:
        last = thermosim.simulate(case).isel(step=-1)
        return last.work.values, last.heat.values

    return run


def data_rows() -> np.ndarray:
    """The data every engine learns from: (K, n)."""
    import thermosim
    from thermosim.plan.outline import plan

    data = plan(thermosim.load_case(case_text(Task(1, 1))))[0].data
    assert data is not None
    return np.asarray(data.values)


def jax_scan(task: Task) -> Callable[[], Booked]:
    """jit of lax.scan over steps with a scan over moves inside, arrays (replica, component), float64."""
    learn = jax_learn(task)

    def run() -> Booked:
        work, heat = learn()
        return np.asarray(work), np.asarray(heat)

    return run


def jax_learn(task: Task) -> Callable[[], tuple[Any, Any]]:
    """The same, whose work and heat stay where JAX has made them."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    data, h = jnp.asarray(data_rows()), TIME_STEP

    def phi(x, mean):  # type: ignore[no-untyped-def]
        return 0.5 * ((x - mean) ** 2).sum(axis=1)

    def move(carry, key):  # type: ignore[no-untyped-def]
        x, mean, energy, heat, ratio = carry
        force = mean - x
        new = x + h * force + jnp.sqrt(2 * h) * jax.random.normal(key, x.shape, jnp.float64)
        force_new, energy_new = mean - new, phi(new, mean)
        ratio = ratio + (0.5 * (force + force_new) * (new - x + 0.5 * h * (force_new - force))).sum(axis=1)
        return (new, mean, energy_new, heat + energy_new - energy, ratio), None

    def step(carry, key):  # type: ignore[no-untyped-def]
        x, mean, energy, work, heat, ratio = carry
        of_rows, of_moves = jax.random.split(key)
        rows = data[jax.random.randint(of_rows, (task.replicas, BATCH), 0, DATA_ROWS)]
        mean = mean - RATE * (mean - rows.mean(axis=1))
        jumped = phi(x, mean)
        state = (x, mean, jumped, heat, ratio)
        x, mean, energy_new, heat, ratio = jax.lax.scan(move, state, jax.random.split(of_moves, TAU))[0]
        return (x, mean, energy_new, work + jumped - energy, heat, ratio), None

    @jax.jit
    def learn(key):  # type: ignore[no-untyped-def]
        first, key = jax.random.split(key)
        x, zero = jax.random.normal(first, (task.replicas, COMPONENTS), jnp.float64), jnp.zeros(task.replicas)
        state = (x, jnp.zeros_like(x), phi(x, 0.0), zero, zero, zero)
        return jax.lax.scan(step, state, jax.random.split(key, task.steps))[0]

    return lambda: learn(jax.random.PRNGKey(0))[3:5]


def require_agreement(name: str, booked: Booked, task: Task) -> None:
    """Stop when an engine did not do the work: a factor 2 or a move too many is tens of standard errors off."""
    from thermosim.exact.learning_machine import LearningMachine, Start, moments

    data = data_rows()
    machine = LearningMachine(
        np.ones(COMPONENTS), data.mean(axis=0), np.cov(data.T, bias=True), task.steps, RATE, batch=BATCH,
        x_dynamics="ula", time_step=TIME_STEP, tau=TAU,
    )  # fmt: skip
    exact = moments(machine, Start(np.zeros(COMPONENTS)), [task.steps])
    for what, values, expected in (("work", booked[0], exact.work[0]), ("heat", booked[1], exact.heat[0])):
        z = (values.mean() - expected) / (values.std(ddof=1) / np.sqrt(task.replicas))
        if not abs(z) < 5.0:
            raise SystemExit(f"{name}: mean {what} is {values.mean():.6g}, exactly {expected:.6g}, z = {z:.1f}")


def rows(quick: bool) -> list[Row]:
    """The lines of the table."""
    task, repeats = (Task(1024, 20), 2) if quick else (Task(8192, 1000), 3)
    drag = Drag(1024, 200) if quick else Drag(8192, 2000)
    engines: dict[str, Callable[[], object]] = {"thermosim": own(task), "trap": trap.kernel_alone(drag)}
    if installed("jax"):
        engines["jax"] = jax_scan(task)
    for name in ("thermosim", "jax"):
        if name in engines:
            require_agreement(name, engines[name](), task)  # type: ignore[arg-type]
    seconds = interleaved(engines, repeats)
    trap_move = seconds["trap"] / (drag.replicas * drag.steps)
    own_move = seconds["thermosim"] / task.moves
    unit = "ns per move and component of x"
    lines = [
        Row(
            "thermosim.simulate, two threads",
            f"{1e9 * own_move:.2f} {unit}",
            f"{own_move / trap_move:.2f} x a move of the dragged trap ({1e9 * trap_move:.2f} ns)",
            **target(own_move / trap_move, below=2.1, unit=" x"),
        )
    ]
    if "jax" not in engines:
        return [*lines, missing("JAX lax.scan, jit", BENCH)]
    ratio = seconds["jax"] / seconds["thermosim"]
    figure = f"{1e9 * seconds['jax'] / task.moves:.2f} {unit}"
    return [
        *lines,
        Row("JAX lax.scan, jit", figure, f"{ratio:.1f} x slower", **target(ratio, at_least=10.0, unit=" x")),
    ]
