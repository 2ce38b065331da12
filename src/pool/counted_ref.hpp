// What: counted references to a Job and to a Function. The count lies in the thing itself: a handle is one pointer, and a job, of which there
// may be a million, is one piece of memory and holds one pointer to its function. Thread-safe as std::shared_ptr is: the count, not one and
// the same reference.
#pragma once

#include <utility>

namespace holdfast::pool {

class Job;
class Function;

// job.cpp and function.cpp: here these are names and no more.
void retain(Job& job) noexcept;
void release(Job& job) noexcept;
void retain(Function& function) noexcept;
void release(Function& function) noexcept;

template <class Counted>
class CountedRef {
 public:
  CountedRef() = default;
  /// Takes over the one reference that a new object is born with.
  static CountedRef adopt(Counted* object) noexcept {
    CountedRef made;
    made.object_ = object;
    return made;
  }
  CountedRef(const CountedRef& other) noexcept : object_(other.object_) {
    if (object_ != nullptr) retain(*object_);
  }
  CountedRef(CountedRef&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  CountedRef& operator=(CountedRef other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~CountedRef() { reset(); }
  void reset() noexcept {
    if (Counted* object = std::exchange(object_, nullptr); object != nullptr) release(*object);
  }

  Counted* get() const { return object_; }
  Counted* operator->() const { return object_; }
  Counted& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }
  friend bool operator==(const CountedRef&, const CountedRef&) = default;

 private:
  Counted* object_ = nullptr;
};

using JobRef = CountedRef<Job>;
/// One interned function (its pickled bytes), sent to a worker once. Kept while somebody holds it.
using FunctionRef = CountedRef<Function>;

}  // namespace holdfast::pool
