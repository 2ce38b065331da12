// What: the Python objects that stand for an engine, a result and a lazy job, as C structs, and what their files need of each other.
//
// Ownership: Pool (Python) -> Core -> engine. A result holds its Core, its Pool and its job; a Core holds results with callbacks until these
// have run. The three service threads hold the Core and never the Pool, so that a dropped Pool is collected.
// Every field is guarded by the GIL, except what the engine guards itself and `Gate`.
#pragma once

#include "python.hpp"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "codec.hpp"
#include "pool/engine.hpp"
#include "pool/view_budget.hpp"
#include "ring/pack.hpp"
#include "types.hpp"

namespace holdfast::python {

class AsyncExceptions;

/// Lets one thread at a time through a piece of code that runs Python (unpickling), where the GIL does not keep others out.
struct Gate {
  std::mutex mutex;
  std::condition_variable opened;
};

struct CachedFunction {
  pool::FunctionRef function;
  PyObject* object = nullptr;  // strong: the key is its address
};

struct CallSiteObject;

/// holdfast._core.Core: one engine.
struct CoreObject {
  PyObject_HEAD std::shared_ptr<pool::Engine> engine;
  std::shared_ptr<ring::BufferPool> buffers;
  std::shared_ptr<pool::ViewBudget> views;                  // shared_results; null: results are copied
  std::unordered_map<JobId, PyObject*> undelivered;         // results (strong) whose callbacks have not run
  std::unordered_map<PyObject*, CachedFunction> functions;  // by identity; those that pickle by reference
  pool::ItemBatch scratch;                                  // a single call is encoded here
  CallSiteObject* site;                                     // the one made last, while it lives (not owned)
  Gate gate;
  PyObject* result_type;  // holdfast._results.AsyncResult and so on: what the submit methods make
  PyObject* map_result_type;
  PyObject* iterator_type;
  PyObject* unordered_type;
  PyObject* deaths;  // list of reports, once the engine is aborted: made once for all its errors
  std::uint64_t workers;
  bool main_by_value;
};

/// holdfast._core.CallSite: what the calls of one function with one policy have in common. Immutable.
struct CallSiteObject {
  PyObject_HEAD PyObject* pool;
  PyObject* function;  // named in errors
  PyObject* policy;    // a PolicyObject
  CoreObject* core;    // whose `site` this is, else nullptr; not owned
};

/// What few results need.
struct ResultExtras {
  PyObject* callback = nullptr;
  PyObject* error_callback = nullptr;
  PyObject* partial = nullptr;  // once collected with a failure, of a map: {index: result}
  std::uint64_t items = 0;      // of a map: how many there are to be
};

/// holdfast._core.ResultBase: one apply or map. There may be a million of them, so it is small.
struct ResultObject {
  PyObject_HEAD PyObject* core;
  PyObject* site;        // a CallSiteObject; nullptr once its pool and function are not to be kept alive any more
  PyObject* value;       // once collected: the value or the exception
  pool::JobRef job;      // empty: there is nothing to wait for
  ResultExtras* extras;  // of maps and those with callbacks, else nullptr
  bool is_map;
  bool collected;
  bool success;
  bool has_callbacks;
  bool delivered;
  unsigned long collector;  // the thread that makes the outcome now, 0 = none
};

/// holdfast._core.Feed: the input side of a lazy job; run() is the feeder thread's work.
struct FeedObject {
  PyObject_HEAD PyObject* core;
  PyObject* iterator;     // the user's, nullptr when it is over
  PyObject* input_error;  // what the input raised: the consumer's last item
  pool::JobRef job;
  std::uint64_t chunk_size;
  bool done;
};

/// holdfast._core.IteratorBase: the output side.
struct IteratorObject {
  PyObject_HEAD PyObject* core;
  PyObject* pool;
  PyObject* function;
  PyObject* skip_value;
  PyObject* feed;
  pool::JobRef job;
  Policies policies;
  ItemIndex next;
  std::vector<pool::Settled> batch;  // taken from the engine, from batch_at on not given yet; room for one at least
  std::size_t batch_at;
  ring::pack::Reader records;  // of the run at batch_at, if that is one: those not given yet; its `item` and `count` are theirs
  PyObject* kept;  // [(value or exception, success)] that a signal handler has kept from the reader, the next ones; nullptr: none
  bool unordered;
  unsigned long reader;  // the thread that is inside next(), 0 = none: others wait at the gate
  bool over;
};

/// holdfast._core.Policy: the checked policies of a pool or a call (from _options.py).
struct PolicyObject {
  PyObject_HEAD Policies policies;
  PyObject* skip_value;
  std::uint64_t window_chunks;  // of lazy jobs, in chunks; 0 = the default
};

inline CoreObject* as_core(PyObject* object) { return reinterpret_cast<CoreObject*>(object); }
inline ResultObject* as_result(PyObject* object) { return reinterpret_cast<ResultObject*>(object); }
inline CallSiteObject* as_site(PyObject* object) { return reinterpret_cast<CallSiteObject*>(object); }
inline FeedObject* as_feed(PyObject* object) { return reinterpret_cast<FeedObject*>(object); }
inline IteratorObject* as_iterator(PyObject* object) { return reinterpret_cast<IteratorObject*>(object); }
inline PolicyObject* as_policy(PyObject* object) { return reinterpret_cast<PolicyObject*>(object); }

extern PyTypeObject* result_base_type;  // set once by add_results
extern PyTypeObject* call_site_type;
extern PyTypeObject* iterator_base_type;
extern PyTypeObject* feed_type;
extern PyTypeObject* policy_type;  // set once by add_pool

// --- encoding.cpp: into an ItemBatch and into functions ---
/// Appends one encoded object; what cannot be pickled becomes an item that raises pickle's error in its own place (as with the
/// standard pool, where the rest of a map is not disturbed). False = a Python error that is no Exception (Ctrl-C), or no memory.
bool add_item(CoreObject* core, Encoder& encoder, PyObject* object, pool::ItemBatch& batch);
/// The interned function; empty with an error set. An unpicklable one becomes a function that raises pickle's error for each item.
pool::FunctionRef intern(CoreObject* core, PyObject* function);

// --- outcomes.cpp: from a settled item ---
/// What errors say about the task: filled by the caller, borrowed references.
struct TaskInfo {
  PyObject* function = nullptr;
  PyObject* skip_value = nullptr;
  bool is_map = false;                 // whether an item number means something to the user
  const Policies* policies = nullptr;  // a failure under "abort" is told as PoolAbortedError, the failure as its cause
};
/// decode() of a done item's bytes, which lie in `payload` (nullptr: among others). Under shared_results what comes out may keep that.
PyObject* decode_result(const CoreObject* core, ByteSpan bytes, const pool::Payload* payload);
/// decode() of a result failed: its error, taken over and wrapped as the item's own failure.
PyObject* decode_failure(const TaskInfo& info, ItemIndex item, AsyncExceptions& async);
/// The value (success = true) or the exception (false) of a settled item: always a new reference (a failure to build one is an exception, too).
/// What signal handlers raise meanwhile is kept in `async`, for the caller to raise when the outcome is in a safe place.
PyObject* outcome_object(CoreObject* core, const TaskInfo& info, const pool::Settled& settled, bool& success, AsyncExceptions& async);
/// PoolAbortedError with `error` (stolen) as its cause.
PyObject* aborted_by(CoreObject* core, PyObject* error, AsyncExceptions& async);
/// The exception for a wait that the engine's end has cut short.
PyObject* ended_error(CoreObject* core, AsyncExceptions& async);

// --- bind_results.cpp / bind_iterators.cpp: made by the submit methods ---
PyObject* new_result(PyObject* type, CoreObject* core, PyObject* pool, PyObject* function, PyObject* callback, PyObject* error_callback,
                     PyObject* policy, bool is_map);
PyObject* new_iterator(PyObject* type, CoreObject* core, PyObject* pool, PyObject* function, const PolicyObject* policy, bool unordered);
PyObject* new_feed(CoreObject* core, PyObject* iterator, std::uint64_t chunk_size);

}  // namespace holdfast::python
