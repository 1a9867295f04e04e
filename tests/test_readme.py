"""What the README shows, runs: its files are written, its commands and its Python executed, in order."""

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w*)[ ]?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names, printed = {}, []
    commands = 0
    for kind, name, text in BLOCK.findall(README):
        if name:
            (tmp_path / name).write_text(text)
        elif kind == "sh":
            for line in text.splitlines():
                assert line.startswith("thermosim ")
                command = [sys.executable, "-m", *line.split()]
                result = subprocess.run(command, capture_output=True, text=True, check=False)
                assert result.returncode == 0, line + result.stdout + result.stderr
                commands += 1
        elif kind == "python":
            exec(compile(text, "README.md", "exec"), names)
            printed.append(capsys.readouterr().out.splitlines())
    assert commands == 6
    learning, drag, *_, equilibrium, well = (lines for lines in printed if lines)
    assert float(learning[0].strip("[]")) > 0.0
    assert "difference_error" in "".join(learning)
    work = [float(number) for number in re.findall(r"[0-9.]+", drag[0])]
    assert work[0] > work[1] > work[2]
    jarzynski = [float(number) for number in re.findall(r"[0-9.]+", drag[1])]
    assert max(abs(value - 1) for value in jarzynski) < 0.2
    (variance,) = re.findall(r"[0-9.]+", equilibrium[-1])
    assert abs(float(variance) - 1.0 / (1.0 - 0.1 / 2)) < 0.01  # of the discrete move at time step 0.1
    left, right = (float(number) for number in re.findall(r"[0-9.]+", well[-1]))
    assert left == 0.0
    assert right > 0.95
