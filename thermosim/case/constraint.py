"""theta.constraint and theta.radii of networks: what scale-invariant parameters hold fixed while they learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thermosim.model import Model

if TYPE_CHECKING:
    from thermosim.case.settings import Settings

__all__ = ["constraint_faults", "radii_faults"]

_UNUSED = ("momentum", "beta1", "beta2", "epsilon", "learning_rate_factors", "preconditioner", "learn", "temperature")


def constraint_faults(model: Model, settings: Settings) -> list[str]:
    """What is wrong with a constraint of a network whose parameters have scales."""
    theta, found = settings.theta, list[str]()
    fields = type(theta).model_fields
    if theta.constraint == "fixed-sphere" and theta.weight_decay != 0.0:
        found.append(f"theta.weight_decay = {theta.weight_decay!r}: has no effect where the radius is held; remove it.")
    found += [
        f"theta.{key} = {getattr(theta, key)!r}: is not used with a constraint; remove it, or theta.constraint."
        for key in _UNUSED
        if getattr(theta, key) != fields[key].default
    ]
    if settings.run.direction == "there-and-back":
        found.append("run.direction = 'there-and-back': retraces SGD without a constraint; remove theta.constraint.")
    return found


def radii_faults(model: Model, settings: Settings) -> list[str]:
    """What is wrong with radii of groups."""
    theta = settings.theta
    if theta.radii == "joint":
        return []
    if model.scales is None or theta.constraint is None:
        needs = "belongs to a theta.constraint of a scale-invariant network, such as convnet"
        return [f"theta.radii = {theta.radii!r}: {needs}; remove it."]
    if theta.constraint == "fixed-lr":
        return [f"theta.radii = {theta.radii!r}: at fixed-lr groups have their own radii in any case; remove it."]
    return []
