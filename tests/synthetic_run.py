"""A run without an engine: a manifest, frames and states that are known in advance, sealed in any rectangles."""

import itertools

import numpy as np

from thermosim import cohorts
from thermosim.storage import Manifest, Parts
from thermosim.storage.manifest import Axis, Cadence, Origin, StoredVariable, Stretch, Summary
from thermosim.storage.summaries import declared

REPLICAS, STEPS = 45, 47
LANES = 3 * REPLICAS  # of each of the two blocks
COHORTS = cohorts.per_point(REPLICAS)
RUN = "0123456789abcdef"
_LABELS = {"units": "1", "long_name": "", "equation": ""}
_CADENCES = {"step": Cadence(0, 2), "y_step": Cadence(5, 7)}
_FRAMED = {
    "x": StoredVariable(("sample", "x_dim"), (2, 3), "float64", "replica", "step", _LABELS),
    "y": StoredVariable((), (), "float32", "replica", "y_step", _LABELS),
    "m": StoredVariable(("x_dim",), (3,), "float64", "cohort", "step", _LABELS),
}
_SUMMARY = Summary("x", (2, 3), _CADENCES["step"], ("mean", "histogram"), (-1.0, 1.0), bins=2, lags=0)


def manifest(**changes):
    """Two structural points, three others; two cadences, replicas and cohorts, frames and values of the whole run."""
    origin = Origin(
        title="synthetic", case='title = "ü"', overrides={}, settings={"long": "text " * 2000}, model_source="", seed=1,
        thermosim_version="0", python="3", packages={}, fingerprint={"kernels": "f"}, data_sha256="",
    )  # fmt: skip
    of_summary, coordinates = declared(_SUMMARY, _FRAMED["x"], None)
    fields = {
        "run": RUN,
        "origin": origin,
        "steps": STEPS,
        "replicas": REPLICAS,
        "axes": (Axis("x.tau", (1, 3), True), Axis("x.kind", ("a", "bé", "c"), False)),
        "blocks": ((0,), (1,)),
        "cadences": _CADENCES,
        "variables": _FRAMED | of_summary,
        "coordinates": coordinates,
        "summaries": (_SUMMARY,),
    }
    return Manifest(**fields | changes)


def steps_of(name):
    """The steps at which a variable has frames."""
    cadence = _CADENCES[_FRAMED[name].cadence]
    return cadence.first + cadence.every * np.arange(cadence.until(STEPS))


def frames_of(block, name):
    """All frames of a variable in one block: (F, lanes or cohorts, ...)."""
    variable = _FRAMED[name]
    over = LANES if variable.over == "replica" else 3 * COHORTS
    shape = (len(steps_of(name)), over, *variable.shape)
    return np.random.default_rng([block, *name.encode()]).normal(size=shape).astype(variable.dtype)


_FRAMES = {(b, n): frames_of(b, n) for b in range(2) for n in _FRAMED}


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
        "summary/x/mean": np.sin(lane + step)[None] * np.arange(1.0, 7.0)[:, None],
        "cohorts/x/counts": cohort + 1000 * step + np.arange(24).reshape(6, 4, 1) * 10**6,
    }


def finals(state):
    """What the states mean."""
    counts = np.moveaxis(state["cohorts/x/counts"], -1, 0).reshape(-1, 2, 3, 4)
    mean = state["summary/x/mean"].T.reshape(-1, 2, 3)
    return {"x_mean": mean, "x_histogram": counts[..., 1:3], "x_outside": counts[..., ::3]}


def contents(block, first, lanes, first_step, step):
    """Frames and state of one rectangle."""
    cut, frames = cohorts.slice_of(REPLICAS, first, lanes), {}
    for (of_block, name), array in _FRAMES.items():
        steps = steps_of(name)
        due = (steps > first_step) & (steps <= step)
        if of_block == block and due.any():
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
