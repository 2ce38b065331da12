// What: HF_CHECK, for our own bugs only: a broken invariant ends the process with its place, before it can corrupt results.
// Never feed it user input or bytes from another process (those are a Result's error).
#pragma once

namespace holdfast {

/// Prints "holdfast: check failed: <text> (<file>:<line>)" to stderr without allocating, then aborts.
[[noreturn]] void check_failed(const char* text, const char* file, int line) noexcept;

}  // namespace holdfast

// A macro because only the preprocessor knows the text and the place of the condition.
#define HF_CHECK(condition) ((condition) ? static_cast<void>(0) : ::holdfast::check_failed(#condition, __FILE__, __LINE__))
