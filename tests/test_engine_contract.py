"""Whatever fulfils the contract of an engine is run, recorded, guarded, resumed and extended: here a little numpy."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import thermosim
from tests.conftest import TRAP
from thermosim import engines
from thermosim.engines.engine import Engine, Lanes
from thermosim.plan.outline import plan
from thermosim.plan.starts import initial_state
from thermosim.run.execution import Interrupted

CASE = TRAP + '[record.phi]\nkeep = ["mean", "ensemble_mean"]\n'
CASE = CASE.replace("every = 7", 'every = 7\nvariables = ["x"]')
LOST, SINCE = 3, 40  # a lane, and the step from which it is not finite


class CountingLanes:
    """x grows by 1 a step, phi is the step; one lane diverges."""

    shortest = 0.0
    watches, most_frames = False, 10**9

    def __init__(self, block: Any) -> None:
        self.block, self.pieces = block, (slice(0, 70), slice(70, block.lanes))

    def restore(self, state: Any, step: int) -> None:
        self.x, self.step = np.array(state["x"]), step

    def state(self) -> dict[str, np.ndarray]:
        return {"x": self.x.copy()}

    def sums(self) -> dict[str, np.ndarray]:
        return {}

    def restore_sums(self, sums: Any, lost: Any) -> None:
        pass

    def quarantine(self, lanes: np.ndarray) -> None:
        self.x[..., lanes] = np.nan

    def advance(self, stop: int, first: int, every: int, take: Any) -> None:
        steps = np.arange(first, stop + 1, every)
        x = self.x + (steps - self.step)[:, None, None, None]  # (F, S, n, lanes)
        x[steps >= SINCE, ..., LOST] = np.inf
        phi = np.broadcast_to(steps[:, None, None].astype(float), (len(steps), self.block.samples, self.block.lanes))
        for piece in self.pieces:
            frames = {"x": np.moveaxis(x[..., piece], -1, 1), "phi": np.moveaxis(phi[..., piece], -1, 1)}
            take(piece, frames, None)
        self.x, self.step = self.x + (stop - self.step), stop

    def close(self) -> None:
        pass


class CountingEngine:
    name = "counting"

    def faults(self, block: Any) -> list[str]:
        return []

    def fingerprint(self, block: Any) -> dict[str, str]:
        return {"counting": "1"}

    def versions(self) -> dict[str, str]:
        return {"counting": "1"}

    def lanes_taken(self, block: Any, lanes: int, threads: int) -> int:
        return lanes

    def bytes_per_lane(self, block: Any) -> float:
        return 100.0

    def most_lanes(self, block: Any, sums: float = 0.0) -> int:
        return 10**9

    def state_shapes(self, block: Any) -> dict[str, tuple[int, ...]]:
        return {"x": (block.samples, block.components)}

    def open(self, block: Any, threads: int = 1, width: int | None = None, watch: Any = None) -> CountingLanes:
        return CountingLanes(block)


def test_the_contract_is_what_a_run_asks_for(tmp_path, monkeypatch):
    assert {name for name in vars(Engine) if not name.startswith("_")} <= set(dir(CountingEngine))
    assert {name for name in vars(Lanes) if not name.startswith("_")} <= set(dir(CountingLanes))
    monkeypatch.setitem(engines.ENGINES, "lanes", CountingEngine())
    case, path = thermosim.load_case(CASE), tmp_path / "counted.h5"

    def stop(progress):
        if progress.done > 200 * 50:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        thermosim.simulate(case, path, report=stop, segment_frames=2)
    with thermosim.resume(path) as ds:
        ds = ds.load()
    sound = ds.isel(replica=[r for r in range(200) if r != LOST])
    grown = np.broadcast_to(ds.step.values[:, None, None], sound["x"].shape)
    np.testing.assert_allclose(sound["x"] - sound["x"][0], grown, atol=1e-9)
    assert ds["status"].values.nonzero()[0].tolist() == [LOST]
    assert int(ds["diverged_step"][LOST]) == 42
    assert np.isnan(ds["x"].sel(step=slice(42, None)).isel(replica=LOST)).all()
    assert np.isfinite(ds["x"].sel(step=slice(None, 41))).all()
    np.testing.assert_allclose(sound["phi_mean"], np.arange(0, 102, 7).mean())
    with thermosim.extend(path, 7) as longer:
        assert longer.sizes["step"] == ds.sizes["step"] + 1
        assert float(longer["x"][-1, 0, 0] - longer["x"][0, 0, 0]) == pytest.approx(105.0)


def test_a_block_is_plain_and_can_be_sent(sphere):
    """Pickled and unpickled, an engine makes the same bits of it."""
    outline = plan(thermosim.load_case(sphere))[0]
    frames = []
    for block in (outline.block(7, 14), pickle.loads(pickle.dumps(outline.block(7, 14)))):
        lanes = engines.engine_of().open(block)
        lanes.restore(initial_state(outline, 7, 14), 0)
        lanes.advance(20, 20, 1, lambda piece, given, seen: frames.append(given["theta"].copy()))
        lanes.close()
    assert np.array_equal(*frames)
