// The smallest program of a stranger: the installed headers and the installed library are enough for a pool whose worker dies.
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

#include <holdfast/holdfast.hpp>

namespace {

holdfast::Bytes answer(std::span<const std::byte> item) {
  if (item[0] == std::byte{3}) std::_Exit(5);
  return {item[0]};
}

}  // namespace

int main() {
  holdfast::PoolOptions options;
  options.workers = 2;
  auto pool = holdfast::Pool::open(answer, options);
  if (!pool) {
    std::puts(pool.error().message().c_str());
    return 1;
  }
  std::vector<holdfast::Bytes> items;
  for (unsigned i = 0; i < 6; ++i) items.push_back({static_cast<std::byte>(i)});
  auto job = pool->map(items);
  if (!job) return 2;
  const std::vector<holdfast::Outcome> outcomes = job->get();
  std::size_t right = 0;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    const auto wanted = i == 3 ? holdfast::OutcomeKind::died : holdfast::OutcomeKind::done;
    if (outcomes[i].kind == wanted) ++right;
    if (outcomes[i].report) std::puts(holdfast::describe(*outcomes[i].report).c_str());
  }
  return right == items.size() ? 0 : 3;
}
