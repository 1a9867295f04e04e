"""How far estimates, error bars, flags and `check` can be trusted, measured: writes docs/validation.md.

    python scripts/validate.py [--only PART] [--share 0.1] [--output docs/validation.md]

Each part is a file of scripts/validation with a title, the seed of its ensembles, and sections in Markdown; --only
measures one and leaves the others on the page as they are. All of it takes an hour or two on two processors; --share
makes fewer repeats of everything.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# a file each in scripts/validation: TITLE, and sections(share, pictures) -> text in Markdown
PARTS = ("false_alarms", "coverage_of_work", "coverage_of_information")

INTRODUCTION = """# Validation

Made by `scripts/validate.py`; `tests/` runs a small part of it each time. Figures are measured, none is typed in.

False alarms of the exact chain of `squared-cosine`, and how sharp the checks of networks are, are told
[with networks](networks.md#networks-as-gases).
"""


def main() -> int:
    """Run the parts and write the page after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--share", type=float, default=1.0, help="of the repeats of a full run")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "validation.md")
    arguments = parser.parse_args()
    titles = {name: importlib.import_module(f"scripts.validation.{name}").TITLE for name in PARTS}
    for name in PARTS if arguments.only is None else (arguments.only,):
        part = importlib.import_module(f"scripts.validation.{name}")
        text = f"{part.sections(arguments.share, arguments.output.parent)}\n"
        print(text, flush=True)
        page = _sections(arguments.output) | {titles[name]: text}
        told = [f"## {title}\n\n{page[title].strip()}\n" for title in titles.values() if title in page]
        arguments.output.write_text("\n".join([INTRODUCTION, *told]), encoding="utf-8")
    return 0


def _sections(page: Path) -> dict[str, str]:
    """The parts that are on the page, by title."""
    if not page.exists():
        return {}
    pieces = re.split(r"^## (.*)\n", page.read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


if __name__ == "__main__":
    sys.exit(main())
