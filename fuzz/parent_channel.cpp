// What: fuzzes a whole ParentChannel: the input is a script of steps, each either a word that a hostile worker stores into the shared memory
// or something that the parent does. Step: | op u8 | where u8 | value u64 |. The parent may answer protocol_error; nothing else may happen.
#include <cstdint>
#include <cstring>
#include <memory>

#include "base/check.hpp"
#include "ring/channel.hpp"
#include "ring/layout.hpp"
#include "ring/pack.hpp"
#include "sys/memfd.hpp"

namespace holdfast::ring {
namespace {

constexpr std::size_t kStep = 10;
constexpr Geometry kSmall{.task_ring_bytes = kMinRingBytes, .result_ring_bytes = kMinRingBytes};

bool acceptable(const Error& error) { return error.code == ErrorCode::protocol_error; }

void read_results(ParentChannel& parent) {
  for (int i = 0; i < 100; ++i) {
    auto result = parent.next_result();
    if (!result.ok()) {
      HF_CHECK(acceptable(result.error()));
      return;
    }
    if (!result->has_value()) return;
    unsigned sum = 0;
    for (const std::byte each : (*result)->payload.inline_bytes) sum += std::to_integer<unsigned>(each);
    HF_CHECK(sum <= 255U * (*result)->payload.inline_bytes.size());
    parent.pop_result();
  }
  parent.release_results();
}

/// As a drainer does: a result the long way, those behind it in runs, into memory that ends where the sanitizer sees it.
void take_runs(ParentChannel& parent, std::size_t room) {
  auto result = parent.next_result();
  if (!result.ok() || !result->has_value()) return;
  parent.pop_result();
  for (int i = 0; i < 100; ++i) {
    auto into = std::make_unique<std::byte[]>(room);
    const auto run = parent.take_done_run(7, {into.get(), room});
    HF_CHECK(run.count <= 7 && run.pack_bytes <= room && run.run_time >= Nanos{0});
    pack::Reader records(ByteSpan(into.get(), run.pack_bytes));
    std::uint32_t count = 0;
    for (ByteSpan record; records.next(record);) ++count;
    HF_CHECK(records.at_end() && count == run.count);
    if (run.count == 0) return;
  }
}

void use_chunk(ParentChannel& parent, std::uint32_t slot, std::uint32_t keep) {
  const auto word = parent.load_chunk(slot);
  HF_CHECK(word.ok() ? word->next <= word->end : acceptable(word.error()));
  const auto end = parent.take_back(slot, keep);
  HF_CHECK(end.ok() || acceptable(end.error()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto parent = ParentChannel::create(kSmall, 0);
  HF_CHECK(parent.ok());
  ParentChannel& channel = **parent;
  auto mapping = sys::Mapping::map(channel.fd(), kRingOffset + 2 * kMinRingBytes, sys::Mapping::Mode::shared);
  HF_CHECK(mapping.ok());
  auto* words = reinterpret_cast<Word64*>(mapping->data());
  constexpr std::size_t kResultRing = (kRingOffset + kMinRingBytes) / 8;
  HF_CHECK(channel.push_chunk(1, 1, 1, 3, 50, 0, 0));
  channel.commit_tasks();
  for (; size >= kStep; data += kStep, size -= kStep) {
    const std::uint8_t where = data[1];
    std::uint64_t value = 0;
    std::memcpy(&value, data + 2, sizeof value);
    switch (data[0] % 9) {
      case 0: words[where % 128].store(value, std::memory_order_relaxed); break;                                  // any word of the page
      case 1: words[kResultRing + where].store(value, std::memory_order_relaxed); break;                          // the ring's beginning
      case 2: words[kResultRing + kMinRingBytes / 8 - 1 - where].store(value, std::memory_order_relaxed); break;  // its end
      case 3: reinterpret_cast<ChannelPage*>(mapping->data())->result_tail.store(value % 4096 * 8); break;
      case 4: read_results(channel); break;
      case 5: use_chunk(channel, 3, static_cast<std::uint32_t>(value % 64)); break;
      case 6:
        (void)channel.push_item(1, where, {.inline_bytes = {}, .buffer = value | 1, .size = value % 1000});  // no room is fine
        channel.commit_tasks();
        break;
      case 7:
        (void)channel.progress();
        HF_CHECK(channel.task_room() <= kMinRingBytes);
        (void)channel.results_waiting();
        break;
      default: take_runs(channel, where);
    }
  }
  read_results(channel);
  use_chunk(channel, 3, 0);
  return 0;
}

}  // namespace holdfast::ring
