// What: fuzzes the decode of task frames, the worker's side: a stray write in the worker must end as an error there. A run of frames.
#include "aligned.hpp"
#include "ring/frame.hpp"
#include "ring/pack.hpp"

namespace holdfast::ring {

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::Aligned input(data, size);
  frame::TaskContext context;
  for (std::size_t at = 0; at < input.size();) {
    TaskFrame frame;
    frame::TaskExtra extra;
    if (frame::decode_task(input.data() + at, input.size() - at, context, frame, extra) != frame::Fault::none) break;
    input.check_inside(frame.payload, at, extra.bytes);
    input.check_inside({.inline_bytes = extra.records, .buffer = 0, .size = extra.records.size()}, at, extra.bytes);
    pack::Reader records(extra.records);
    std::uint32_t count = 0;
    for (ByteSpan record; records.next(record); ++count) {
      input.check_inside({.inline_bytes = record, .buffer = 0, .size = record.size()}, at, extra.bytes);
    }
    HF_CHECK(count <= extra.records.size() / pack::kPrefix);
    HF_CHECK(frame.slot < kChunkSlots && extra.tag <= kTagMask && frame.count <= kMaxChunkItems);
    if (frame.type == TaskFrameType::chunk) context = frame::behind_chunk(frame.slot);
    if (frame.type == TaskFrameType::item) context = frame::behind_item(frame.slot, frame.item + (extra.count == 0 ? 0 : extra.count - 1));
    at += extra.bytes;
  }
  return 0;
}

}  // namespace holdfast::ring
