"""How fast thermosim is on this machine, against other engines on the same work.

    python scripts/bench.py [--quick] [--only SECTION]    trap|formulas|machine|rbm|sphere|networks|architectures|start|
                                                          storage|scale|gpu

Competitors that are not installed are named and skipped; `pip install "thermosim-engine[bench]"` brings JAX and
diffrax. Run it with an environment that has thermosim, such as .venv/bin/python, on a machine that does nothing else.
`--only gpu` measures on a graphics card, with `pip install "thermosim-engine[cuda]" "jax[cuda13]"`; where there is
none, it says so, and the whole table does without.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

SECTIONS = (
    "trap",
    "formulas",
    "machine",
    "rbm",
    "sphere",
    "networks",
    "architectures",
    "start",
    "storage",
    "scale",
    "gpu",
)  # a file each in scripts/benchmarks


def main() -> int:
    """Measure and print one table; 1 when a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test: small runs, figures mean little")
    parser.add_argument("--only", choices=SECTIONS, help="one section of the table")
    arguments = parser.parse_args()

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    load = os.getloadavg()[0]
    console = Console(width=None if sys.stdout.isatty() else 150)
    table = Table(title=f"thermosim on {_machine()}", title_justify="left")
    for heading in ("what", "measured", "compared", "target"):
        table.add_column(heading, overflow="fold")
    missed = 0
    for name in _here() if arguments.only is None else (arguments.only,):
        section = importlib.import_module(f"benchmarks.{name}")
        with console.status(section.TITLE):
            lines = section.rows(arguments.quick)
        table.add_section()
        table.add_row(f"[bold]{section.TITLE}[/bold]")
        for line in lines:
            colour = {True: "green", False: "red", None: "default"}[line.met]
            table.add_row(f"  {line.name}", escape(line.figure), line.ratio, f"[{colour}]{line.target}[/{colour}]")
            missed += line.met is False
    console.print(table)
    if load > 0.5:
        console.print(
            f"The load average was {load:.1f} at the start: others used this machine, figures may be too slow."
        )
    if arguments.quick:
        console.print("A smoke test: targets are for the full run.")
        return 0
    return 1 if missed else 0


def _here() -> tuple[str, ...]:
    """The sections of the whole table: that of a graphics card only where there is one."""
    from benchmarks import gpu

    return tuple(name for name in SECTIONS if name != "gpu" or not gpu.lacking())


def _machine() -> str:
    import numba
    import numpy

    versions = f"Python {platform.python_version()}, numba {numba.__version__}, numpy {numpy.__version__}"
    return f"{os.cpu_count()} x {platform.machine()}, {versions}"


if __name__ == "__main__":
    sys.exit(main())
