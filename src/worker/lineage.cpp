#include "worker/lineage.hpp"

#include <charconv>

#include "sys/procfs.hpp"
#include "worker/seed.hpp"

namespace holdfast::worker {
namespace {

// Where in the bell file the pages lie, far behind its end. The stride is the largest page size in use.
constexpr std::uint64_t kStride = 65536;
constexpr std::uint64_t kWorkerItself = std::uint64_t{1} << 52;

}  // namespace

Result<Lineage> Lineage::of_pool(int bell_fd) {
  auto bell = sys::file_id(bell_fd);
  if (!bell.ok()) return bell.error();
  Lineage lineage;
  lineage.bell_ = bell.value();
  lineage.prefix_ = std::to_string(lineage.bell_.device) + "-" + std::to_string(lineage.bell_.inode) + "-";
  return lineage;
}

Status Lineage::mark_this_process(int bell_fd, WorkerId worker) {
  if (auto done = sys::map_mark(bell_fd, worker * kStride, sys::Inherited::yes); !done.ok()) return done;
  return sys::map_mark(bell_fd, kWorkerItself + worker * kStride, sys::Inherited::no);
}

namespace {

// Of a process that shows nothing, or may not be read: only what may show something in a moment is undecided.
Lineage::Kin unseen(int pid, sys::Readable readable) {
  const auto stat = sys::read_stat(pid);
  if (!stat.ok()) return Lineage::Kin::gone;
  const bool has_none = stat->kernel_thread || stat->state == 'Z' || stat->state == 'X';
  return readable == sys::Readable::no || has_none ? Lineage::Kin::stranger : Lineage::Kin::undecided;
}

}  // namespace

Lineage::Finding Lineage::look(int pid) const {
  // The mappings first: an exec between the two looks ends them, and the environment tells; or it is not there yet, and we are asked again.
  if (prefix_.empty()) return {};
  const sys::MappedOffsets maps = sys::mapped_offsets(pid, bell_);
  if (maps.readable != sys::Readable::yes) return {.kin = unseen(pid, maps.readable)};
  Finding marked;
  for (std::size_t i = 0; i < maps.count; ++i) {
    const std::uint64_t offset = maps.offsets[i];
    if (offset >= kStride) marked.kin = Kin::ours;
    if (offset >= kWorkerItself) marked.is_worker = true;
    if (offset >= kStride && offset < kWorkerItself) marked.worker = static_cast<WorkerId>(offset / kStride);
  }
  if (marked.kin == Kin::ours) return marked;
  const sys::EnvironValue tag = sys::environ_value(pid, kTagVariable);
  if (tag.readable != sys::Readable::yes) return {.kin = unseen(pid, tag.readable)};
  if (!tag.found || !tag.value.starts_with(prefix_)) return {};
  WorkerId worker = 0;
  const char* const end = tag.value.data() + tag.value.size();
  const auto parsed = std::from_chars(tag.value.data() + prefix_.size(), end, worker);
  if (parsed.ec != std::errc() || parsed.ptr != end || worker == 0) return {};
  return {.kin = Kin::ours, .worker = worker};
}

}  // namespace holdfast::worker
