"""python -m thermosim."""

from thermosim.cli import main

main()
