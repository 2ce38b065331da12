// What: every failpoint, once, with the side that it is on, and the page that its count is in. Read by failpoint.cpp and by tests/failpoints,
// which parses the lines HF_POINT(...) below, runs its programs, and fails for a point that none of them reaches.
//
// Sides: parent (the pool's process), zygote, worker (no item is at stake: a death there loses none), item (a worker between an item's
// claim and its result's commit: a death there loses that one).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace holdfast::sys::failpoint {

enum class Side : std::uint8_t { parent, zygote, worker, item };

// clang-format off
#define HF_FAILPOINTS(HF_POINT)                                                                                                \
  HF_POINT(parent, parent_zygote_prepared)   /* the zygote's socket pair is there, the zygote is not */                        \
  HF_POINT(parent, parent_zygote_forked)     /* the zygote is there, the engine has not been told its pid */                   \
  HF_POINT(parent, parent_line_made)         /* a worker's ring and socket are there, in nobody's hands */                     \
  HF_POINT(parent, parent_start_sent)        /* the zygote was asked for a worker */                                           \
  HF_POINT(parent, parent_started)           /* a worker's pid came from the zygote */                                         \
  HF_POINT(parent, parent_hello)             /* a worker's hello came */                                                       \
  HF_POINT(parent, parent_ready)             /* a worker's `ready` came, the scheduler does not know */                        \
  HF_POINT(parent, parent_submitted)         /* a job is there, nothing of it was sent */                                      \
  HF_POINT(parent, parent_sends)             /* a chunk is to be written into a worker's ring */                               \
  HF_POINT(parent, parent_buffer_sent)       /* the descriptor of a large argument has gone ahead of its frame */              \
  HF_POINT(parent, ring_tasks_written)       /* task frames are in the ring, not published */                                  \
  HF_POINT(parent, ring_tasks_published)     /* published, and the worker not woken */                                         \
  HF_POINT(parent, parent_drainer_sleeps)    /* the drainer has announced himself and looked, and goes to sleep */             \
  HF_POINT(parent, parent_hands_over)        /* a waiter leaves, the drainer's role is free */                                 \
  HF_POINT(parent, parent_supervisor_sleeps) /* before epoll_wait */                                                           \
  HF_POINT(parent, parent_memory_read)       /* the workers' memory was read without the mutex, which is to be taken again */    \
  HF_POINT(parent, parent_drains)            /* a committed result was found */                                                \
  HF_POINT(parent, parent_drained)           /* results were settled, their room in the ring is not given back */              \
  HF_POINT(parent, parent_harvests)          /* a caller takes his results */                                                  \
  HF_POINT(parent, parent_grants_buffer)     /* room for a large result was made, the worker does not know */                  \
  HF_POINT(parent, parent_takes_back)        /* items that have not begun are to be taken from a worker */                     \
  HF_POINT(parent, parent_settles)           /* items without a result (died, cancelled, terminated ...) get their outcome */  \
  HF_POINT(parent, parent_times_item)        /* an item with a time limit was seen to run */                                   \
  HF_POINT(parent, parent_retires)           /* a worker is to be told to leave */                                             \
  HF_POINT(parent, parent_kills)             /* a worker to be killed is stopped, its children are dead */                     \
  HF_POINT(parent, parent_death_seen)        /* a worker's end is known */                                                     \
  HF_POINT(parent, parent_socket_ended)      /* its socket has ended */                                                        \
  HF_POINT(parent, parent_death_drained)     /* what it had committed was taken */                                             \
  HF_POINT(parent, parent_buries)            /* its group is about to be killed */                                             \
  HF_POINT(parent, parent_death_told)        /* its end was told to the scheduler */                                           \
  HF_POINT(parent, parent_chores)            /* the waiters were woken; births, reaps, unmappings follow */                    \
  HF_POINT(parent, parent_reap_sent)         /* the zygote was told to reap */                                                 \
  HF_POINT(parent, parent_zygote_lost)       /* the zygote's line has ended */                                                 \
  HF_POINT(parent, parent_reaps_zygote)      /* the zygote's end is known, it is a zombie */                                   \
  HF_POINT(parent, parent_stop_step)         /* a rung of the stop ladder is to be taken */                                    \
  HF_POINT(parent, parent_stop_sent)         /* the zygote was told to go */                                                   \
  HF_POINT(parent, parent_ended)             /* nobody is left, waiters are about to be told */                                \
  HF_POINT(parent, parent_closes_up)         /* the supervisor closes what is left */                                          \
  HF_POINT(zygote, zygote_born)              /* its first act */                                                               \
  HF_POINT(zygote, zygote_set_up)            /* subreaper, epoll, signals are there; nothing said */                           \
  HF_POINT(zygote, zygote_hello)             /* it has said hello */                                                           \
  HF_POINT(zygote, zygote_forks)             /* it was asked for a worker */                                                   \
  HF_POINT(zygote, zygote_forked)            /* the worker is there, nobody knows its pid */                                   \
  HF_POINT(zygote, zygote_started)           /* it has told the pid, and not noted it itself */                                \
  HF_POINT(zygote, zygote_end_seen)          /* a worker has ended, it has not said so */                                      \
  HF_POINT(zygote, zygote_end_told)          /* it has said so */                                                              \
  HF_POINT(zygote, zygote_buries)            /* it was told to reap */                                                         \
  HF_POINT(zygote, zygote_buried)            /* it has reaped, what the worker left behind lives */                            \
  HF_POINT(zygote, zygote_leaves)            /* it is to go, or its caller is dead: it kills all */                            \
  HF_POINT(zygote, zygote_left)              /* it has killed all */                                                           \
  HF_POINT(worker, worker_born)              /* the fork's first act in the child */                                           \
  HF_POINT(worker, worker_guarded)           /* it dies with the zygote */                                                     \
  HF_POINT(worker, worker_grouped)           /* it is in a process group of its own */                                         \
  HF_POINT(worker, worker_watched)           /* its watcher runs, and it still dies with the zygote */                         \
  HF_POINT(worker, worker_attached)          /* its ring is mapped */                                                          \
  HF_POINT(worker, worker_hello)             /* it has said hello */                                                           \
  HF_POINT(worker, worker_initialized)       /* its initializer is done */                                                     \
  HF_POINT(worker, worker_ready)             /* it has said so */                                                              \
  HF_POINT(item,   ring_woke)                /* it woke from a sleep, its announcement stands */                               \
  HF_POINT(item,   ring_sleeps)              /* it has announced that it sleeps (for tasks; for room: with an item) */         \
  HF_POINT(worker, worker_takes)             /* it has an item's frame, no claim */                                            \
  HF_POINT(item,   worker_claimed)           /* the item is its own */                                                         \
  HF_POINT(item,   worker_begins)            /* it has said which one and since when */                                        \
  HF_POINT(item,   worker_wants_argument)    /* the argument is in a buffer of which it has no descriptor yet */               \
  HF_POINT(item,   worker_has_argument)      /* the buffer is mapped */                                                        \
  HF_POINT(item,   worker_ran)               /* the function has returned */                                                   \
  HF_POINT(item,   worker_asked_for_buffer)  /* it waits for room for a large result */                                        \
  HF_POINT(item,   worker_has_buffer)        /* it has it */                                                                   \
  HF_POINT(item,   worker_buffer_half)       /* the buffer is half filled */                                                   \
  HF_POINT(item,   worker_buffer_filled)     /* the buffer is filled */                                                        \
  HF_POINT(item,   ring_room_missing)        /* the result does not fit into its ring */                                       \
  HF_POINT(item,   ring_result_reserved)     /* room for the result's frame is taken */                                        \
  HF_POINT(item,   ring_result_written)      /* the frame is written, not published */                                         \
  HF_POINT(worker, worker_committed)         /* it is published, nobody was told */                                            \
  HF_POINT(worker, ring_bell_taken)          /* the drainer's flag was taken, the bell not rung */                             \
  HF_POINT(worker, worker_wakes_supervisor)  /* the supervisor's flag was taken, its socket not written to */                  \
  HF_POINT(worker, worker_rang)              /* whoever slept was woken */                                                     \
  HF_POINT(worker, worker_leaves)            /* its loop is over */                                                            \
  HF_POINT(worker, worker_exits)             /* its last act */                                                                \
  HF_POINT(worker, worker_orphaned)          /* its watcher has seen the caller's death */
// clang-format on

enum class Point : std::uint8_t {
#define HF_POINT(side, name) name,
  HF_FAILPOINTS(HF_POINT)
#undef HF_POINT
};

struct Entry {
  std::string_view name;
  Side side;
};

inline constexpr auto kTable = std::to_array<Entry>({
#define HF_POINT(side, name) {#name, Side::side},
    HF_FAILPOINTS(HF_POINT)
#undef HF_POINT
});
inline constexpr std::size_t kPoints = kTable.size();

/// Shared by all processes of a program. tests/failpoints reads it by these offsets.
struct Page {
  std::atomic<std::uint32_t> acts;           // times that an armed point has acted
  std::atomic<std::int32_t> last_pid;        // the process that did it last
  std::atomic<std::uint32_t> hits[kPoints];  // by point, in the table's order
};
static_assert(sizeof(Page) == 8 + 4 * kPoints && sizeof(Page) <= 4096);

}  // namespace holdfast::sys::failpoint
