"""Sphinx: the gallery, every case that comes with thermosim with its comments, its file and its picture.

Cases run when the site is built, shrunk to few replicas and steps, in two processes; `scripts/docs --full` runs them as
they are. A picture that stands beside its case is of the whole case, and is shown as it is.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from docs.making.executed import ROOT, digest_of_sources
from docs.making.markdown import escaped

__all__ = ["draw", "setup", "shrunk"]

_TITLES = {
    "driven": "Driven systems",
    "ideal_gas": "The ideal gas of SGD",
    "irreversibility": "Irreversibility of training",
    "learning": "Learning machines",
    "networks": "Networks",
    "training": "Training and entropic forces",
}
_LANES, _STEPS, _FRAMES = 2048, 400, 20  # of a shrunk run at most, about
_OF_NETWORKS = (4, 40)  # replicas at each point and steps, where programs of JAX take most of the time


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("builder-inited", _write)
    return {"version": "1", "parallel_read_safe": True}


def _write(app: Any) -> None:
    mode = os.environ.get("THERMOSIM_DOCS", "shrunk")
    folder, pictures = Path(app.srcdir) / "gallery", Path(app.srcdir) / "pictures" / "made" / "gallery"
    folder.mkdir(exist_ok=True)
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    cases = sorted((ROOT / "cases").rglob("*.toml"))
    made = {} if mode == "words" else _pictures(cases, Path(app.outdir).with_name("docs-results"), mode)
    shown = {}
    for case in cases:
        name = case.relative_to(ROOT / "cases").with_suffix("").as_posix()
        picture, told = case.with_suffix(".png"), "the whole case"
        if not picture.exists():
            picture, told = made.get(name, (None, "the words only: no picture was made"))
        if picture is not None:
            shutil.copy(picture, pictures / f"{name.replace('/', '-')}.png")
        shown[name] = (picture is not None, told)
    for section, title in _TITLES.items():
        names = [name for name in shown if name.partition("/")[0] == section]
        text = f"# {title}\n" + "".join(_case(name, *shown[name]) for name in names)
        (folder / f"{section}.md").write_text(text, "utf-8")
    (folder / "index.md").write_text(_index(shown), "utf-8")


def _case(name: str, pictured: bool, told: str) -> str:
    text = (ROOT / "cases" / f"{name}.toml").read_text("utf-8")
    comment = re.match(r"(?:#.*\n)*", text)
    lines = [line.removeprefix("#").strip() for line in (comment[0] if comment else "").splitlines()]
    said = f"\n## {escaped(_title(name))}\n\n```sh\nthermosim run {name}\n```\n\n"
    said += "\n\n".join(escaped(part) for part in "\n".join(lines).split("\n\n")) + "\n\n"
    picture = name.replace("/", "-")
    said += f"![{escaped(_title(name))}](../pictures/made/gallery/{picture}.png)\n\n" if pictured else ""
    said += f"*Picture: {told}.*\n\n" if pictured else f"*{told[:1].upper()}{told[1:]}.*\n\n"
    body = text[comment.end() if comment else 0 :].strip()
    return said + f"::::{{dropdown}} The case: {name}.toml\n\n````toml\n{body}\n````\n\n::::\n"


def _index(shown: dict[str, tuple[bool, str]]) -> str:
    said = "# Gallery\n\nEvery case that comes with thermosim; `thermosim run NAME` runs it. "
    said += "A picture is of the whole case, or of a run with\n"
    said += "fewer replicas and steps, as is said below it: `scripts/docs --full` makes all of them whole.\n\n"
    for section, title in _TITLES.items():
        said += f"## {title}\n\n:::::{{grid}} 2 2 3 3\n:gutter: 2\n\n"
        for name, (pictured, _) in shown.items():
            if name.partition("/")[0] != section:
                continue
            picture = f":img-top: ../pictures/made/gallery/{name.replace('/', '-')}.png\n" if pictured else ""
            link = f"{section}.html#{_slug(_title(name))}"
            said += f"::::{{grid-item-card}}\n{picture}:link: {link}\n\n{escaped(_title(name))}\n::::\n"
        said += "\n:::::\n\n"
    pages = "\n".join(_TITLES)
    return said + f"```{{toctree}}\n:hidden:\n\n{pages}\n```\n"


def _title(name: str) -> str:
    import tomllib

    return str(tomllib.loads((ROOT / "cases" / f"{name}.toml").read_text("utf-8"))["title"])


def _slug(title: str) -> str:
    """The anchor of a heading, as docutils makes it."""
    from docutils.nodes import make_id

    return make_id(title)


def _pictures(cases: list[Path], store: Path, mode: str) -> dict[str, tuple[Path | None, str]]:
    """The picture of every case that has none beside it, and of what it is; from the store if nothing changed."""
    sources, wanted = digest_of_sources(), {}
    store.mkdir(parents=True, exist_ok=True)
    for case in cases:
        if not case.with_suffix(".png").exists():
            name = case.relative_to(ROOT / "cases").with_suffix("").as_posix()
            digest = hashlib.sha256(f"{sources} {name} {mode}".encode()).hexdigest()[:20]
            wanted[name] = store / f"{name.replace('/', '-')}-{digest}.png"
    missing = {name: path for name, path in wanted.items() if not path.with_suffix(".json").exists()}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, min(2, os.cpu_count() or 1)), mp_context=context) as pool:
        for path, told in zip(missing.values(), pool.map(draw, missing, missing.values(), [mode] * len(missing))):
            path.with_suffix(".json").write_text(json.dumps(told), "utf-8")
    told = {name: str(json.loads(path.with_suffix(".json").read_text("utf-8"))) for name, path in wanted.items()}
    return {name: (path if path.exists() else None, told[name]) for name, path in wanted.items()}


def draw(name: str, output: Path, mode: str) -> str:
    """Run a case, or a shrunk one, and draw it; what the picture is of, or why there is none."""
    import thermosim
    from thermosim.checks.admission import Unfit
    from thermosim.plots.picture import picture, save

    path = ROOT / "cases" / f"{name}.toml"
    if re.search('^source = "mnist"', path.read_text("utf-8"), re.MULTILINE) and mode != "full":
        return "no picture: the images are fetched first, by scripts/get_data"
    whole = thermosim.load_case(path)
    case = whole if mode == "full" else thermosim.load_case(path, shrunk(whole))
    try:
        figure = picture(thermosim.simulate(case))
    except Unfit as why:
        return f"no picture: {why}".rstrip(".")
    save(figure, output)
    steps, replicas = case.settings.run.steps, case.settings.ensemble.replicas
    if (steps, replicas) == (whole.settings.run.steps, whole.settings.ensemble.replicas):
        return "the whole case"
    of = f"{whole.settings.ensemble.replicas:,} x {whole.settings.run.steps:,}"
    return f"a shrunk run of {replicas:,} replicas x {steps:,} steps; the case has {of}"


def shrunk(case: Any) -> dict[str, Any]:
    """What makes a case one of seconds: fewer replicas and steps, as many frames as a picture needs."""
    from thermosim.case.engine import of_networks

    settings = case.settings
    points = case.replicas_in_all // settings.ensemble.replicas
    lanes, most = _OF_NETWORKS if of_networks(case.model, settings) else (max(8, _LANES // points), _STEPS)
    steps = min(settings.run.steps, max(most, _last_knot(settings.sweep)))
    replicas = min(settings.ensemble.replicas, lanes)
    if (steps, replicas) == (settings.run.steps, settings.ensemble.replicas):
        return {}
    every = settings.record.every if steps == settings.run.steps else max(1, steps // _FRAMES)
    return {"ensemble.replicas": replicas, "run.steps": steps, "record.every": every, "record.first": 0}


def _last_knot(value: Any) -> int:
    """The last step that schedules under sweep axes name, which a shrunk run has too."""
    from thermosim.schedules import AT_STEPS

    if isinstance(value, dict):
        named = [np.max(value[key]) for key in AT_STEPS if key in value]
        return int(max([0, *named, *map(_last_knot, value.values())]))
    return max(map(_last_knot, value), default=0) if isinstance(value, list) else 0
