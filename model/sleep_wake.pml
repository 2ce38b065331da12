/* What: who sleeps where in the pool's process, and how a worker that commits a result wakes the right one.
 * Mirrors src/ring/bell_page.cpp (flags, bell, ready bits) and the drainer's role in src/pool.
 * Promise checked: when nothing can move any more, every committed result has been read. There are no time-outs in here that
 * help: the bounded sleeps of the real pool are a net under this proof, not a part of it.
 * A worker may be killed before each of its steps; the supervisor alone sees its death (pidfd).
 * The pool's mutex: steps that it guards and that nobody else may see in between are atomic here (role, waiting, called); the
 * draining itself runs without it, which allows more orders than the pool has.
 * Sizes are set by check.sh; so are the mutants (-DM_...), each of which must fail.
 */
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef RESULTS
#define RESULTS 1        /* each worker commits this many */
#endif
#ifndef WAITERS
#define WAITERS 1        /* user threads that wait, at most 2 */
#endif
#ifndef VISITS
#define VISITS 2         /* how often each of them comes; it may leave at any moment */
#endif
#define NONE 3

byte committed[2];       /* result ring: tail */
byte drained[2];         /* result ring: what the parent has read */
bit ready[2];            /* bell page: ready map */
bit drainer_flag, supervisor_flag;
byte bell;
bit futex_asleep;        /* the drainer sleeps in FUTEX_WAIT on the bell */

bit socket_byte;         /* a byte is in some worker's socket: epoll is readable */
bit dead[2];             /* its pidfd is readable */
bit crashed;             /* one crash per run: two dead workers meet in nothing but the supervisor */

byte role = NONE;        /* which waiter is the drainer */
bit waiting[2];          /* waiters that are not the drainer, each asleep on its own word */
bit called[2];           /* ... woken: the role is yours */

/* Empties every ring whose ready bit is up. The bits are taken first (one exchange(0) of the word), then the rings are read. */
inline drain() {
#ifdef M_BITS_CLEARED_LAST
  d_step { seen0 = ready[0]; seen1 = ready[1] }
#else
  d_step { seen0 = ready[0]; ready[0] = 0; seen1 = ready[1]; ready[1] = 0 }
#endif
  d_step {
    drained[0] = (seen0 -> committed[0] : drained[0]);
    drained[1] = (seen1 -> committed[1] : drained[1])
  }
#ifdef M_BITS_CLEARED_LAST
  d_step { ready[0] = (seen0 -> 0 : ready[0]); ready[1] = (seen1 -> 0 : ready[1]) }
#endif
  d_step { seen0 = 0; seen1 = 0 }
}

/* One step of a worker: killed before it, or done. */
#define STEP(s) atomic { if :: !crashed -> crashed = 1; goto killed :: true fi; s }

proctype worker(byte me) {
  byte left = RESULTS;
  bit flag;
  do
  :: atomic { left == 0 -> break }
  :: atomic { left > 0 -> left-- }
#ifdef M_READY_BEFORE_COMMIT
    STEP(ready[me] = 1);
    STEP(committed[me]++);
#else
    STEP(committed[me]++);                              /* commit: one store */
    STEP(flag = ready[me]);                             /* load first: an RMW on the shared line only if the bit is not up */
    if :: atomic { flag -> flag = 0 } :: !flag -> STEP(ready[me] = 1) fi;
#endif
    STEP(flag = drainer_flag);                          /* likewise: no write while the drainer is awake */
    if
    :: flag ->
#ifdef M_PLAIN_STORE
      STEP(bell++; futex_asleep = 0);
      STEP(drainer_flag = 0);                           /* wipes out a flag that the sleeper has set again */
#else
      STEP(flag = drainer_flag; drainer_flag = 0);      /* exchange(0) */
      if
      :: flag ->
        STEP(bell++);
        STEP(futex_asleep = 0)                          /* FUTEX_WAKE */
      :: !flag
      fi
#endif
    :: !flag
    fi;
    if
    :: !flag ->
      STEP(flag = supervisor_flag; supervisor_flag = 0);
      if :: flag -> STEP(socket_byte = 1) :: !flag fi
    :: flag
    fi;
    flag = 0
  od;
  goto finished;
killed:
  dead[me] = 1;
finished:
}

