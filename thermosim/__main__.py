"""python -m thermosim, and the command thermosim."""

import sys

__all__ = ["main"]


def main() -> None:
    """The command line; Ctrl-C while it is still being imported ends it quietly, too."""
    try:
        from thermosim.cli import commands as cli

        cli.main()
    except KeyboardInterrupt:
        from thermosim.cli.exits import Exit

        sys.exit(Exit.INTERRUPTED)


if __name__ == "__main__":
    main()
