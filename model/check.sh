#!/bin/sh
# Checks the protocol models with spin: every right model must pass (no lost wake-up, each item settled once, no endless
# loop), every mutant must fail. Exits 0 only if all of that holds. Takes well under a minute and less than 1 GiB.
# Usage: model/check.sh [scratch directory]     CC and SPIN may name other programs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${SPIN:=spin}" "${CC:=cc}"
command -v "$SPIN" >/dev/null || { echo "model/check.sh: spin is not installed (Debian package: spin)" >&2; exit 2; }
if [ $# -gt 0 ]; then scratch=$1; mkdir -p "$scratch"; else scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT; fi
cd "$scratch"
bad=0

# explore <mode: safety|progress> <model> <defines...>: prints pass, fail (an error was found) or broken (not searched to the end).
explore() {
  mode=$1; model=$2; shift 2
  "$SPIN" "$@" -a "$here/$model.pml" >spin.log 2>&1 || { echo broken; return; }
  # spin resolves #ifs through its own preprocessor; -w: pan.c, generated, has harmless warnings under new compilers.
  if [ "$mode" = safety ]; then how="-DSAFETY -DCOLLAPSE"; run="-E"; else how="-DNP -DCOLLAPSE"; run="-E -l"; fi
  # shellcheck disable=SC2086
  "$CC" -w -O2 $how -DMEMLIM=1024 -o pan pan.c >cc.log 2>&1 || { echo broken; return; }
  # shellcheck disable=SC2086
  ./pan $run -m1000000 -w22 >pan.log 2>&1 || true
  if grep -q -E "out of memory|max search depth too small|Search not completed|VECTORSZ" pan.log && ! grep -q "errors: [1-9]" pan.log; then echo broken
  elif grep -q "errors: 0" pan.log; then echo pass
  elif grep -q "errors: [1-9]" pan.log; then echo fail
  else echo broken; fi
}

expect() {
  want=$1; shift
  got=$(explore "$@")
  if [ "$got" = "$want" ]; then printf 'ok   %s: %s\n' "$*" "$got"
  else printf 'BAD  %s: %s, expected %s\n' "$*" "$got" "$want"; tail -n 20 pan.log 2>/dev/null || true; bad=1; fi
}

two_workers="-DWORKERS=2 -DWAITERS=1 -DVISITS=2 -DRESULTS=1"
two_waiters="-DWORKERS=1 -DWAITERS=2 -DVISITS=1 -DRESULTS=2"

# shellcheck disable=SC2086
for sizes in "$two_workers" "$two_waiters"; do expect pass safety sleep_wake $sizes; done
# shellcheck disable=SC2086
expect pass progress sleep_wake -DWORKERS=1 -DWAITERS=2 -DVISITS=1 -DRESULTS=1
for mutant in PLAIN_STORE FLAG_AFTER_LOOK BELL_READ_LATE LEAVER_DOES_NOT_ANNOUNCE LEAVER_DOES_NOT_LOOK WITHDRAW_AFTER_HAND_OVER \
              READY_BEFORE_COMMIT BITS_CLEARED_LAST; do
  # shellcheck disable=SC2086
  expect fail safety sleep_wake $two_waiters -DM_$mutant
done
# shellcheck disable=SC2086
expect fail safety sleep_wake $two_workers -DM_RING_ONLY_IF_FLAGGED

expect pass safety worker_wake
expect pass progress worker_wake
for mutant in CLEAR_AFTER_WAKE FLAG_AFTER_LOOK LOOK_BEFORE_COMMIT ROOM_WITHOUT_WAKE CLOSE_WITHOUT_WAKE; do
  expect fail safety worker_wake -DM_$mutant
done

expect pass safety claim
expect pass progress claim
for mutant in PLAIN_CLAIM NO_TAG PLAIN_TAKE_BACK NO_DRAIN_AFTER_DEATH COMMIT_BEFORE_WRITE; do
  expect fail safety claim -DM_$mutant
done
exit $bad
