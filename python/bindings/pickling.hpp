// What: pickle protocol 5 through multiprocessing's ForkingPickler (cloudpickle where that refuses), into a PickleSink that keeps the
// pieces until their size is known, so that the bytes are copied once, to where they travel. Used by codec.cpp alone; needs the GIL.
//
// Layout of a body with out-of-band buffers (tag pickle_buffers), offsets from the start of the payload:
//   0 tag | 4 u32 buffers | 8 u64 pickle size | 16 per buffer {u64 size, u64 1 = read-only} | pickle | pad to 64 | buffer | pad ...
#pragma once

#include "python.hpp"

#include <cstddef>
#include <cstdint>

#include "base/types.hpp"
#include "segment_view.hpp"

namespace holdfast::python {

inline constexpr std::size_t kBufferAlignment = 64;  // cache line: as allocators of array libraries give it
inline constexpr Py_ssize_t kOutOfBandLimit = 1024;  // smaller buffers are cheaper inside the pickle
/// From here on a buffer is read where it lies, when that is allowed: a copy would go to fresh pages (malloc's mmap threshold).
inline constexpr std::uint64_t kViewFrom = 128 * 1024;
/// From here on a copy goes to huge pages: clearing and mapping small ones one by one would take most of the time.
inline constexpr std::uint64_t kHugeFrom = std::uint64_t{4} << 20;

/// The pickled form of one object, held as references: bytes pieces of the pickle and PickleBuffer objects.
struct Pickled {
  PyObject* sink = nullptr;  // new reference; nullptr = failed, Python error set
  bool by_value = false;     // cloudpickle took it
};
/// `by_value_allowed`: cloudpickle may take what pickle refuses.
Pickled pickle_object(PyObject* object, bool main_by_value, bool by_value_allowed);

std::size_t sink_pickle_size(PyObject* sink);
std::size_t sink_buffer_count(PyObject* sink);
/// Size of the whole payload, tag byte included, in the layout that fits (without buffers: tag + pickle).
std::size_t sink_payload_size(PyObject* sink);
/// Writes that payload. Needs no GIL: the pieces are immutable or held exported.
void sink_write(PyObject* sink, std::byte* destination);
/// Gives the sink (and its pickler, when it has one to be reused) back. Steals the reference.
void sink_release(PyObject* sink);

/// pickle.loads of the body of a payload; new reference or nullptr with an error.
PyObject* unpickle_plain(ByteSpan pickle);
PyObject* unpickle_with_buffers(ByteSpan payload, const BufferOwner& owner);

void forget_cached_picklers();

}  // namespace holdfast::python
