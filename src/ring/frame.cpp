// What: the checked decode of frames. [frame.hpp]
#include "ring/frame.hpp"

#include "ring/pack.hpp"

namespace holdfast::ring::frame {
namespace {

/// The frame's length makes sense for a header of `header` bytes and lies within what is there.
Fault check_length(const Head& head, std::size_t header, std::size_t available) {
  if (head.length < header || head.length > header + kInlineLimit) return Fault::length;
  if (align_up(head.length) > available) return Fault::cut_short;
  return Fault::none;
}

/// The frame is its header and nothing else.
Fault check_bare(const Head& head, std::size_t header, std::size_t available) {
  if (available < header) return Fault::cut_short;
  if (head.form != Form::inline_bytes) return Fault::form;
  if (head.length != header) return Fault::length;
  return Fault::none;
}

/// The length has been checked.
Fault decode_payload(const std::byte* at, const Head& head, std::size_t header, PayloadRef& out) {
  if (head.form == Form::inline_bytes) {
    out.buffer = 0;
    out.inline_bytes = ByteSpan(at + header, head.length - header);
    out.size = out.inline_bytes.size();
    return Fault::none;
  }
  if (head.form != Form::buffer) return Fault::form;
  if (head.length != header + kSizeOf<Reference>) return Fault::length;
  const auto reference = read_header<Reference>(at + header);
  if (reference.buffer == 0 || reference.size > kMaxPayload) return Fault::reference;
  out.inline_bytes = {};
  out.buffer = reference.buffer;
  out.size = reference.size;
  return Fault::none;
}

Fault decode_item(const std::byte* at, const Head& head, std::size_t available, TaskFrame& frame, bool& names_chunk) {
  if (const Fault fault = check_length(head, kSizeOf<ItemHeader>, available); fault != Fault::none) return fault;
  if (head.slot >= kChunkSlots) return Fault::slot;
  const auto header = read_header<ItemHeader>(at);
  frame.slot = head.slot;
  frame.item = header.item;
  frame.chunk = header.chunk_low;
  names_chunk = true;
  return decode_payload(at, head, kSizeOf<ItemHeader>, frame.payload);
}

Fault decode_next_item(const std::byte* at, const Head& head, std::size_t available, const TaskContext& context, TaskFrame& frame) {
  if (const Fault fault = check_length(head, kHeadSize, available); fault != Fault::none) return fault;
  if (head.slot != context.slot || head.slot >= kChunkSlots || context.next_item >= kMaxChunkItems) return Fault::context;
  frame.type = TaskFrameType::item;
  frame.slot = head.slot;
  frame.item = context.next_item;
  return decode_payload(at, head, kHeadSize, frame.payload);
}

Fault decode_items(const std::byte* at, const Head& head, std::size_t available, TaskFrame& frame, TaskExtra& extra) {
  if (available < kSizeOf<ItemsHeader>) return Fault::cut_short;
  if (const Fault fault = check_length(head, kSizeOf<ItemsHeader>, available); fault != Fault::none) return fault;
  if (head.slot >= kChunkSlots) return Fault::slot;
  if (head.form != Form::inline_bytes) return Fault::form;
  const auto header = read_header<ItemsHeader>(at);
  if (header.reserved != 0) return Fault::reserved;
  extra.records = ByteSpan(at + kSizeOf<ItemsHeader>, head.length - kSizeOf<ItemsHeader>);
  if (header.count == 0 || header.count > extra.records.size() / pack::kPrefix) return Fault::count;
  if (header.first > kMaxChunkItems - header.count) return Fault::count;
  extra.count = header.count;
  extra.names_chunk = true;
  frame.type = TaskFrameType::item;
  frame.slot = head.slot;
  frame.item = header.first;
  frame.chunk = header.chunk_low;
  return Fault::none;
}

Fault decode_chunk(const std::byte* at, const Head& head, std::size_t available, TaskFrame& frame, std::uint32_t& tag) {
  if (const Fault fault = check_bare(head, kSizeOf<ChunkHeader>, available); fault != Fault::none) return fault;
  if (head.slot >= kChunkSlots) return Fault::slot;
  const auto header = read_header<ChunkHeader>(at);
  if (header.count == 0 || header.count > kMaxChunkItems) return Fault::count;
  if (header.reserved != 0 || header.tag > kTagMask) return Fault::reserved;
  if (header.chunk == 0) return Fault::chunk;
  tag = header.tag;
  frame.slot = head.slot;
  frame.count = header.count;
  frame.call_mode = header.call_mode;
  frame.flags = header.flags;
  frame.chunk = header.chunk;
  frame.job = header.job;
  frame.function = header.function;
  return Fault::none;
}

Fault decode_function(const std::byte* at, const Head& head, std::size_t available, TaskFrame& frame) {
  if (const Fault fault = check_length(head, kSizeOf<IdHeader>, available); fault != Fault::none) return fault;
  frame.function = read_header<IdHeader>(at).id;
  return decode_payload(at, head, kSizeOf<IdHeader>, frame.payload);
}

}  // namespace

const char* describe(Fault fault) {
  switch (fault) {
    case Fault::none: return "no fault";
    case Fault::position: return "a ring position outside what is possible";
    case Fault::cut_short: return "a frame that does not end within the committed bytes";
    case Fault::pad: return "a pad frame that does not end at the ring's end";
    case Fault::type: return "an unknown frame type";
    case Fault::form: return "an unknown payload form";
    case Fault::length: return "a frame length that its type cannot have";
    case Fault::reserved: return "a reserved field that is not zero";
    case Fault::reference: return "a buffer reference that cannot be";
    case Fault::slot: return "a chunk slot outside the table";
    case Fault::count: return "a chunk of an impossible size";
    case Fault::chunk: return "an item frame whose slot serves another chunk";
    case Fault::chunk_word: return "a chunk word that the worker cannot have made by claiming";
    case Fault::run_time: return "a negative run time";
    case Fault::record: return "an items frame whose records do not fill it exactly";
    case Fault::context: return "a short frame that follows none it could refer to";
  }
  return "a fault";
}

Fault decode_task(const std::byte* at, std::size_t available, const TaskContext& context, TaskFrame& frame, TaskExtra& extra) {
  if (available < kHeadSize) return Fault::cut_short;
  const Head head = read_head(at);
  extra.bytes = align_up(head.length);
  if (head.type == kNextItem) return decode_next_item(at, head, available, context, frame);
  if (head.type == kItems) return decode_items(at, head, available, frame, extra);
  if (available < kSizeOf<IdHeader>) return Fault::cut_short;  // the smallest of all the others
  frame.type = static_cast<TaskFrameType>(head.type);
  switch (frame.type) {
    case TaskFrameType::item: return decode_item(at, head, available, frame, extra.names_chunk);
    case TaskFrameType::chunk: return decode_chunk(at, head, available, frame, extra.tag);
    case TaskFrameType::function: return decode_function(at, head, available, frame);
    case TaskFrameType::forget_function:
      frame.function = read_header<IdHeader>(at).id;
      return check_bare(head, kSizeOf<IdHeader>, available);
    case TaskFrameType::buffer_gone: frame.buffer = read_header<IdHeader>(at).id; return check_bare(head, kSizeOf<IdHeader>, available);
    default: return Fault::type;
  }
}

namespace {

Fault decode_next_done(const std::byte* at, std::uint64_t word, std::size_t available, const ResultContext& context, ResultFrame& frame) {
  const Head head{.length = low_of(word)};  // the rest of the word is the run time
  if (const Fault fault = check_length(head, kHeadSize, available); fault != Fault::none) return fault;
  if (context.chunk == 0 || context.next_item >= kMaxChunkItems) return Fault::context;
  frame.kind = ResultKind::done;
  frame.chunk = context.chunk;
  frame.item = context.next_item;
  frame.run_time = Nanos(static_cast<Nanos::rep>((word >> 40) * kShortRunTimeUnit));
  return decode_payload(at, head, kHeadSize, frame.payload);
}

}  // namespace

Fault decode_result(const std::byte* at, std::size_t available, const ResultContext& context, ResultFrame& frame, std::size_t& bytes) {
  if (available < kHeadSize) return Fault::cut_short;
  const std::uint64_t word = read_word(at);
  bytes = align_up(low_of(word));
  if (Head::unpack(word).type == kNextDone) return decode_next_done(at, word, available, context, frame);
  if (available < kSizeOf<ResultHeader>) return Fault::cut_short;
  const auto header = read_header<ResultHeader>(at);
  const Head& head = header.head;
  if (head.type < static_cast<std::uint8_t>(ResultKind::done) || head.type > static_cast<std::uint8_t>(ResultKind::note))
    return Fault::type;
  if (const Fault fault = check_length(head, kSizeOf<ResultHeader>, available); fault != Fault::none) return fault;
  if (head.slot != 0 || (header.flags & ~ResultHeader::kArgumentKept) != 0) return Fault::reserved;
  if (header.run_time_ns > static_cast<std::uint64_t>(Nanos::max().count())) return Fault::run_time;
  bytes = align_up(head.length);  // of the copy that was checked, not of the first look
  frame.kind = static_cast<ResultKind>(head.type);
  frame.chunk = header.chunk;
  frame.item = header.item;
  frame.run_time = Nanos(static_cast<Nanos::rep>(header.run_time_ns));
  frame.argument_kept = header.flags != 0;
  return decode_payload(at, head, kSizeOf<ResultHeader>, frame.payload);
}

CopiedDones copy_next_dones(const std::byte* at, std::size_t available, std::uint32_t limit, MutableByteSpan into) {
  CopiedDones copied;
  std::byte* to = into.data();
  std::byte* const end = to + into.size();
  while (copied.count < limit && available - copied.frame_bytes >= kHeadSize) {
    const std::byte* frame = at + copied.frame_bytes;
    const std::uint64_t word = read_word(frame);
    const std::size_t size = std::size_t{low_of(word)} - kHeadSize;  // a length below a head's becomes huge
    if (static_cast<std::uint8_t>(word >> 32) != kNextDone || size > kInlineLimit) break;
    const std::size_t padded = align_up(size);
    if (padded > available - copied.frame_bytes - kHeadSize || pack::kPrefix + padded > static_cast<std::size_t>(end - to)) break;
    pack::put_prefix(to, size);
    // Whole words, the padding too (the next record overwrites it): no call for what is mostly two of them.
    for (std::size_t i = 0; i < padded; i += 8) put_word(to + pack::kPrefix + i, read_word(frame + kHeadSize + i));
    to += pack::kPrefix + size;
    copied.short_times += word >> 40;
    copied.frame_bytes += kHeadSize + padded;
    ++copied.count;
  }
  copied.pack_bytes = static_cast<std::size_t>(to - into.data());
  return copied;
}

}  // namespace holdfast::ring::frame
