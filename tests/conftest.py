"""For all Python tests: the outer time limit of each test (support/outer_limit.py), and signals as a terminal's programs have them."""

import signal

pytest_plugins = ["support.outer_limit"]


def pytest_configure() -> None:
    """What a background job or nohup has set to be ignored would be inherited by every program that the tests press Ctrl-C in."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
