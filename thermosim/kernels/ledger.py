"""Signs, units and rows of the path functionals that kernels book. Stated here, once.

Everything is in units of kT. Heat > 0 is absorbed by the subsystem that moved, work > 0 is done on it. With theta
frozen during a move of x and x frozen during a move of theta, the first law holds per replica, to rounding:

    phi(x_t, theta_t) - phi(x_0, theta_0) = work + heat

    work          sum of phi(x, theta') - phi(x, theta) over moves of theta  [Parsi 2024, Eq. 42], plus, for a force
                  that is no gradient, sum of (f(x) + f(x')).(x' - x)/2 over moves of x
    heat          sum of phi(x', theta) - phi(x, theta) over moves of x, less the work of that force
    log_ratio_x   sum of ln p(x'|x) - ln p(x|x') of the transition density the move really used; for a move that
                  obeys detailed balance at temperature T it is -heat/T, for any other it differs by the shadow term

    log_ratio_theta  the same for a move of theta that has a density, at the minibatch it used:
                  sum of ln p(theta'|theta, b) - ln p(theta|theta', b)

A Gibbs sweep is a product of site moves, each in detailed balance; its reverse is the sweep in reverse order, and its
log ratio -heat. All are running sums since step 0. S. S. Parsi, "Stochastic thermodynamics of learning parametric
probabilistic models", Entropy 26, 112 (2024).
"""

from __future__ import annotations

# rows of x_path (S, 4, L)
WORK = 0
HEAT = 1
LOG_RATIO = 2
ACCEPTED = 3  # number of proposals accepted, of a move that can refuse
X_ROWS = 4

# rows of theta_path (5, L)
LOSS_SUM = 0  # loss before each move
GRADIENT_SQUARE = 1  # squared norm of the stochastic gradient, on the unit sphere for scale-invariant parameters
STRETCH = 2  # |v|/r - 1 of a step off the sphere, before it is taken back
LOG_RATIO_THETA = 3
LOSS = 4  # loss before the last move: no sum
THETA_ROWS = 5
