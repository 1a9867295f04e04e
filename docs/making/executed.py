"""Sphinx: every page's code runs when the site is built, and what it prints and draws stands below it.

Pages run in processes of their own, two at a time, each in an empty folder. What came of a page is kept below the
build's folder under a digest of its text and of all sources of thermosim, so only what may have changed runs again. A
page whose code fails fails the build.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from docs.making.blocks import blocks_of

__all__ = ["outside", "setup"]

ROOT = Path(__file__).parents[2]
_LONGEST = 60  # lines of output that are shown


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("builder-inited", _run_pages)
    app.connect("source-read", _insert)
    return {"version": "1", "parallel_read_safe": True}


def digest_of_sources() -> str:
    """Of everything that a result may depend on, beside the page itself."""
    digest = hashlib.sha256()
    for folder, kind in (("thermosim", "*.py"), ("cases", "*.*"), ("docs/making", "*.py")):
        for path in sorted((ROOT / folder).rglob(kind)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _run_pages(app: Any) -> None:
    if os.environ.get("THERMOSIM_DOCS") == "words":
        return
    source, store = Path(app.srcdir), Path(app.outdir).with_name("docs-results")
    sources = digest_of_sources()
    pages = [app.env.doc2path(name) for name in app.env.found_docs or app.project.discover(app.config.exclude_patterns)]
    run = [Path(page) for page in sorted(map(str, pages)) if page_runs(Path(page))]
    pictures = source / "pictures" / "made"
    shutil.rmtree(pictures, ignore_errors=True)
    with ThreadPoolExecutor(max(1, min(2, os.cpu_count() or 1))) as pool:
        kept = dict(zip(run, pool.map(lambda page: _kept(page, store, sources), run)))
    app.thermosim_results = {}
    for page, folder in kept.items():
        name = page.relative_to(source).with_suffix("").as_posix()
        results = json.loads((folder / "results.json").read_text("utf-8"))
        for result in results:
            for picture in result["pictures"]:
                target = pictures / name / f"{result['block']}_{picture}"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(folder / picture, target)
        app.thermosim_results[name] = results


def page_runs(page: Path) -> bool:
    """Whether a page has code that runs."""
    return page.suffix == ".md" and any(block.runs for block in blocks_of(page.read_text("utf-8")))


def _kept(page: Path, store: Path, sources: str) -> Path:
    """The folder with what came of a page, which runs first where it is not there."""
    digest = hashlib.sha256((sources + page.read_text("utf-8")).encode()).hexdigest()[:20]
    folder = store / f"{page.stem}-{digest}"
    if (folder / "results.json").exists():
        return folder
    for stale in store.glob(f"{page.stem}-*"):
        shutil.rmtree(stale, ignore_errors=True)
    folder.mkdir(parents=True)
    settings = {"MPLBACKEND": "Agg", "COLUMNS": "100", "NO_COLOR": "1", "PYTHONWARNINGS": "ignore"}
    settings["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "docs.making.blocks", str(page)]
    done = subprocess.run(command, cwd=folder, env=os.environ | settings, capture_output=True, text=True, check=False)
    if done.returncode:
        from sphinx.errors import ExtensionError

        shutil.rmtree(folder)
        raise ExtensionError(f"{page}: its code failed\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    for heavy in folder.iterdir():
        if heavy.suffix != ".png":
            shutil.rmtree(heavy) if heavy.is_dir() else heavy.unlink()
    (folder / "results.json").write_text(done.stdout, "utf-8")
    return folder


def _insert(app: Any, name: str, content: list[str]) -> None:
    """Put results below their blocks, and take out links to files that are not part of the site."""
    text = content[0]
    blocks = blocks_of(text)
    for result in reversed(getattr(app, "thermosim_results", {}).get(name, [])):
        end = blocks[result["block"]].end
        text = text[:end] + _shown(name, result) + text[end:]
    content[0] = outside(name.count("/")).sub(r"\1", text)


def outside(depth: int) -> re.Pattern[str]:
    """Links to files that are not in the site, of a page so many folders below its root."""
    return re.compile(rf"(?<!!)\[([^\]]*)\]\((?:\.\./){{{depth + 1},}}(?!docs/)[^)]*\)")


def _shown(name: str, result: dict[str, Any]) -> str:
    lines = result["printed"].rstrip().splitlines()
    lines = [line.rstrip() for line in lines]
    if len(lines) > _LONGEST:
        lines = [*lines[: _LONGEST - 5], "...", *lines[-4:]]
    shown = "\n\n````{code-block} text\n:class: output\n" + "\n".join(lines) + "\n````\n" if lines else "\n"
    up = "../" * name.count("/")
    for picture in result["pictures"]:
        shown += f"\n![drawn by the code above]({up}pictures/made/{name}/{result['block']}_{picture})\n"
    return shown
