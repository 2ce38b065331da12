// What: small helpers of the pool's tests: numbers as bytes, a pool that must open.
#pragma once

#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "holdfast/holdfast.hpp"

namespace holdfast::test {

inline Bytes bytes_of(std::int64_t value) {
  Bytes bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

inline std::int64_t value_of(std::span<const std::byte> bytes) {
  std::int64_t value = 0;
  if (bytes.size() == sizeof value) std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

inline std::vector<Bytes> numbers(std::int64_t count) {
  std::vector<Bytes> items;
  for (std::int64_t i = 0; i < count; ++i) items.push_back(bytes_of(i));
  return items;
}

/// A pool that must open.
inline Pool open_pool(Handler handler, PoolOptions options) {
  auto pool = Pool::open(std::move(handler), std::move(options));
  if (!pool) {
    ADD_FAILURE() << pool.error().message();
    std::abort();
  }
  return *std::move(pool);
}

}  // namespace holdfast::test
