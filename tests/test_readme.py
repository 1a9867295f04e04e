"""What the README and the page of models show, runs: files are written, commands and Python executed, in order."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from tests.test_cli import run
from thermosim.model import Model

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w*)[ ]?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_page(page, folder, capsys):
    """Write its files, run its commands and Python in a folder: how many commands, and what each block printed."""
    names, printed, commands = {}, [], 0
    for kind, name, text in BLOCK.findall((ROOT / page).read_text("utf-8")):
        if name:
            (folder / name).write_text(text)
        elif kind == "sh":
            for line in text.splitlines():
                assert line.startswith("thermosim ")
                code, said, faults = run(capsys, *line.split()[1:])
                assert code == 0, line + said + faults
                commands += 1
        elif kind == "python":
            exec(compile(text, page, "exec"), names)
            printed.append(capsys.readouterr().out.splitlines())
    return commands, [lines for lines in printed if lines]


def test_models_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands, (ring, logistic, network) = run_page("docs/models.md", tmp_path, capsys)
    assert commands == 4
    soft, stiff = (float(number) for number in re.findall(r"[0-9.]+", ring[0]))
    assert abs(stiff - 1.5) < 0.1 < abs(soft - 1.5) < 0.5
    assert abs(float(ring[1]) - 3.0) < 1e-9
    assert float(ring[2]) < 1e-10
    found = [float(number) for number in re.findall(r"-?[0-9.]+", logistic[0])]
    for value, exact in zip(found, (1.0, -2.0, 0.5, 1.5), strict=True):
        assert abs(value - exact) < 0.25  # three errors of the 400 rows themselves, of the widest component
    falling = [float(number) for number in re.findall(r"[0-9.]+", network[0])]
    assert falling[0] > 1.2 * falling[-1] > 0.0
    assert network[1] == "(3, 2)"


def test_irreversibility_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands, ((de, st), (rate,)) = run_page("docs/irreversibility.md", tmp_path, capsys)
    assert commands == 0
    parting = [[float(number) for number in re.findall(r"[0-9.]+", line)] for line in (de, st)]
    assert all(1.0 > near > far > farther > 0.0 for near, far, farther in parting)
    assert all(b < a for a, b in zip(*parting, strict=True))
    assert abs(float(rate.strip("[]")) - 1.0) < 0.01


def test_formulas_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands, ((together,),) = run_page("docs/formulas.md", tmp_path, capsys)
    assert commands == 2
    first, last = (float(number) for number in re.findall(r"[0-9.]+", together))
    assert abs(first - 0.5) < 0.1 < last - first


def test_networks_page(tmp_path, monkeypatch, capsys):
    pytest.importorskip("jax")
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    commands, ((accuracy, spread),) = run_page("docs/networks.md", tmp_path, capsys)
    assert commands == 2
    right = [float(number) for number in re.findall(r"[0-9.]+", accuracy)]
    assert len(right) == 5
    assert right[0] < 0.3  # of ten classes
    assert right[-1] > 0.85
    assert 0.0 < float(spread) < 0.2


def test_every_field_of_a_model_is_on_its_page():
    table = (ROOT / "docs/models.md").read_text("utf-8").partition("## The fields of `Model`")[2]
    assert not [field.name for field in fields(Model) if f"`{field.name}`" not in table]


def test_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands, printed = run_page("README.md", tmp_path, capsys)
    assert commands == 9
    learning, frames, measures, drag, *_, equilibrium, network, well = printed
    assert float(learning[0].strip("[]")) > 0.0
    loss, error, curvature = map(float, frames[0].split())
    assert 0.0 < error < loss < 1.0 < curvature < 100.0
    assert "difference_error" in "".join(learning)
    ratios = {line.split()[0]: float(re.findall(r"[0-9.]+", line)[0]) for line in measures}
    assert list(ratios) == ["phi_de", "phi_tr", "phi_ta", "phi_st"]
    assert all(0.97 < ratio < 1.0 for ratio in ratios.values())
    work = [float(number) for number in re.findall(r"[0-9.]+", drag[0])]
    assert work[0] > work[1] > work[2]
    jarzynski = [float(number) for number in re.findall(r"[0-9.]+", drag[1])]
    assert max(abs(value - 1) for value in jarzynski) < 0.2
    (variance,) = re.findall(r"[0-9.]+", equilibrium[-1])
    assert abs(float(variance) - 1.0 / (1.0 - 0.1 / 2)) < 0.01  # of the discrete move at time step 0.1
    accuracy, spread = map(float, network[0].split())
    assert accuracy > 0.9
    assert 0.0 < spread < 0.1
    left, right = (float(number) for number in re.findall(r"[0-9.]+", well[-1]))
    assert left == 0.0
    assert right > 0.95


def test_network_in_torch(tmp_path, monkeypatch, capsys):
    """The README's network in torch, run as its network in JAX is; and the one of the page of networks is looked at."""
    pytest.importorskip("jax")
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall((ROOT / "README.md").read_text("utf-8"))
    (text,) = (text for _, name, text in blocks if name == "torch_net.py")
    Path("torch_net.py").write_text(text)
    (using,) = (text for kind, name, text in blocks if kind == "python" and not name and '"net.py"' in text)
    exec(compile("import thermosim\n" + using.replace("net.py", "torch_net.py"), "README.md", "exec"), {})
    accuracy, spread = map(float, capsys.readouterr().out.split())
    assert accuracy > 0.9
    assert 0.0 < spread < 0.1
    page = {name: text for _, name, text in BLOCK.findall((ROOT / "docs/networks.md").read_text("utf-8"))}
    Path("torch_convnet.py").write_text(page["torch_convnet.py"])
    code, said, faults = run(capsys, "models", "torch_convnet.py")
    assert code == 0, said + faults
    assert "layer_0_weight" in said


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_gradients_of_other_frameworks(framework, capsys):
    """The README's blocks of PyTorch and JAX, where these are installed: one loss, the same potentials."""
    pytest.importorskip(framework)
    blocks = {name: text for _, name, text in BLOCK.findall((ROOT / "README.md").read_text("utf-8"))}
    exec(compile(blocks[f"{framework}_field.py"], "README.md", "exec"), {})
    ratios = [float(number) for number in re.findall(r"[0-9.]+", capsys.readouterr().out)]
    assert len(ratios) == 10
    assert max(abs(ratio - 1.0) for ratio in ratios) < 0.1
    assert abs(ratios[1] - 1.03917) < 1e-4  # of the same start in every framework
