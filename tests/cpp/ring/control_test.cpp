// What: the checked decode of control messages: good ones pass, and each field is refused outside its range.
#include "ring/control.hpp"

#include <functional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace holdfast::ring::test {
namespace {

struct Case {
  const char* name;
  Route route;
  std::size_t descriptors;
  Message good;
};

std::vector<Case> good_messages() {
  return {
      {"start", Route::pool_to_zygote, 2, {.type = MessageType::start, .worker = 1, .a = 7}},
      {"reap", Route::pool_to_zygote, 0, {.type = MessageType::reap, .worker = 1, .pid = 100, .a = 1}},
      {"succeed", Route::pool_to_zygote, 0, {.type = MessageType::succeed}},
      {"stop_zygote", Route::pool_to_zygote, 0, {.type = MessageType::stop_zygote}},
      {"zygote_hello", Route::zygote_to_pool, 1, {.type = MessageType::zygote_hello, .pid = 5}},
      {"started", Route::zygote_to_pool, 1, {.type = MessageType::started, .worker = 1, .pid = 5}},
      {"start_failed", Route::zygote_to_pool, 0, {.type = MessageType::start_failed, .worker = 1, .a = 11, .b = 2}},
      {"exited", Route::zygote_to_pool, 0, {.type = MessageType::exited, .worker = 1, .pid = 5, .a = 0x8b}},
      {"paused", Route::zygote_to_pool, 0, {.type = MessageType::paused, .a = 3'000'000'000}},
      {"stalled", Route::worker_to_pool, 1, {.type = MessageType::stalled, .worker = 1, .a = 60'000}},
      {"exited, its status taken", Route::zygote_to_pool, 0, {.type = MessageType::exited, .worker = 1, .pid = 5, .a = -1}},
      {"hello", Route::worker_to_pool, 0, {.type = MessageType::hello, .pid = 5, .a = kProtocolVersion, .b = 6}},
      {"ready", Route::worker_to_pool, 0, {.type = MessageType::ready, .pid = 5}},
      {"init_failed", Route::worker_to_pool, 0, {.type = MessageType::init_failed, .a = 100}},
      {"wake", Route::worker_to_pool, 0, {.type = MessageType::wake}},
      {"buffer_request", Route::worker_to_pool, 0, {.type = MessageType::buffer_request, .a = std::int64_t{5} << 30}},
      {"buffer for arguments", Route::pool_to_worker, 1, {.type = MessageType::buffer, .a = 1, .b = 65536, .c = -1}},
      {"buffer for a result", Route::pool_to_worker, 1, {.type = MessageType::buffer, .a = 1, .b = 65536, .c = 63}},
      {"buffer_refused", Route::pool_to_worker, 0, {.type = MessageType::buffer_refused, .a = 1, .b = 12}},
  };
}

constexpr Route kRoutes[] = {Route::pool_to_zygote, Route::zygote_to_pool, Route::worker_to_pool, Route::pool_to_worker};

TEST(RingControl, GoodMessagesPassOnTheirRouteOnly) {
  for (const Case& each : good_messages()) {
    for (const Route route : kRoutes) {
      EXPECT_EQ(check_message(each.good, route, each.descriptors).ok(), route == each.route) << each.name;
    }
  }
}

TEST(RingControl, LostDescriptorsPassAndSuperfluousOnesDoNot) {
  for (const Case& each : good_messages()) {
    EXPECT_TRUE(check_message(each.good, each.route, 0).ok()) << each.name;
    EXPECT_FALSE(check_message(each.good, each.route, each.descriptors + 1).ok()) << each.name;
  }
}

void expect_refused(const char* name, Route route, Message message) {
  const auto status = check_message(message, route, 0);
  ASSERT_FALSE(status.ok()) << name;
  EXPECT_EQ(status.error().code, ErrorCode::protocol_error);
}

TEST(RingControl, FieldsOutOfRangeAreRefused) {
  for (const Case& each : good_messages()) {
    Message bad = each.good;
    bad.reserved = 1;
    expect_refused(each.name, each.route, bad);
    bad = each.good;
    bad.maxrss_bytes = -1;
    expect_refused(each.name, each.route, bad);
  }
  Message hello{.type = MessageType::hello, .pid = 5, .a = 1, .b = 1};
  expect_refused("kill(-1) is everybody", Route::worker_to_pool, hello);
  for (const std::int64_t group : {std::int64_t{0}, std::int64_t{-5}, std::int64_t{1} << 32, (std::int64_t{1} << 32) + 1}) {
    hello.b = group;
    expect_refused("group", Route::worker_to_pool, hello);
  }
  expect_refused("pid", Route::zygote_to_pool, {.type = MessageType::started, .worker = 1, .pid = -1});
  expect_refused("worker", Route::zygote_to_pool, {.type = MessageType::started, .worker = 0, .pid = 1});
  expect_refused("status", Route::zygote_to_pool, {.type = MessageType::exited, .worker = 1, .pid = 5, .a = 0x10000});
  expect_refused("a pause of centuries", Route::zygote_to_pool, {.type = MessageType::paused, .a = INT64_MAX});
  expect_refused("a worker that stops the clock", Route::worker_to_pool, {.type = MessageType::paused, .a = 1});
  expect_refused("nobody's end", Route::zygote_to_pool, {.type = MessageType::exited, .pid = 5, .a = 9});
  expect_refused("nobody's burial", Route::pool_to_zygote, {.type = MessageType::reap, .pid = 5, .a = 1});
  expect_refused("a worker that speaks as its zygote", Route::worker_to_pool, {.type = MessageType::exited, .worker = 1, .pid = 5});
  expect_refused("text", Route::worker_to_pool, {.type = MessageType::init_failed, .a = kMaxErrorText + 1});
  expect_refused("bytes", Route::worker_to_pool, {.type = MessageType::buffer_request, .a = -1});
  expect_refused("index", Route::pool_to_worker, {.type = MessageType::buffer, .a = 1, .b = 1, .c = 64});
  expect_refused("type", Route::pool_to_worker, {.type = static_cast<MessageType>(77)});
}

}  // namespace
}  // namespace holdfast::ring::test
