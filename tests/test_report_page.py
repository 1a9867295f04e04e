"""The page of an ensemble: what stands in it, also where a file is damaged; and in a real browser, if there is one."""

import hashlib
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest
from browser import CHROMIUM, chromium, visit
from conftest import TRAP
from test_cli import run

import thermosim
from thermosim.analysis.estimates import replica_mean
from thermosim.report.page import write_report
from thermosim.report.series import in_words, marks_of
from thermosim.run.execution import Interrupted
from thermosim.storage import StorageError

EVIL = "</title><script>document.title = 'ran'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    """A sweep of two points whose title is markup."""
    path = tmp_path_factory.mktemp("report") / "trap.h5"
    case = TRAP.replace("a small dragged trap", EVIL) + '[sweep]\n"x.temperature" = { values = [0.5, 1.0] }\n'
    loaded = thermosim.load_case(case, {"ensemble.replicas": 120})
    thermosim.simulate(loaded, path).close()
    return path


@pytest.fixture(scope="module")
def page(ensemble):
    return thermosim.write_report(ensemble).path


class Words(HTMLParser):
    """What a reader sees: text outside scripts and styles; all tags, and identifiers."""

    def __init__(self, text):
        super().__init__()
        self.text, self.tags, self.ids, self._hidden = "", [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag):
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data):
        self.text += "" if self._hidden else " ".join(data.split()) + " "


def test_the_page_says_what_the_file_holds(ensemble, page):
    """Ledger against numpy, the table against `check`, the case word for word, the checksum, and the command."""
    text = page.read_text("utf-8")
    seen = Words(text)
    with thermosim.open_ensemble(ensemble) as ds:
        work = ds["work"].isel(step=-1, temperature=1).values
        error = work.std(ddof=1) / np.sqrt(work.size)
        decimals = 1 - int(np.floor(np.log10(error)))
        assert f"{work.mean():.{decimals}f} ± {error:.2g}" in seen.text
        assert EVIL in seen.text
        for line in ds.attrs["case"].splitlines():
            assert " ".join(line.split()) in seen.text
        assert ds.attrs["run"] in seen.text
    report = thermosim.check(ensemble)
    assert ("Consistent with theory" in seen.text) == report.consistent
    assert all(c.quantity.replace("_", " ") in seen.text for c in report.comparisons)
    assert hashlib.sha256(ensemble.read_bytes()).hexdigest() in seen.text
    assert "thermosim run trap.toml --set ensemble.replicas=120 -o trap.h5" in seen.text
    assert str(ensemble.parent) not in text
    assert len(seen.ids) == len(set(seen.ids))


def test_nothing_of_a_file_is_markup(page):
    text = page.read_text("utf-8")
    scripts = [tag for tag, _ in Words(text).tags if tag == "script"]
    assert len(scripts) == 1
    assert "<img" not in text
    addresses = {attrs[name] for _, attrs in Words(text).tags for name in ("src", "href") if name in attrs}
    assert all(address.startswith(("#", "data:")) for address in addresses)


def test_tables_and_pictures_have_names_for_who_cannot_see_them(page):
    seen = Words(page.read_text("utf-8"))
    assert all(attrs.get("scope") for tag, attrs in seen.tags if tag == "th")
    assert all(attrs.get("aria-label") for tag, attrs in seen.tags if tag == "svg")
    levels = [int(tag[1]) for tag, _ in seen.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_numbers_to_point_at_are_those_that_are_drawn(ensemble):
    """Mean work, read back from the picture, is that of the replicas; an error of the bar by 2 would show."""
    from thermosim.plots.picture import picture

    with thermosim.open_ensemble(ensemble) as ds:
        part = ds.isel(temperature=1)
        figure = picture(part)
        mean, error = (value.isel(step=-1).item() for value in replica_mean(part["work"]))
    told = {(mark.of, mark.at): mark for panel in figure.axes for mark in marks_of(panel)}
    last = told["mean work ⟨w⟩", "98"]
    assert last.value == f"{mean:.5g}"
    assert last.error == f"{error:.2g}"
    assert in_words(r"at $\lambda$ = 1, $\langle e^{-w/T}\rangle$, $10^{-3}$") == "at λ = 1, ⟨e^-w/T⟩, 10⁻³"


@pytest.mark.parametrize("origin", ["upper", "lower"])
def test_numbers_of_a_matrix_are_told_by_row_and_column(origin):
    """Each where it is drawn, in the order that the image has, with the words of its ticks and of its colour bar."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3))
    panel, values = figure.add_subplot(), np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan]])
    image = panel.imshow(values, origin=origin, aspect="auto")
    panel.set_yticks([0, 1], ["layer 1", "layer 2"])
    figure.colorbar(image, ax=panel).ax.set_ylabel("cosine")
    marks = {mark.at: mark for mark in marks_of(panel)}
    assert {at: mark.value for at, mark in marks.items()} == {
        "0, layer 1": "1", "1, layer 1": "2", "2, layer 1": "3",
        "0, layer 2": "4", "1, layer 2": "5", "2, layer 2": "no value",
    }  # fmt: skip
    assert {mark.of for mark in marks.values()} == {"cosine"}
    for (at, mark), (row, column) in zip(marks.items(), np.ndindex(2, 3), strict=True):
        assert (mark.x, mark.y) == pytest.approx(tuple(panel.transData.transform((column, row)))), at


