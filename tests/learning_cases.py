"""Small learning machines that many tests share."""

from __future__ import annotations

GAUSSIAN = """
title = "a small Gaussian machine"
[model]
name = "gaussian"
dimension = 2
[theta]
dynamics = "sgd"
learning_rate = 0.15
batch = 2
learn = ["mean"]
initial = { mean = [1.0, -0.5], log_precision = [0.4, 1.1] }
spread = { mean = 0.3 }
[x]
dynamics = "ula"
time_step = 0.2
tau = 3
[data]
source = "gaussian"
rows = 40
covariance = [[1.0, 0.5], [0.5, 0.7]]
mean = [0.2, 0.6]
[ensemble]
replicas = 20000
seed = 5
[run]
steps = 12
[record]
every = 4
"""
