"""What the README and the pages show, runs: files are written, commands and Python executed, in order."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from docs.making import blocks, executed
from tests.test_cli import run
from thermosim.model import Model

ROOT = Path(__file__).parent.parent
PAGES = (
    *("start.md", "check.md", "papers.md", "reports.md", "howto/fields.md"),
    *("tutorials/learning_machine.md", "tutorials/sweep.md", "tutorials/week.md"),
)


def run_page(page, folder):
    """Write its files, run its commands and Python in a folder: how many commands, and what each block printed."""
    results = list(blocks.run_page(ROOT / page, folder))
    printed = [result.printed.splitlines() for result in results if not result.commands]
    return sum(result.commands for result in results), [lines for lines in printed if lines]


def numbers(line):
    return [float(number) for number in re.findall(r"-?[0-9]+[0-9.]*(?:e-?[0-9]+)?", line)]


def test_every_page_with_code_is_run():
    """Here, or in the test of symmetries: a page whose code nobody runs grows wrong."""
    text = "".join((ROOT / "tests" / name).read_text("utf-8") for name in ("test_readme.py", "test_symmetries.py"))
    pages = [*(ROOT / "docs").glob("*.md")]
    for folder in ("howto", "theory", "tutorials"):
        pages += (ROOT / "docs" / folder).glob("*.md")
    for page in sorted(pages):
        name = page.relative_to(ROOT / "docs").as_posix()
        if any(block.runs for block in blocks.blocks_of(page.read_text("utf-8"))):
            assert f'"{name}"' in text or f'"docs/{name}"' in text, name


def test_links_between_pages_lead_to_files_and_are_kept_on_the_site():
    """What leaves the folder of pages becomes plain text there; reference and gallery are made with the site."""
    pages = sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name not in {"reference", "gallery"})
    for page in pages:
        text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        text = re.sub(r"`[^`]*`", "", text)
        links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)#:]+)(?:#[^)]*)?\)", text)
        for link in links:
            target = (page.parent / link).resolve()
            assert target.exists() or target.parent.name in {"reference", "gallery"}, (page.name, link)
        gone = executed.outside(len(page.relative_to(ROOT / "docs").parts) - 1).sub("", text)
        inside = [link for link in links if (page.parent / link).resolve().is_relative_to(ROOT / "docs")]
        assert re.findall(r"(?<!!)\[[^\]]*\]\(([^)#:]+)(?:#[^)]*)?\)", gone) == inside, page.name


@pytest.mark.parametrize("page", PAGES)
def test_page(page, tmp_path, monkeypatch):
    """Its commands end well; what is printed by Python is looked at where that is a number that is known."""
    monkeypatch.chdir(tmp_path)
    _, printed = run_page(f"docs/{page}", tmp_path)
    if page == "howto/fields.md":
        rows = {line.split()[0]: numbers(line.partition("[")[2]) for line in printed[-1]}
        assert list(rows) == ["phi_de", "phi_tr", "phi_ta", "phi_st"]
        assert all(1.0 > near > far > farther > 0.0 for near, far, farther in rows.values())
    if page == "tutorials/learning_machine.md":
        assert "difference_error" in "".join(printed[-1])


def test_first_ensemble(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, printed = run_page("docs/tutorials/first_ensemble.md", tmp_path)
    work, jarzynski = (numbers(line) for line in printed[0])
    assert work[0] > work[1] > work[2]
    assert max(abs(value - 1) for value in jarzynski) < 0.2


def test_summaries(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, printed = run_page("docs/howto/summaries.md", tmp_path)
    (variance,) = numbers(printed[-1][-1])
    assert abs(variance - 1.0 / (1.0 - 0.1 / 2)) < 0.01  # of the discrete move at time step 0.1


def test_own_energy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, printed = run_page("docs/tutorials/own_energy.md", tmp_path)
    left, right = numbers(printed[-1][-1])
    assert left == 0.0
    assert right > 0.95


def test_own_loss(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, printed = run_page("docs/tutorials/own_loss.md", tmp_path)
    loss, error, curvature = numbers(printed[0][0])
    assert 0.0 < error < loss < 1.0 < curvature < 100.0


def test_own_network(tmp_path, monkeypatch):
    pytest.importorskip("jax")
    monkeypatch.chdir(tmp_path)
    _, printed = run_page("docs/tutorials/own_network.md", tmp_path)
    accuracy, spread = numbers(printed[-1][0])
    assert accuracy > 0.9
    assert 0.0 < spread < 0.1


def test_models_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands, (ring, logistic, network) = run_page("docs/models.md", tmp_path)
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


def test_irreversibility_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands, ((de, st), (rate,)) = run_page("docs/irreversibility.md", tmp_path)
    assert commands == 0
    parting = [[float(number) for number in re.findall(r"[0-9.]+", line)] for line in (de, st)]
    assert all(1.0 > near > far > farther > 0.0 for near, far, farther in parting)
    assert all(b < a for a, b in zip(*parting, strict=True))
    assert abs(float(rate.strip("[]")) - 1.0) < 0.01


def test_formulas_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands, ((together,),) = run_page("docs/formulas.md", tmp_path)
    assert commands == 2
    first, last = (float(number) for number in re.findall(r"[0-9.]+", together))
    assert abs(first - 0.5) < 0.1 < last - first


def test_networks_page(tmp_path, monkeypatch):
    pytest.importorskip("jax")
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    commands, ((accuracy, spread),) = run_page("docs/networks.md", tmp_path)
    assert commands == 2
    right = [float(number) for number in re.findall(r"[0-9.]+", accuracy)]
    assert len(right) == 5
    assert right[0] < 0.3  # of ten classes
    assert right[-1] > 0.85
    assert 0.0 < float(spread) < 0.2


def test_every_field_of_a_model_is_on_its_page():
    table = (ROOT / "docs/models.md").read_text("utf-8").partition("## The fields of `Model`")[2]
    assert not [field.name for field in fields(Model) if f"`{field.name}`" not in table]


def test_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands, printed = run_page("README.md", tmp_path)
    assert commands == 1
    left, right = numbers(printed[-1][-1])
    assert left == 0.0
    assert right > 0.95


def test_network_in_torch(tmp_path, monkeypatch, capsys):
    """The network in torch of the tutorial, run as that in JAX is; and the one of the page of networks is looked at."""
    pytest.importorskip("jax")
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    shown = blocks.blocks_of((ROOT / "docs/tutorials/own_network.md").read_text("utf-8"))
    (text,) = (block.text for block in shown if block.file == "torch_net.py")
    Path("torch_net.py").write_text(text)
    (using,) = (block.text for block in shown if block.runs and '"net.py"' in block.text)
    exec(compile(using.replace("net.py", "torch_net.py"), "own_network.md", "exec"), {})
    accuracy, spread = map(float, capsys.readouterr().out.split())
    assert accuracy > 0.9
    assert 0.0 < spread < 0.1
    page = {block.file: block.text for block in blocks.blocks_of((ROOT / "docs/networks.md").read_text("utf-8"))}
    Path("torch_convnet.py").write_text(page["torch_convnet.py"])
    code, said, faults = run(capsys, "models", "torch_convnet.py")
    assert code == 0, said + faults
    assert "layer_0_weight" in said


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_gradients_of_other_frameworks(framework, capsys):
    """The page's files of PyTorch and JAX, where these are installed: one loss, the same potentials."""
    pytest.importorskip(framework)
    shown = blocks.blocks_of((ROOT / "docs/howto/fields.md").read_text("utf-8"))
    (text,) = (block.text for block in shown if block.file == f"{framework}_field.py")
    exec(compile(text, "fields.md", "exec"), {})
    ratios = [float(number) for number in re.findall(r"[0-9.]+", capsys.readouterr().out)]
    assert len(ratios) == 10
    assert max(abs(ratio - 1.0) for ratio in ratios) < 0.1
    assert abs(ratios[1] - 1.03917) < 1e-4  # of the same start in every framework
