// The record: one JSON line an event, in the terms of OCSF 1.4.0 (https://schema.ocsf.io/1.4.0).
//
//   ExecStarted            Process Activity (1007), Launch
//   ExecEnded              Process Activity (1007), Terminate
//   Refused exec.*         Process Activity (1007), Launch, disposition Blocked
//   Refused network.*      Network Activity (4001), Refuse, disposition Blocked
//   Refused, any other     Process Activity (1007), Other, disposition Blocked
//   Connected              Network Activity (4001), Open, or Fail with status_code
//   ScriptRun              File System Activity (1001), Read
//   Finding                Detection Finding (2004), Create
//   SessionStarted, Ended  Application Lifecycle (6002), Start and Stop
//
// Refusals that are alike (program, rule, call, target, arguments, answer) are written one by one
// up to twenty in ten seconds; the rest of these ten seconds is one line with their `count`, and
// with `start_time` and `end_time`. None is left out of the counts.
//
// What OCSF has no field for stands in `unmapped.palisade`: `event` (the name of the struct in
// event.h), `workspace`, `dropped` and what the event's struct says. A refusal that was not
// enforced (mode Audit) has disposition Logged.
//
// `metadata.sequence` counts the lines that were written, from 1 and without a gap: a line that is
// missing was taken away. `unmapped.palisade.dropped` says how many events were left out since the
// line before.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include <guard/event.h>
#include <guard/policy.h>
#include <guard/summary.h>

namespace palisade::guard {

inline constexpr std::size_t kLongestLine = 16 * 1024;  // with its newline

struct RecordClock {
  std::function<std::chrono::system_clock::time_point()> wall = std::chrono::system_clock::now;
  std::function<std::chrono::steady_clock::time_point()> steady = std::chrono::steady_clock::now;
};

class Alike;

// Thread-safe. Each line is one write(2) at the file's end, before put() returns.
class FileRecorder : public Recorder {
 public:
  // Opens policy.path for appending, or makes it (mode 0644): a regular file and no symbolic link.
  // A record that is already there is continued: its last sequence number counts on, and a last
  // line that was cut is closed. The error names the file and what to do.
  [[nodiscard]] static std::expected<std::unique_ptr<FileRecorder>, std::string> open(
      const RecordPolicy& policy, const std::string& workspace = "", RecordClock clock = {});
  ~FileRecorder() override;
  FileRecorder(const FileRecorder&) = delete;
  FileRecorder& operator=(const FileRecorder&) = delete;

  // True: it is written, or was left out by right and counted. An event is left out where more than
  // `events_per_second` came in this second, or where it would use what is kept for refusals and
  // the session's end (see kept_for()); refusals, findings and session events are never left out.
  // False: the disk does not take it, or the record is full. Later events are tried all the same,
  // so that the session's end is recorded where it can be.
  bool put(const Event& event) override;
  void left_out(std::uint64_t events) override;
  // Called with each ExecEnded's process, on the thread that puts it and without a lock. To be set
  // before other threads put.
  void on_ended(std::function<void(pid_t)> ended) { ended_ = std::move(ended); }

  // Of all that was put, also what was left out.
  [[nodiscard]] Counts counts() const;
  // What went wrong when put() last returned false; "" where it never did.
  [[nodiscard]] std::string trouble() const;

  // The last bytes of a record of `max_bytes`: kept for refusals and findings, and of these the
  // last for the session's end.
  struct Kept {
    std::uint64_t for_refusals = 0;
    std::uint64_t for_the_end = 0;
  };
  [[nodiscard]] static Kept kept_for(std::uint64_t max_bytes);

 private:
  FileRecorder(int fd, const RecordPolicy& policy, const std::string& workspace, RecordClock clock);
  [[nodiscard]] bool admit(bool always);
  [[nodiscard]] bool record(const Event& event);
  [[nodiscard]] bool write_line(std::string_view line);
  [[nodiscard]] bool resume();

  mutable std::mutex mutex_;
  int fd_;
  std::string path_;
  std::uint64_t max_bytes_;
  unsigned events_per_second_;
  std::string workspace_;
  std::string host_;
  RecordClock clock_;
  std::uint64_t bytes_ = 0;
  std::uint64_t sequence_ = 0;
  std::uint64_t dropped_ = 0;  // since the last line
  std::chrono::steady_clock::time_point second_{};
  unsigned in_second_ = 0;
  bool torn_ = false;       // the file does not end with a newline
  bool full_told_ = false;  // the finding "record.full" was written
  Counts counts_;
  std::unique_ptr<Alike> alike_;
  std::function<void(pid_t)> ended_;
  std::string trouble_;
};

// One event as its line, without a newline: what put() writes. Pure.
struct LineContext {
  std::uint64_t sequence = 0;
  std::uint64_t dropped = 0;
  std::chrono::system_clock::time_point now;
  std::string_view workspace;
  std::string_view host;
};
[[nodiscard]] std::string line_of(const Event& event, const LineContext& context);

}  // namespace palisade::guard
