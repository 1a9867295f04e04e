"""The parts of scripts/bench.py, one file for each section of its table."""
