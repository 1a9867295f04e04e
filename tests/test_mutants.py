"""The list of planted mistakes does not rot: scripts/mutants.py runs it, here it is only read."""

from pathlib import Path

import pytest

from scripts.mutants import LIST, ROOT, mutants


@pytest.mark.parametrize("file", sorted({mutant.file for mutant in mutants()}))
def test_the_words_of_every_mutant_stand_exactly_once_in_its_file(file: str) -> None:
    for mutant in mutants():
        if mutant.file == file:
            text = mutant.planted(ROOT)
            assert text is not None, f"{LIST.name}: no longer there once: {mutant.old!r}; bring the entry up to date"
            compile(text, file, "exec")
            assert mutant.old != mutant.new


def test_every_mutant_has_tests_that_are_there_and_no_two_are_the_same() -> None:
    listed = mutants()
    assert len(listed) >= 100
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in listed}) == len(listed)
    sources: dict[str, str] = {}
    for mutant in listed:
        assert bool(mutant.tests) != bool(mutant.equivalent), mutant.why
        for test in mutant.tests:
            name, _, function = test.partition("::")
            source = sources.setdefault(name, Path(ROOT / name).read_text("utf-8"))
            assert not function or f"def {function.partition('[')[0]}(" in source, test
