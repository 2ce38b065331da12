"""tools/setup.sh on machines that lack things: each branch of its package step, with commands of our own on a PATH of our own.

The real thing (apt-get in a fresh Debian 12 root) is no test: it needs root and a network; docs/testing.md says how it was tried.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parents[2] / "tools" / "setup.sh"


class Machine:
    """A folder as the whole PATH: what setup.sh itself needs, a uid, and an apt-get that logs and "installs" commands into it."""

    def __init__(self, folder, uid=0, apt=True, broken=""):
        self.folder = folder
        self.log = folder / "apt.log"
        for name in ("bash", "dirname", "cat", "sed"):
            (folder / name).symlink_to(shutil.which(name))
        self.put("id", f"echo {uid}")
        if apt:
            # The last words are packages; g++ and spin put the command of their name there.
            self.put(
                "apt-get",
                f'echo "$*" >>{self.log}; [ "$1" = "{broken}" ] && exit 100\n'
                f'for word in "$@"; do case "$word" in g++|spin|make) echo "#!/bin/sh" >{folder}/"$word"; '
                f'/bin/chmod +x {folder}/"$word";; esac; done',
            )

    def put(self, name, script):
        (self.folder / name).write_text(f"#!{shutil.which('bash')}\n{script}\n")
        (self.folder / name).chmod(0o755)

    def packages(self, *needs):
        return subprocess.run(
            [str(self.folder / "bash"), str(SETUP), "packages", *needs],
            env={"PATH": str(self.folder), "HOME": str(self.folder), "LANG": "C"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def apt_calls(self):
        return self.log.read_text().splitlines() if self.log.exists() else []


def test_what_is_there_is_not_installed(tmp_path):
    """No apt-get call, no word."""
    machine = Machine(tmp_path)
    machine.put("g++", "exit 0")
    done = machine.packages("g++")
    assert (done.returncode, done.stdout, done.stderr, machine.apt_calls()) == (0, "", "", [])


def test_root_installs_what_is_missing_and_only_that(tmp_path):
    """The lists are fetched first (a fresh machine has none); nothing is asked."""
    machine = Machine(tmp_path)
    machine.put("make", "exit 0")
    done = machine.packages("make", "g++", "spin")
    assert done.returncode == 0, done.stderr
    assert machine.apt_calls() == ["update -qq", "install -y -qq --no-install-recommends g++ spin"]
    assert done.stdout == "" and "installing g++ spin" in done.stderr
    assert machine.packages("make", "g++", "spin").stderr == "", "the second time all is there"


def test_without_root_the_command_to_run_is_named(tmp_path):
    """And nothing is tried."""
    machine = Machine(tmp_path, uid=1000)
    done = machine.packages("g++", "spin", "clang-format")
    assert done.returncode == 1
    assert "sudo apt-get update && sudo apt-get install g++ spin clang-format-14" in done.stderr
    assert machine.apt_calls() == []


def test_root_of_another_system_is_told_the_packages(tmp_path):
    """There is no apt-get."""
    done = Machine(tmp_path, apt=False).packages("g++")
    assert done.returncode == 1 and "apt-get install g++" in done.stderr


@pytest.mark.parametrize(("broken", "code"), [("update", 0), ("install", 1)])
def test_a_failing_apt_get(tmp_path, broken, code):
    """Old lists may do; an installation that fails is the end, with the packages' names."""
    machine = Machine(tmp_path, broken=broken)
    done = machine.packages("g++")
    assert done.returncode == code, done.stderr
    assert [call.split()[0] for call in machine.apt_calls()] == ["update", "install"]
    assert ("apt-get update failed" if broken == "update" else "could not install: g++") in done.stderr


def test_an_unknown_need_is_an_error(tmp_path):
    """A misspelt need in the Makefile must not pass in silence."""
    done = Machine(tmp_path).packages("g++", "gtets")
    assert done.returncode == 1 and "unknown need: gtets" in done.stderr


@pytest.mark.parametrize(
    ("python", "package"), [("/usr/bin/python3.99", "libpython3.99-testsuite"), ("/opt/python3.99", "")]
)
def test_debian_s_python_gets_its_own_tests(tmp_path, python, package):
    """They are a package of their own there; of any other Python nothing is known."""
    machine = Machine(tmp_path)
    machine.put("python3", f'[ "$1" = - ] || echo {python}')
    done = machine.packages("python-tests")
    assert done.returncode == 0, done.stderr
    assert [call.split()[-1] for call in machine.apt_calls()[1:]] == ([package] if package else [])


def test_every_need_of_the_makefile_is_known(tmp_path):
    """All recipes' `packages` lines, asked without root on an empty machine: each word is known, and leads to a package."""
    makefile = (SETUP.parents[1] / "Makefile").read_text()
    needs = {word for line in makefile.splitlines() if "$(SETUP) packages" in line for word in line.split()[2:]}
    assert {"g++", "python", "gtest", "spin"} <= needs
    done = Machine(tmp_path, uid=1000).packages(*sorted(needs))
    assert done.returncode == 1
    assert "unknown need" not in done.stderr and "apt-get install" in done.stderr
