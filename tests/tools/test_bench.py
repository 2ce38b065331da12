"""The bench judges rightly (bars.py, on made-up runs), its yardsticks are right, and each kind of workload runs (smallest size)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path[:0] = [str(BENCH), str(BENCH.parent / "tools")]

import bars  # noqa: E402  # after the path
import busy  # noqa: E402
import results_file  # noqa: E402
from peers import HOLDFAST, STANDARD  # noqa: E402
from process_tree import children_of  # noqa: E402
from workloads.base import RAW, SIZES  # noqa: E402
from workloads.registry import WORKLOADS  # noqa: E402
from workloads.schedule import greedy_makespan, heavy_tailed  # noqa: E402

SMOKE = "limits,apply_async,map_single,imap_100,arrays_in_1,arrays_view_1,death,replacement_fork,open_fork_2,tail_map,memory_held,idle"


def line(workload, peer, values, others=0.0, **more):
    return {"workload": workload, "peer": peer, "others": others, "size": {}, "values": values, **more}


def word(lines, row, part=""):
    """What is said of the bar of *row* (the one whose text has *part*), given a run of these lines."""
    results = results_file.Results({}, lines)
    (bar,) = [bar for bar in bars.BARS if bar.row == row and part in bar.bar]
    return bars.verdict(bar, results).word


def test_a_bar_is_met_at_its_ratio_and_missed_just_below():
    """The medians of the rounds are compared, not single rounds."""
    own = [line("map_single", HOLDFAST, {"map.single": one}) for one in (1.0, 1.0, 9.0)]
    assert word([*own, line("map_single", STANDARD, {"map.single": 20.0})], "map.single") == bars.MET
    assert word([*own, line("map_single", STANDARD, {"map.single": 19.9})], "map.single") == bars.MISSED


def test_a_bar_for_a_quiet_machine_is_not_judged_on_a_busy_one():
    """Others used a core: no verdict on the absolute times, but ratios that need no quiet machine are judged."""
    for others, quiet, any_time in ((0.0, bars.MISSED, bars.MET), (1.0, bars.NOT_HERE, bars.MET)):
        lines = [
            line("apply", HOLDFAST, {"apply": 50.0}, others),
            line("limits", RAW, {"limit.pingpong": 35.0}, others),
            line("imap_1", HOLDFAST, {"imap.1": 1.0}, others),
            line("imap_1", STANDARD, {"imap.1": 10.0}, others),
        ]
        assert word(lines, "apply", "ping-pong") == quiet
        assert word(lines, "apply", "5 us") == quiet
        assert word(lines, "imap.1") == any_time


def test_a_view_is_judged_by_the_memcpy_of_the_same_run():
    """64 MiB in 10 ms are 6.7 GB/s: enough beside a memcpy of 9 GB/s, not beside one of 10."""
    for memcpy, verdict in ((9.0, bars.MET), (10.0, bars.MISSED)):
        lines = [
            line("arrays_view_64", HOLDFAST, {"array_view.64": 10.0}),
            line("limits", RAW, {"limit.memcpy.64": memcpy}),
        ]
        assert word(lines, "array_view.64") == verdict


def test_samples_of_all_rounds_are_pooled_for_a_quantile():
    """99 quick deaths and 1 slow one of 100: the 99th percentile is quick, with two slow ones it is not."""
    quick = line("death", HOLDFAST, {"death.exit": [200.0] * 50})
    slow = line("death", HOLDFAST, {"death.exit": [200.0] * 49 + [20_000.0]})
    assert word([quick, slow], "death.exit", "p99") == bars.MET
    assert word([slow, slow], "death.exit", "p99") == bars.MISSED
    assert word([slow, slow], "death.exit", "median") == bars.MET


def test_what_has_no_number_is_told_apart():
    """holdfast failed: missed. The peer hangs, or the workload was left out: not measurable, with the reason."""
    assert word([line("idle", HOLDFAST, {}, error="exit code 1: x") | {"values": {}}], "idle") == bars.MISSED
    assert word([], "idle") == bars.NOT_HERE
    lines = [line("map_single", HOLDFAST, {"map.single": 1.0}), line("map_single", STANDARD, {"map.single": "hangs"})]
    assert word(lines, "map.single") == bars.NOT_HERE


def test_every_bar_has_a_row_that_a_workload_measures_in_both_sets():
    """Or it says why it cannot be measured yet."""
    for size in ("quick", "all"):
        rows = {row for workload in WORKLOADS.values() if size in workload.sizes for row in workload.rows}
        assert {bar.row for bar in bars.BARS if bar.judge is not None} <= rows
    assert all(bar.why for bar in bars.BARS if bar.judge is None)
    assert all(set(workload.sizes) <= set(SIZES) for workload in WORKLOADS.values())


def test_the_greedy_schedule_gives_each_task_to_the_worker_that_is_free_first():
    """By hand: 3 | 1, 1, 4 ends at 6; the durations come from one seed and have the asked sum."""
    assert greedy_makespan([3.0, 1.0, 1.0, 4.0], 2) == 6.0
    assert greedy_makespan([3.0, 1.0, 1.0, 4.0], 1) == 9.0
    times = heavy_tailed(1000, 4.0)
    assert times == heavy_tailed(1000, 4.0)
    assert sum(times) == pytest.approx(4.0)
    assert max(times) > 20 * sorted(times)[500]


def test_busy_processes_end_with_their_block():
    """They compute while it runs; afterwards none is left."""
    before = children_of(os.getpid())
    with busy.busy_processes(2):
        assert len(children_of(os.getpid())) == len(before) + 2
        assert busy.cores_used_by_others(0.3) > 0.2
    assert children_of(os.getpid()) == before


@pytest.mark.slow
@pytest.mark.limit(300)
def test_each_kind_of_workload_runs_and_is_reported(tmp_path):
    """The smallest size on holdfast and the standard pool: no failure, and a verdict in the report."""
    out = tmp_path / "run.jsonl"
    command = [sys.executable, str(BENCH / "run.py"), "--size", "smoke", "--peers", f"{HOLDFAST},{STANDARD}"]
    done = subprocess.run([*command, "--only", SMOKE, "--out", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not results_file.load(out).errors()
    report = subprocess.run(
        [sys.executable, str(BENCH / "report.py"), str(out)], capture_output=True, text=True, check=False
    )
    assert report.returncode in (0, 1), report.stderr
    assert "| futex ping-pong of two processes" in report.stdout
    assert "| hangs |" in report.stdout
    assert "not measurable here." in report.stdout.splitlines()[-1]
