// Scales pictures down in a pool whose handler has a bug: it reads past the end of pictures of one odd size, and the kernel kills it. With
// policy skip every other picture is done, and the killed ones are listed with the reason. Pictures are made up here (grey, 8 bits), large
// ones travel through shared buffers.
//
//   example_thumbnails                 exit code 0: all as expected
#include <csignal>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <vector>

#include "holdfast/holdfast.hpp"

namespace {

// A picture: width and height as 32-bit numbers, then width * height bytes.
holdfast::Bytes make_picture(std::uint32_t width, std::uint32_t height) {
  holdfast::Bytes picture(8 + std::size_t{width} * height);
  std::memcpy(picture.data(), &width, 4);
  std::memcpy(picture.data() + 4, &height, 4);
  for (std::size_t i = 8; i < picture.size(); ++i) picture[i] = static_cast<std::byte>(i * 7);
  return picture;
}

holdfast::Bytes half_size(std::span<const std::byte> picture) {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::memcpy(&width, picture.data(), 4);
  std::memcpy(&height, picture.data() + 4, 4);
  // The bug: an odd width makes the real thing run off its buffer. Here the crash is asked for, so that it is the same each time.
  if (width % 2 != 0) raise(SIGSEGV);
  holdfast::Bytes small = make_picture(width / 2, height / 2);
  const auto pixel = [&](std::uint32_t x, std::uint32_t y) { return std::to_integer<unsigned>(picture[8 + std::size_t{y} * width + x]); };
  for (std::uint32_t y = 0; y < height / 2; ++y) {
    for (std::uint32_t x = 0; x < width / 2; ++x) {
      const unsigned sum = pixel(2 * x, 2 * y) + pixel(2 * x + 1, 2 * y) + pixel(2 * x, 2 * y + 1) + pixel(2 * x + 1, 2 * y + 1);
      small[8 + std::size_t{y} * (width / 2) + x] = static_cast<std::byte>(sum / 4);
    }
  }
  return small;
}

}  // namespace

int main() {
  signal(SIGSEGV, SIG_DFL);
  holdfast::PoolOptions options;
  options.workers = 2;
  options.policies.on_death = holdfast::OnFailure::skip;
  auto pool = holdfast::Pool::open(half_size, options);
  if (!pool) {
    std::cerr << pool.error().message() << '\n';
    return 1;
  }
  std::vector<holdfast::Bytes> pictures;
  for (std::uint32_t i = 0; i < 24; ++i) pictures.push_back(make_picture(i % 8 == 5 ? 333 : 64 + 50 * i, 200));

  auto job = pool->map(pictures, {.chunk_size = 3, .policies = {}});
  if (!job) {
    std::cerr << job.error().message() << '\n';
    return 1;
  }
  std::size_t done = 0;
  for (const holdfast::Outcome& outcome : job->get()) {
    if (outcome.ok())
      ++done;
    else if (outcome.report)
      std::cout << "skipped: " << holdfast::describe(*outcome.report) << '\n';
  }
  const auto killed = pool->killed_items();
  std::cout << done << " of " << pictures.size() << " pictures done, " << killed.size() << " listed as killed\n";
  pool->close();
  return done == 21 && killed.size() == 3 && pool->join() ? 0 : 1;
}
