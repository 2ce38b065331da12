// What: the input of a fuzz target as a ring would hold it: 8-aligned, a multiple of 8 bytes, of its exact size on the heap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "base/check.hpp"
#include "ring/channel.hpp"

namespace holdfast::fuzz {

class Aligned {
 public:
  Aligned(const std::uint8_t* data, std::size_t size)
      : size_(size & ~std::size_t{7}), words_(std::make_unique<std::uint64_t[]>(size_ / 8)) {
    if (size_ != 0) std::memcpy(words_.get(), data, size_);
  }
  const std::byte* data() const { return reinterpret_cast<const std::byte*>(words_.get()); }
  std::size_t size() const { return size_; }

  /// What a decoder returned lies within the input; reads every byte of it, so that a sanitizer sees a wrong one.
  void check_inside(const ring::PayloadRef& payload, std::size_t from, std::size_t bytes) const {
    HF_CHECK(bytes % 8 == 0 && bytes > 0 && bytes <= size_ - from);
    if (payload.buffer != 0) {
      HF_CHECK(payload.inline_bytes.empty());
      return;
    }
    HF_CHECK(payload.size == payload.inline_bytes.size() && payload.size <= ring::kInlineLimit);
    if (payload.size == 0) return;
    HF_CHECK(payload.inline_bytes.data() >= data() + from);
    HF_CHECK(payload.inline_bytes.data() + payload.size <= data() + from + bytes);
    unsigned sum = 0;
    for (const std::byte each : payload.inline_bytes) sum += std::to_integer<unsigned>(each);
    HF_CHECK(sum <= 255U * payload.size);
  }

 private:
  std::size_t size_;
  std::unique_ptr<std::uint64_t[]> words_;
};

}  // namespace holdfast::fuzz
