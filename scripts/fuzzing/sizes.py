"""Cases that no machine holds: refused in words, within seconds, without taking the memory they ask for."""

from __future__ import annotations

import random
from pathlib import Path

from scripts.fuzzing.cases import BASES
from scripts.fuzzing.trial import Trial

__all__ = ["huge"]

SECONDS = 5.0  # until a size is refused
_SPACES = ("{{ linspace = [0.01, 0.1], num = {0} }}", "{{ logspace = [0.01, 0.1], num = {0} }}")
# what is asked for, with the bases that have it; steps are recorded one by one
_KEYS = {
    "ensemble.replicas": tuple(BASES),
    "run.steps": tuple(BASES),
    "x.samples": ("trap", "gaussian", "rbm", "well"),
    "model.dimension": ("trap", "sphere", "gaussian", "rbm"),
    "model.hidden": ("rbm",),
    "data.rows": ("gaussian", "well"),
    "data.sets": ("gaussian",),
    "theta.batch": ("gaussian", "well"),
}


def huge(chance: random.Random, folder: Path) -> Trial:
    """One size of a good case, or an axis of its sweep, of a billion to a trillion; the first commands are refused."""
    size = chance.choice(("1e9", "1e10", "4294967296", "1e12", "999999999999"))
    if chance.random() < 0.25:
        name = chance.choice(list(BASES))
        key = chance.choice(("theta.learning_rate", "x.time_step", "theta.batch", "x.tau", "x.temperature"))
        points = chance.choice((size, "100000"))
        changes = ["--set", f"sweep={{ {key!r} = {chance.choice(_SPACES).format(points)} }}"]
        if points == "100000":
            changes += ["--set", "ensemble.replicas=1e6"]
    else:
        key = chance.choice(list(_KEYS))
        name = chance.choice(_KEYS[key])
        changes = ["--set", f"{key}={size}"]
        if chance.random() < 0.3:
            other = chance.choice([key for key in _KEYS if name in _KEYS[key]])
            changes += ["--set", f"{other}={chance.choice(('1e9', '1e12', '3'))}"]
    (folder / "case.toml").write_text(BASES[name])
    command = chance.choice((["run", "case.toml", "-o", "out.h5", "--no-plot"], ["info", "case.toml", "--no-trial"]))
    return Trial(f"{name}: {changes[1::2]}", [[*command, *changes]], seconds=SECONDS)
