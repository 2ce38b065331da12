// What: jobs, their table, the line of ready jobs and the shared policies (see job_table.hpp).
#include "core/job_table.hpp"

#include <algorithm>

namespace holdfast::core {

std::uint32_t Job::runs(ItemIndex item) const {
  if (!rare || rare->notes.empty()) return 0;
  auto it = rare->notes.find(item);
  return it == rare->notes.end() ? 0 : it->second.runs;
}

void Job::make_ready(Run run) {
  if (run.empty()) return;
  // Items that go back where they came from are merged with the fresh ones: a job from which something is taken back
  // again and again stays one run. Anything else is lower than `fresh`, for items are first sent in order.
  if (!fresh.empty() && run.end == fresh.first) {
    fresh.first = run.first;
  } else if (!fresh.empty() && run.first >= fresh.end) {
    // `fresh` held an old item alone: it goes down, so that the highest ready run is always in `fresh`.
    if (run.first > fresh.end) {
      need_rare().again.add(fresh);
      fresh.first = run.first;
    }
    fresh.end = run.end;
  } else if (fresh.empty() && (!rare || rare->again.empty())) {
    fresh = run;
  } else {
    need_rare().again.add(run);
  }
}

void Job::append(std::uint64_t more) {
  const Run added{items, items + more};
  items += more;
  if (fresh.empty()) {
    fresh = added;
  } else if (fresh.end == added.first) {
    fresh.end = added.end;
  } else {  // the top of the old items was cancelled: there is a gap, and `fresh` is one run
    need_rare().again.add(fresh);
    fresh = added;
  }
}

Run Job::take_ready(std::uint64_t most) {
  Run run;
  if (rare && !rare->again.empty()) {
    run = rare->again.front();
  } else {
    run = fresh;
  }
  run.end = std::min(run.end, run.first + most);
  // An item that has failed before travels alone: if it is poison, its neighbours need not be sent again each time.
  if (rare && !rare->notes.empty()) {
    auto noted = rare->notes.lower_bound(run.first);
    if (noted != rare->notes.end() && noted->first < run.end) run.end = std::max(noted->first, run.first + 1);
  }
  if (rare && !rare->again.empty()) return rare->again.take_front(run.count());
  fresh.first = run.end;
  return run;
}

/// The next id, with a place for its page.
JobId JobTable::next_id() {
  const JobId id = next_id_++;
  const std::uint64_t page = id / kPerPage;
  if (pages_.empty()) first_page_ = page;
  while (page >= first_page_ + pages_.size()) pages_.emplace_back();
  return id;
}

Job& JobTable::place(JobId id) {
  std::unique_ptr<Page>& found = pages_[id / kPerPage - first_page_];
  if (!found) found = std::make_unique<Page>();
  ++found->used;
  ++size_;
  Job& job = found->jobs[id % kPerPage];
  job.id = id;
  return job;
}

Job& JobTable::add() { return place(next_id()); }

JobId JobTable::queue_single(std::uint64_t ticket, std::uint32_t policy) {
  const JobId id = next_id();
  QueuedSingle& single = singles_.emplace_back();
  single.id = id;
  single.ticket = ticket & QueuedSingle::kMostTicket;
  single.policy = policy & QueuedSingle::kMostPolicy;
  ++queued_;
  return id;
}

const QueuedSingle* JobTable::find_queued(JobId id) const {
  const auto found =
      std::lower_bound(singles_.begin(), singles_.end(), id, [](const QueuedSingle& each, JobId wanted) { return each.id < wanted; });
  return found == singles_.end() || found->id != id || found->gone ? nullptr : &*found;
}

Job& JobTable::unqueue(JobId id) {
  auto* const single = const_cast<QueuedSingle*>(singles_.front().id == id ? &singles_.front() : find_queued(id));
  Job& job = place(id);
  job.ticket = single->ticket;
  job.policy = static_cast<std::uint32_t>(single->policy);
  job.append(1);
  job.turn_end = 1;
  single->gone = 1;
  --queued_;
  while (!singles_.empty() && singles_.front().gone) singles_.pop_front();
  return job;
}

std::deque<QueuedSingle> JobTable::take_queued() {
  std::erase_if(singles_, [](const QueuedSingle& each) { return each.gone != 0; });
  queued_ = 0;
  std::deque<QueuedSingle> taken;
  taken.swap(singles_);
  drop_empty_front();
  return taken;
}

/// Not those that a queued single may need: they would have to be put back.
void JobTable::drop_empty_front() {
  const std::uint64_t needed = singles_.empty() ? ~std::uint64_t{0} : singles_.front().id / kPerPage;
  while (!pages_.empty() && !pages_.front() && first_page_ < needed) {
    pages_.pop_front();
    ++first_page_;
  }
}

Job* JobTable::find(JobId id) {
  const std::uint64_t page = id / kPerPage;
  if (page < first_page_ || page >= first_page_ + pages_.size() || !pages_[page - first_page_]) return nullptr;
  Job& job = pages_[page - first_page_]->jobs[id % kPerPage];
  return job.id == id && id != 0 ? &job : nullptr;
}

void JobTable::remove(Job& job) {
  const std::uint64_t page = job.id / kPerPage;
  job = Job{};
  --size_;
  std::unique_ptr<Page>& found = pages_[page - first_page_];
  // The page that is being filled stays, so that one job after the other does not allocate a page each time.
  if (--found->used == 0 && page != next_id_ / kPerPage) found.reset();
  drop_empty_front();
}

void ReadyLine::join(Job& job) {
  if (job.in_line) return;
  job.in_line = true;
  if (last_ == nullptr || last_->ticket < job.ticket) {
    job.before = last_;
    job.after = nullptr;
    (last_ != nullptr ? last_->after : first_) = &job;
    last_ = &job;
    return;
  }
  Job* next = first_;
  while (next->ticket < job.ticket) next = next->after;  // ends: last_'s ticket is higher
  job.after = next;
  job.before = next->before;
  (next->before != nullptr ? next->before->after : first_) = &job;
  next->before = &job;
}

void ReadyLine::leave(Job& job) {
  if (!job.in_line) return;
  job.in_line = false;
  (job.before != nullptr ? job.before->after : first_) = job.after;
  (job.after != nullptr ? job.after->before : last_) = job.before;
  job.before = job.after = nullptr;
}

std::uint32_t PolicyTable::acquire(const Policies& policies) {
  // The last one is nearly always right. Beyond it a short search: programs use a handful; with very many different ones alive
  // a search through all would cost more than a double entry.
  constexpr std::size_t kSearch = 8;
  if (last_ < entries_.size() && entries_[last_].users > 0 && entries_[last_].policies == policies) {
    ++entries_[last_].users;
    return last_;
  }
  for (std::uint32_t i = 0; i < std::min(entries_.size(), kSearch); ++i) {
    if (entries_[i].users > 0 && entries_[i].policies == policies) {
      ++entries_[i].users;
      return last_ = i;
    }
  }
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(entries_.size()));
    entries_.emplace_back();
  }
  last_ = free_.back();
  free_.pop_back();
  entries_[last_] = {policies, 1};
  return last_;
}

void PolicyTable::release(std::uint32_t index) {
  if (--entries_[index].users == 0) free_.push_back(index);
}

}  // namespace holdfast::core
