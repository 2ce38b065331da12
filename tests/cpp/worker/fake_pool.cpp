#include "worker/fake_pool.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstdlib>

#include "sys/clock.hpp"
#include "sys/memfd.hpp"
#include "sys/pidfd.hpp"
#include "sys/process.hpp"
#include "sys/procfs.hpp"
#include "sys/signals.hpp"
#include "sys/socket.hpp"

namespace holdfast::worker::test {
namespace {

void must(bool good, const char* what) {
  if (good) return;
  ADD_FAILURE() << what;
  std::abort();  // the rest of the test would hang or lie
}

bool readable(int fd, Nanos patience) {
  pollfd entry{fd, POLLIN, 0};
  return poll(&entry, 1, static_cast<int>(patience.count() / 1'000'000)) == 1;
}

ring::Message receive(int fd, std::vector<UniqueFd>* fds) {
  must(readable(fd, kPatience), "no message came");
  ring::Message message;
  auto got = sys::receive_pod(fd, message);
  must(got.ok() && !got->eof, "the line is broken");
  if (fds != nullptr) *fds = std::move(got->fds);
  return message;
}

}  // namespace

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span<const char>(text.data(), text.size()));
  return {bytes.begin(), bytes.end()};
}

std::string text_of(ByteSpan bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

std::uint32_t FakeWorker::next_slot() {
  const std::uint32_t slot = chunks % ring::kChunkSlots;
  if (chunks++ >= ring::kChunkSlots) channel->release_slot(slot);
  return slot;
}

FakePool::FakePool(Handler handler, std::function<void()> initializer, std::function<void()> warm_up) {
  auto pair = sys::socketpair_seqpacket();
  auto self = sys::pidfd_open(getpid());
  auto bell = ring::BellPage::create();
  must(pair.ok() && self.ok() && bell.ok(), "the pool's descriptors");
  line_ = std::move(pair->a);
  self_pidfd_ = std::move(self).value();
  bell_.emplace(std::move(bell).value());
  CppZygote zygote;
  zygote.pool_socket = std::move(pair->b);
  zygote.bell_fd = bell_->fd();
  zygote.parent_pidfd = self_pidfd_.get();
  zygote.handler = std::move(handler);
  zygote.initializer = std::move(initializer);
  zygote.warm_up = std::move(warm_up);
  zygote.worker_mask = sys::BlockAllSignals().old_mask();
  zygote.in_zygote = [this] { line_.reset(); };
  auto forked = fork_cpp_zygote(std::move(zygote));
  must(forked.ok(), "fork of the zygote");
  zygote_pid_ = forked.value();
  std::vector<UniqueFd> fds;
  const auto hello = next_from_zygote(&fds);
  must(hello.type == ring::MessageType::zygote_hello && hello.pid == zygote_pid_ && fds.size() == 1, "zygote_hello");
  zygote_pidfd_ = std::move(fds[0]);
}

FakePool::~FakePool() {
  if (zygote_pid_ == 0) return;
  if (line_) send_to_zygote(ring::MessageType::stop_zygote);
  EXPECT_EQ(await_zygote(), 0) << "the zygote did not end well";
}

int FakePool::await_zygote() {
  int status = -1;
  (void)waitpid(zygote_pid_, &status, 0);
  zygote_pid_ = 0;
  return status;
}

ring::Message FakePool::next_from_zygote(std::vector<UniqueFd>* fds) { return receive(line_.get(), fds); }
ring::Message FakePool::next_from(FakeWorker& worker) { return receive(worker.socket.get(), nullptr); }

std::string FakePool::text_from(FakeWorker& worker, std::size_t size) {
  std::vector<std::byte> text(size);
  must(readable(worker.socket.get(), kPatience), "no text came");
  auto got = sys::receive_message(worker.socket.get(), text);
  must(got.ok() && got->size == size, "a text of another size");
  return text_of(text);
}

void FakePool::send_to_zygote(ring::MessageType type, WorkerId worker, int pid, std::int64_t a) {
  ring::Message message;
  message.type = type;
  message.worker = worker;
  message.pid = pid;
  message.a = a;
  (void)sys::send_pod(line_.get(), message);  // a dead zygote shows in the answer that does not come
}

std::unique_ptr<FakeWorker> FakePool::start_worker(bool ready, bool good_ring) {
  auto worker = std::make_unique<FakeWorker>();
  auto pair = sys::socketpair_seqpacket();
  auto channel = ring::ParentChannel::create({}, last_worker_);
  must(pair.ok() && channel.ok(), "the worker's descriptors");
  worker->id = ++last_worker_;
  worker->socket = std::move(pair->a);
  worker->channel = std::move(channel).value();
  ring::Message start;
  start.type = ring::MessageType::start;
  start.worker = worker->id;
  start.a = worker->id;
  auto no_ring = sys::create_memfd("no-ring", 4096);
  const int fds[] = {pair->b.get(), good_ring ? worker->channel->fd() : no_ring.value().get()};
  must(sys::send_pod(line_.get(), start, fds).ok(), "start");
  std::vector<UniqueFd> got;
  const auto started = next_from_zygote(&got);
  must(started.type == ring::MessageType::started && started.worker == worker->id && got.size() == 1, "started");
  worker->pid = started.pid;
  worker->pidfd = std::move(got[0]);
  if (!ready) return worker;
  const auto hello = next_from(*worker);
  must(hello.type == ring::MessageType::hello && hello.pid == worker->pid && hello.a == ring::kProtocolVersion, "hello");
  worker->group = static_cast<int>(hello.b);
  must(next_from(*worker).type == ring::MessageType::ready, "ready");
  return worker;
}

ring::Message FakePool::bury(FakeWorker& worker, int a) {
  must(sys::pidfd_wait_exited(worker.pidfd.get(), kPatience), "the worker did not end");
  const ring::Message exited = next_from_zygote();
  if (a == 1 && worker.group > 1) (void)kill(-worker.group, SIGKILL);
  send_to_zygote(ring::MessageType::reap, worker.id, worker.pid, a);
  return exited;
}

ChunkId FakePool::submit(FakeWorker& worker, const std::vector<std::string>& items) {
  const ChunkId chunk = next_chunk();
  const std::uint32_t slot = worker.next_slot();
  must(worker.channel->push_chunk(chunk, 1, 1, slot, static_cast<std::uint32_t>(items.size()), 0, 0), "room for a chunk");
  for (std::uint32_t i = 0; i < items.size(); ++i) {
    const auto bytes = bytes_of(items[i]);
    ring::PayloadRef payload;
    payload.inline_bytes = bytes;
    payload.size = bytes.size();
    must(worker.channel->push_item(chunk, i, payload), "room for an item");
  }
  worker.channel->commit_tasks();
  return chunk;
}

std::optional<Answer> FakePool::next_answer(FakeWorker& worker, Nanos patience) {
  const Time limit = sys::now() + patience;
  for (;;) {
    const std::uint32_t seen = bell_->bell();
    bell_->drainer_announce();
    auto result = worker.channel->next_result();
    must(result.ok(), "a result that makes no sense");
    if (result.value()) {
      bell_->drainer_withdraw();
      const ring::ResultFrame& frame = *result.value();
      Answer answer{frame.kind, frame.chunk, frame.item, text_of(frame.payload.inline_bytes), frame.payload.buffer, frame.argument_kept};
      for (auto& buffer : worker.result_buffers) {
        if (buffer->id() == answer.buffer) answer.text = text_of({buffer->data(), static_cast<std::size_t>(frame.payload.size)});
      }
      worker.channel->pop_result();
      worker.channel->release_results();
      return answer;
    }
    if (sys::now() >= limit) {
      bell_->drainer_withdraw();
      return std::nullopt;
    }
    (void)bell_->drainer_sleep(seen, std::min<Nanos>(limit - sys::now(), std::chrono::milliseconds(50)));
    bell_->drainer_withdraw();
  }
}

Answer FakePool::run(FakeWorker& worker, const std::string& item) {
  const ChunkId chunk = submit(worker, {item});
  auto answer = next_answer(worker);
  must(answer.has_value(), "no answer came");
  EXPECT_EQ(answer->chunk, chunk);
  return *answer;
}

std::optional<Answer> FakePool::answer_serving_buffers(FakeWorker& worker, bool refuse) {
  const Time limit = sys::now() + kPatience;
  while (sys::now() < limit) {
    if (auto answer = next_answer(worker, std::chrono::milliseconds(2))) return answer;
    if (!readable(worker.socket.get(), Nanos{0})) continue;
    const auto request = next_from(worker);
    if (request.type != ring::MessageType::buffer_request) continue;
    ring::Message reply;
    reply.type = refuse ? ring::MessageType::buffer_refused : ring::MessageType::buffer;
    reply.a = request.a;
    reply.b = ENOMEM;
    if (refuse) {
      must(sys::send_pod(worker.socket.get(), reply).ok(), "buffer_refused");
      continue;
    }
    auto buffer = ring::SharedBuffer::create(++buffer_, static_cast<std::size_t>(request.a));
    must(buffer.ok(), "a result buffer");
    reply.a = static_cast<std::int64_t>(buffer_);
    reply.b = static_cast<std::int64_t>(buffer.value()->capacity());
    reply.c = static_cast<std::int64_t>(worker.result_buffers.size());
    const int fds[] = {buffer.value()->fd()};
    must(sys::send_pod(worker.socket.get(), reply, fds).ok(), "buffer");
    worker.result_buffers.push_back(std::move(buffer).value());
  }
  return std::nullopt;
}

bool eventually(const std::function<bool()>& holds) {
  while (!holds()) usleep(1000);
  return true;
}

bool is_gone_or_zombie(int pid) {
  const auto stat = sys::read_stat(pid);
  return !stat.ok() || stat.value().state == 'Z';
}

}  // namespace holdfast::worker::test
