// What: the one way an operation that can fail says so (no exception leaves src/). [style.md, "Errors"]
// Result<T> holds either a value or an Error{code, errno, operation, detail}. Thread safety: as a plain value.
// Callers: every layer, and users of the C++ API: asking a failure for its value ends the process with a message.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <variant>

namespace holdfast {

[[noreturn]] void check_failed(const char* text, const char* file, int line) noexcept;  // base/check.hpp

enum class ErrorCode {
  os_error,          // a system call failed; err_no says how
  invalid_argument,  // the caller gave something outside the documented range
  protocol_error,    // bytes from another process that make no sense
  closed,            // the pool (or the peer) is closed
  timed_out,
  broken,       // the pool cannot start workers
  unsupported,  // the kernel lacks what is needed
  exhausted,    // a limit (descriptors, memory) was reached
};

struct Error {
  ErrorCode code = ErrorCode::os_error;
  int err_no = 0;              // errno at the failure, 0 when it was none
  const char* operation = "";  // "memfd_create", "ring.decode"; static storage
  std::string detail;          // for a person; may be empty

  /// "memfd_create: Too many open files (worker 3)".
  std::string message() const;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(google-explicit-constructor): `return value;`
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor): `return error;`

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  // Asking for the value of a failure (or the error of a success) is our own bug: it ends the process instead of throwing.
  T& value() & { return checked<0>(state_); }
  const T& value() const& { return checked<0>(state_); }
  T&& value() && { return std::move(checked<0>(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(checked<0>(state_)); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  Error& error() & { return checked<1>(state_); }
  const Error& error() const& { return checked<1>(state_); }
  Error&& error() && { return std::move(checked<1>(state_)); }

 private:
  template <std::size_t I, class V>
  static auto& checked(V& state) {
    auto* held = std::get_if<I>(&state);
    if (held == nullptr) check_failed(I == 0 ? "value() of a failed Result" : "error() of a good Result", __FILE__, __LINE__);
    return *held;
  }

  std::variant<T, Error> state_;
};

struct Unit {};
using Status = Result<Unit>;
inline Status ok_status() { return Unit{}; }

}  // namespace holdfast
