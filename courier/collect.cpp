// mount: ReadOnly. A commit out of the files that the agent left in its output directory.
#include <algorithm>
#include <charconv>
#include <ctime>
#include <fstream>

#include <fmt/format.h>

#include <courier/courier.h>
#include <courier/output.h>

namespace palisade::courier {

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kCollectedRef = "refs/palisade/collected";
constexpr std::chrono::seconds kReading{20};
constexpr std::int64_t kMaxListing = 16LL * 1024 * 1024;
constexpr const char* kDirectory = "040000";
constexpr const char* kFile = "100644";
constexpr const char* kProgram = "100755";

// As fast-import reads a path in quotes.
std::string quoted(const std::string& path) {
  std::string out = "\"";
  for (const char c : path) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string field(const std::string& why) {
  return "spec.repository.outputDir: " + why;
}

// Why a file of the repository is nothing that would be collected, or "". `below`: its path in the
// output directory.
std::string problem_of(std::string_view mode, std::string_view below, std::int64_t size) {
  const OutputLimits limits;
  if (mode != kFile && mode != kProgram) return "is no regular file";
  for (std::size_t at = 0; at < below.size();) {
    const std::size_t end = std::min(below.find('/', at), below.size());
    if (std::string problem = name_problem(below.substr(at, end - at)); !problem.empty())
      return problem;
    at = end + 1;
  }
  if (size > limits.file_bytes)
    return fmt::format("is larger than {} MiB", limits.file_bytes / kMebi);
  return {};
}

}  // namespace

std::expected<std::vector<Courier::TreeEntry>, std::string> Courier::listed(
    std::vector<std::string> arguments) const {
  GitRun run;
  run.arguments = {"--git-dir", config_.repository.string(), "ls-tree", "-z", "--long"};
  run.arguments.insert(run.arguments.end(), std::make_move_iterator(arguments.begin()),
                       std::make_move_iterator(arguments.end()));
  run.max_output_bytes = kMaxListing;
  auto result = timed(std::move(run));
  if (!result) return std::unexpected(std::move(result.error()));
  std::vector<TreeEntry> out;
  // MODE TYPE OBJECT SIZE<tab>PATH<nul>, the size "-" of what is no blob.
  for (std::string_view rest = result->output; !rest.empty();) {
    const auto end = rest.find('\0');
    const std::string_view line = rest.substr(0, end);
    const auto tab = line.find('\t');
    if (end == std::string_view::npos || tab == std::string_view::npos)
      return std::unexpected("git ls-tree printed something else than a list");
    TreeEntry entry{std::string(line.substr(0, 6)), std::string(line.substr(tab + 1)), 0};
    const std::string_view size = line.substr(0, tab).substr(line.substr(0, tab).rfind(' ') + 1);
    std::from_chars(size.data(), size.data() + size.size(), entry.size);
    out.push_back(std::move(entry));
    rest.remove_prefix(end + 1);
  }
  return out;
}

std::expected<void, std::string> Courier::check_output_dir() const {
  const std::string& directory = config_.output_dir;
  for (std::size_t slash = directory.find('/');; slash = directory.find('/', slash + 1)) {
    const std::string part = directory.substr(0, slash);
    auto found = listed({start_, part});
    if (!found) return std::unexpected(std::move(found.error()));
    if (found->empty()) return {};  // it is new
    if (found->front().mode != kDirectory)
      return std::unexpected(
          field(part + " is no directory in the repository; name another one, or a new one"));
    if (slash == std::string::npos) break;
  }
  auto files = listed({"-r", start_, directory + "/"});
  if (!files) return std::unexpected(std::move(files.error()));
  std::int64_t bytes = 0;
  for (const TreeEntry& file : *files) {
    const std::string problem =
        problem_of(file.mode, std::string_view(file.path).substr(directory.size() + 1), file.size);
    // Else the session would end by deleting it.
    if (!problem.empty())
      return std::unexpected(field(fmt::format(
          "{} {} and would not be collected; name a directory without such, or a new one",
          file.path, problem)));
    bytes += file.size;
  }
  const OutputLimits limits;
  if (files->size() > limits.files || bytes > limits.all_bytes)
    return std::unexpected(field(fmt::format(
        "{} holds more than {} files or {} MiB in the repository, more than would be collected; "
        "name a smaller or a new one",
        directory, limits.files, limits.all_bytes / kMebi)));
  return {};
}

std::expected<void, std::string> Courier::write_collected(const fs::path& stream) {
  auto before = listed({"-r", pushed_, config_.output_dir + "/"});
  if (!before) return std::unexpected(std::move(before.error()));
  std::vector<std::string> programs;
  for (TreeEntry& file : *before) {
    if (file.mode == kProgram) programs.push_back(std::move(file.path));
  }
  std::ranges::sort(programs);
  const std::string message = fmt::format(
      "Collect {0}\n\nWhat the agent of a session with a read-only project left in {0}.\n",
      config_.output_dir);
  const std::string when = fmt::format("{} +0000", std::time(nullptr));
  std::ofstream out(stream, std::ios::binary | std::ios::trunc);
  out << "feature done\ncommit " << kCollectedRef
      << "\nauthor Aider (Palisade) <aider@palisade.invalid> " << when
      << "\ncommitter Palisade <courier@palisade.invalid> " << when << "\ndata " << message.size()
      << "\n"
      << message << "from " << pushed_ << "\nD " << quoted(config_.output_dir) << "\n";
  const TakeFile take = [&](const std::string& below,
                            const std::string& bytes) -> std::expected<void, std::string> {
    const std::string path = config_.output_dir + "/" + below;
    // Nothing becomes a program that was none.
    const bool program = std::ranges::binary_search(programs, path);
    out << "M " << (program ? kProgram : kFile) << " inline " << quoted(path) << "\ndata "
        << bytes.size() << "\n"
        << bytes << "\n";
    if (!out) return std::unexpected(stream.string() + ": cannot be written");
    return {};
  };
  const auto soon = Clock::now() + kReading;
  const auto left_out =
      read_output(config_.output, OutputLimits(), std::min(end_by_.value_or(soon), soon), take);
  if (!left_out)
    return std::unexpected(field(left_out.error() + ", so that nothing of it was collected"));
  out << "done\n";
  out.close();
  if (!out) return std::unexpected(stream.string() + ": cannot be written");
  if (left_out->count > 0)
    report_.note =
        field(left_out->first + " and was left out" +
              (left_out->count == 1 ? std::string()
                                    : fmt::format(", as were {} more", left_out->count - 1)));
  return {};
}

std::expected<void, std::string> Courier::deliver_output() {
  const fs::path stream = config_.repository.parent_path() / "collect.stream";
  auto done = write_collected(stream);
  if (done) {
    GitRun import;
    import.arguments = {"--git-dir", config_.repository.string(), "fast-import", "--quiet",
                        "--force",   "--date-format=raw"};
    import.input_file = stream;
    import.max_memory = kMaxGitMemory;
    import.deadline = kReading;
    if (auto imported = timed(std::move(import)); !imported)
      done = std::unexpected(std::move(imported.error()));
  }
  std::error_code ignored;  // overwritten next time
  fs::remove(stream, ignored);
  if (!done) return done;
  const auto tip = in_repository({"rev-parse", "--verify", kCollectedRef}, false);
  if (!tip) return std::unexpected(tip.error());
  const auto tree = in_repository({"rev-parse", "--verify", *tip + "^{tree}"}, false);
  if (!tree) return std::unexpected(tree.error());
  const auto before = in_repository({"rev-parse", "--verify", pushed_ + "^{tree}"}, false);
  if (!before) return std::unexpected(before.error());
  if (*tree != *before) return push(*tip);
  report_.pushed = true;  // it is as it was
  return {};
}

}  // namespace palisade::courier
