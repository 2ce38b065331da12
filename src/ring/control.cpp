// What: the checked decode of control messages. [control.hpp] One row per type: its route, the most descriptors, its ranges.
#include "ring/control.hpp"

#include <limits>
#include <string>

namespace holdfast::ring {
namespace {

constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kTop = std::numeric_limits<std::int64_t>::max();

struct Range {
  std::int64_t low = kAny;
  std::int64_t high = kTop;
  bool holds(std::int64_t value) const { return low <= value && value <= high; }
};

/// What a message of one type may say. A range left out allows anything: the receiver does not read the field.
struct Row {
  MessageType type;
  Route route;
  std::size_t descriptors = 0;
  bool names_worker = false;
  Range pid{};
  Range a{};
  Range b{};
  Range c{};
};

constexpr Range kPid{.low = 1, .high = std::numeric_limits<std::int32_t>::max()};
// kill(-1) would reach every process of the user, kill(0) the own group: neither can be a worker's group.
constexpr Range kGroup{.low = 2, .high = std::numeric_limits<std::int32_t>::max()};
constexpr std::int64_t kLongestPause = std::int64_t{366} * 24 * 3600 * 1'000'000'000;  // added up they must not overflow soon
constexpr Range kNatural{.low = 0, .high = kTop};
constexpr Range kPositive{.low = 1, .high = kTop};

constexpr Row kRows[] = {
    {.type = MessageType::start, .route = Route::pool_to_zygote, .descriptors = 2, .names_worker = true},
    {.type = MessageType::reap, .route = Route::pool_to_zygote, .names_worker = true, .pid = kPid, .a = {.low = 0, .high = 1}},
    {.type = MessageType::succeed, .route = Route::pool_to_zygote},
    {.type = MessageType::stop_zygote, .route = Route::pool_to_zygote},
    {.type = MessageType::zygote_hello, .route = Route::zygote_to_pool, .descriptors = 1, .pid = kPid},
    {.type = MessageType::started, .route = Route::zygote_to_pool, .descriptors = 1, .names_worker = true, .pid = kPid},
    {.type = MessageType::start_failed, .route = Route::zygote_to_pool, .names_worker = true, .a = kNatural},
    {.type = MessageType::exited, .route = Route::zygote_to_pool, .names_worker = true, .pid = kPid, .a = {.low = -1, .high = 0xffff}},
    {.type = MessageType::hello, .route = Route::worker_to_pool, .pid = kPid, .b = kGroup},
    {.type = MessageType::ready, .route = Route::worker_to_pool},
    {.type = MessageType::init_failed, .route = Route::worker_to_pool, .a = {.low = 0, .high = kMaxErrorText}},
    {.type = MessageType::wake, .route = Route::worker_to_pool},
    {.type = MessageType::buffer_request, .route = Route::worker_to_pool, .a = kPositive},
    {.type = MessageType::paused, .route = Route::zygote_to_pool, .a = {.low = 0, .high = kLongestPause}},
    {.type = MessageType::stalled, .route = Route::worker_to_pool, .descriptors = 1, .a = kNatural},
    {.type = MessageType::stacks_taken, .route = Route::worker_to_pool, .a = {.low = 1, .high = 0x7fffffff}},
    {.type = MessageType::buffer,
     .route = Route::pool_to_worker,
     .descriptors = 1,
     .a = kPositive,
     .b = kPositive,
     .c = {.low = -1, .high = kResultBuffers - 1}},
    {.type = MessageType::buffer_refused, .route = Route::pool_to_worker},
};

Error nonsense(const Message& message, const char* what) {
  return Error{ErrorCode::protocol_error, 0, "control.check_message",
               "a message of type " + std::to_string(static_cast<std::uint32_t>(message.type)) + " with " + what};
}

}  // namespace

Status check_message(const Message& message, Route route, std::size_t descriptors) {
  const Row* row = nullptr;
  for (const Row& each : kRows) {
    if (each.type == message.type && each.route == route) row = &each;
  }
  if (row == nullptr) return nonsense(message, "a type that does not travel this way");
  if (message.reserved != 0) return nonsense(message, "a reserved field that is not zero");
  if (descriptors > row->descriptors) return nonsense(message, "more descriptors than it carries");
  if (row->names_worker && message.worker == 0) return nonsense(message, "no worker");
  if (!row->pid.holds(message.pid)) return nonsense(message, "an impossible pid");
  if (!row->a.holds(message.a)) return nonsense(message, "its first number out of range");
  if (!row->b.holds(message.b)) return nonsense(message, "its second number out of range");
  if (!row->c.holds(message.c)) return nonsense(message, "its third number out of range");
  if (message.utime_us < 0 || message.stime_us < 0 || message.maxrss_bytes < 0) return nonsense(message, "a negative use of resources");
  return ok_status();
}

}  // namespace holdfast::ring
