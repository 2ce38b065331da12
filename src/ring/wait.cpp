// What: the cold half of the sleep protocol. [wait.hpp]
#include "ring/wait.hpp"

namespace holdfast::ring {

void wake_any_sleeper(Word32& sleeping) {
  // exchange: takes the announcement, whichever it is. seq_cst: behind the store of `orders` that the caller has just made.
  if (sleeping.exchange(0, std::memory_order_seq_cst) != 0) sys::futex_wake(sleeping, 1);
}

}  // namespace holdfast::ring
