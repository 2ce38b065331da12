#!/usr/bin/env python3
"""What process pools do when things go wrong, side by side: each failure on each peer in a fresh process under an outside time limit.

    build/venv-survey/bin/python bench/survive.py [--rounds 3] [--jobs 2] [--only sigkill,idle] [--peers holdfast,loky] [--out FILE]
    python bench/survive.py --report [FILE]      the table, in Markdown
    python bench/survive.py --into README.md     the same, written between the lines survive:begin and survive:end of that file

Peers that are not installed are said to be so. To have them all: a virtual environment with holdfast, loky, pebble, deadpool-executor,
billiard, mpire and joblib. The words are explained under the table; survive_cell.py has the scenarios, survive_peers.py the calls.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import ctypes
import importlib.metadata
import json
import os
import platform
import select
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from markers import write_into
from survive_cell import SCENARIOS, run
from survive_peers import PEERS, WORKERS

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tools"))
from process_tree import kill_tree  # noqa: E402  # after the path

RESULTS = HERE / "results" / "survive.jsonl"
LIMIT_S = (
    20.0  # billiard waits 10 s by default before it gives a lost task up: no peer shall hang by an impatient clock
)
LIMITS_S = {"again": 35.0}  # two calls
ATTEMPTS = 4  # of a cell whose killer came too late
PR_SET_CHILD_SUBREAPER = 36
LEGEND = """\
2 workers, 20 items, one item per chunk; each peer through its own documented call that gives an outcome per item, with its default settings.
**all**: every result arrived. **all others**: the 19 other results arrived and the loss is an error at its place. **told (n)**: an error,
and only n of the other results arrived. **silent**: a missing or wrong result without an error. **hangs**: no answer within {limit:g} s
({again:g} s for two calls). **\\***: the error does not name the cause (signal, exit code or what could not be unpickled).
**ends**: the stop returned and no worker was left. **works**, **broken**: the second map's 20 results arrived, or an error."""


def guard(scenario: str, peer: str, seconds: float) -> int:
    """Runs one cell below this process, waits for its end or the limit, and kills all that is left of the tree. 124: the limit."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans come here, and are killed too
    child = subprocess.Popen([sys.executable, __file__, "--cell", scenario, peer])
    descriptor = os.pidfd_open(child.pid)
    ended = bool(select.select([descriptor], [], [], seconds)[0])
    kill_tree(os.getpid(), with_root=False)
    return child.wait() if ended else 124


def attempt(scenario: str, peer: str) -> dict[str, Any]:
    """One cell, once."""
    seconds = LIMITS_S.get(scenario, LIMIT_S)
    with tempfile.TemporaryDirectory(prefix="survive-") as folder:
        said = Path(folder, "said")
        with said.open("w") as output:
            done = subprocess.run(
                [sys.executable, __file__, "--guard", scenario, peer, str(seconds)],
                env=os.environ | {"SURVIVE_FOLDER": folder, "PYTHONPATH": str(HERE)},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=seconds + 60, check=False,
            )  # fmt: skip
        file = Path(folder, "answer")
        if file.exists():
            return dict(json.loads(file.read_text()))
        if done.returncode == 124:
            struck = Path(folder, "struck")
            return {"word": "hangs"} | ({"struck": struck.read_text()} if struck.exists() else {})
        # The peer took its own process down with it, or the survey has a fault: either way it must be looked at.
        return {"word": "crashed", "error": f"exit code {done.returncode}: {said.read_text(errors='replace')[-600:]}"}


def cell(number: int, scenario: str, peer: str) -> dict[str, Any]:
    for _ in range(ATTEMPTS):
        answer = attempt(scenario, peer)
        if answer["word"] != "missed":
            break
    line = {"round": number, "scenario": scenario, "peer": peer, "load": round(os.getloadavg()[0], 1)} | answer
    print(f"round {number + 1} {scenario:12} {peer:22} {answer}", file=sys.stderr, flush=True)
    return line


def version(peer: str) -> str | None:
    distribution = PEERS[peer][0]
    if distribution is None:
        return platform.python_version()
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def head() -> str:
    command = ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def machine(rounds: int, commit: str) -> dict[str, Any]:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "cpu": models[0].split(":", 1)[1].strip() if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {peer: version(peer) for peer in PEERS},
        "calls": {peer: entry[4] for peer, entry in PEERS.items()},
        "commit": commit or head(),
        "workers": WORKERS,
        "rounds": rounds,
        "limit_s": LIMIT_S,
        "load": os.getloadavg(),
    }


def survey(options: argparse.Namespace) -> None:
    """Rounds are interleaved: all cells once, then all again."""
    about = machine(options.rounds, options.commit)
    scenarios, peers = options.only.split(","), options.peers.split(",")
    for peer in peers:
        if about["versions"][peer] is None:
            print(f"{peer} is not installed in {sys.prefix}: left out", file=sys.stderr)
    cells = [(n, s, p) for n in range(options.rounds) for s in scenarios for p in peers if about["versions"][p]]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w") as file, concurrent.futures.ThreadPoolExecutor(options.jobs) as threads:
        print(json.dumps(about), file=file, flush=True)
        for line in threads.map(lambda one: cell(*one), cells):
            print(json.dumps(line), file=file, flush=True)


# --- the table -----------------------------------------------------------------------------------------------------------------


def word_of(line: dict[str, Any]) -> str:
    word = str(line["word"])
    if word == "told" and line.get("others") and line["scenario"] != "initializer":
        word = f"told ({line['others']})"
    if line.get("names_cause") is False:
        word += r"\*"
    if line.get("first_call") == "hangs":
        word += " (the first one hangs)"
    return word


def summary(lines: list[dict[str, Any]]) -> str:
    """One word where all rounds agree (numbers of "told" as a range), else each word and how often."""
    if not lines:
        return "-"
    if all(line["word"] == "told" for line in lines) and len({word_of(line) for line in lines}) > 1:
        counts = [line.get("others", 0) for line in lines]
        star = r"\*" if any(line.get("names_cause") is False for line in lines) else ""
        return f"told ({min(counts)}-{max(counts)}){star}"
    words = collections.Counter(word_of(line) for line in lines)
    if len(words) > 1:
        return ", ".join(f"{word} {count}/{len(lines)}" for word, count in words.most_common())
    word = next(iter(words))
    if word == "ends":
        return f"ends, {statistics.median(line['seconds'] for line in lines):.2g} s"
    return word


def news(lines: list[dict[str, Any]]) -> str:
    """Time from the victim's last act to the error in the caller: median (least to most)."""
    times = [line["news_ms"] for line in lines if "news_ms" in line]
    if not times:
        return "never"
    low, middle, high = (
        f"{one:.1f}" if one < 10 else f"{one:.0f}" for one in (min(times), statistics.median(times), max(times))
    )
    return f"{middle} ms ({low}-{high})"


