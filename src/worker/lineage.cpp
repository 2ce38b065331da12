#include "worker/lineage.hpp"

#include <charconv>

#include "worker/seed.hpp"

namespace holdfast::worker {
namespace {

// Where in the bell file the pages lie, far behind its end. The stride is the largest page size in use.
constexpr std::uint64_t kStride = 65536;
constexpr std::uint64_t kWorkerItself = std::uint64_t{1} << 52;

}  // namespace

Result<Lineage> Lineage::of_pool(int bell_fd, int caller) {
  auto bell = sys::file_id(bell_fd);
  if (!bell.ok()) return bell.error();
  Lineage lineage;
  lineage.bell_ = bell.value();
  lineage.prefix_ = std::to_string(caller) + "-" + std::to_string(lineage.bell_.inode) + "-";
  return lineage;
}

Status Lineage::mark_this_process(int bell_fd, WorkerId worker) {
  if (auto done = sys::map_mark(bell_fd, worker * kStride, sys::Inherited::yes); !done.ok()) return done;
  return sys::map_mark(bell_fd, kWorkerItself + worker * kStride, sys::Inherited::no);
}

Lineage::Finding Lineage::look(int pid) const {
  // The mappings first: an exec between the two looks ends them, and the environment tells; or it is not there yet, and we are asked again.
  if (prefix_.empty()) return {};
  const std::string maps = sys::read_maps(pid);
  if (maps.empty()) return {};
  Finding marked;
  for (const std::uint64_t offset : sys::mapped_offsets(maps, bell_)) {
    if (offset >= kStride) marked.kin = Kin::ours;
    if (offset >= kWorkerItself) marked.is_worker = true;
    if (offset >= kStride && offset < kWorkerItself) marked.worker = static_cast<WorkerId>(offset / kStride);
  }
  if (marked.kin == Kin::ours) return marked;
  const std::string environ = sys::read_environ(pid);
  if (environ.empty()) return {.kin = Kin::undecided};
  const auto tag = sys::environ_value(environ, kTagVariable);
  if (!tag || !tag->starts_with(prefix_)) return {};
  WorkerId worker = 0;
  const char* const end = tag->data() + tag->size();
  const auto parsed = std::from_chars(tag->data() + prefix_.size(), end, worker);
  if (parsed.ec != std::errc() || parsed.ptr != end || worker == 0) return {};
  return {.kin = Kin::ours, .worker = worker};
}

}  // namespace holdfast::worker