proctype waiter(byte me) {
  byte visits = VISITS;
  byte seen;
  bit seen0, seen1, leaves, patient;
  do
  :: atomic { visits == 0 -> break }
  :: visits > 0 ->
    atomic {
      visits--;
      if
      :: role == NONE -> role = me; goto drainer
      :: role != NONE -> waiting[me] = 1
      fi
    }
    if :: patient = 1 :: patient = 0 fi;                /* a choice beforehand: a patient one leaves only when woken */
    if :: called[me] :: !patient fi;                    /* asleep on its own word until called; or leaves by itself */
    atomic {
      waiting[me] = 0; called[me] = 0;
      if :: role == me -> skip :: role != me -> goto gone fi
    }
drainer:
    supervisor_flag = 0;                                /* I drain now: no need to wake the supervisor */
    do
    :: true ->
#ifdef M_BELL_READ_LATE
      drainer_flag = 1; drain(); seen = bell;
#else
      seen = bell;
#ifdef M_FLAG_AFTER_LOOK
      drain(); drainer_flag = 1;
#else
      drainer_flag = 1;                                 /* announce, then look */
      drain();
#endif
#endif
      if                                                /* leave: what it waits for is there, Ctrl-C, or its time is up */
      :: break
      :: true
      fi;
      atomic { if :: bell == seen -> futex_asleep = 1 :: bell != seen fi; seen = 0 }
      if :: patient = 1 :: patient = 0 fi;
      if                                                /* woken; or EINTR, which ends this visit */
      :: !futex_asleep
      :: atomic { futex_asleep && !patient -> futex_asleep = 0; leaves = 1 }
      fi;
      patient = 0;
      drainer_flag = 0;
      if :: atomic { leaves -> leaves = 0; break } :: !leaves fi
    od;
    seen = 0;
    /* The flag goes down while the role is still mine, or it would wipe out my successor's. */
#ifndef M_WITHDRAW_AFTER_HAND_OVER
    drainer_flag = 0;
#endif
    atomic {
      if
      :: waiting[1 - me] && !called[1 - me] -> role = 1 - me; called[1 - me] = 1; goto handed_over
      :: else -> role = NONE
      fi
    }
#ifndef M_LEAVER_DOES_NOT_ANNOUNCE
    supervisor_flag = 1;
#endif
#ifndef M_LEAVER_DOES_NOT_LOOK
    drain();
#endif
handed_over:
#ifdef M_WITHDRAW_AFTER_HAND_OVER
    drainer_flag = 0;
#endif
gone:
    skip
  od
}

proctype supervisor() {
  bit seen0, seen1;
  do
  :: true ->
    supervisor_flag = 0;
    socket_byte = 0;
    if
    :: dead[0] || dead[1] ->
      d_step {                                          /* read to the end whatever the ready bits say ... */
        drained[0] = (dead[0] -> committed[0] : drained[0]);
        drained[1] = (dead[1] -> committed[1] : drained[1]);
        dead[0] = 0; dead[1] = 0
      }
#ifdef M_RING_ONLY_IF_FLAGGED
      if :: atomic { drainer_flag -> drainer_flag = 0; bell++; futex_asleep = 0 } :: !drainer_flag fi
#else
      bell++;                                           /* ... and wake the drainer: the dead one may have taken his flag */
      futex_asleep = 0
#endif
    :: !(dead[0] || dead[1])
    fi;
    drain();
    if
    :: role == NONE -> supervisor_flag = 1; drain()
    :: role != NONE
    fi;
    (socket_byte || dead[0] || dead[1])                 /* epoll_wait, without a time-out */
  od
}

/* Nothing can move: then nothing may be left unread. */
proctype watchdog() {
  timeout ->
  assert(drained[0] == committed[0] && drained[1] == committed[1])
}

init { atomic {
  run supervisor();
  run waiter(0);
#if WAITERS > 1
  run waiter(1);
#endif
  run worker(0);
#if WORKERS > 1
  run worker(1);
#endif
  run watchdog()
} }
