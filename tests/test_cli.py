"""The command line as a user meets it: exit codes, messages, and what the commands print."""

import json
import os
import subprocess
import sys

import h5py
import pytest

import thermosim
from thermosim.cli.commands import main
from thermosim.run.machine import Memory


def run(capsys, *arguments):
    """Exit code and output of one command."""
    previous, sys.argv = sys.argv, ["thermosim", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = previous
    captured = capsys.readouterr()
    return stop.value.code or 0, captured.out, captured.err


@pytest.fixture
def trap_file(trap, tmp_path):
    path = tmp_path / "trap.toml"
    path.write_text(trap.replace('dynamics = "ula"', 'dynamics = "exact-ou"'))
    return path


def test_run_check_plot_info(trap_file, tmp_path, capsys):
    output = tmp_path / "trap.h5"
    code, out, _ = run(capsys, "run", trap_file, "-o", output)
    assert code == 0
    assert "200 replicas x 101 steps" in out
    assert "consistent" in out
    assert "false-alarm rate" in out
    assert (tmp_path / "trap.png").stat().st_size > 10_000

    code, out, _ = run(capsys, "check", output, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["consistent"]
    assert report["tests"] == sum(len(c["z"]) for c in report["comparisons"])

    code, out, _ = run(capsys, "info", output)
    assert code == 0, out
    assert "complete" in out
    assert run(capsys, "plot", output, "-o", tmp_path / "other.png")[0] == 0
    assert (tmp_path / "other.png").exists()


def test_a_false_result_fails_the_check(trap_file, tmp_path, capsys):
    """Heat booked with the other sign: the same commands must say so, with exit code 1."""
    import h5py

    output = tmp_path / "trap.h5"
    run(capsys, "run", trap_file, "-o", output, "--no-plot")
    with h5py.File(output, "a") as file:
        file["heat"][...] = -file["heat"][...]
    code, out, _ = run(capsys, "check", output)
    assert code == 1
    assert "not consistent" in out


def test_bad_cases_write_nothing(trap_file, tmp_path, capsys):
    output = tmp_path / "out.h5"
    code, out, err = run(capsys, "run", trap_file, "-o", output, "--set", "x.tua=3", "--set", "run.steps=-1")
    assert code == 2
    assert "2 faults" in err
    assert "Did you mean x.tau?" in err
    assert "Traceback" not in err + out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["trap.toml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing.toml"], "no such file"),
        (["check", "nothing.h5"], "no such ensemble"),
        (["plot", "nothing.h5"], "no such ensemble"),
        (["report", "nothing.h5"], "no such ensemble"),
        (["resume", "nothing.h5"], "no interrupted run"),
        (["models", "harmonic"], "There are:"),
        (["rum"], "No such command"),
        (["run"], "Missing argument"),
        (["run", "x.toml", "--set", "nonsense"], "KEY=VALUE"),
        (["run", "x.toml", "--threads", "0"], "greater than or equal to 1"),
    ],
)
def test_mistakes_are_answered_in_words(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert message in " ".join((out + err).split())
    assert "Traceback" not in out + err


def test_existing_output_is_left_alone(trap_file, tmp_path, capsys):
    output = tmp_path / "out.h5"
    output.write_text("precious")
    code, _, err = run(capsys, "run", trap_file, "-o", output)
    assert code == 2
    assert "never replaced" in err
    assert output.read_text() == "precious"


def test_diverged_replicas_exit_with_three(tmp_path, capsys):
    case = tmp_path / "wild.toml"
    case.write_text("""
[model]
name = "isotropic-sphere"
[theta]
dynamics = "sgd"
constraint = "fixed-elr"
learning_rate = 0.05
weight_decay = 5.0
radius = 10.0
[ensemble]
replicas = 3
[run]
steps = 100
""")
    code, out, _ = run(capsys, "run", case, "-o", tmp_path / "wild.h5", "--no-plot")
    assert code == 3
    assert "3 of 3 replicas diverged" in out
    assert "replica = 0: theta not finite at step" in out


def test_lists(capsys):
    assert "adamw" in run(capsys, "moves")[1]
    assert "Loshchilov" in run(capsys, "moves", "adamw")[1]
    assert run(capsys, "moves", "adamx")[0] == 2
    assert "isotropic-sphere" in run(capsys, "models")[1]
    assert "model.noise" in run(capsys, "models", "isotropic-sphere")[1]
    assert "ideal_gas/fixed_elr " in run(capsys, "cases")[1]
    schema = json.loads(run(capsys, "schema")[1])
    assert schema["properties"]["x"]["properties"]["tau"]["minimum"] == 1


def test_help_imports_nothing_heavy():
    """What makes --help answer at once; the time itself is measured by scripts/bench.py."""
    code = "import sys, thermosim.cli; print(sorted({'numba', 'numpy', 'xarray', 'pydantic'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "overrides", [["run.steps=1"], ["record.first=101"], ["ensemble.replicas=1"], ["record.every=60"]]
)
def test_too_little_for_statistics_is_said(overrides, trap_file, tmp_path, capsys):
    sets = [part for item in overrides for part in ("--set", item)]
    code, out, err = run(capsys, "run", trap_file, "-o", tmp_path / "few.h5", *sets)
    assert code == 0, err
    assert "Nothing can be compared" in out
    assert run(capsys, "check", tmp_path / "few.h5")[0] == 2


