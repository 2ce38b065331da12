// What: the jobs that are unsettled or open, by id. Ids are given out in order, so the index is a row of pages, and a page without a job is
// given back: a job costs a pointer, and an old one that lives on its page (64 pointers). Owned by Engine::Impl, under the pool's mutex.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <utility>

#include "base/types.hpp"
#include "pool/counted_ref.hpp"

namespace holdfast::pool {

class JobIndex {
 public:
  bool empty() const { return size_ == 0; }
  /// Ids are never lower than those of the page that was added to last.
  void add(JobId id, const JobRef& job) {
    const std::uint64_t page = id / kPerPage;
    if (pages_.empty()) first_page_ = page;
    while (page >= first_page_ + pages_.size()) {
      if (!pages_.empty() && pages_.back() && pages_.back()->used == 0) pages_.back().reset();
      pages_.push_back(nullptr);
    }
    std::unique_ptr<Page>& found = pages_[page - first_page_];
    if (!found) found = std::make_unique<Page>();
    found->jobs[id % kPerPage] = job;
    ++found->used;
    ++size_;
    drop_empty_front();
  }
  /// nullptr: it is not there. Valid until it is erased.
  const JobRef* find(JobId id) const {
    const std::uint64_t page = id / kPerPage;
    if (page < first_page_ || page >= first_page_ + pages_.size() || !pages_[page - first_page_]) return nullptr;
    const JobRef& found = pages_[page - first_page_]->jobs[id % kPerPage];
    return found ? &found : nullptr;
  }
  void erase(JobId id) {
    if (find(id) == nullptr) return;
    std::unique_ptr<Page>& page = pages_[id / kPerPage - first_page_];
    page->jobs[id % kPerPage].reset();
    --size_;
    // The last page stays: one job after the other must not allocate it each time.
    if (--page->used == 0 && &page != &pages_.back()) page.reset();
    drop_empty_front();
  }
  /// In order of ids. `each` must not add or erase.
  template <class Each>
  void for_each(Each&& each) const {
    for (const std::unique_ptr<Page>& page : pages_) {
      if (!page) continue;
      for (const JobRef& job : page->jobs) {
        if (job) each(job);
      }
    }
  }

 private:
  static constexpr std::uint64_t kPerPage = 64;
  struct Page {
    std::array<JobRef, kPerPage> jobs;
    std::uint32_t used = 0;
  };
  void drop_empty_front() {
    while (!pages_.empty() && !pages_.front()) {
      pages_.pop_front();
      ++first_page_;
    }
  }

  std::deque<std::unique_ptr<Page>> pages_;
  std::uint64_t first_page_ = 0;  // number of pages_.front(); page n holds the ids [n * 64, n * 64 + 64)
  std::uint64_t size_ = 0;
};

}  // namespace holdfast::pool
