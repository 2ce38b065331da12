// What: eventfd. [wakeup.hpp]
#include "sys/wakeup.hpp"

#include <cerrno>
#include <cstdint>

#include <sys/eventfd.h>
#include <unistd.h>

#include "sys/error.hpp"

namespace holdfast::sys {

Result<Wakeup> Wakeup::create() {
  UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) return last_error("eventfd");
  return Wakeup(std::move(fd));
}

void Wakeup::signal() const {
  const int saved = errno;
  const std::uint64_t one = 1;
  (void)!::write(fd_.get(), &one, sizeof one);  // EAGAIN only at 2^64 - 2 signals: it is readable then anyway
  errno = saved;
}

void Wakeup::drain() const {
  std::uint64_t count = 0;
  (void)!::read(fd_.get(), &count, sizeof count);  // EAGAIN: nothing to take back
}

}  // namespace holdfast::sys
