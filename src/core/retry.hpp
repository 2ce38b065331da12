// What: the policy decision table (failure x policy x runs used -> what becomes of the item) and the wait before a retry.
// PURE functions of their arguments; called by the scheduler only. Promise P12: never more than 1 + max_retries runs.
#pragma once

#include <cstdint>

#include "base/types.hpp"
#include "holdfast/policy.hpp"

namespace holdfast::core {

enum class FailureKind : std::uint8_t { died, raised, timed_out };
inline constexpr int kFailureKinds = 3;

/// What becomes of an item that has failed. The names are those of OnFailure; here `retry` means: a run is left, use it.
enum class Fate : std::uint8_t { raise, skip, retry, abort };

/// `runs` = runs used so far, the failed one included (>= 1). `cause` = of a death or time-out; none for an exception. `since_first` = how long ago
/// the item failed for the first time.
Fate decide(FailureKind failure, const Policies& policies, std::uint32_t runs, Cause cause = Cause::none, Nanos since_first = Nanos{0});

/// Wait before retry number `retry` (1 = the first). `random` is any 64 bits; the same bits give the same wait.
/// Never negative, never above backoff_max * (1 + jitter), whatever the numbers in `policy` are (NaN and below-1 factors included).
Nanos backoff(const Retry& policy, std::uint32_t retry, std::uint64_t random);

/// The next number of a splitmix64 sequence: small state, good enough to spread retries.
std::uint64_t next_random(std::uint64_t& state);

}  // namespace holdfast::core
