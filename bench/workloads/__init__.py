"""The workloads. Each module measures one concept, checks every answer, and lists its workloads in a dict; registry.py has them all.

Functions that workers run are in tasks.py, which imports nothing of ours: it is what a worker of forkserver or spawn has to load.
"""
