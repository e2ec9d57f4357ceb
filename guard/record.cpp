#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <vector>

#include <fcntl.h>
#include <guard/record.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "alike.h"

namespace palisade::guard {
namespace {

using namespace std::chrono_literals;

enum class Rank {
  kOrdinary,  // may be left out
  kKept,      // refusals, findings, the session's start
  kEnd,
};

Rank rank_of(const Event& event) {
  if (std::holds_alternative<SessionEnded>(event)) return Rank::kEnd;
  const bool kept = std::holds_alternative<Refused>(event) ||
                    std::holds_alternative<Finding>(event) ||
                    std::holds_alternative<SessionStarted>(event);
  return kept ? Rank::kKept : Rank::kOrdinary;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return {};
  return name.data();
}

}  // namespace

FileRecorder::Kept FileRecorder::kept_for(std::uint64_t max_bytes) {
  constexpr std::uint64_t kMost = 8ULL << 20;
  const std::uint64_t end = std::min<std::uint64_t>(4 * kLongestLine, max_bytes / 4);
  return {.for_refusals = std::max(end, std::min(kMost, max_bytes / 4)), .for_the_end = end};
}

FileRecorder::FileRecorder(int fd, const RecordPolicy& policy, const std::string& workspace,
                           RecordClock clock)
    : fd_(fd),
      path_(policy.path),
      max_bytes_(policy.max_bytes),
      events_per_second_(policy.events_per_second),
      workspace_(workspace),
      host_(host_name()),
      clock_(std::move(clock)),
      alike_(std::make_unique<Alike>()) {}

FileRecorder::~FileRecorder() {
  ::close(fd_);
}

std::expected<std::unique_ptr<FileRecorder>, std::string> FileRecorder::open(
    const RecordPolicy& policy, const std::string& workspace, RecordClock clock) {
  const auto no = [&](const std::string& why, const std::string& fix) {
    return std::unexpected("the record " + policy.path + " cannot be kept: " + why + "; " + fix);
  };
  const int fd =
      ::open(policy.path.c_str(),
             O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0644);
  if (fd < 0) {
    return no(std::strerror(errno),
              "its folder must be a volume that guard's user can write (record.path)");
  }
  std::unique_ptr<FileRecorder> recorder(
      new FileRecorder(fd, policy, workspace, std::move(clock)));  // closes it from now on
  struct stat file {};
  if (::fstat(fd, &file) != 0) return no(std::strerror(errno), "try another volume");
  if (!S_ISREG(file.st_mode) || file.st_nlink != 1)
    return no("it is no regular file, or has another name too", "remove it, or change record.path");
  recorder->bytes_ = static_cast<std::uint64_t>(file.st_size);
  if (!recorder->resume())
    return no("what it holds is no record", "remove it, or change record.path");
  return recorder;
}

// Finds the last sequence number in what a former run left.
bool FileRecorder::resume() {
  if (bytes_ == 0) return true;
  constexpr std::uint64_t kTail = 4 * kLongestLine;
  const std::uint64_t from = bytes_ > kTail ? bytes_ - kTail : 0;
  std::vector<char> tail(static_cast<std::size_t>(bytes_ - from));
  std::size_t read = 0;
  while (read < tail.size()) {
    const ssize_t got =
        ::pread(fd_, tail.data() + read, tail.size() - read, static_cast<off_t>(from + read));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    read += static_cast<std::size_t>(got);
  }
  std::string_view text(tail.data(), tail.size());
  torn_ = !text.ends_with('\n');
  while (!text.empty()) {
    if (text.ends_with('\n')) text.remove_suffix(1);
    const std::size_t before = text.rfind('\n');
    const std::string_view line = before == std::string_view::npos ? text : text.substr(before + 1);
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (json.is_object()) {
      const auto metadata = json.find("metadata");
      if (metadata == json.end() || !metadata->is_object()) return false;
      const auto sequence = metadata->find("sequence");
      if (sequence == metadata->end() || !sequence->is_number_unsigned()) return false;
      sequence_ = sequence->get<std::uint64_t>();
      return true;
    }
    if (before == std::string_view::npos) break;
    text = text.substr(0, before + 1);
  }
  return torn_ && from == 0;  // nothing but a beginning of the first line
}

// Whether an event may be written by the rate; always true for what is never left out.
bool FileRecorder::admit(bool always) {
  const auto now = clock_.steady();
  if (now - second_ >= 1s || now < second_) {
    second_ = now;
    in_second_ = 0;
  }
  if (always) return true;
  if (in_second_ >= events_per_second_) return false;
  ++in_second_;
  return true;
}

bool FileRecorder::write_line(std::string_view line) {
  std::string whole;
  whole.reserve(line.size() + 2);
  if (torn_) whole += '\n';
  whole += line;
  whole += '\n';
  ssize_t written = 0;
  do {
    written = ::write(fd_, whole.data(), whole.size());
  } while (written < 0 && errno == EINTR);
  if (written == static_cast<ssize_t>(whole.size())) {
    bytes_ += whole.size();
    torn_ = false;
    return true;
  }
  const int error = written < 0 ? errno : ENOSPC;
  if (written > 0 && ::ftruncate(fd_, static_cast<off_t>(bytes_)) != 0) {
    bytes_ += static_cast<std::uint64_t>(written);
    torn_ = true;
  }
  trouble_ = "the record " + path_ + " cannot be written: " + std::strerror(error) +
             "; its volume must have room for record.maxBytes";
  return false;
}

bool FileRecorder::put(const Event& event) {
  if (const auto* ended = std::get_if<ExecEnded>(&event); ended != nullptr && ended_)
    ended_(ended->pid);
  const std::scoped_lock lock(mutex_);
  try {
    count(counts_, event);
    const auto now = clock_.steady();
    bool kept = true;
    for (const Refused& held : alike_->due(now, rank_of(event) == Rank::kEnd))
      kept = record(held) && kept;
    const auto* refused = std::get_if<Refused>(&event);
    if (refused != nullptr && !alike_->admit(*refused, now)) return kept;
    return record(event) && kept;
  } catch (const std::exception& error) {
    trouble_ = std::string("an event cannot be recorded: ") + error.what();
    return false;
  }
}

void FileRecorder::left_out(std::uint64_t events) {
  const std::scoped_lock lock(mutex_);
  dropped_ += events;
  counts_.dropped += events;
}

bool FileRecorder::record(const Event& event) {
  const Rank rank = rank_of(event);
  const auto drop = [this] {
    ++dropped_;
    ++counts_.dropped;
  };
  if (!admit(rank != Rank::kOrdinary)) {
    drop();
    return true;
  }
  const auto write = [this](const Event& one, std::uint64_t up_to) {
    const std::string text = line_of(one, {.sequence = sequence_ + 1,
                                           .dropped = dropped_,
                                           .now = clock_.wall(),
                                           .workspace = workspace_,
                                           .host = host_});
    if (bytes_ + text.size() + 2 > up_to) {
      trouble_ = "the record " + path_ + " is full; raise record.maxBytes";
      return false;
    }
    if (!write_line(text)) return false;
    ++sequence_;
    dropped_ = 0;
    return true;
  };
  const Kept kept = kept_for(max_bytes_);
  const std::uint64_t ordinary = max_bytes_ - kept.for_refusals;
  if (rank == Rank::kEnd) return write(event, max_bytes_);
  if (rank == Rank::kKept) {
    if (write(event, max_bytes_ - kept.for_the_end)) return true;
    drop();
    return false;
  }
  if (bytes_ + kLongestLine <= ordinary) {
    if (write(event, ordinary)) return true;
    drop();
    return false;
  }
  drop();
  if (full_told_) return true;
  full_told_ = true;
  const Finding full{.by = {},
                     .id = "record.full",
                     .message =
                         "from here on only refusals and findings are recorded, the rest is "
                         "counted; raise record.maxBytes"};
  count(counts_, full);
  return write(full, max_bytes_ - kept.for_the_end);
}

Counts FileRecorder::counts() const {
  const std::scoped_lock lock(mutex_);
  return counts_;
}

std::string FileRecorder::trouble() const {
  const std::scoped_lock lock(mutex_);
  return trouble_;
}

}  // namespace palisade::guard
