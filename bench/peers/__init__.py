"""The peers, each behind the same few verbs: apply, submit, map, imap, imap_unordered, end. open_peer() gives a fresh pool of the named one.

Three are always there; the others are measured when asked for (run.py --peers) and installed. A verb that a peer does not have raises
Unsupported with the reason: the report shows it in the place of a number.
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
from typing import Any

HOLDFAST, STANDARD, EXECUTOR, RAY = "holdfast", "multiprocessing.Pool", "ProcessPoolExecutor", "ray"
DEFAULT_PEERS = (HOLDFAST, STANDARD, EXECUTOR)

# name: the module of the pool, the module of this package that adapts it, the adapter
_PEERS = {
    HOLDFAST: ("holdfast._pool", "pools", "HoldfastPeer"),  # holdfast itself loads its parts when they are asked for
    STANDARD: ("multiprocessing.pool", "pools", "StandardPeer"),
    EXECUTOR: ("concurrent.futures", "executors", "StandardExecutor"),
    "loky": ("loky", "executors", "LokyExecutor"),
    "deadpool": ("deadpool", "executors", "DeadpoolExecutor"),
    "pebble": ("pebble", "executors", "PebblePeer"),
    "billiard": ("billiard.pool", "pools", "BilliardPeer"),
    "mpire": ("mpire", "pools", "MpirePeer"),
    "joblib": ("joblib", "executors", "JoblibPeer"),
    RAY: ("ray.util.multiprocessing", "pools", "RayPeer"),
}
PEERS = tuple(_PEERS)


class Unsupported(Exception):
    """The peer has no such verb, or not with this start method."""


def is_installed(name: str) -> bool:
    return importlib.util.find_spec(_PEERS[name][0].partition(".")[0]) is not None


def import_peer(name: str) -> Any:
    """The named peer's adapter, its pool's module loaded: what is measured later does not hold its import."""
    pool, module, adapter = _PEERS[name]
    importlib.import_module(pool)
    return getattr(importlib.import_module(f"peers.{module}"), adapter)


def open_peer(name: str, workers: int, method: str = "fork", *, sharing: bool = False) -> Any:
    """A fresh pool of the named peer; *sharing*: with results in shared memory, if it can."""
    adapter = import_peer(name)
    make = getattr(adapter, "sharing", adapter) if sharing else adapter
    return make(workers, multiprocessing.get_context(method))
