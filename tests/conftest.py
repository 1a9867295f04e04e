"""Small cases that many tests share."""

import pytest

TRAP = """
title = "a small dragged trap"
[model]
name = "harmonic-trap"
dimension = 2
[theta]
dynamics = "protocol"
[theta.protocol]
center = { kind = "linear", initial = [0.0, 0.0], final = [2.0, 1.0] }
stiffness = { kind = "linear", initial = [[1.0, 0.3], [0.3, 2.0]], final = [[2.0, -0.5], [-0.5, 1.0]] }
[x]
dynamics = "ula"
time_step = 0.1
tau = 3
[ensemble]
replicas = 200
seed = 3
[run]
steps = 101
[record]
every = 7
"""

SPHERE = """
title = "a small grid on the sphere"
[model]
name = "isotropic-sphere"
dimension = 5
noise = 0.7
[theta]
dynamics = "sgd"
constraint = "fixed-elr"
weight_decay = 0.02
initial = "stationary"
[ensemble]
replicas = 7
seed = 11
[run]
steps = 120
[record]
first = 20
every = 10
[sweep]
"theta.learning_rate" = { logspace = [0.01, 0.2], num = 5 }
"model.noise" = { values = [0.7, 1.1] }
"""


@pytest.fixture
def trap():
    return TRAP


@pytest.fixture
def sphere():
    return SPHERE
