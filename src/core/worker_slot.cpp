// What: the worker's state x event table and its line of chunks (see worker_slot.hpp).
#include "core/worker_slot.hpp"

#include <array>
#include <cstddef>

namespace holdfast::core {

// Read the cells so: a message may be late (ready after kill), and the pool may report an end by either of its two names
// (start_failed, died): the state decides what it was. What remains `impossible` is refused and changes nothing.
WorkerStep worker_step(WorkerState state, WorkerEvent event) {
  using S = WorkerState;
  using M = WorkerMeaning;
  // clang-format off
  static constexpr std::array<std::array<WorkerStep, kWorkerEvents>, kWorkerStates> kTable{{
      //              ready                         start_failed               died                       sent                         emptied                      retire                      kill
      /* starting */ {{{S::idle, M::moved},         {S::gone, M::failed_start}, {S::gone, M::failed_start}, {S::starting, M::impossible}, {S::starting, M::impossible}, {S::unwanted, M::moved},   {S::killed, M::moved}}},
      /* unwanted */ {{{S::retiring, M::moved},     {S::gone, M::quiet_end},   {S::gone, M::quiet_end},   {S::unwanted, M::impossible}, {S::unwanted, M::impossible}, {S::unwanted, M::nothing}, {S::killed, M::moved}}},
      /* idle     */ {{{S::idle, M::impossible},    {S::gone, M::death},       {S::gone, M::death},       {S::busy, M::moved},         {S::idle, M::impossible},     {S::retiring, M::moved},   {S::killed, M::moved}}},
      /* busy     */ {{{S::busy, M::impossible},    {S::gone, M::death},       {S::gone, M::death},       {S::busy, M::moved},         {S::idle, M::moved},          {S::retiring, M::moved},   {S::killed, M::moved}}},
      /* retiring */ {{{S::retiring, M::impossible}, {S::gone, M::death},      {S::gone, M::death},       {S::retiring, M::impossible}, {S::retiring, M::nothing},   {S::retiring, M::nothing}, {S::killed, M::moved}}},
      /* killed   */ {{{S::killed, M::nothing},     {S::gone, M::death},       {S::gone, M::death},       {S::killed, M::impossible},  {S::killed, M::nothing},      {S::killed, M::nothing},   {S::killed, M::nothing}}},
      /* gone     */ {{{S::gone, M::impossible},    {S::gone, M::impossible},  {S::gone, M::impossible},  {S::gone, M::impossible},    {S::gone, M::impossible},     {S::gone, M::impossible},  {S::gone, M::impossible}}},
  }};
  // clang-format on
  return kTable[static_cast<std::size_t>(state)][static_cast<std::size_t>(event)];
}

Chunk* WorkerSlot::find(ChunkId wanted) {
  for (std::uint32_t i = 0; i < chunks; ++i) {
    if (at(i).id == wanted) return &at(i);
  }
  return nullptr;
}

void WorkerSlot::push(const Chunk& chunk) {
  if (chunks == circle.size()) {
    std::vector<Chunk> larger(circle.empty() ? 4 : circle.size() * 2);
    for (std::uint32_t i = 0; i < chunks; ++i) larger[i] = at(i);
    circle.swap(larger);
    head = 0;
  }
  ++chunks;
  at(chunks - 1) = chunk;
}

void WorkerSlot::pop_front() {
  head = (head + 1) & (static_cast<std::uint32_t>(circle.size()) - 1);
  --chunks;
}

void WorkerSlot::erase(const Chunk* chunk) {
  std::uint32_t position = 0;
  while (&at(position) != chunk) ++position;
  for (; position + 1 < chunks; ++position) at(position) = at(position + 1);
  --chunks;
}

}  // namespace holdfast::core
