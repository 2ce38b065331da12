#include "worker/inspection.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <new>
#include <utility>

#include "sys/thread.hpp"

namespace holdfast::worker {
namespace {

constexpr Nanos kPatience = std::chrono::milliseconds(100);
constexpr std::size_t kMostReaders = 16;
constexpr std::size_t kStackBytes = 128 * 1024;

}  // namespace

// Shared by the asking thread and the readers, which may outlive the Inspection; all of it under the mutex, which is never held during a look.
struct Inspection::Desk {
  struct Reader {
    bool looks = false;
    bool given_up = false;  // its look hangs
    sys::NativeThread thread;
  };

  explicit Desk(Look how) : look(std::move(how)) { readers.reserve(kMostReaders); }

  void read(std::size_t index) {
    std::unique_lock lock(mutex);
    for (;;) {
      question.wait(lock, [this] { return closed || !asked.empty(); });
      if (closed) return;
      Answer answer{.pid = asked.front(), .finding = {}};
      asked.pop_front();
      readers[index].looks = true;
      lock.unlock();
      try {
        answer.finding = look(answer.pid);
      } catch (const std::bad_alloc&) { answer.finding.kin = Lineage::Kin::gone; }
      lock.lock();
      readers[index].looks = readers[index].given_up = false;
      answered.push_back(std::move(answer));  // ask() has made room
      answers.notify_one();
    }
  }

  bool somebody_looks() const {
    return std::ranges::any_of(readers, [](const Reader& reader) { return reader.looks && !reader.given_up; });
  }
  bool has_idle_reader() const {
    return std::ranges::any_of(readers, [](const Reader& reader) { return !reader.looks; });
  }
  // With room for what readers that hang now may still bring: they must not need memory.
  std::vector<Answer> take() {
    std::vector<Answer> fresh;
    fresh.reserve(kMostReaders);
    return std::exchange(answered, std::move(fresh));
  }

  const Look look;
  std::mutex mutex;
  std::condition_variable question;
  std::condition_variable answers;
  std::deque<int> asked;
  std::vector<Answer> answered;
  std::vector<Reader> readers;
  bool closed = false;
};

Inspection::Inspection(Look look) : desk_(std::make_shared<Desk>(std::move(look))) {}

Inspection::~Inspection() {
  std::vector<sys::NativeThread> leaving;
  {
    const std::lock_guard lock(desk_->mutex);
    desk_->closed = true;
    for (Desk::Reader& reader : desk_->readers) {
      if (reader.looks)
        reader.thread.detach();  // hangs; the desk is its own, too
      else
        leaving.push_back(std::move(reader.thread));
    }
    desk_->question.notify_all();
  }
}  // the others have nothing to do, and are joined here

// Under the mutex, which the new thread waits for.
bool Inspection::hire() {
  if (desk_->readers.size() == kMostReaders) return false;
  const std::size_t index = desk_->readers.size();
  auto thread = sys::NativeThread::start({"hf-inspect", kStackBytes}, [desk = desk_, index] { desk->read(index); });
  if (!thread.ok()) return false;
  desk_->readers.push_back({.thread = std::move(thread).value()});
  return true;
}

std::vector<Inspection::Answer> Inspection::ask(std::span<const int> pids) {
  std::unique_lock lock(desk_->mutex);
  desk_->answered.reserve(desk_->answered.size() + pids.size() + kMostReaders);
  desk_->asked.insert(desk_->asked.end(), pids.begin(), pids.end());
  if (!pids.empty() && !desk_->has_idle_reader() && !hire()) {
    if (desk_->readers.empty()) look_here(pids);
    desk_->asked.clear();
  }
  desk_->question.notify_one();
  while (!desk_->asked.empty() || desk_->somebody_looks()) {
    const std::size_t before = desk_->answered.size();
    if (desk_->answers.wait_for(lock, kPatience, [&] { return desk_->answered.size() != before; })) continue;
    if (!desk_->somebody_looks()) continue;  // its reader has not come to it yet: the machine is busy
    for (Desk::Reader& reader : desk_->readers) reader.given_up = reader.looks;
    if (!desk_->asked.empty() && !hire()) desk_->asked.clear();
  }
  return desk_->take();
}

// There can be no threads at all (a limit, a sandbox): better to wait for one that hangs than to find nobody.
void Inspection::look_here(std::span<const int> pids) {
  for (const int pid : pids) desk_->answered.push_back({pid, desk_->look(pid)});
}

std::vector<Inspection::Answer> Inspection::late_answers(Time limit) {
  std::unique_lock lock(desk_->mutex);
  desk_->answers.wait_for(lock, std::max(Nanos{0}, limit - sys::now()), [this] { return !desk_->answered.empty(); });
  return desk_->take();
}

}  // namespace holdfast::worker
