"""thermosim: learning as a thermodynamic process. Ensembles of learning machines, every move booked as work or heat."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thermosim import analysis, papers
    from thermosim.case.faults import CaseError
    from thermosim.case.load import Case, load_case
    from thermosim.checks.report import Report, check
    from thermosim.ledger import Functional
    from thermosim.model import Constant, Derived, Model, Observable, Parameter, Symmetry
    from thermosim.models import MODELS
    from thermosim.report.page import write_report
    from thermosim.run.extend import extend
    from thermosim.run.fork import fork
    from thermosim.run.replay import replay
    from thermosim.run.resume import resume
    from thermosim.run.simulate import simulate
    from thermosim.storage.open import open_ensemble

__all__ = [
    "MODELS",
    "Case",
    "CaseError",
    "Constant",
    "Derived",
    "Functional",
    "Model",
    "Observable",
    "Parameter",
    "Report",
    "Symmetry",
    "__version__",
    "analysis",
    "check",
    "extend",
    "fork",
    "load_case",
    "open_ensemble",
    "papers",
    "replay",
    "resume",
    "simulate",
    "write_report",
]

__version__ = "0.1.0"  # of the distribution thermosim-engine; pyproject.toml reads it here

_HOME = {
    "MODELS": "thermosim.models",
    "Case": "thermosim.case.load",
    "CaseError": "thermosim.case.faults",
    "load_case": "thermosim.case.load",
    "Report": "thermosim.checks.report",
    "check": "thermosim.checks.report",
    "open_ensemble": "thermosim.storage.open",
    "extend": "thermosim.run.extend",
    "fork": "thermosim.run.fork",
    "replay": "thermosim.run.replay",
    "write_report": "thermosim.report.page",
    "resume": "thermosim.run.resume",
    "simulate": "thermosim.run.simulate",
    "Functional": "thermosim.ledger",
    "Constant": "thermosim.model",
    "Derived": "thermosim.model",
    "Model": "thermosim.model",
    "Observable": "thermosim.model",
    "Parameter": "thermosim.model",
    "Symmetry": "thermosim.model",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that the command line answers at once."""
    if name in ("analysis", "papers"):
        return importlib.import_module(f"thermosim.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'thermosim' has no attribute {name!r}")
