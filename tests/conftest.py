"""For all Python tests: the outer time limit of each test (support/outer_limit.py)."""

pytest_plugins = ["support.outer_limit"]
