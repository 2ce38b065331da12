/* What: how the parent wakes a worker that sleeps for tasks or for room in its result ring, and how the end reaches it.
 * Mirrors src/ring/wait.cpp, worker_channel.cpp (wait_for_*) and parent_channel.cpp (commit_tasks, release_results, set_closed).
 * One word `sleeping` in the channel: 0 = awake, 1 = sleeps for tasks, 2 = sleeps for room; it is the futex word too. The
 * worker writes 1 or 2, the parent takes it back to 0 and wakes. The futex compares the word with what the worker wrote.
 * Promise checked: when nothing can move any more, the worker has answered every committed task and, if told to, has left.
 * EINTR and time-outs may end a sleep at any moment (at most twice, to keep the model finite); the worker may be killed.
 */
#define TASKS 3
#define CAPACITY 1             /* results that fit into the result ring */

byte task_tail, task_head;     /* committed by the parent, consumed by the worker */
byte result_tail, result_head;
byte sleeping;
bit in_futex, closed, gone, killed;
bit never_closed;              /* chosen once: in half of the runs the channel stays open, so that no close mends a lost wake-up */
byte spurious = 2;

/* exchange / compare-exchange, then FUTEX_WAKE; a look at the word first, so that nothing is written while the worker runs. */
inline wake_if(reason) {
  was = sleeping;
#ifdef M_CLEAR_AFTER_WAKE
  if :: was == reason -> in_futex = 0; sleeping = 0 :: else fi
#else
  if
  :: was == reason -> d_step { was = (sleeping == reason); sleeping = (was -> 0 : sleeping) };
     if :: was -> in_futex = 0 :: else fi
  :: else
  fi
#endif
}

proctype parent() {
  byte was;
  if :: never_closed = 1 :: true fi;
  do
  :: task_tail < TASKS ->
#ifdef M_LOOK_BEFORE_COMMIT
    was = sleeping; task_tail++;
    if :: was == 1 -> sleeping = 0; in_futex = 0 :: else fi
#else
    task_tail++;
    wake_if(1)
#endif
  :: result_head != result_tail ->
    result_head++;
#ifndef M_ROOM_WITHOUT_WAKE
    wake_if(2)
#endif
  :: task_tail == TASKS && !closed && !never_closed ->
    closed = 1;
#ifndef M_CLOSE_WITHOUT_WAKE
    d_step { was = sleeping; sleeping = 0 };            /* whatever it sleeps for */
    if :: was != 0 -> in_futex = 0 :: else fi
#endif
  :: closed && (gone || killed) && result_head == result_tail -> break
  od
}

inline sleep_unless(condition, reason) {
#ifdef M_FLAG_AFTER_LOOK
  if
  :: condition -> skip
  :: else ->
    sleeping = reason;
#else
  sleeping = reason;                                    /* announce ... */
  if
  :: condition -> skip                                  /* ... then look */
  :: else ->
#endif
    atomic { if :: sleeping == reason -> in_futex = 1 :: else -> skip fi };
    if
    :: !in_futex
    :: spurious > 0 -> spurious--; in_futex = 0
    fi
  fi;
  sleeping = 0
}

proctype worker() provided (!killed) {
  do
  :: task_head != task_tail ->
    do
    :: result_tail - result_head < CAPACITY -> break
    :: else -> sleep_unless(result_tail - result_head < CAPACITY, 2)
    od;
    task_head++;
    result_tail++
  :: task_head == task_tail ->
    if
    :: closed && task_head == task_tail -> gone = 1; break
    :: else -> sleep_unless(task_head != task_tail || closed, 1)
    fi
  od
}

/* SIGKILL between any two steps: from then on the worker's process is never scheduled again (see `provided`). */
proctype killer() { if :: killed = 1 :: true fi }

proctype watchdog() {
  timeout ->
  assert(killed || ((gone || never_closed) && task_head == TASKS && result_head == TASKS))
}

init { atomic { run parent(); run worker(); run killer(); run watchdog() } }
