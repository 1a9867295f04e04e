"""A run without an engine: a manifest, frames and states that are known in advance, sealed in any rectangles."""

import itertools

import numpy as np

from thermosim import cohorts
from thermosim.storage import Parts
from thermosim.storage.segments import Stretch

REPLICAS, STEPS = 45, 47
LANES = 3 * REPLICAS  # of each of the two blocks
COHORTS = cohorts.per_point(REPLICAS)
RUN = "0123456789abcdef"


def manifest(**changes):
    """Two structural points, three others; two cadences, replicas and cohorts, frames and values of the whole run."""
    label = {"units": "1", "long_name": "", "equation": ""}

    def variable(dims, shape, over, cadence, dtype="float64"):
        return {
            "dims": dims, "shape": shape, "attributes": label, "dtype": dtype, "over": over, "cadence": cadence
        }  # fmt: skip

    return {
        "format": 2,
        "run": RUN,
        "case": 'title = "ü"',
        "overrides": {},
        "settings": {"long": "text " * 2000},
        "model_source": "",
        "title": "synthetic",
        "seed": 1,
        "thermosim_version": "0",
        "python": "3",
        "packages": {},
        "fingerprint": "f",
        "data_sha256": "",
        "inputs": {},
        "axes": [
            {"name": "tau", "key": "x.tau", "values": [1, 3], "structural": True},
            {"name": "kind", "key": "x.kind", "values": ["a", "bé", "c"], "structural": False},
        ],
        "replicas": REPLICAS,
        "blocks": [[0], [1]],
        "steps": STEPS,
        "cadences": {"step": [0, 2, 24], "y_step": [5, 7, 7]},
        "variables": {
            "x": variable(["sample", "x_dim"], [2, 3], "replica", "step"),
            "y": variable([], [], "replica", "y_step", "float32"),
            "m": variable(["x_dim"], [3], "cohort", "step"),
            "x_mean": variable(["x_dim"], [3], "replica", None),
            "counts": variable(["bin"], [4], "cohort", None, "int64"),
        },
        "coordinates": {"bin": {"dims": ["bin"], "values": [0.5, 1.5, 2.5, 3.5], "attributes": label}},
        "summaries": [],
        "segments": [],
        "base": None,
        "replaces": False,
        "completed": False,
        "virtual": False,
    } | changes


def frames_of(block, name):
    """All frames of a variable in one block: (F, lanes or cohorts, ...)."""
    given = manifest()
    variable = given["variables"][name]
    over = LANES if variable["over"] == "replica" else 3 * COHORTS
    seed = [block, *name.encode()]
    shape = (given["cadences"][variable["cadence"]][2], over, *variable["shape"])
    return np.random.default_rng(seed).normal(size=shape).astype(variable["dtype"])


_FRAMES = {(b, n): frames_of(b, n) for b in range(2) for n in ("x", "y", "m")}


def truth(name):
    """A variable of the complete ensemble, in its final shape."""
    over = COHORTS if name == "m" else REPLICAS
    blocks = [_FRAMES[b, name] for b in range(2)]
    return np.stack([a.reshape(len(a), 3, over, *a.shape[2:]) for a in blocks], axis=1)


def state_of(block, step, first=0, lanes=LANES):
    """The state of some lanes after a step; it tells lane, step and block apart."""
    lane = np.arange(first, first + lanes)
    cut = cohorts.slice_of(REPLICAS, first, lanes)
    cohort = np.arange(cut.start, cut.stop)
    return {
        "theta": 1000.0 * step + lane + 0.25 * block + np.zeros((3, 1)),
        "memory": np.zeros((0, lanes)),
        "status": ((lane + step) % 2).astype(np.int8),
        "diverged_step": lane + 1000 * step,
        "summary/x/mean": np.sin(lane + step)[None] * np.arange(1.0, 4.0)[:, None],
        "cohorts/x/counts": cohort + 1000 * step + np.arange(4)[:, None] * 10**6,
    }


def finals(given, state, step):
    """What the states mean."""
    assert given["run"] == RUN
    return {"x_mean": state["summary/x/mean"].T + step, "counts": state["cohorts/x/counts"].T - step}


def contents(block, first, lanes, first_step, step):
    """Frames and state of one rectangle."""
    cut, frames = cohorts.slice_of(REPLICAS, first, lanes), {}
    for (of_block, name), array in _FRAMES.items():
        start, every, count = manifest()["cadences"][manifest()["variables"][name]["cadence"]]
        due = [i for i in range(count) if first_step < start + every * i <= step]
        if of_block == block and due:
            frames[name] = array[due][:, cut if name == "m" else slice(first, first + lanes)]
    return frames, state_of(block, step, first, lanes)


EDGES = [cohorts.lanes_of(REPLICAS, 0, c)[1] for c in range(3 * COHORTS + 1)]


def one_rectangle(block):
    """A block in one piece."""
    return [(block, 0, LANES, -1, STEPS)]


def ragged(rng, block):
    """A block cut by lanes and steps as by interruptions, otherwise each time: rectangles, some done twice in part."""
    result = []
    stops = [-1, *sorted(rng.choice(np.arange(0, STEPS), 2, replace=False).tolist()), STEPS]
    for begin, end in itertools.pairwise(stops):
        cuts = [0, *sorted(rng.choice(EDGES[1:-1], rng.integers(0, 4), replace=False).tolist()), LANES]
        for low, high in itertools.pairwise(cuts):
            steps = sorted({begin, end, *rng.integers(begin + 1, end + 1, 2).tolist()})
            result += [(block, low, high - low, a, b) for a, b in itertools.pairwise(steps)]
    for _ in range(3):
        low, high = sorted(rng.choice(EDGES, 2, replace=False).tolist())
        begin, end = sorted(rng.choice(np.arange(-1, STEPS - 1), 2, replace=False).tolist())
        result.insert(int(rng.integers(len(result))), (block, low, high - low, begin, end))
    return result


def sealed(output, rectangles, **changes):
    """The parts of a run that has sealed these rectangles."""
    parts = Parts.create(output, manifest(**changes), overwrite=False)
    for rectangle in rectangles:
        parts.seal(Stretch(*rectangle), *contents(*rectangle))
    return parts
