// What: Error's text for a person. [result.hpp]
#include "base/result.hpp"

#include <cstring>

namespace holdfast {

namespace {

const char* code_words(ErrorCode code) {
  switch (code) {
    case ErrorCode::os_error: return "operating system error";
    case ErrorCode::invalid_argument: return "invalid argument";
    case ErrorCode::protocol_error: return "protocol error";
    case ErrorCode::closed: return "closed";
    case ErrorCode::timed_out: return "timed out";
    case ErrorCode::broken: return "broken";
    case ErrorCode::unsupported: return "not supported here";
    case ErrorCode::exhausted: return "limit reached";
  }
  return "unknown error";
}

}  // namespace

std::string Error::message() const {
  // The errno's own words say more than the code; without an errno the code has to speak.
  char buffer[128];
  std::string text = operation;
  if (!text.empty()) text += ": ";
  text += err_no != 0 ? strerror_r(err_no, buffer, sizeof buffer) : code_words(code);
  if (!detail.empty()) text += " (" + detail + ")";
  return text;
}

}  // namespace holdfast
