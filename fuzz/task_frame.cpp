// What: fuzzes the decode of task frames, the worker's side: a stray write in the worker must end as an error there. A run of frames.
#include "aligned.hpp"
#include "ring/frame.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace holdfast::ring;
  const holdfast::fuzz::Aligned input(data, size);
  for (std::size_t at = 0; at < input.size();) {
    frame::DecodedTask out;
    if (frame::decode_task(input.data() + at, input.size() - at, out) != frame::Fault::none) break;
    input.check_inside(out.frame.payload, at, out.bytes);
    HF_CHECK(out.frame.slot < kChunkSlots && out.tag <= kTagMask && out.frame.count <= kMaxChunkItems);
    at += out.bytes;
  }
  return 0;
}
