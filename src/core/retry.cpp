// What: the policy decision table and the exponential backoff (see retry.hpp).
#include "core/retry.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace holdfast::core {

namespace {

OnFailure policy_for(FailureKind failure, const Policies& policies) {
  switch (failure) {
    case FailureKind::died: return policies.on_death;
    case FailureKind::raised: return policies.on_error;
    case FailureKind::timed_out: return policies.on_timeout;
  }
  return OnFailure::raise;
}

bool run_is_left(const Retry& retry, std::uint32_t runs, Cause cause, Nanos since_first) {
  if (runs > retry.max_retries || (retry.on & Retry::bit(cause)) == 0) return false;
  if (retry.deadline <= Nanos{0}) return true;
  Retry plain = retry;
  plain.jitter = 0;
  return since_first < retry.deadline && backoff(plain, runs, 0) < retry.deadline - since_first;
}

// Rows: the policy. Columns: a run is left; none is left and `then` is raise, skip, retry, abort. `then = retry` means nothing
// (there is no retry left): it is taken as raise, so that no number of mistakes makes an item run for ever.
// clang-format off
constexpr std::array<std::array<Fate, 5>, 4> kFates{{
    //              run left     then raise   then skip   then retry   then abort
    /* raise */ {{Fate::raise, Fate::raise, Fate::raise, Fate::raise, Fate::raise}},
    /* skip  */ {{Fate::skip, Fate::skip, Fate::skip, Fate::skip, Fate::skip}},
    /* retry */ {{Fate::retry, Fate::raise, Fate::skip, Fate::raise, Fate::abort}},
    /* abort */ {{Fate::abort, Fate::abort, Fate::abort, Fate::abort, Fate::abort}},
}};
// clang-format on

}  // namespace

Fate decide(FailureKind failure, const Policies& policies, std::uint32_t runs, Cause cause, Nanos since_first) {
  const OnFailure policy = policy_for(failure, policies);
  const bool run_left = policy == OnFailure::retry && run_is_left(policies.retry, runs, cause, since_first);
  const std::size_t column = run_left ? 0 : 1 + static_cast<std::size_t>(policies.retry.then);
  return kFates[static_cast<std::size_t>(policy)][column];
}

Nanos backoff(const Retry& policy, std::uint32_t retry, std::uint64_t random) {
  const double initial = static_cast<double>(std::max<std::int64_t>(policy.backoff_initial.count(), 0));
  const double cap = static_cast<double>(std::max<std::int64_t>(policy.backoff_max.count(), 0));
  const double factor = policy.backoff_factor >= 1.0 ? policy.backoff_factor : 1.0;  // false for NaN
  const double jitter = policy.jitter > 0.0 ? std::min(policy.jitter, 1.0) : 0.0;    // false for NaN
  // Also keeps 0 * infinity out of the product below.
  if (initial == 0.0) return Nanos{0};
  const double wait = std::min(initial * std::pow(factor, static_cast<double>(retry > 0 ? retry - 1 : 0)), cap);
  const double unit = static_cast<double>(random >> 11) * 0x1.0p-53;  // [0, 1)
  const double spread = wait * (1.0 + jitter * (2.0 * unit - 1.0));
  constexpr double kMost = 9.0e18;  // below 2^63: the conversion stays defined
  return Nanos{static_cast<std::int64_t>(std::clamp(spread, 0.0, kMost))};
}

std::uint64_t next_random(std::uint64_t& state) {
  state += 0x9e3779b97f4a7c15ULL;
  std::uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

}  // namespace holdfast::core
