#include "worker/inspection.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <new>
#include <utility>

#include "sys/clock.hpp"
#include "sys/thread.hpp"

namespace holdfast::worker {
namespace {

constexpr Nanos kPatience = std::chrono::milliseconds(50);
constexpr Nanos kPatienceAfterOne = std::chrono::milliseconds(10);
constexpr Nanos kLongest = std::chrono::hours(1);  // the clock would overflow
constexpr std::size_t kMostHanging = 64;
constexpr std::size_t kStackBytes = 128 * 1024;

}  // namespace

// Shared by the asking thread and the readers, which may outlive the Inspection; all of it under the mutex, which is never held during a look.
struct Inspection::Desk {
  // One thread: it looks until no question is left, or it has been given up.
  struct Reader {
    bool given_up = false;
    bool left = false;
  };

  explicit Desk(Look how) : look(std::move(how)) { hanging.reserve(kMostHanging); }

  void read(const std::shared_ptr<Reader>& self) {
    std::unique_lock lock(mutex);
    while (!self->given_up && !asked.empty()) {
      Answer answer{.pid = asked.front(), .finding = {}};
      asked.pop_front();
      looked_at = answer.pid;
      lock.unlock();
      try {
        answer.finding = look(answer.pid);
      } catch (const std::bad_alloc&) { answer.finding.kin = Lineage::Kin::gone; }
      lock.lock();
      if (self->given_up) std::erase(hanging, answer.pid);
      answered.push_back(answer);  // ask() has made room
      news.notify_one();
    }
    self->left = true;
    news.notify_one();
  }

  // Its look hangs, or has ended since the last call.
  bool has_begun(int pid) const {
    const bool hangs = std::ranges::find(hanging, pid) != hanging.end();
    return hangs || std::ranges::any_of(answered, [pid](const Answer& answer) { return answer.pid == pid; });
  }

  // With room for what readers that hang may still bring: they must not need memory.
  std::vector<Answer> take() {
    std::vector<Answer> fresh;
    fresh.reserve(kMostHanging);
    return std::exchange(answered, std::move(fresh));
  }

  // Until the reader has left (true), or has brought nothing for as long as one is waited for (false).
  bool wait_for(const Reader& reader, std::unique_lock<std::mutex>& lock, Time limit) {
    while (!reader.left) {
      const std::size_t before = answered.size();
      const Time patience = sys::now() + (hanging.empty() ? kPatience : kPatienceAfterOne);
      const bool woke = news.wait_for(lock, std::max(Nanos{0}, std::min(patience, limit) - sys::now()),
                                      [&] { return reader.left || answered.size() != before; });
      if (!woke) return false;
    }
    return true;
  }

  const Look look;
  std::mutex mutex;
  std::condition_variable news;
  std::deque<int> asked;
  int looked_at = 0;  // by the reader that has not been given up
  std::vector<Answer> answered;
  std::vector<int> hanging;
};

Inspection::Inspection(Look look) : desk_(std::make_shared<Desk>(std::move(look))) {}

std::vector<Inspection::Answer> Inspection::ask(std::span<const int> pids, Time limit) {
  std::unique_lock lock(desk_->mutex);
  desk_->asked.clear();
  desk_->answered.reserve(desk_->answered.size() + pids.size() + kMostHanging);
  for (const int pid : pids) {
    if (!desk_->has_begun(pid)) desk_->asked.push_back(pid);
  }
  while (!desk_->asked.empty() && desk_->hanging.size() < kMostHanging && sys::now() < limit) {
    const auto reader = std::make_shared<Desk::Reader>();
    auto thread = sys::NativeThread::start({"hf-inspect", kStackBytes}, [desk = desk_, reader] { desk->read(reader); });
    if (!thread.ok() && desk_->hanging.empty()) look_here();
    if (!thread.ok()) break;
    desk_->looked_at = 0;
    const bool left = desk_->wait_for(*reader, lock, limit);
    if (!left) {
      reader->given_up = true;
      // 0: it has not come to its first question yet, the machine is busy; it will find that it has been given up.
      if (desk_->looked_at != 0) desk_->hanging.push_back(desk_->looked_at);
      thread.value().detach();
    }
    lock.unlock();
    thread.value().join();  // on its last instructions, if it is not detached
    lock.lock();
  }
  desk_->asked.clear();
  return desk_->take();
}

// There can be no threads at all (a limit, a sandbox): better to wait for one that hangs than to find nobody.
void Inspection::look_here() {
  for (const int pid : desk_->asked) desk_->answered.push_back({pid, desk_->look(pid)});
}

std::vector<Inspection::Answer> Inspection::late_answers(Time limit) {
  std::unique_lock lock(desk_->mutex);
  desk_->news.wait_for(lock, std::clamp(limit - sys::now(), Nanos{0}, kLongest), [this] { return !desk_->answered.empty(); });
  return desk_->take();
}

std::size_t Inspection::hanging() const {
  const std::lock_guard lock(desk_->mutex);
  return desk_->hanging.size();
}

}  // namespace holdfast::worker
