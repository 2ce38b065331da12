// What: errno -> Error. [error.hpp]
#include "sys/error.hpp"

#include <cerrno>
#include <utility>

namespace holdfast::sys {

Error error_from_errno(const char* operation, int err_no, std::string detail) {
  ErrorCode code = ErrorCode::os_error;
  switch (err_no) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSPC: code = ErrorCode::exhausted; break;
    case ENOSYS: code = ErrorCode::unsupported; break;
    case EAGAIN:
    case ETIMEDOUT: code = ErrorCode::timed_out; break;
    default: break;
  }
  return Error{code, err_no, operation, std::move(detail)};
}

Error last_error(const char* operation, std::string detail) { return error_from_errno(operation, errno, std::move(detail)); }

}  // namespace holdfast::sys
