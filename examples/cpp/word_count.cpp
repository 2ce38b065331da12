// Counts the words of every source file below a folder in a pool, while one file's worker is killed again and again: each other
// file's count arrives, the killed one is retried, and the exit reports say what happened.
//
//   example_word_count [folder]        exit code 0: the totals equal those of a sequential count
#include <unistd.h>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "holdfast/holdfast.hpp"

namespace fs = std::filesystem;

namespace {

std::uint64_t count_words(const std::string& path) {
  std::ifstream file(path);
  const std::vector<std::string> words{std::istream_iterator<std::string>(file), {}};
  return words.size();
}

std::vector<std::string> sources_below(const fs::path& folder) {
  std::vector<std::string> paths;
  for (const char* part : {"src", "include", "examples"}) {
    if (!fs::exists(folder / part)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(folder / part)) {
      const auto extension = entry.path().extension();
      if (extension == ".cpp" || extension == ".hpp") paths.push_back(entry.path());
    }
  }
  return paths;
}

holdfast::Bytes to_bytes(std::uint64_t value) {
  holdfast::Bytes bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> paths = sources_below(argc > 1 ? argv[1] : ".");
  if (paths.empty()) {
    std::cerr << "no source files below " << (argc > 1 ? argv[1] : ".") << '\n';
    return 1;
  }
  const std::string victim = paths[paths.size() / 2];
  // A file that says how often the victim was tried: it outlives the workers that die.
  char tries[] = "/tmp/holdfast_tries_XXXXXX";
  const int tries_fd = mkstemp(tries);
  unlink(tries);

  holdfast::PoolOptions options;
  options.workers = 2;
  options.policies.on_death = holdfast::OnFailure::retry;
  auto pool = holdfast::Pool::open(
      [&](std::span<const std::byte> item) {
        const std::string path(reinterpret_cast<const char*>(item.data()), item.size());
        if (path == victim && lseek(tries_fd, 0, SEEK_END) < 2) {  // the first two tries die
          (void)!write(tries_fd, "x", 1);
          raise(SIGKILL);
        }
        return to_bytes(count_words(path));
      },
      options);
  if (!pool) {
    std::cerr << pool.error().message() << '\n';
    return 1;
  }

  auto job = pool->map(paths, {.chunk_size = 4, .policies = {}});
  if (!job) {
    std::cerr << job.error().message() << '\n';
    return 1;
  }
  std::uint64_t total = 0;
  std::uint64_t expected = 0;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const auto outcome = job->next();
    expected += count_words(paths[i]);
    if (!outcome || !outcome->ok()) {
      std::cerr << paths[i] << ": " << (outcome ? holdfast::to_string(outcome->kind) : "no outcome") << '\n';
      continue;
    }
    std::uint64_t words = 0;
    std::memcpy(&words, outcome->value.data(), sizeof words);
    total += words;
  }
  const holdfast::Stats stats = pool->stats();
  std::cout << paths.size() << " files, " << total << " words; " << stats.deaths << " workers died under " << victim << " and "
            << stats.retries << " retries followed; last news took " << std::chrono::duration<double, std::milli>(stats.last_news).count()
            << " ms\n";
  return total == expected && stats.deaths == 2 ? 0 : 1;
}
