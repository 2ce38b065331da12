// What: runs one fuzz target without libFuzzer: replays its corpus, then mutates it for as long as told. Blind (no coverage), so the
// seeds carry the structure. Finds its seeds in <corpus root>/<program name without _fuzz>.
// Usage: result_frame_fuzz [--seconds=N] [--runs=N] [--seed=N] <corpus root | file>...
// The input of a crash stays in ./crash-<target>; run the program with that file to see it again. Exit code 2: nothing to replay.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;
constexpr std::size_t kMaxInput = 4096;

/// The input being run, in a file that outlives a crash (a shared mapping: no system call per run). Removed at a good end.
class LastInput {
 public:
  explicit LastInput(std::string path) : path_(std::move(path)) {
    const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || ::ftruncate(fd, kMaxInput) != 0) return;
    void* at = ::mmap(nullptr, kMaxInput, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) bytes_ = static_cast<std::uint8_t*>(at);
    ::close(fd);
  }
  ~LastInput() {
    std::error_code ignored;  // a read-only folder: then there was no file either
    std::filesystem::remove(path_, ignored);
  }
  LastInput(const LastInput&) = delete;
  LastInput& operator=(const LastInput&) = delete;
  void set(const Input& input) {
    if (bytes_ == nullptr) return;
    std::memcpy(bytes_, input.data(), input.size());
    std::memset(bytes_ + input.size(), 0, kMaxInput - input.size());
  }

 private:
  std::string path_;
  std::uint8_t* bytes_ = nullptr;
};

void add_file(const std::filesystem::path& path, std::vector<Input>& out) {
  std::ifstream file(path, std::ios::binary);
  Input input{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (input.size() > kMaxInput) input.resize(kMaxInput);
  out.push_back(std::move(input));
}

/// One to four small changes: flipped bits, extreme words, cuts, copies, a piece of another seed.
Input mutate(const std::vector<Input>& corpus, std::mt19937_64& random) {
  Input input = corpus[random() % corpus.size()];
  const auto any = [&random](std::size_t below) { return static_cast<std::size_t>(random() % below); };
  for (std::size_t i = 0, changes = 1 + any(4); i < changes; ++i) {
    if (input.empty()) input.resize(1 + any(64));
    const std::size_t at = any(input.size());
    switch (any(7)) {
      case 0: input[at] = static_cast<std::uint8_t>(input[at] ^ (1U << any(8))); break;
      case 1: input[at] = static_cast<std::uint8_t>(random()); break;
      case 2: {
        static constexpr std::uint64_t kExtremes[] = {
            0, 1, 7, 8, 63, 64, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, ~std::uint64_t{0}, 32768, 262144};
        const std::uint64_t value = kExtremes[any(std::size(kExtremes))];
        std::memcpy(input.data() + at, &value, std::min<std::size_t>(std::size_t{1} << any(4), input.size() - at));
        break;
      }
      case 3: input.resize(at); break;
      case 4: input.resize(std::min(kMaxInput, input.size() + any(64))); break;
      case 5: {
        const Input& other = corpus[any(corpus.size())];
        if (other.empty()) break;
        const std::size_t from = any(other.size());
        const std::size_t count = std::min(other.size() - from, input.size() - at);
        std::copy_n(other.begin() + static_cast<std::ptrdiff_t>(from), count, input.begin() + static_cast<std::ptrdiff_t>(at));
        break;
      }
      default: {
        const Input copy(input.begin() + static_cast<std::ptrdiff_t>(at), input.end());
        input.insert(input.end(), copy.begin(), copy.end());
        if (input.size() > kMaxInput) input.resize(kMaxInput);
      }
    }
  }
  return input;
}

struct Options {
  double seconds = 0;
  std::uint64_t runs = 0;
  std::uint64_t seed = 1;
  std::vector<Input> corpus;
};

Options read_options(int argc, char** argv, const std::string& target) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const char* value = argument.data() + std::min(argument.size(), argument.find('=') + 1);
    if (argument.starts_with("--seconds=")) {
      options.seconds = std::strtod(value, nullptr);
    } else if (argument.starts_with("--runs=")) {
      options.runs = std::strtoull(value, nullptr, 10);
    } else if (argument.starts_with("--seed=")) {
      options.seed = std::strtoull(value, nullptr, 10);
    } else if (std::filesystem::is_directory(argument)) {
      const auto folder = std::filesystem::path(argument) / target;
      if (!std::filesystem::is_directory(folder)) continue;
      for (const auto& entry : std::filesystem::directory_iterator(folder)) add_file(entry.path(), options.corpus);
    } else {
      add_file(argument, options.corpus);
    }
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  std::string target = std::filesystem::path(argv[0]).filename().string();
  if (target.ends_with("_fuzz")) target.resize(target.size() - 5);
  const Options options = read_options(argc, argv, target);
  if (options.corpus.empty()) {
    std::fprintf(stderr, "%s: no seeds; give the corpus root (it must hold %s/) or files\n", argv[0], target.c_str());
    return 2;
  }
  LastInput last("crash-" + target);
  std::uint64_t runs = 0;
  const auto run = [&last, &runs](const Input& input) {
    last.set(input);
    // A heap block of its exact size, so that AddressSanitizer sees a read beyond its end.
    const auto exact = std::make_unique<std::uint8_t[]>(input.size());
    std::copy(input.begin(), input.end(), exact.get());
    (void)LLVMFuzzerTestOneInput(exact.get(), input.size());
    ++runs;
  };
  for (const Input& input : options.corpus) run(input);
  std::mt19937_64 random(options.seed);
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(options.seconds);
  while (runs < options.runs) run(mutate(options.corpus, random));
  while (options.seconds > 0 && std::chrono::steady_clock::now() < until) {
    for (int i = 0; i < 100; ++i) run(mutate(options.corpus, random));
  }
  std::printf("%s: %llu runs, %zu seeds, no crash\n", target.c_str(), static_cast<unsigned long long>(runs), options.corpus.size());
  return 0;
}
