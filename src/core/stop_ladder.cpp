// What: the stop ladder's state x event table and its deadlines (see stop_ladder.hpp).
#include "core/stop_ladder.hpp"

#include <algorithm>
#include <array>

namespace holdfast::core {

namespace {

constexpr StopSteps kNothing{};
constexpr StopSteps kAskInt{.ask = true, .sigint = true};
constexpr StopSteps kAskTerm{.ask = true, .sigterm = true};
constexpr StopSteps kAskKill{.ask = true, .sigkill = true};
constexpr StopSteps kTerm{.sigterm = true};
constexpr StopSteps kKill{.sigkill = true};
constexpr StopSteps kAbandon{.abandon = true};

StopSteps merge(const StopSteps& a, const StopSteps& b) {
  return {a.ask || b.ask, a.sigint || b.sigint, a.sigterm || b.sigterm, a.sigkill || b.sigkill, a.abandon || b.abandon};
}

}  // namespace

enum class StopLadder::Event : std::uint8_t { begin, begin_interrupt, deadline, kill_now, gone };

struct StopLadder::Cell {
  StopState next;
  StopSteps steps;
};

// A cell that cannot happen in a right program (a second begin(), an event after the end) keeps the state and takes no step:
// the ladder never goes back a rung, and asking twice is harmless.
const StopLadder::Cell& StopLadder::cell(StopState state, Event event) {
  using S = StopState;
  // clang-format off
  static constexpr std::array<std::array<Cell, 5>, kStopStates> kTable{{
      //                 begin                        begin_interrupt             deadline                    kill_now                 gone
      /* idle        */ {{{S::terminating, kAskTerm}, {S::interrupted, kAskInt},  {S::idle, kNothing},        {S::killed, kAskKill},   {S::gone, kNothing}}},
      /* interrupted */ {{{S::interrupted, kNothing}, {S::interrupted, kNothing}, {S::terminating, kTerm},    {S::killed, kKill},      {S::gone, kNothing}}},
      /* terminating */ {{{S::terminating, kNothing}, {S::terminating, kNothing}, {S::killed, kKill},         {S::killed, kKill},      {S::gone, kNothing}}},
      /* killed      */ {{{S::killed, kNothing},      {S::killed, kNothing},      {S::abandoned, kAbandon},   {S::killed, kNothing},   {S::gone, kNothing}}},
      /* abandoned   */ {{{S::abandoned, kNothing},   {S::abandoned, kNothing},   {S::abandoned, kNothing},   {S::abandoned, kNothing}, {S::gone, kNothing}}},
      /* gone        */ {{{S::gone, kNothing},        {S::gone, kNothing},        {S::gone, kNothing},        {S::gone, kNothing},     {S::gone, kNothing}}},
  }};
  // clang-format on
  return kTable[static_cast<std::size_t>(state)][static_cast<std::size_t>(event)];
}

StopLadder::StopLadder(Time start, Nanos grace, StopReason reason) : start_(start), grace_(std::max(grace, Nanos{0})), reason_(reason) {}

StopSteps StopLadder::begin(Time now) {
  // No grace: asking first would only be a race between the ask and the kill.
  if (grace_ == Nanos{0}) return take(Event::kill_now, now);
  return take(reason_ == StopReason::interrupt ? Event::begin_interrupt : Event::begin, now);
}

StopSteps StopLadder::advance(Time now) {
  StopSteps steps;
  while (now >= deadline_) steps = merge(steps, take(Event::deadline, now));
  return steps;
}

StopSteps StopLadder::shorten(Time now, Nanos grace) {
  if (grace <= Nanos{0}) return take(Event::kill_now, now);
  const Time kill_at = after(now, grace);
  if (kill_at == kNever || kill_at >= after(start_, grace_)) return advance(now);
  grace_ = kill_at - start_;
  if (state_ == StopState::interrupted || state_ == StopState::terminating) deadline_ = std::min(deadline_, next_deadline(now));
  return advance(now);
}

StopSteps StopLadder::kill_now(Time now) { return take(Event::kill_now, now); }

void StopLadder::gone() { (void)take(Event::gone, Time{0}); }  // no step follows a worker that is gone

StopSteps StopLadder::take(Event event, Time now) {
  const Cell& found = cell(state_, event);
  if (found.next != state_) {
    state_ = found.next;
    deadline_ = next_deadline(now);
  }
  return found.steps;
}

// SIGTERM and SIGKILL are due by the ladder's start, so that a late supervisor does not lengthen the grace; abandoning is due by
// the moment of the kill itself, so that a late kill gets its full two seconds.
Time StopLadder::next_deadline(Time now) const {
  switch (state_) {
    case StopState::interrupted: return after(start_, std::min(grace_ / 4, kInterruptLead));
    case StopState::terminating: return after(start_, grace_);
    case StopState::killed: return after(now, kAbandonAfter);
    case StopState::idle:
    case StopState::abandoned:
    case StopState::gone: break;
  }
  return kNever;
}

}  // namespace holdfast::core
