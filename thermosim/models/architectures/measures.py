"""What is measured of every network at frames: means over all data, kept apart from what its steps saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thermosim.network import Measure

__all__ = ["MEASURES"]


def _no_outputs(model: Any, settings: Any) -> str:
    return "" if _classes(model, settings) else f"{model.name!r} has no classes"


def _classes(model: Any, settings: Any) -> int:
    return 0 if model.classes is None else int(model.classes(settings.model.constants))


def _no_test(model: Any, settings: Any) -> str:
    return "" if settings.data is not None and settings.data.test is not None else "no data.test is kept from learning"


def _full_loss(probe: Any, theta: Mapping[str, Any]) -> Any:
    return probe.over_rows(lambda x, y: probe.network.loss(theta, x, y))


def _test_loss(probe: Any, theta: Mapping[str, Any]) -> Any:
    return probe.over_rows(lambda x, y: probe.network.loss(theta, x, y), test=True)


def _right(probe: Any, theta: Mapping[str, Any], test: bool) -> Any:
    def share(x: Any, y: Any) -> Any:
        return (probe.network.outputs(theta, x).argmax(axis=-1) == y).mean(dtype="float32")

    return probe.over_rows(share, test)


def _accuracy(probe: Any, theta: Mapping[str, Any]) -> Any:
    return _right(probe, theta, test=False)


def _test_accuracy(probe: Any, theta: Mapping[str, Any]) -> Any:
    return _right(probe, theta, test=True)


MEASURES: tuple[Measure, ...] = (
    Measure("full_loss", "energy", "loss of all data", "L(theta)", _full_loss),
    Measure("test_loss", "energy", "loss of the rows kept from learning", "L_test(theta)", _test_loss, absent=_no_test),
    Measure("accuracy", "1", "share of all rows whose class is predicted", "P(f = y)", _accuracy, absent=_no_outputs),
    Measure(
        "test_accuracy",
        "1",
        "share of the rows kept from learning whose class is predicted",
        "P_test(f = y)",
        _test_accuracy,
        absent=lambda model, settings: _no_outputs(model, settings) or _no_test(model, settings),
    ),
)