def table(path: Path) -> str:
    about, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    versions = about["versions"]
    there = [peer for peer in PEERS if versions.get(peer)]
    heads = [f"{peer} {versions[peer]}, {about['calls'][peer]}" for peer in there]
    rows = ["| failure | " + " | ".join(heads) + " |", "|---|" + "---|" * len(there)]
    by_cell: dict[tuple[str, str], list[dict[str, Any]]] = collections.defaultdict(list)
    for line in lines:
        by_cell[line["scenario"], line["peer"]].append(line)
    for scenario, (title, _run) in SCENARIOS.items():
        cells = [summary(by_cell[scenario, peer]) for peer in there]
        if any(one != "-" for one in cells):
            rows.append(f"| {title} | " + " | ".join(cells) + " |")
        if scenario == "sigkill" and any(one != "-" for one in cells):
            rows.append("| ... from death to news | " + " | ".join(news(by_cell[scenario, p]) for p in there) + " |")
    missing = [peer for peer in PEERS if not versions.get(peer)]
    notes = [LEGEND.format(limit=about["limit_s"], again=LIMITS_S["again"])]
    if missing:
        notes.append(f"Not installed, so not shown: {', '.join(missing)}.")
    notes.append(
        f"{about['rounds']} rounds, {about['when'][:10]}, holdfast at {about['commit']}, Python {about['python']}, Linux {about['kernel']}, "
        f"{about['cores']} cores of {about['cpu']}, shared with other work (load {about['load'][0]:.0f}): the times are no benchmark. "
        f"Raw: `bench/results/survive.jsonl`; `python bench/survive.py`."
    )
    return "\n".join([*rows, "", *notes])


def main() -> int:
    if len(sys.argv) > 1 and sys.argv[1] == "--cell":
        run(sys.argv[2], sys.argv[3])
    if len(sys.argv) > 1 and sys.argv[1] == "--guard":
        return guard(sys.argv[2], sys.argv[3], float(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--jobs", type=int, default=2, help="cells at a time: most of the time is waiting for what hangs"
    )
    parser.add_argument("--only", default=",".join(SCENARIOS), help="scenarios, separated by commas")
    parser.add_argument("--peers", default=",".join(PEERS), help="peers, separated by commas")
    parser.add_argument("--commit", default="", help="what the installed holdfast was built from; default: HEAD")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--report", nargs="?", type=Path, const=RESULTS, metavar="FILE")
    parser.add_argument("--into", type=Path, metavar="MARKDOWN")
    options = parser.parse_args()
    if options.into:
        write_into(options.into, "survive", table(options.out))
    elif options.report:
        print(table(options.report))
    else:
        survey(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