def test_outputs_that_would_destroy_something(trap_file, capsys):
    before = trap_file.read_text()
    for output in (trap_file, trap_file.with_suffix(".png"), trap_file.parent, "."):
        code, _, err = run(capsys, "run", trap_file, "-o", output, "--overwrite")
        assert code == 2, err
    assert trap_file.read_text() == before


@pytest.mark.parametrize("kills", ["1", pytest.param("3", marks=pytest.mark.exhaustive)])
def test_torture_finds_nothing_wrong(kills, trap_file, tmp_path, capsys):
    """Kills of real processes; the table says what they met."""
    change = ("--set", "run.steps=20_000", "--set", "record.every=500")
    code, out, err = run(capsys, "torture", trap_file, *change, "--kills", kills, "--minutes", "10", "--in", tmp_path)
    assert code == 0, out + err
    assert "nothing was lost" in out
    assert "identical to the byte" in out
    assert not list(tmp_path.glob("torture-*"))


def test_extend_and_what_is_said_of_a_complete_run(trap_file, tmp_path, capsys):
    output = tmp_path / "trap.h5"
    assert run(capsys, "run", trap_file, "-o", output, "--no-plot")[0] == 0
    code, out, _ = run(capsys, "resume", output)
    assert code == 0
    assert "is complete" in out
    assert "thermosim extend" in out
    code, out, _ = run(capsys, "extend", output, "--steps", "50", "--no-plot")
    assert code == 0
    assert "200 replicas x 151 steps" in out
    assert thermosim.open_ensemble(output).attrs["steps"] == 151


def test_info_of_a_case_says_what_it_takes(trap_file, capsys):
    code, out, _ = run(capsys, "info", trap_file, "--workers", "7")
    assert code == 0
    for word in ("replica-steps/s", "on 7 such machines", "tasks", "memory", "all replicas at one time", "--virtual"):
        assert word in " ".join(out.split()), word
    assert "replica-steps/s" not in run(capsys, "info", trap_file, "--no-trial")[1]