def test_a_damaged_file_is_reported_without_what_is_lost(ensemble, tmp_path, capsys):
    damaged = tmp_path / "trap.h5"
    damaged.write_bytes(ensemble.read_bytes())
    with h5py.File(damaged) as file:
        place = file["heat"].id.get_chunk_info(0)
    with damaged.open("r+b") as raw:
        raw.seek(place.byte_offset + place.size // 2)
        raw.write(b"\xff\x00\xff\x00")
    code, out, _ = run(capsys, "report", damaged, "--points", "1")
    assert code == 1
    assert "heat is damaged" in out
    seen = Words((tmp_path / "trap.html").read_text("utf-8"))
    assert "Cannot be read, and is left out: heat." in seen.text
    assert "damaged: see what is missing" in seen.text
    assert 'name = "harmonic-trap"' in seen.text
    assert "work done on x" in seen.text or "work (energy)" in seen.text


@pytest.mark.parametrize("content", [b"", b"not at all"])
def test_an_empty_file_is_said_to_be_one(content, tmp_path, capsys):
    file = tmp_path / "empty.h5"
    file.write_bytes(content)
    code, out, _ = run(capsys, "report", file)
    assert code == 1
    assert "empty.h5" in out
    assert "What is missing" in Words((tmp_path / "empty.html").read_text("utf-8")).text


def test_a_run_that_is_not_complete_is_reported_so_far(trap, tmp_path):
    def stop(state):
        if state.done:
            raise KeyboardInterrupt

    output = tmp_path / "trap.h5"
    with pytest.raises(Interrupted):
        thermosim.simulate(thermosim.load_case(trap), output, segment_seconds=0.01, report=stop)
    written = write_report(output)
    assert any("not complete" in sentence for sentence in written.missing)
    assert "harmonic-trap" in Words(written.path.read_text("utf-8")).text


def test_a_report_replaces_reports_only(page, ensemble, tmp_path):
    mine = tmp_path / "mine.html"
    mine.write_text("precious")
    with pytest.raises(StorageError, match="not a report"):
        write_report(ensemble, mine)
    assert mine.read_text() == "precious"
    with pytest.raises(StorageError, match=r"call it out\.html"):
        write_report(ensemble, tmp_path / "out.txt")


def test_cases_and_reports_show_themselves_in_notebooks(ensemble):
    with thermosim.open_ensemble(ensemble) as ds:
        report = thermosim.check(ds)
        case = thermosim.load_case(ds.attrs["case"])
    for shown in (report._repr_html_(), case._repr_html_()):
        seen = Words(shown)
        assert EVIL in seen.text
        assert not {"script", "img"} & {tag for tag, _ in seen.tags}
    assert "agrees" in report._repr_html_()
    assert "model.dimension" in case._repr_html_()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_in_a_browser(page, tmp_path):
    """No request, no complaint, pictures seen, numbers by pointer and keys, points moved through, on any screen."""

    async def work(tab):
        for width, dark in ((1100, False), (1100, True), (390, False)):
            await tab.open(page, width=width, dark=dark)
            assert await tab.value("document.documentElement.scrollWidth") <= width
            paper = await tab.value("getComputedStyle(document.body).backgroundColor")
            assert (int(re.search(r"\d+", paper)[0]) < 100) == dark
        assert await tab.value("document.title") == EVIL
        sizes = await tab.value(
            "[...document.querySelectorAll('#pictures ~ .pictures svg, section[aria-labelledby=pictures] svg')]"
            ".map(s => [s.getBoundingClientRect().width, s.querySelector('path').getBoundingClientRect().width])"
        )
        assert len(sizes) >= 4
        assert all(width > 250 and inside > 0 for width, inside in sizes)
        await tab.value("document.querySelector('.drawing').focus()")
        await tab.press("ArrowRight", 39)
        assert re.search(r": \S+ at ", await tab.value("document.querySelector('.readout').textContent"))
        shown = "[...document.querySelectorAll('article.point')].filter(p => !p.hidden).map(p => p.ariaLabel)"
        assert await tab.value(shown) == ["temperature = 0.5"]
        await tab.value("document.querySelector('.mover input').focus()")
        await tab.press("ArrowRight", 39)
        assert await tab.value(shown) == ["temperature = 1"]
        await tab.printed(tmp_path / "page.pdf")
        assert not tab.said
        assert {Path(address).name for address in tab.requests if not address.startswith("data:")} == {page.name}

    (tmp_path / "profile").mkdir()
    with chromium(tmp_path / "profile") as port:
        visit(port, work)
