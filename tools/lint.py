"""All lints of the project: `lint.py BUILD_DIR` (a configured tree with compile_commands.json), `lint.py --fix` rewrites formats.

Order: the fast ones first. Each prints what is wrong and how to mend it; the last line counts them.
clang-tidy results are remembered by content in BUILD_DIR/tidy-cache (a file, all that it includes of ours, the configuration).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CPP_FOLDERS = (
    "src",
    "include",
    "python/bindings",
    "tests/cpp",
    "tests/cmake_consumer",
    "examples/cpp",
    "fuzz",
    "bench",
)
TIDY_FOLDERS = ("src", "python/bindings")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def cpp_files(folders: Iterable[str], suffixes: tuple[str, ...] = (".cpp", ".hpp")) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.suffix in suffixes]


def run(*command: str | Path) -> bool:
    return subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode == 0


def clang_format() -> bool:
    return run("clang-format-14", "--dry-run", "--Werror", *cpp_files(CPP_FOLDERS))


def ours_included_by(path: Path, seen: set[Path]) -> set[Path]:
    """*path* and all files of this project that it includes, however deep."""
    if path in seen or not path.is_file():
        return seen
    seen.add(path)
    for name in INCLUDE.findall(path.read_text(encoding="utf-8")):
        for base in (ROOT / "src", ROOT / "include", path.parent):
            ours_included_by(base / name, seen)
    return seen


def tidy_key(path: Path, command: str) -> str:
    digest = hashlib.sha256((ROOT / ".clang-tidy").read_bytes() + command.encode())
    for one in sorted(ours_included_by(path, set())):
        digest.update(one.read_bytes())
    return digest.hexdigest()


def tidy_one(build: Path, path: Path, command: str) -> str:
    """What clang-tidy has to say about *path*; empty = nothing."""
    remembered = build / "tidy-cache" / tidy_key(path, command)
    if remembered.exists():
        return ""
    done = subprocess.run(
        ["clang-tidy-14", "-p", str(build), "--quiet", "--extra-arg=-Wno-unknown-warning-option", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        remembered.parent.mkdir(exist_ok=True)
        remembered.touch()
        return ""
    return done.stdout + done.stderr


def clang_tidy(build: Path) -> bool:
    database = json.loads((build / "compile_commands.json").read_text())
    wanted = set(cpp_files(TIDY_FOLDERS, (".cpp",)))
    commands = {Path(entry["file"]): entry["command"] for entry in database if Path(entry["file"]) in wanted}
    if missing := wanted - set(commands):
        print("not in compile_commands.json: " + ", ".join(str(path) for path in sorted(missing)))
        return False
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        answers = [
            answer for answer in pool.map(lambda pair: tidy_one(build, *pair), sorted(commands.items())) if answer
        ]
    print("\n".join(answers), end="")
    return not answers


def main() -> int:
    if "--fix" in sys.argv:
        run("clang-format-14", "-i", *cpp_files(CPP_FOLDERS))
        run("ruff", "check", "--fix", ".")
        run("ruff", "format", ".")
        return 0
    build = Path(sys.argv[1]).resolve()
    steps: list[tuple[str, Callable[[], bool], str]] = [
        ("includes", lambda: run(sys.executable, "tools/check_includes.py"), "see design.md, section 3"),
        ("clang-format", clang_format, "make format"),
        ("ruff check", lambda: run("ruff", "check", "."), "make format mends most"),
        ("ruff format", lambda: run("ruff", "format", "--check", "."), "make format"),
        ("mypy --strict", lambda: run("mypy"), "python/holdfast"),
        ("clang-tidy", lambda: clang_tidy(build), "an allow-list: .clang-tidy"),
    ]
    failed = []
    for name, step, hint in steps:
        print(f"=== {name}", flush=True)
        if not step():
            failed.append(f"{name} ({hint})")
    for name in failed:
        print(f"lint failed: {name}")
    print(f"lints: {len(steps) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
