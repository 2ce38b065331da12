"""Faults: every way to die x every moment x every public call, each with a limit enforced from outside.

harness.py   outside: starts runners, enforces the limit, dumps all stacks on expiry, kills what is left
runner.py    inside: one process that runs cases one after the other and answers with JSON lines
control.py   the page and the orders that workers, runner and agent share; agent.py kills on order
worker_side.py  what runs in the pool's workers: tasks, initializers, arguments and results that die
matrix.py    the cases cause x moment x method, pairwise and in full; outcomes.py what each may end in
values.py    odd exceptions and values; crowd.py many tasks under many deaths; look.py what a process holds
run_all.py   `make faults`: the full product
"""
