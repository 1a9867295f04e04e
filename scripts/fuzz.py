"""Hostile inputs against the command line: none may end in a fault of the program, in silence, or in a loss.

    python scripts/fuzz.py [--inputs N] [--seed S] [--minutes M] [--only NUMBER] [--kind KIND] [--show N]

Each number with a seed is one input: a case with odd values, a damaged ensemble, a strange file of rows, an output
where something would be destroyed, words that are no arguments, an environment that lacks something. Its commands run
in a folder of their own, in a process that is used again and again. Reported is what ends with an exit code that is
none of those promised (70 is a fault of ours), with a traceback, a crash, a bare warning, an empty message or one
without a remedy, what takes more than 20 seconds, changes a file of the user's, or leaves one where it refused.
`--only` repeats one input and keeps its folder. Exit code 1 when anything was reported.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

BUSY = "\n"  # what a worker says before each command
ROOT = Path(__file__).resolve().parents[1]
SECONDS = 20.0  # after which a command hangs, if it also does the second time, when its kernels are compiled
PATIENCE = 60.0  # the first time; both on a machine that has nothing else to do


class Worker:
    """A process that runs trials; it is started anew after a crash or a hang."""

    def __init__(self, place: Path, seed: int, kind: str) -> None:
        self._place, self._command = (
            place,
            [sys.executable, "-m", "scripts.fuzzing.worker", str(place), str(seed), kind],
        )
        self._start()

    def _start(self) -> None:
        self._place.mkdir(parents=True, exist_ok=True)
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": paths, "MPLBACKEND": "Agg", "PYTHONFAULTHANDLER": "1"}
        self._said = self._place / "stderr.txt"
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, env=environment
            )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, args=(self._process, self._answers), daemon=True).start()
        if self._answers.get(timeout=600) != "ready\n":
            raise SystemExit(f"the worker did not start:\n{self._said.read_text()}")

    @staticmethod
    def _listen(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            answers.put(line)
        answers.put("")

    def perform(self, number: int, patience: float) -> dict:
        """The result of a trial, with a fault of its own where the process crashed or did not answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        seconds = patience * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        try:
            while (line := self._answers.get(timeout=seconds)) == BUSY:
                pass
            if line:
                return json.loads(line)
            fault = f"a crash, exit code {self._process.wait()}"
        except queue.Empty:
            fault = f"a hang of more than {seconds:.0f} s"
        self.stop()
        said = self._said.read_text()[-3000:]
        try:
            told = json.loads((self._place / "what.json").read_text())
        except (OSError, ValueError):
            told = {"kind": "?", "what": "?"}
        self._start()
        fault_of = {"fault": fault, "command": "", "said": said}
        return {**told, "number": number, "codes": [], "faults": [fault_of]}

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def main() -> int:
    """Run the inputs and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--only", type=int, help="repeat one input, and say all of it")
    parser.add_argument("--kind", default="", help="inputs of one kind only, as the report calls it")
    parser.add_argument("--show", type=int, default=3, help="how many inputs of each fault are shown")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="thermosim-fuzz-") as temporary:
        kept = Path(tempfile.gettempdir()) / f"thermosim-fuzz-{os.getuid()}"
        place = (kept if asked.only is not None else Path(temporary)) / "worker"
        return _run(asked, place)


def _run(asked: argparse.Namespace, place: Path) -> int:
    worker = Worker(place, asked.seed, asked.kind)
    begin, codes, kinds, spent, shown = time.monotonic(), Counter(), Counter(), Counter(), Counter()
    numbers = [asked.only] if asked.only is not None else range(asked.first, asked.first + asked.inputs)
    made = 0
    for number in numbers:
        if time.monotonic() - begin > 60.0 * asked.minutes:
            break
        result = worker.perform(number, PATIENCE)
        if any("hang" in fault["fault"] for fault in result["faults"]):
            result = worker.perform(number, SECONDS)
        made += 1
        codes.update(result["codes"])
        kinds[result["kind"]] += 1
        spent[result["kind"]] += result.get("seconds", 0.0)
        if asked.only is not None:
            print(json.dumps(result, indent=2), f"\nfolder: {place / 'trial'}")
        for fault in result["faults"]:
            key = _kind_of(fault)
            shown[key] += 1
            if shown[key] <= asked.show and asked.only is None:
                print(f"--- {number} ({result['kind']}) {fault['fault']}: {fault['command']}\n    {result['what']}")
                print("    " + "\n    ".join(fault["said"].strip().splitlines()[-12:]), flush=True)
        if made % 500 == 0:
            print(f"{made} inputs, {sum(shown.values())} faults, {time.monotonic() - begin:.0f} s", flush=True)
    worker.stop()
    minutes = (time.monotonic() - begin) / 60.0
    times = ", ".join(f"{kind} {count} ({spent[kind]:.0f} s)" for kind, count in kinds.most_common())
    print(f"seed {asked.seed}: {made} inputs in {minutes:.1f} minutes: {times}; exit codes {dict(codes)}")
    for key, count in shown.most_common():
        print(f"{count:5}  {key}")
    print("nothing to report" if not shown else f"{sum(shown.values())} faults of {len(shown)} kinds")
    return 1 if shown else 0


def _kind_of(fault: dict[str, str]) -> str:
    """Faults that are told alike are counted together."""
    last = next(
        (line for line in reversed(fault["said"].strip().splitlines()) if ": " in line or line[:1].isupper()), ""
    )
    if "fault of the program" in fault["said"]:
        last = next((line for line in fault["said"].splitlines() if line.startswith("thermosim:")), "")
    return f"{fault['fault'][:60]}: {last.strip()[:70]}"


if __name__ == "__main__":
    sys.exit(main())
