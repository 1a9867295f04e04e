"""What is measured on a graphics card: the runs, their fused kernels, and JAX on the same work with its comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import fused, machine, networks, sphere, trap
from benchmarks.trap_rivals import Booked, Drag, jax_drag

__all__ = ["SYSTEMS", "System"]

CASES = Path(__file__).resolve().parents[2] / "cases"
NET = networks.NETS[0]
State = Mapping[str, np.ndarray]
Fused = Callable[[Any, State, State], tuple[str, tuple[Any, ...], list[np.ndarray], list[np.ndarray]]]
Jax = Callable[[int, int], tuple[Callable[[], Any], Callable[[State, Any, Any], None]]]


@dataclass(frozen=True)
class System:
    """A run of so many lanes and steps, and others that do the same."""

    name: str
    case: Callable[[int, int], Any]  # of lanes and steps
    steps: int
    fused: Fused | None = None  # of block, start and our end: the kernel, its arguments, what it writes, the right end
    jax: Jax | None = None  # a run, whose arrays stay on the card, and what compares them with our state


def _of_text(text: Callable[[int, int], str]) -> Callable[[int, int], Any]:
    import thermosim

    return lambda lanes, steps: thermosim.load_case(text(lanes, steps))


def _of_file(name: str) -> Callable[[int, int], Any]:
    """A case of the library with other lanes and steps, of which only work and heat at the end come back."""

    def case(lanes: int, steps: int) -> Any:
        import thermosim

        record = {"record.first": steps, "record.every": 1, "record.variables": ["work", "heat"]}
        changes = {"ensemble.replicas": lanes, "run.steps": steps, **record}
        return thermosim.load_case(CASES / name, overrides=changes)

    return case


def _rows_of(state: State, names: tuple[str, ...], booked: tuple[str, ...], path: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(path[booked.index(name)]) for name in names]


def _fused_trap(block: Any, start: State, ours: State) -> tuple[str, tuple[Any, ...], list[np.ndarray], Any]:
    expected = [ours["x"][0, 0], *_rows_of(ours, trap.LEDGER[1:], block.x_rows, ours["x_path"][0])]
    return "drag", fused.drag_arguments(block), [np.zeros(block.lanes) for _ in range(4)], expected


def _fused_sphere(block: Any, start: State, ours: State) -> tuple[str, tuple[Any, ...], list[np.ndarray], Any]:
    return "roll", fused.roll_arguments(block), [np.ascontiguousarray(start["theta"])], [ours["theta"]]


def _jax_trap(lanes: int, steps: int) -> tuple[Callable[[], Any], Callable[[State, Any, Any], None]]:
    drag = Drag(lanes, steps)

    def agree(ours: State, block: Any, theirs: Any) -> None:
        ledger = _rows_of(ours, trap.LEDGER[1:], block.x_rows, ours["x_path"][0])
        trap.require_agreement("thermosim on the card", Booked(ours["x"][0, 0], *ledger), drag)
        trap.require_agreement("JAX on the card", Booked(*map(np.asarray, theirs)), drag)

    return jax_drag(drag), agree


def _jax_machine(lanes: int, steps: int) -> tuple[Callable[[], Any], Callable[[State, Any, Any], None]]:
    task = machine.Task(lanes, steps)

    def agree(ours: State, block: Any, theirs: Any) -> None:
        work, heat = _rows_of(ours, ("work", "heat"), block.x_rows, ours["x_path"][0])
        machine.require_agreement("thermosim on the card", (work, heat), task)
        machine.require_agreement("JAX on the card", (np.asarray(theirs[0]), np.asarray(theirs[1])), task)

    return machine.jax_learn(task), agree


def _net(lanes: int, steps: int) -> networks.Net:
    return networks.Net(NET.widths, NET.activation, NET.batch, lanes, steps, NET.target)


def _jax_net(lanes: int, steps: int) -> tuple[Callable[[], Any], Callable[[State, Any, Any], None]]:
    net = _net(lanes, steps)

    def agree(ours: State, block: Any, theirs: Any) -> None:
        sums = tuple(_rows_of(ours, networks.BOOKS, block.theta_rows, ours["theta_path"]))
        networks.require_agreement(net, {"thermosim": sums, "JAX": tuple(map(np.asarray, theirs))})

    return networks.jax_learn(net), agree


def _sphere_text(lanes: int, steps: int) -> str:
    return sphere.case_text(3, lanes, steps, steps, 1)


def _jax_sphere(lanes: int, steps: int) -> tuple[Callable[[], Any], Callable[[State, Any, Any], None]]:
    """jit of lax.scan over steps, arrays (component, replica), from the start of the case; its settings are read."""
    import jax
    import jax.numpy as jnp

    import thermosim
    from thermosim.plan.outline import plan
    from thermosim.plan.starts import initial_state

    jax.config.update("jax_enable_x64", True)
    outline = plan(thermosim.load_case(_sphere_text(1, steps)))[0]
    block, start = outline.block(), initial_state(outline, 0, 1)["theta"]
    *_, noise, rate, decay, direction = fused.roll_arguments(block)
    mu = jnp.asarray(direction)[:, None]

    def step(w, key):  # type: ignore[no-untyped-def]
        square = (w * w).sum(0)
        pull = mu + noise * jax.random.normal(key, w.shape, jnp.float64)
        gradient = (pull - (pull * w).sum(0) / square * w) / jnp.sqrt(square)
        return w - rate * square * (gradient + decay * w), None

    @jax.jit
    def roll(key):  # type: ignore[no-untyped-def]
        w = jnp.broadcast_to(jnp.asarray(start), (3, lanes))
        return jax.lax.scan(step, w, jax.random.split(key, steps))[0]

    def agree(ours: State, block: Any, theirs: Any) -> None:
        for what, of in (("cosine", _cosine), ("square of the radius", _square)):
            a, b = of(ours["theta"], direction), of(np.asarray(theirs), direction)
            z = (a.mean() - b.mean()) / np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / lanes)
            if not abs(z) < 5.0:
                raise SystemExit(f"sphere: the mean {what} of JAX differs by {z:.1f} standard errors")

    return lambda: roll(jax.random.PRNGKey(0)), agree


def _cosine(w: np.ndarray, direction: np.ndarray) -> np.ndarray:
    return np.asarray(direction @ w / np.sqrt(_square(w, direction)))


def _square(w: np.ndarray, direction: np.ndarray) -> np.ndarray:
    return np.asarray((w * w).sum(axis=0))


SYSTEMS = (
    System("dragged trap", _of_text(lambda n, s: trap.case_text(Drag(n, s))), 2000, _fused_trap, _jax_trap),
    System("sphere, d = 3", _of_text(_sphere_text), 1000, _fused_sphere, _jax_sphere),
    System(
        "Gaussian machine, tau = 10",
        _of_text(lambda n, s: machine.case_text(machine.Task(n, s))),
        100,
        jax=_jax_machine,
    ),
    System("network 3-6-1 relu", _of_text(lambda n, s: networks.case_text(_net(n, s))), 500, jax=_jax_net),
    System("double well, mala, tau = 10", _of_file("learning/double_well.toml"), 20),
    System("Boltzmann machine, gibbs, tau = 8", _of_file("learning/boltzmann_machine.toml"), 50),
)
