/* What: one chunk at a worker: claiming items, taking back what has not begun, committing results, and a death at any step.
 * Mirrors src/ring/worker_channel.cpp (claim), parent_channel.cpp (push_chunk, take_back, load_chunk, release_slot), the drain
 * after a death in src/pool, and the reuse of a slot while frames of its old chunk still lie in the task ring.
 * The chunk word is {tag, next, end}: the worker alone raises `next`, the parent alone lowers `end`, both by compare-exchange; the
 * tag changes with every use of the slot. Chunk 0 has ITEMS items; once it is settled its slot may serve chunk 1 of 1 item.
 * Promises checked: every item is settled exactly once (by a result, as lost, or taken back and queued again); no item runs
 * after it was taken back; a committed result is never dropped; a death loses at most one item; what was lost had begun.
 * Mutants (-DM_...), each of which must fail, are listed in check.sh.
 */
#define ITEMS 3
#define SECOND ITEMS           /* chunk 1's only item, in the arrays below */

byte tag, next, end;           /* the shared chunk word (slot 0) */
byte pushed;                   /* task ring: chunks committed by the parent */
byte committed;                /* result ring: results committed, in order */
byte ring[ITEMS + 1];          /* result ring: which item each result is of */
bit killed;

bit ran[ITEMS + 1], answered[ITEMS + 1], requeued[ITEMS + 1], lost[ITEMS + 1];
byte drained;                  /* parent, private */
bit second_used, worker_left, parent_done;

inline settle_by_result(i) {
  assert(!answered[i] && !requeued[i] && !lost[i]);
  answered[i] = 1
}

proctype worker() provided (!killed) {
  byte chunk, item, mine, seen_next, seen_end, count;
  bit won;
  do
  :: chunk < pushed ->
    item = 0;
    mine = chunk;                                       /* the tag that this chunk's frame carries */
    count = (chunk == 0 -> ITEMS : 1);
    do
    :: item < count ->
      won = 0;
#ifdef M_PLAIN_CLAIM
      d_step { seen_next = next; seen_end = end }
      if
      :: item < seen_end && tag == mine -> next = item + 1; won = 1
      :: else
      fi;
#else
      do                                                /* claim: compare-exchange until won or refused */
      :: d_step { seen_next = next; seen_end = end; won = 0 }
        if
#ifdef M_NO_TAG
        :: item == seen_next && item < seen_end ->
          d_step { won = (next == seen_next && end == seen_end); next = (won -> item + 1 : next) }
#else
        :: tag == mine && item == seen_next && item < seen_end ->
          d_step { won = (tag == mine && next == seen_next && end == seen_end); next = (won -> item + 1 : next) }
#endif
          if :: won -> break :: else fi
        :: else -> break                                /* taken back, or the slot serves another chunk by now: skip */
        fi
      od;
#endif
      if
      :: won ->
        atomic {                                        /* run it */
          assert(!requeued[chunk * SECOND + item]);
          assert(!ran[chunk * SECOND + item]);
          ran[chunk * SECOND + item] = 1
        }
#ifdef M_COMMIT_BEFORE_WRITE
        committed++;
        ring[committed - 1] = chunk * SECOND + item
#else
        ring[committed] = chunk * SECOND + item;        /* write the frame ... */
        committed++                                     /* ... then publish it */
#endif
      :: else
      fi;
      item++
    :: item == count -> break
    od;
    chunk++
  :: chunk == 2 -> worker_left = 1; break
  od
}

/* SIGKILL between any two steps, or never. */
proctype killer() { if :: killed = 1 :: true fi }

inline drain() {
  do
  :: drained < committed -> settle_by_result(ring[drained]); drained++
  :: else -> break
  od
}

/* Lowers `end` to max(next, keep). The word is re-read whenever the worker was faster. */
inline take_back(keep) {
  do
  :: d_step { seen_next = next; seen_end = end }
    new_end = (seen_next > keep -> seen_next : keep);
    if
    :: new_end >= seen_end -> new_end = seen_end; break
    :: else ->
#ifdef M_PLAIN_TAKE_BACK
      end = new_end; break
#else
      d_step { won = (next == seen_next && end == seen_end); end = (won -> new_end : end) }
      if :: won -> break :: else fi
#endif
    fi
  od;
  i = new_end;
  do
  :: i < limit -> d_step { assert(!answered[i] && !requeued[i] && !lost[i]); requeued[i] = 1 }; i++
  :: else -> break
  od;
  limit = new_end;
  i = 0
}

proctype parent() {
  byte seen_next, seen_end, new_end, i, losses;
  byte limit = ITEMS;                                   /* private copy of `end` of chunk 0 */
  bit won, took;
  byte first;
  atomic { tag = 0; next = 0; end = ITEMS; pushed = 1 }
  do
  :: drained < committed -> drain()
  :: !took -> took = 1; if :: take_back(0) :: take_back(1) fi   /* cancel: all; steal: behind the first */
  :: !second_used && took && drained == limit ->        /* all that was left to it is answered: the slot is free for chunk 1 */
    second_used = 1;
#ifdef M_NO_TAG
    d_step { next = 0; end = 1 }
#else
    d_step { tag = 1; next = 0; end = 1 }
#endif
    pushed = 2
  :: killed -> break                                    /* the pidfd is readable */
  :: worker_left -> break
  od;
#ifdef M_NO_DRAIN_AFTER_DEATH
  skip;
#else
  drain();                                              /* the death is certain: nothing can be added to the ring any more */
#endif
  assert(drained == committed);                         /* no committed result is dropped */
  first = (second_used -> SECOND : 0);
  if :: second_used -> limit = 1 :: else fi;
  assert(next <= end);
  i = 0;
  do                                                    /* begun and not answered = lost; the rest of the chunk is queued again */
  :: i < limit ->
    if
    :: answered[first + i] -> skip
    :: !answered[first + i] && i < next -> lost[first + i] = 1; losses++; assert(ran[first + i] || killed)
    :: else -> requeued[first + i] = 1; assert(!ran[first + i])
    fi;
    i++
  :: else -> break
  od;
  assert(losses <= 1);
  assert(losses == 0 || killed);
  i = 0;
  do
  :: i < ITEMS + second_used -> assert(answered[i] + requeued[i] + lost[i] == 1); i++
  :: else -> break
  od;
  parent_done = 1
}

/* Nobody may be stuck before the checks above have been made. */
proctype watchdog() { timeout -> assert(parent_done) }

init { atomic { run parent(); run worker(); run killer(); run watchdog() } }