def test_info_names_what_is_damaged(trap_file, tmp_path, capsys):
    output = tmp_path / "trap.h5"
    assert run(capsys, "run", trap_file, "-o", output, "--no-plot", "--virtual")[0] == 0
    segment = next((tmp_path / "trap.h5.parts").glob("frames-*"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    code, out, _ = run(capsys, "info", output)
    assert code == 1
    assert "damaged (checksum differs)" in " ".join(out.split())


def test_version(capsys):
    assert run(capsys, "--version")[1].startswith("thermosim 0.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "{case}", "--scheduler", "garbage"), "expected an address such as tcp://"),
        (("run", "{case}", "--scheduler", "tcp://127.0.0.1:1", "--workers", "2"), "give one of them"),
        (("resume", "{case}"), "not a readable ensemble file"),
        (("extend", "{case}", "--steps", "3"), "not a readable ensemble file"),
        (("torture", "{case}", "--in", "{case}-nowhere"), "Name a folder that exists"),
        (("run", "{case}", "--set", "record.x.kep=3"), "Did you mean record.x.keep?"),
    ],
)
def test_what_cannot_be_done_is_one_clear_paragraph(arguments, said, trap_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *(word.format(case=trap_file) for word in arguments))
    assert code == 2
    assert said in " ".join(err.split())
    assert "Traceback" not in out + err
    assert "fault of the program" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trap.toml"]


def test_a_damaged_file_is_not_checked(trap_file, tmp_path, capsys):
    output = tmp_path / "trap.h5"
    assert run(capsys, "run", trap_file, "-o", output, "--no-plot")[0] == 0
    with h5py.File(output) as file:
        where = file["x"].id.get_chunk_info(0).byte_offset
    data = bytearray(output.read_bytes())
    data[where + 100] ^= 1
    output.write_bytes(data)
    for command in (("check", output), ("plot", output), ("extend", output, "--steps", "3")):
        code, _, err = run(capsys, *command)
        assert code == 2
        assert "put" in err
        assert "fault of the program" not in err


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.attrs.update({"settings": 3}),
        lambda file: file.attrs.update({"settings": "{}"}),
        lambda file: file.attrs.update({"settings": file.attrs["settings"].replace('"seed": 3', '"seed": "a"')}),
        lambda file: file.attrs.update({"virtual": 2}),
        lambda file: file.pop("status"),
        lambda file: (file.pop("work"), file.create_dataset("work", data=[[[1.0]]])),
        lambda file: file.attrs.pop("title"),
    ],
)
def test_a_fault_of_the_file_is_none_of_the_program(damage, trap_file, tmp_path, capsys):
    output = tmp_path / "trap.h5"
    few = ("--set", "run.steps=21", "--set", "ensemble.replicas=20")
    assert run(capsys, "run", trap_file, "-o", output, "--no-plot", *few)[0] == 0
    with h5py.File(output, "a") as file:
        damage(file)
    for command in (("check", output), ("check", output, "--json"), ("plot", output), ("extend", output, "--steps", 3)):
        code, out, err = run(capsys, *command)
        assert code in (0, 1, 2), err
        assert "Traceback" not in err
        assert "fault of the program" not in err + out
    code, out, err = run(capsys, "info", output)
    assert code in (1, 2)
    assert "damaged" in out or "put" in err or "Name" in err


def test_lost_frames_are_not_compared(trap_file, tmp_path, capsys):
    output = tmp_path / "trap.h5"
    assert run(capsys, "run", trap_file, "-o", output, "--no-plot", "--virtual")[0] == 0
    next((tmp_path / "trap.h5.parts").glob("frames-*")).unlink()
    code, _, err = run(capsys, "check", output)
    assert code == 2
    assert "--repair" in err


