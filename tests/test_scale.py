"""What `info` says a run will take, against what it takes."""

import pytest

import thermosim
from thermosim.run.budget import needs_of_case

SUMMARIES = """
[record]
variables = []
[record.x]
every = 2
keep = ["mean", "variance", "histogram", "correlation", "ensemble_mean"]
range = [-3.0, 3.0]
"""


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("trap", {}),
        ("trap", {"x.samples": 3, "ensemble.replicas": 3000}),
        ("sphere", {"ensemble.replicas": 300}),
        ("summaries", {}),
        ("structural", {}),
    ],
)
def test_the_size_of_the_file_is_bounded_and_not_by_much(name, changes, trap, sphere, tmp_path):
    text = {
        "trap": trap,
        "sphere": sphere,
        "summaries": trap.replace("[record]\nevery = 7\n", SUMMARIES),
        "structural": trap + '[sweep]\n"x.tau" = { values = [1, 2, 5] }\n',
    }[name]
    case = thermosim.load_case(text, changes)
    needs = needs_of_case(case, trial=False)
    path = tmp_path / "out.h5"
    thermosim.simulate(case, path).close()
    assert path.stat().st_size <= needs.file <= 1.3 * path.stat().st_size + 200_000
    assert needs.disk > needs.disk_virtual > needs.file


def test_times_of_blocks_add_up_and_machines_share_them(trap, monkeypatch):
    """Each block counts at the cost of its moves; those that are not tried lie between those that are."""
    cost = {1: 1e-9, 2: 2e-9, 3: 3e-9, 4: 4e-9, 5: 5e-9, 6: 6e-9, 7: 7e-9, 8: 8e-9}
    monkeypatch.setattr(
        "thermosim.run.budget.seconds_per_replica_step", lambda block, seconds: cost[block.settings.x.tau]
    )
    case = thermosim.load_case(
        trap + f'[sweep]\n"x.tau" = {{ values = {list(cost)} }}\n', {"run.steps": 10**9, "record.every": 10**7}
    )
    needs = needs_of_case(case)
    assert needs.replica_steps == 8 * 200 * 1e9
    assert needs.seconds == pytest.approx(200 * 1e9 * sum(cost.values()), rel=1e-12)
    spread = needs.on(4)
    assert spread.seconds == pytest.approx(needs.seconds / 4)
    assert spread.files == 2 * spread.tasks
