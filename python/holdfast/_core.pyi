"""The extension module (python/bindings). Private: everything here may change with any version."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

from ._report import ExitReport
from ._results import AsyncResult, IMapIterator, IMapUnorderedIterator, MapResult

# --- bind_codec.cpp ---
def encode(object: object, main_by_value: bool = False, /) -> bytes: ...
def decode(payload: bytes, /) -> Any: ...
def decode_guarded(payload: bytes, /) -> Any: ...

# --- bind_policy.cpp ---
@final
class Policy:
    def __new__(
        cls,
        on_death: str,
        on_error: str,
        on_timeout: str,
        max_retries: int,
        backoff: float,
        backoff_factor: float,
        backoff_max: float,
        jitter: float,
        then: str,
        on: tuple[str, ...],
        deadline: float,
        task_timeout: float,
        soft_timeout: float,
        skip_value: Any,
        window: int,
        /,
    ) -> Policy: ...

# --- bind_results.cpp ---
class ResultBase:
    def get(self, timeout: float | None = None) -> Any: ...
    def wait(self, timeout: float | None = None) -> None: ...
    def ready(self) -> bool: ...
    def successful(self) -> bool: ...
    def _take_delivery(self) -> tuple[bool, Any, Callable[[Any], object] | None]: ...
    def _delivered(self) -> None: ...
    @property
    def _value(self) -> Any: ...
    @property
    def _success(self) -> bool: ...
    @property
    def partial(self) -> dict[int, Any] | None: ...

# --- bind_iterators.cpp ---
@final
class Feed:
    def run(self) -> None: ...

class IteratorBase:
    def __iter__(self) -> Any: ...
    def __next__(self) -> Any: ...
    def next(self, timeout: float | None = None) -> Any: ...
    @property
    def _feed(self) -> Feed: ...

# --- segment_view.cpp ---
@final
class Segment: ...  # a buffer

# --- bind_pool.cpp, bind_submit.cpp ---
def allowed_cpus() -> int: ...

@final
class Core:
    def __new__(
        cls,
        workers: int,
        max_chunks_per_worker: int,
        max_restarts: int,
        max_deaths: int,
        grace: float,
        start_deadline: float,
        kill_children: bool,
        main_by_value: bool,
        shared_results: bool,
        shared_memory_limit: int,
        memory_limit: int,
        max_memory_per_child: int,
        types: tuple[type[AsyncResult], type[MapResult], type[IMapIterator], type[IMapUnorderedIterator]],
    ) -> Core: ...
    def launch_zygote(
        self,
        prepare: Callable[[tuple[int, int, int], int, tuple[int, int], tuple[int, ...]], Callable[[], int]],
        /,
    ) -> int: ...
    def start(self) -> None: ...
    def wait_started(self, timeout: float | None, /) -> bool: ...
    def wait_zygote_needed(self) -> bool: ...
    def wait_dispatch(self) -> tuple[Any, ...] | None: ...
    def apply_async(
        self,
        pool: object,
        func: Callable[..., Any],
        args: Iterable[Any],
        kwds: Mapping[str, Any],
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        policy: Policy,
        /,
    ) -> AsyncResult: ...
    def map_async(
        self,
        pool: object,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        call_mode: int,
        chunksize: int | None,
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        policy: Policy,
        /,
    ) -> MapResult: ...
    def lazy(
        self,
        pool: object,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        call_mode: int,
        chunksize: int | None,
        unordered: bool,
        policy: Policy,
        /,
    ) -> Any: ...
    def close(self) -> None: ...
    def terminate(self, grace: float, interrupted: bool = False, /) -> None: ...
    def kill(self) -> None: ...
    def interrupt_workers(self) -> None: ...
    def wait_ended(self, timeout: float | None, interrupt: bool = False, /) -> bool: ...
    def broken(self) -> tuple[str, ExitReport | None]: ...
    def workers(self) -> list[tuple[int, int, int, bool, bool, ExitReport | None, int | None]]: ...
    def worker_info(self, worker: int, /) -> tuple[int, int, int, bool, bool, ExitReport | None, int | None] | None: ...
    def dump_stacks(self, timeout: float | None, /) -> list[tuple[int, str]]: ...
    def stats(self) -> dict[str, int]: ...
    def killed_items(self) -> list[tuple[Any, int, Any, ExitReport]]: ...
    def death_reports(self) -> list[ExitReport]: ...
    @property
    def state(self) -> str: ...

# --- bind_worker.cpp (the child's side) ---
def fork_zygote(arguments: tuple[Any, ...], foreign: tuple[int, int, int], /) -> int: ...
def set_parent_death_kill() -> None: ...
def zygote_main(*arguments: Any) -> int: ...  # socket, bell, parent pidfd, signal mask, run, warm_up or None
def worker_enrol(seed: tuple[Any, ...], /) -> object: ...
def worker_unblock(handle: object, /) -> None: ...
def worker_report_stacks(
    handle: object, register: Callable[[int, int, bool, bool], None], enabled: bool, /
) -> None: ...
def worker_init_failed(handle: object, text: str, /) -> None: ...
def worker_run(
    handle: object,
    prepare: Callable[[], None],
    describe: Callable[..., Any],
    is_from_handler: Callable[[BaseException, bool], bool] | None,
    stall_warning: float,
    dump_traceback: Callable[[int, bool], None],
    /,
) -> int: ...