def test_a_reader_that_goes_away_is_no_failed_check(trap_file, tmp_path, capsys):
    output = tmp_path / "trap.h5"
    assert run(capsys, "run", trap_file, "-o", output, "--no-plot")[0] == 0
    command = [sys.executable, "-m", "thermosim", "check", str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.wait(60) == 141
        assert b"Traceback" not in process.stderr.read()


COMMANDS = ("run", "resume", "extend", "check", "plot", "report", "info", "torture", "models", "moves")


@pytest.mark.parametrize("command", COMMANDS)
def test_debug_shows_the_traceback_wherever_it_stands(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = [command, "nothing.x", *(["--steps", "3"] if command == "extend" else [])]
    plain = run(capsys, *line)
    assert plain[0] == 2
    assert "Traceback" not in plain[2]
    for words in (["--debug", *line], [*line, "--debug"], [line[0], "--debug", *line[1:]]):
        code, _, err = run(capsys, *words)
        assert code == 2
        assert err.startswith("Traceback")
        assert err.endswith(plain[2])


def test_after_two_dashes_a_name_is_a_name(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "check", "--", "--debug")
    assert code == 2
    assert "--debug: no such ensemble" in err
    assert "`thermosim run CASE -o ./--debug`" in err


@pytest.mark.parametrize("name", ["", ".", "..", "/"])
def test_a_path_that_names_no_file_is_refused(capsys, name):
    for line in (["plot", name], ["plot", name, "--variable", "x"], ["check", name], ["resume", name]):
        code, _, err = run(capsys, *line)
        assert code == 2, err
        assert "names a folder" in err


def test_commands_in_messages_can_be_copied(trap_file, tmp_path, monkeypatch, capsys):
    """On one line however long they are, names with spaces in quotes."""
    monkeypatch.chdir(tmp_path)
    name = f"a long name {'of many words ' * 8}.h5"
    assert run(capsys, "run", trap_file, "-o", name, "--no-plot", "--set", "run.steps=4")[0] == 0
    assert f"thermosim extend '{name}' --steps N\n" in run(capsys, "resume", name)[1]
    (tmp_path / name).with_suffix(".png").write_text("mine")
    out = run(capsys, "extend", name, "--steps", "1")[1]
    assert f"left alone; thermosim plot '{name}' -o NAME.png draws another.\n" in out
    assert f"`thermosim run CASE -o '{name}2'` starts one" in run(capsys, "resume", name + "2")[2]


@pytest.mark.parametrize("command", ["check --json", "check", "schema"])
def test_a_reader_that_goes_away_ends_like_any_command(command, trap_file, tmp_path, capsys):
    output = tmp_path / "trap.h5"
    assert run(capsys, "run", trap_file, "-o", output, "--no-plot")[0] == 0
    words = command.split() + [str(output)] * (command != "schema")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "thermosim", *words], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("streams", "code", "said"),
    [
        (">&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
        ("> /dev/full", 2, "thermosim: the output: No space left on device. Mend that, or name another place.\n"),
        ("> /dev/full 2> /dev/full", 2, ""),
    ],
)
def test_streams_that_are_closed_or_full(streams, code, said):
    line = f'exec "$0" -m thermosim cases {streams}'
    done = subprocess.run(["bash", "-c", line, sys.executable], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, said)


def test_any_sign_can_be_said_in_any_encoding(tmp_path):
    for encoding in ("ascii", "cp1252"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C"}
        command = [sys.executable, "-m", "thermosim", "info", "Θ😀.toml"]
        done = subprocess.run(command, capture_output=True, env=environment, cwd=tmp_path, check=False)
        assert done.returncode == 2
        assert rb"\U0001f600.toml has 1 fault" in done.stderr


def _pipe(path):
    os.mkfifo(path)


def _loop(path):
    path.symlink_to(path)


def _dangling(path):
    path.symlink_to("nowhere.toml")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_pipe, "is no file but a pipe, a device or a socket; save the case to a file"),
        (_loop, "cannot be read: Too many levels of symbolic links. Name a case file"),
        (_dangling, "is a link to nowhere.toml, which is not there; mend the link"),
        (lambda path: path.symlink_to("/dev/zero"), "is no file but a pipe, a device"),
        pytest.param(
            lambda path: path.symlink_to("/proc/kmsg"),
            ("cannot be read: ", "not valid TOML"),  # while the log is empty, and what it holds else
            marks=pytest.mark.skipif(not os.path.exists("/proc/kmsg"), reason="a file of Linux that never ends"),
        ),
        (lambda path: path.mkdir(), "Is a directory. Name a case file"),
        (lambda path: path.write_bytes(b"#" * 8_000_001), "has 8 MB, a case at most 8"),
        (lambda path: path.write_text("a = " + "[" * 3000), "brackets in brackets without end"),
        (lambda path: path.write_text("a" + ".a" * 3000 + " = 1"), "more than 12 deep in each other"),
        (lambda path: path.write_text("a = " + "9" * 5000), "not valid TOML: Exceeds the limit"),
        (lambda path: path.write_text('title = "a\\u0000b"'), "title: holds the sign NUL"),
    ],
)
def test_what_is_no_case_is_said_at_once(make, said, tmp_path, capsys):
    make(tmp_path / "case.toml")
    code, _, err = run(capsys, "run", tmp_path / "case.toml", "-o", tmp_path / "out.h5")
    assert code == 2
    assert any(words in err for words in ([said] if isinstance(said, str) else said))
    assert os.listdir(tmp_path) == ["case.toml"]


