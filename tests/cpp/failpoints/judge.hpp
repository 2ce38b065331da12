// What: compares outcomes with what was submitted and with the ledger: promises P1, P2 and P7 for one job; and what a process holds before and
// after a pool (P5). It collects complaints; a program that has any ends with 1.
#pragma once

#include <string>
#include <vector>

#include "failpoints/ledger.hpp"
#include "holdfast/holdfast.hpp"

namespace holdfast::failpoints {

/// What the one who armed the failpoint allows.
struct Allowed {
  std::uint32_t lost = 0;  // items, in all jobs together, that may die without having asked for it
  bool time_outs = false;  // the program runs with a time limit, since something stops: any item may run into it
  bool broken = false;     // workers may never start: everything pending may be settled as aborted or terminated
  bool repeated = false;   // the point acts again and again: retries may run out
};

class Judge {
 public:
  Judge(const Ledger& ledger, const Policies& policies, const Allowed& allowed) : ledger_(ledger), policies_(policies), allowed_(allowed) {}

  /// P1: one outcome each, and the right one. `cut_short`: the job was terminated or cancelled, so items without a fault may be, too.
  void job(const std::vector<Item>& items, const std::vector<Outcome>& outcomes, bool cut_short = false);
  void complain(const std::string& what) { complaints_.push_back(what); }
  /// P2, when all jobs were judged.
  void losses();
  const std::vector<std::string>& complaints() const { return complaints_; }

 private:
  void one(const Item& item, const Outcome& outcome, bool cut_short);
  void failed(const Item& item, const Outcome& outcome, OnFailure policy);
  void value(const Item& item, const Bytes& bytes);

  const Ledger& ledger_;
  const Policies policies_;
  const Allowed allowed_;
  std::uint32_t lost_ = 0;
  std::vector<std::string> complaints_;
};

/// What this process holds: descriptors, threads, mappings of memfds, children.
struct Holdings {
  std::size_t descriptors = 0;
  std::size_t threads = 0;
  std::size_t memory_files = 0;
  bool children = false;

  static Holdings now();
};

}  // namespace holdfast::failpoints
