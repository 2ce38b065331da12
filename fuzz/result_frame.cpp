// What: fuzzes the decode of result frames, the parent's side: bytes that a worker wrote. The input is a run of frames.
#include "aligned.hpp"
#include "ring/frame.hpp"

namespace holdfast::ring {

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::Aligned input(data, size);
  frame::ResultContext context;
  for (std::size_t at = 0; at < input.size();) {
    ResultFrame frame;
    std::size_t bytes = 0;
    if (frame::decode_result(input.data() + at, input.size() - at, context, frame, bytes) != frame::Fault::none) break;
    input.check_inside(frame.payload, at, bytes);
    HF_CHECK(frame.run_time >= Nanos{0});
    HF_CHECK(frame.kind >= ResultKind::done && frame.kind <= ResultKind::note);
    context = frame::behind(frame, context);
    at += bytes;
  }
  return 0;
}

}  // namespace holdfast::ring
