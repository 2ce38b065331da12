// What: how a failed system call becomes an Error. Used by src/sys only for its own calls, and by tests.
#pragma once

#include <string>

#include "base/result.hpp"

namespace holdfast::sys {

/// The Error for `err_no` (an errno value): EMFILE, ENFILE, ENOMEM, ENOSPC -> exhausted; ENOSYS -> unsupported; EAGAIN and
/// ETIMEDOUT -> timed_out; else os_error. `operation` must have static storage.
Error error_from_errno(const char* operation, int err_no, std::string detail = {});

/// The same for the errno of the system call that has just failed in this thread.
Error last_error(const char* operation, std::string detail = {});

}  // namespace holdfast::sys
