"""What Adam can spend on its steps in any network, and what its gradients say that it spends.

    |dtheta|^2 <= r^2 d sum_k a_k^2/c_k        of d parameters, any gradients, any schedule     [`exact.adam_noise`]
    |dtheta|^2 ~ r^2 d (A + (1 - A) rho) G/V,   A = sum_k a_k^2,   G = |g|^2 now, V its average with weights c_k

The first is exact, and at the first step an equality but for parameters without a gradient. The second takes gradients
for drawn from one law over the memory of the first moment, of which the share rho is common to all minibatches
(`signal_share`), lets the second moments of all parameters change alike, and is their mean as beta2 -> 1: an estimate
from measured gradients, and no law. Where rho -> 0 and G = V it is that of pure noise, r^2 d (1 - beta1)/(1 + beta1).
It was a quarter too much in a recurrent language model, whose signal turns within the memory of the first moment, and
up to three times too much in a Transformer whose gradients shrank at first, by other factors in other groups.

Source: D. P. Kingma, J. Ba, ICLR 2015, Algorithm 1; L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026),
for update energies |dtheta|^2/r under schedules; both lines by hand.
"""

from __future__ import annotations

import math

import numpy as np

from thermosim.analysis.machine import Machine
from thermosim.exact import adam_noise
from thermosim.schedules import values_at

__all__ = ["has_moments", "is_adam", "learned_numbers", "most_of_updates", "of_one_size", "of_signal", "rates"]

SHARE, SQUARES = "signal_share", "gradient_square"


def is_adam(machine: Machine) -> bool:
    """Whether theta moves by Adam at one learning rate, forward, without decay."""
    theta, run = machine.settings.theta, machine.settings.run
    plain = not theta.weight_decay and not theta.has_several_rates
    return machine.theta_move.moments and plain and run.direction == "forward"


def has_moments(machine: Machine) -> bool:
    """Whether theta moves forward by a move with moments; update_square has factors of groups and decay in it."""
    return machine.theta_move.moments and machine.settings.run.direction == "forward"


def learned_numbers(machine: Machine) -> int:
    """d, the parameters that are learned."""
    learn = machine.settings.theta.learn
    groups = machine.model.groups(machine.constants)
    return sum(math.prod(one.shape(machine.constants)) for one in groups if learn is None or one.name in learn)


def rates(machine: Machine) -> np.ndarray:
    """Learning rates of steps 1..N."""
    steps = int(machine.settings.run.steps)
    return values_at(machine.settings.theta.learning_rate, steps, np.arange(1, steps + 1))


def most_of_updates(machine: Machine) -> np.ndarray:
    """The most that |dtheta|^2 can be of all steps between neighbouring frames, (F - 1)."""
    theta, rate = machine.settings.theta, rates(machine)
    steps = np.arange(1, len(rate) + 1)
    each = rate**2 * learned_numbers(machine) * adam_noise.largest_square(steps, theta.beta1, theta.beta2)
    return _between(each, machine.steps)


def of_one_size(machine: Machine) -> np.ndarray:
    """The same where every parameter moves by r in every step, r^2 d: (F - 1)."""
    return _between(rates(machine) ** 2 * learned_numbers(machine), machine.steps)


def of_signal(machine: Machine) -> np.ndarray | None:
    """|dtheta|^2 of these steps by measured gradients, mean over replicas: (F - 1); None where none are recorded
    at the frames of the others."""
    if any(name not in machine.frames or "step" not in machine.frames[name].dims for name in (SHARE, SQUARES)):
        return None  # not recorded, or at steps of its own
    share = machine.frames[SHARE].transpose("step", "replica").values
    gained = np.diff(machine.frames[SQUARES].transpose("step", "replica").values, axis=0)
    lengths = np.diff(machine.steps)[:, None]
    squares = gained / lengths
    past, weight, changes = np.zeros(squares.shape[1]), 0.0, np.empty_like(squares)
    for k, length in enumerate(lengths[:, 0]):
        kept = machine.settings.theta.beta2 ** int(length)
        past, weight = kept * past + (1.0 - kept) * squares[k], kept * weight + (1.0 - kept)
        changes[k] = squares[k] * weight / past
    rate = rates(machine)
    noise = _between(_noise_alone(machine, len(rate)), machine.steps)[:, None] / lengths
    shares = 0.5 * (share[1:] + share[:-1])
    return np.asarray(of_one_size(machine) * ((noise + (1.0 - noise) * shares) * changes).mean(1))


def _noise_alone(machine: Machine, steps: int) -> np.ndarray:
    """A of steps 1..N."""
    theta = machine.settings.theta
    return adam_noise.mean_square(np.arange(1, steps + 1), theta.beta1, theta.beta2, 1.0)


def _between(each: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Sums of a number of every step 1..N between neighbours of `steps`."""
    return np.asarray(np.diff(np.concatenate([[0.0], np.cumsum(each)])[steps]))