def test_a_hint_never_repeats_what_was_typed(trap, tmp_path, capsys):
    (tmp_path / "case.toml").write_text(trap.replace("tau = 3", '"x.tau" = 3'))
    err = run(capsys, "info", tmp_path / "case.toml")[2]
    assert 'x."x.tau" = 3: unknown key. Did you mean x.tau?' in err


def test_a_long_value_does_not_flood_the_message(trap_file, capsys):
    code, _, err = run(capsys, "info", trap_file, "--set", "run.steps=" + "z" * 100_000)
    assert code == 2
    assert len(err) < 2000
    assert "run.steps" in err
    assert "expected" in err.lower()


@pytest.mark.parametrize(
    ("case", "key", "value"),
    [
        ("ideal_gas/fixed_elr", "run.steps", 10**400),
        ("ideal_gas/fixed_elr", "model.noise", 10**400),
        ("ideal_gas/high_dimension", "theta.weight_decay", "'\"1\"'"),
        ("learning/double_well", "data.centers", -3),
    ],
)
def test_values_of_the_wrong_kind(case, key, value, capsys):
    code, _, err = run(capsys, "info", case, "--set", f"{key}={value}")
    assert code == 2, err
    assert f"{key} = " in err
    assert "expected" in err or "less than" in err


def test_signs_of_markup_and_mathematics_in_a_title(trap_file, tmp_path, capsys):
    for number, title in enumerate((r"[/red] $\frac{$", "\u0085\x1b" + "x" * 10_000)):
        output = tmp_path / f"{number}.h5"
        few = ("--set", "ensemble.replicas=20")
        code, out, err = run(capsys, "run", trap_file, "-o", output, "--set", f"title={json.dumps(title)}", *few)
        assert code == 0, err
        assert err == ""
        assert output.with_suffix(".png").exists()
        code, out, _ = run(capsys, "info", output)
        assert code == 0
        assert title in out


def test_no_picture_of_what_diverged(tmp_path, capsys):
    case = tmp_path / "wild.toml"
    text = '[model]\nname = "isotropic-sphere"\n[theta]\ndynamics = "sgd"\nconstraint = "fixed-elr"\n'
    text += "learning_rate = 0.05\nradius = 10.0\n[ensemble]\nreplicas = 3\n[run]\nsteps = 50\n"
    case.write_text(text + '[sweep]\n"theta.weight_decay" = { values = [5.0, 6.0] }\n')
    output = tmp_path / "wild.h5"
    code, out, _ = run(capsys, "run", case, "-o", output)
    assert code == 3
    assert "Nothing can be drawn: all 6 replicas diverged." in out
    assert run(capsys, "plot", output)[0] == 2
    assert not output.with_suffix(".png").exists()


def test_too_many_workers_are_refused(trap_file, tmp_path, monkeypatch, capsys):
    """There are no more of them than processors, four times; and no more than the memory holds."""
    monkeypatch.setattr("thermosim.run.machine.memory", lambda: Memory(8e9, 3e8))
    code, _, err = run(capsys, "run", trap_file, "-o", tmp_path / "w.h5", "--workers", "4096")
    assert code == 2
    assert f"with {4 * os.cpu_count()} workers" in err
    assert "--workers 1;" in err
    assert not (tmp_path / "w.h5.parts").exists()


def test_memory_that_is_not_there_is_a_sentence(trap_file, tmp_path, monkeypatch, capsys):
    def simulate(*_, **__):
        raise MemoryError("Unable to allocate 2.33 TiB")

    monkeypatch.setattr("thermosim.run.simulate.simulate", simulate)
    code, _, err = run(capsys, "run", trap_file, "-o", tmp_path / "w.h5")
    assert code == 2
    assert "not enough (Unable to allocate 2.33 TiB)" in err


def test_an_interrupted_check_leaves_a_complete_ensemble(trap_file, tmp_path, monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("thermosim.checks.report.check", interrupted)
    output = tmp_path / "whole.h5"
    code, out, _ = run(capsys, "run", trap_file, "-o", output)
    assert code == 130
    assert "the ensemble is complete" in out
    assert output.is_file()
    assert run(capsys, "run", trap_file, "-o", output, "--overwrite", "--no-check", "--no-plot")[0] == 0
