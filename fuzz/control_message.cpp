// What: fuzzes the checked decode of control messages. Input: one byte (route and number of descriptors), then the message.
#include <cstdint>
#include <cstring>

#include "base/check.hpp"
#include "ring/control.hpp"

namespace holdfast::ring {

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 + sizeof(Message)) return 0;
  Message message;
  std::memcpy(&message, data + 1, sizeof message);
  const auto route = static_cast<Route>(data[0] & 3);
  if (!check_message(message, route, data[0] >> 2 & 3).ok()) return 0;
  // What a receiver may rely on without a look of its own.
  if (message.type == MessageType::hello) HF_CHECK(message.b > 1 && message.b <= INT32_MAX && message.pid > 0);
  if (message.type == MessageType::started || message.type == MessageType::reap) HF_CHECK(message.pid > 0);
  if (message.type == MessageType::buffer) HF_CHECK(message.c >= -1 && message.c < kResultBuffers && message.b > 0);
  if (message.type == MessageType::init_failed) HF_CHECK(message.a >= 0 && message.a <= kMaxErrorText);
  HF_CHECK(message.reserved == 0);
  return 0;
}

}  // namespace holdfast::ring
