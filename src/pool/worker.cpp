// What: see worker.hpp.
#include "pool/worker.hpp"

#include "pool/result_buffers.hpp"
#include "sys/socket.hpp"

namespace holdfast::pool {

Result<Line> Line::make(std::uint32_t worker_index) {
  auto channel = ring::ParentChannel::create({}, worker_index);
  if (!channel) return std::move(channel).error();
  auto pair = sys::socketpair_seqpacket();
  if (!pair) return std::move(pair).error();
  return Line{*std::move(channel), std::move(pair->a), std::move(pair->b)};
}

void Worker::forked_child() {
  socket.reset();
  zygote_end.reset();
  pidfd.reset();
  memory.reader = sys::MemoryReader();
  channel->close_fd();
  results->forked_child();
}

ChunkInFlight* Worker::find_chunk(ChunkId chunk) {
  for (ChunkInFlight& each : chunks) {  // results come in the order sent: nearly always the first
    if (each.chunk == chunk) return &each;
  }
  return nullptr;
}

std::optional<std::uint32_t> Worker::take_slot() {
  if (free_slots.empty() && !retired_slots.empty() && channel->task_room() == empty_ring_room) { free_slots.swap(retired_slots); }
  if (free_slots.empty()) return std::nullopt;
  const std::uint32_t slot = free_slots.back();
  free_slots.pop_back();
  return slot;
}

void Worker::give_slot(std::uint32_t slot, bool passed) {
  channel->release_slot(slot);
  if (passed) {
    free_slots.push_back(slot);
    return;
  }
  retired_slots.push_back(slot);
  retired_by = last_sent;
}

void Worker::saw_result_of(ChunkId chunk) {
  if (retired_slots.empty() || chunk <= retired_by) return;
  free_slots.insert(free_slots.end(), retired_slots.begin(), retired_slots.end());
  retired_slots.clear();
}

}  // namespace holdfast::pool
