// What: Python objects <-> payload bytes, for both ends of a channel (parent: arguments out, results in; worker: the reverse).
//
// A payload is one tag byte and its body. Exact None, bool, int64, float, str, bytes and small tuples of those have a compact code
// that needs no Python-level call (10-30 ns). Everything else is pickle protocol 5 by multiprocessing's ForkingPickler, so that reducers
// registered there count, with out-of-band buffers behind the pickle in the same payload; what pickle refuses goes to cloudpickle.
//
// Invariants:
//   1. Subclasses never take the compact code: bool is not int, a str subclass is pickled, so types survive unchanged.
//   2. decode() trusts no byte (P8): every tag, length, count and depth is checked; nonsense is a ValueError, never a wild read.
//   3. What decode() returns owns its memory: out-of-band buffers are copied into bytearrays (read-only ones into bytes; from 4 MiB on both into
//      memory of their own under a memoryview). Or, where an owner of the bytes is named, large ones are views (segment_view.hpp) that keep it.
//   4. An Encoder frees Python references only in clear(), never in its destructor: a daemon thread that is ended inside a call
//      at the interpreter's exit unwinds through here without the GIL (design.md section 4).
// Thread safety: everything here needs the GIL; one Encoder belongs to one call.
// Callers: bind_pool.cpp (parent), python_runner.cpp (worker).
#pragma once

#include "python.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/types.hpp"
#include "ring/channel.hpp"
#include "segment_view.hpp"

namespace holdfast::python {

class AsyncExceptions;

/// Encodes one object at a time: encode(), then take inline_bytes() or, when is_large(), write_to() memory of size() bytes; then clear().
/// Reusable; an Encoder is 32 KiB of scratch that is never zeroed, so it may stand on the stack.
class Encoder {
 public:
  /// `main_by_value`: objects of __main__ go by value through cloudpickle, for workers that cannot import it.
  explicit Encoder(bool main_by_value = false) : main_by_value_(main_by_value) {}

  /// Whether cloudpickle may take what pickle refuses (the default). A worker refuses for tasks that came without it: their results are
  /// then MaybeEncodingErrors, as in the standard pool.
  void allow_by_value(bool allowed) { by_value_allowed_ = allowed; }

  /// False with a Python error set: what pickle said (not what cloudpickle said after it). Call clear() then, too.
  bool encode(PyObject* object);

  std::size_t size() const { return size_; }
  bool is_large() const { return size_ > ring::kInlineLimit; }
  ByteSpan inline_bytes() const { return {scratch_, size_}; }  // when !is_large(); valid until the next encode()
  void write_to(std::byte* destination) const;                 // when is_large(): exactly size() bytes; cannot fail
  /// True when pickle refused the last object and cloudpickle took it (so its bytes may differ from one call to the next).
  bool by_value() const { return by_value_; }
  /// Drops what was held for write_to(). With the GIL. Call it after each encode() whose result is_large(), and after an error.
  void clear();

 private:
  bool encode_pickle(PyObject* object);
  void write_pickle(std::byte* destination) const;

  std::size_t size_ = 0;
  bool main_by_value_;
  bool by_value_allowed_ = true;
  bool by_value_ = false;
  PyObject* whole_ = nullptr;  // large exact str or bytes: copied straight from the object
  PyObject* sink_ = nullptr;   // large pickle: chunks and buffers, see PickleSink in codec.cpp
  std::byte scratch_[ring::kInlineLimit];
};

/// The compact code of `object` written straight to where it is to lie. 0 (and no Python error): it has none, or does not fit; use an Encoder.
std::size_t encode_compact(PyObject* object, MutableByteSpan room);
/// The same for an int that is no Python object (yet). `room`: at least kIntRoom bytes.
std::size_t encode_int(std::int64_t value, std::byte* room);
inline constexpr std::size_t kIntRoom = 9;

/// New reference, or nullptr with a Python error set (any BaseException: unpickling runs code).
PyObject* decode(ByteSpan bytes, const BufferOwner& owner = {});

/// decode() of these bytes runs pickle, and so any code; without it no bytecode runs and no signal handler can.
bool is_pickled(ByteSpan bytes);

/// decode() of these bytes makes at most one object, which the garbage collector does not look at: no other code can run meanwhile.
bool is_scalar(ByteSpan bytes);

/// Some of it went through cloudpickle. (Said by the tag: a hint for what to allow, nothing hangs on it.)
bool is_by_value(ByteSpan bytes);

/// decode() for a process that must not be ended by what it reads (the parent, P8): SystemExit, KeyboardInterrupt, GeneratorExit and
/// other non-Exception classes come out wrapped in holdfast's ResultDecodeError, with the original as __cause__. What signal handlers raise goes to `async`.
PyObject* decode_guarded(ByteSpan bytes, AsyncExceptions& async);

/// Drops the cached picklers (after a fork in the child, and at module teardown).
void forget_picklers();

}  // namespace holdfast::python
