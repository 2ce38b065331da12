#!/usr/bin/env python3
"""Proof that the simulation can fail: breaks the scheduler on purpose, one way at a time, and wants each broken one caught.

Each mutant is one textual change in a copy of src/core, compiled with the simulation and run for --steps steps. A mutant that
survives is printed with exit code 1; so is one whose text is no longer found (the code has moved on: adapt it). Nothing in the tree
is changed. See docs/testing.md for the list with what each stands for.

    tests/cpp/core/tools/mutants.py [--steps N] [--only NAME]
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[4]

# name: (file, text, instead). `text` must occur exactly once.
MUTANTS = {
    "lost_requeue_at_death": ("scheduler_workers.cpp", "    queue_again(*chunk.job, unbegun);\n", ""),
    "lost_requeue_at_take_back": ("scheduler_dispatch.cpp", "    queue_again(job, run);\n", ""),
    "double_settle_after_death": (
        "scheduler_workers.cpp",
        "    settle_failed(job, item, failure, OutcomeKind::pending, worker, runs);\n",
        "    settle_failed(job, item, failure, OutcomeKind::pending, worker, runs);\n    run_again(job, item, runs, now);\n",
    ),
    "attempt_counted_for_unbegun": (
        "scheduler_workers.cpp",
        "    if (next > chunk.done && lost_job == nullptr) {",
        "    if (next >= chunk.done && lost_job == nullptr) {",
    ),
    "whole_chunk_lost": (
        "scheduler_workers.cpp",
        "      lost_item = unbegun.first++;\n",
        "      lost_item = unbegun.first;\n      unbegun.first = unbegun.end;\n",
    ),
    "forgotten_cancel_in_flight": (
        "scheduler.cpp",
        "  job.need_rare().cancelled.add(range);\n",
        "  job.need_rare();\n",
    ),
    "forgotten_cancel_in_backoff": (
        "scheduler.cpp",
        "for (ItemIndex item : in_backoff) settle({item, item + 1});",
        "in_backoff.clear();",
    ),
    "cancelled_item_runs_again": (
        "scheduler_workers.cpp",
        "(fate == Fate::retry && job.cancelled(item))",
        "(fate == Fate::abort && job.cancelled(item))",
    ),
    "one_retry_too_many": ("retry.cpp", "runs <= policies.retry.max_retries", "runs <= policies.retry.max_retries + 1"),
    "runs_not_counted": ("scheduler_workers.cpp", "notes[item] = {runs, wait", "notes[item] = {1, wait"),
    "retry_before_its_time": (
        "scheduler_dispatch.cpp",
        "waiting.top().due <= now",
        "waiting.top().due <= now + Nanos{100'000}",
    ),
    "retry_forgotten": ("scheduler_dispatch.cpp", "    make_ready(*job, {due.item, due.item + 1});\n", ""),
    "kills_an_innocent": (
        "scheduler_dispatch.cpp",
        "running->end == worker.timed_item + 1;",
        "running->end >= worker.timed_item + 1;",
    ),
    "kills_without_asking_back": (
        "scheduler_dispatch.cpp",
        "  ask_back(worker, 0);\n  if (worker.answers_due == 0)",
        "  if (true)",
    ),
    "no_kill_after_cancel": ("scheduler_dispatch.cpp", "    kill(worker, Cause::stopped_by_pool);\n", "    return;\n"),
    "time_limit_never_fires": (
        "scheduler_dispatch.cpp",
        "worker.at_work() && now >= worker.deadline",
        "worker.at_work() && now > kNever",
    ),
    "timer_lost": (
        "scheduler_dispatch.cpp",
        "    watch(std::min(worker.deadline, worker.soft_deadline));\n",
        "",
    ),
    "soft_limit_never_fires": (
        "scheduler_dispatch.cpp",
        "worker.at_work() && now >= worker.soft_deadline",
        "worker.at_work() && now > kNever",
    ),
    "soft_limit_fires_twice": ("scheduler_dispatch.cpp", "  worker.soft_over = true;\n", ""),
    "soft_limit_of_a_finished_item": (
        "scheduler_workers.cpp",
        "  if (timed) worker->deadline = worker->soft_deadline = kNever;\n",
        "  if (timed) worker->deadline = kNever;\n",
    ),
    "soft_timer_lost": (
        "scheduler_dispatch.cpp",
        "    watch(std::min(worker.deadline, worker.soft_deadline));\n",
        "    watch(worker.deadline);\n",
    ),
    "too_many_chunks": (
        "scheduler_dispatch.cpp",
        "worker.chunks < config.max_chunks_in_flight",
        "worker.chunks <= config.max_chunks_in_flight",
    ),
    "order_of_items": (
        "job_table.cpp",
        "  if (rare && !rare->again.empty()) return rare->again.take_front(run.count());\n  fresh.first = run.end;\n  return run;",
        "  if (rare && !rare->again.empty()) return rare->again.take_front(run.count());\n  if (fresh.count() == 2 && run.count() == 1) { ++run.first; ++run.end; --fresh.end; return run; }\n  fresh.first = run.end;\n  return run;",
    ),
    "order_of_jobs": (
        "job_table.cpp",
        "  while (next->ticket < job.ticket) next = next->after;",
        "  if (next->after != nullptr) next = next->after;",
    ),
    "no_replacement": (
        "scheduler_workers.cpp",
        "now < restart_at) return;",
        "now < restart_at || next_worker > config.workers + 2) return;",
    ),
    "storm_of_starts": (
        "scheduler_workers.cpp",
        "    delay_starts(failed_starts_in_row, now);\n",
        "    restart_at = now;\n",
    ),
    "never_broken": (
        "scheduler_workers.cpp",
        "  if (++failed_starts_in_row >= std::max(config.max_restarts, 1U)) {",
        "  if (++failed_starts_in_row >= 1000) {",
    ),
    "barren_deaths_go_on": ("scheduler_workers.cpp", "  if (had_chunks) ++barren_deaths_in_row;\n", ""),
    "max_deaths_ignored": (
        "scheduler_workers.cpp",
        "  if (too_many && fate != Fate::skip) fate = Fate::abort;\n",
        "  if (too_many && fate == Fate::skip) fate = Fate::abort;\n",
    ),
    "abort_leaves_chunks": (
        "scheduler.cpp",
        "      settle_run(*chunk.job, {chunk.first + chunk.done, chunk.first + chunk.end}, kind);\n",
        "",
    ),
    "abort_leaves_backoffs": (
        "scheduler.cpp",
        "      for (ItemIndex item : in_backoff) settle_run(job, {item, item + 1}, kind);\n",
        "",
    ),
    "late_result_settles_again": (
        "scheduler_workers.cpp",
        "  Verdict verdict = Verdict::ignore;\n  if (job != nullptr) {",
        "  Verdict verdict = Verdict::settle;\n  if (job != nullptr) {",
    ),
    "takes_results_out_of_order": (
        "scheduler_workers.cpp",
        "chunk.id != chunk_id || chunk.done != item",
        "chunk.id != chunk_id",
    ),
    "close_forgets_to_retire": ("scheduler.cpp", "    retire_everybody();\n", ""),
    "close_drops_open_jobs": (
        "scheduler_impl.hpp",
        "return unsettled == 0 && open_jobs == 0;",
        "return unsettled == 0;",
    ),
    "maxtasksperchild_ignored": (
        "scheduler_dispatch.cpp",
        "worker.chunks_given >= config.max_chunks_per_worker",
        "worker.chunks_given > config.max_chunks_per_worker",
    ),
    "no_stealing": ("scheduler_dispatch.cpp", "  ++stealing;\n  ask_back(*victim", "  return;\n  ask_back(*victim"),
    "stealing_stays_on": ("scheduler_workers.cpp", "  if (worker.stealing) --stealing;\n", ""),
    "idle_not_seen": (
        "scheduler_workers.cpp",
        "  impl_->failed_starts_in_row = 0;\n  impl_->refresh(*worker);\n",
        "  impl_->failed_starts_in_row = 0;\n",
    ),
    "extend_after_end_lost": ("scheduler.cpp", "    me.settle_run(*job, run, me.end_kind());\n", ""),
    "skip_becomes_raise": (
        "scheduler_workers.cpp",
        "settle_failed(job, item, OutcomeKind::skipped, failure, worker, runs);",
        "settle_failed(job, item, failure, OutcomeKind::pending, worker, runs);",
    ),
    "wrong_end_kind": (
        "scheduler.cpp",
        "state == PoolState::terminated ? OutcomeKind::terminated : OutcomeKind::aborted",
        "state == PoolState::broken ? OutcomeKind::terminated : OutcomeKind::aborted",
    ),
}


def compile_command(source: pathlib.Path, include: pathlib.Path, out: pathlib.Path) -> list[str]:
    cached = ["ccache"] if shutil.which("ccache") else []
    return [
        *cached,
        os.environ.get("CXX", "g++"),
        "-std=c++20",
        "-O1",
        f"-I{include}",
        f"-I{ROOT}/include",
        f"-I{ROOT}/tests/cpp",
        "-c",
        str(source),
        "-o",
        str(out),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000_000)
    parser.add_argument("--only", help="one mutant, by name")
    options = parser.parse_args()
    harness = [p for p in sorted((ROOT / "tests/cpp/core").glob("simulation*.cpp")) if not p.name.endswith("_test.cpp")]
    harness.append(ROOT / "tests/cpp/core/sim_main.cpp")
    core = sorted((ROOT / "src/core").glob("*.cpp"))
    bad = []
    with tempfile.TemporaryDirectory(prefix="holdfast-mutants-") as folder:
        top = pathlib.Path(folder)
        objects = {}
        for source in harness + core:
            objects[source.name] = top / (source.stem + ".o")
            subprocess.run(compile_command(source, ROOT / "src", objects[source.name]), check=True)
        for name, (file, text, instead) in MUTANTS.items():
            if options.only and name != options.only:
                continue
            include = top / name
            shutil.copytree(ROOT / "src/core", include / "core")
            shutil.copytree(ROOT / "src/base", include / "base")
            changed = include / "core" / file
            content = changed.read_text()
            if content.count(text) != 1:
                bad.append(name)
                print(f"{name}: its text occurs {content.count(text)} times in {file}: adapt the mutant")
                continue
            changed.write_text(content.replace(text, instead))
            mine = dict(objects)
            again = core if file.endswith(".hpp") else [ROOT / "src/core" / file]
            for source in again:
                mine[source.name] = include / (source.stem + ".o")
                subprocess.run(compile_command(include / "core" / source.name, include, mine[source.name]), check=True)
            binary = include / "hf_core_sim"
            subprocess.run([os.environ.get("CXX", "g++"), *map(str, mine.values()), "-o", str(binary)], check=True)
            try:
                run = subprocess.run(
                    [str(binary), "--steps", str(options.steps)], capture_output=True, text=True, timeout=120
                )
                told = (
                    run.stdout.splitlines()[:2]
                    if run.returncode == 1
                    else [f"exit {run.returncode}: {run.stdout[:60]!r}"]
                )
                caught = run.returncode != 0
            except subprocess.TimeoutExpired:
                told, caught = ["it hangs"], True
            if not caught:
                bad.append(name)
            events = re.match(r"(\d+) events", told[1]) if len(told) > 1 else None
            size = f" ({events.group(1)} events)" if events else ""
            print(
                f"{name}: {'caught: ' + told[0].removeprefix('FAILED: ') + size if caught else 'SURVIVED'}", flush=True
            )
            shutil.rmtree(include)
    if bad:
        print("not caught: " + ", ".join(bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
