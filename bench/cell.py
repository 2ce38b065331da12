"""One cell of the bench: one workload on one peer, in this process of its own. Prints what it measured as one line of JSON.

    python bench/cell.py <workload> <peer> <workers> <smoke|quick|all>

Called by run.py. Kept small: under forkserver and spawn each worker imports it again as its main module.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    from busy import busy_processes
    from peers import Unsupported
    from workloads.base import Setting
    from workloads.registry import WORKLOADS

    name, peer, workers, size = sys.argv[1:]
    workload = WORKLOADS[name]
    if workload.load:
        # A busy machine has no meaning for a process that is always served first (chrt -r 1 for the whole run).
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    with busy_processes(workload.load):
        try:
            values = workload.measure(Setting(peer, int(workers), workload.sizes[size]))
        except Unsupported as error:
            values = dict.fromkeys(workload.rows, f"no: {error}")
    assert values.keys() == workload.rows.keys(), f"{name} measured {sorted(values)}"
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
