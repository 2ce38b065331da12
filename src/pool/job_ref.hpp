// What: a counted reference to a Job. The count lies in the job itself: a handle is one pointer, and a job one piece of memory, of which
// there may be a million. Thread-safe as std::shared_ptr is: the count, not one and the same JobRef.
#pragma once

#include <utility>

namespace holdfast::pool {

class Job;

class JobRef {
 public:
  JobRef() = default;
  /// Takes over the one reference that a new job is born with.
  static JobRef adopt(Job* job) noexcept {
    JobRef made;
    made.job_ = job;
    return made;
  }
  JobRef(const JobRef& other) noexcept : job_(other.job_) {
    if (job_ != nullptr) retain(*job_);
  }
  JobRef(JobRef&& other) noexcept : job_(std::exchange(other.job_, nullptr)) {}
  JobRef& operator=(JobRef other) noexcept {
    std::swap(job_, other.job_);
    return *this;
  }
  ~JobRef() { reset(); }
  void reset() noexcept {
    if (Job* job = std::exchange(job_, nullptr); job != nullptr) release(*job);
  }

  Job* get() const { return job_; }
  Job* operator->() const { return job_; }
  Job& operator*() const { return *job_; }
  explicit operator bool() const { return job_ != nullptr; }
  friend bool operator==(const JobRef&, const JobRef&) = default;

 private:
  // job.cpp: here a Job is a name and no more.
  static void retain(Job& job) noexcept;
  static void release(Job& job) noexcept;

  Job* job_ = nullptr;
};

}  // namespace holdfast::pool
