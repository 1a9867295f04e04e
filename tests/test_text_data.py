"""Texts and small tasks as rows of tokens: what a row is, and what is said of those that a model cannot learn."""

import numpy as np
import pytest

import thermosim
from thermosim.case.faults import CaseError
from thermosim.data import DataSection, load
from thermosim.data.tokens import vocabulary

pytest.importorskip("jax")

TEXT = "abba cab\nça va"  # sorted: newline, space, a, b, c, v, ç
CASE = """
[model]
name = "transformer"
vocabulary = 7
context = 4
width = 4
heads = 2
layers = 1
[theta]
dynamics = "adam"
learning_rate = 0.001
batch = 2
[data]
file = "a.txt"
encoding = "characters"
[ensemble]
replicas = 4
seed = 1
[run]
steps = 4
[record]
every = 2
variables = ["displacement_square"]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT, "utf-8")
    (tmp_path / "case.toml").write_text(CASE)
    return tmp_path


def section(**keys):
    return DataSection.model_validate(keys)


def test_rows_are_windows_of_the_numbers_of_characters(folder):
    """Each begins with the last character of the one before it, so that every character is predicted once."""
    data = load(section(file="a.txt", encoding="characters"), 5, folder)
    numbers = [2, 3, 3, 2, 1, 4, 2, 3, 0, 6, 2, 1, 5, 2]
    assert data.values.tolist() == [numbers[0:5], numbers[4:9], numbers[8:13]]
    assert vocabulary(section(file="a.txt", encoding="characters"), folder) == 7
    every = load(section(file="a.txt", encoding="characters", stride=1), 5, folder)
    assert every.values.tolist() == [numbers[k : k + 5] for k in range(10)]
    (folder / "a.txt").write_text(TEXT.replace("\n", "\r\n"), "utf-8", newline="")
    assert np.array_equal(load(section(file="a.txt", encoding="characters", stride=1), 5, folder).values, every.values)


def test_some_windows_are_drawn_at_the_addresses_of_their_set(folder):
    some = section(file="a.txt", encoding="characters", stride=1, rows=3, sets=2, seed=5)
    data, every = load(some, 5, folder), load(section(file="a.txt", encoding="characters", stride=1), 5, folder)
    from thermosim.data.generators import order

    for number in (0, 1):
        assert np.array_equal(data.of_set(number), every.values[order(5, 10, number)[:3]])


def test_the_text_that_comes_with_python(tmp_path):
    data = load(section(source="python-topics"), 33, tmp_path)
    assert data.rows > 5000
    assert data.values.max() < 96
    alphabet = "\n" + "".join(map(chr, range(32, 127)))
    import pydoc_data.topics

    first = pydoc_data.topics.topics[min(pydoc_data.topics.topics)]
    assert "".join(alphabet[int(number)] for number in data.values[0]) == first[:33]


def test_all_sums_to_a_modulus(tmp_path):
    rows = load(section(source="modular-addition", modulus=7), 4, tmp_path).values.astype(int)
    assert len({tuple(row) for row in rows}) == 49
    assert all(a < 7 and b < 7 and sign == 7 and c == (a + b) % 7 for a, b, sign, c in rows)
    assert vocabulary(section(source="modular-addition", modulus=7), tmp_path) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.vocabulary": 9}, "has 7 different tokens, this model 9; write model.vocabulary = 7"),
        ({"model.context": 20}, "has 14 characters, and a row of this model takes 21; write model.context = 13"),
        ({"data.encoding": "real"}, "column 'abba' holds text"),
        ({"data.targets": -1}, "learns no targets"),
        ({"data": {"source": "gaussian"}}, "learns from tokens; use 'python-topics'"),
        ({"data": {"source": "modular-addition"}}, "data.modulus: missing"),
        ({"data": {"source": "modular-addition", "modulus": 6}}, "write model.context = 3"),
        ({"data": {"source": "modular-addition", "modulus": 5}, "model.context": 3}, "write model.vocabulary = 6"),
        ({"data": {"source": "python-topics", "encoding": "spin"}}, "are used as they are"),
        ({"data": {"source": "digits", "stride": 3}}, "data.stride = 3: is only used with"),
        ({"data": {"source": "digits"}, "model.context": 63}, "holds the token 16, .* write model.vocabulary = 17"),
        ({"data": {"source": "digits", "encoding": "unit"}, "model.context": 63}, "a token is a whole number from 0"),
        ({"model": {"name": "gaussian", "dimension": 5}}, "holds tokens, which model 'gaussian' does not learn from"),
        ({"data.test": "a.txt"}, "its tokens would be others; hold out a share"),
        ({"data.test": 1.5}, "is no share"),
        ({"model.heads": 3}, "model.width = 4: is shared out to model.heads = 3"),
    ],
)
def test_what_no_row_can_be_made_of_is_said(folder, changes, message):
    with pytest.raises(CaseError, match=message):
        thermosim.load_case(folder / "case.toml", changes)


def test_a_text_is_kept_with_the_run(folder):
    """What is analysed is the text as it was, though it has changed since; a row held out is not learned from."""
    changes = {"data.test": 1, "record.variables": ["theta", "test_loss", "full_loss"]}
    thermosim.simulate(thermosim.load_case(folder / "case.toml", changes), folder / "run.h5")
    (folder / "a.txt").write_text("quite another text", "utf-8")
    from thermosim.analysis.machine import machines

    with thermosim.open_ensemble(folder / "run.h5") as ds:
        (machine,) = machines(ds)
        both = np.concatenate([machine.data.values, machine.data.test])
        assert sorted(both.tolist()) == [[0, 6, 2, 1, 5], [1, 4, 2, 3, 0], [2, 3, 3, 2, 1]]
        assert len(machine.data.test) == 1
        assert not np.allclose(ds.test_loss, ds.full_loss)
