// palisade-courier inputs: the files of a repository that a setup is shown (spec.setup), taken from
// one commit of the trusted ref. Nothing of an agent's is near.
#include <algorithm>
#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include <courier/courier.h>

namespace palisade::courier {

namespace {

constexpr const char* kRef = "refs/palisade/setup";
constexpr std::int64_t kMaxFile = 4 * 1024 * 1024;
constexpr std::size_t kMostFiles = 32;
constexpr std::size_t kMaxMessage = 2048;  // of the termination message's error
constexpr std::size_t kCommit = 40;

bool is_commit(const std::string& text) {
  return text.size() == kCommit && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// A path that becomes one below another directory, whatever it is.
bool is_plain(const std::string& file) {
  const fs::path path(file);
  return !file.empty() && file.front() != '-' && path.is_relative() &&
         file.find('\0') == std::string::npos &&
         std::ranges::none_of(path, [](const fs::path& part) {
           return part.empty() || part == "." || part == "..";
         });
}

class Inputs {
 public:
  Inputs(const Config& config, const fs::path& self, InputsOrder order)
      : config_(config),
        order_(std::move(order)),
        ca_bundle_(make_ca_bundle(config)),
        git_(config, config.through_relay ? "http" : "https",
             config.token_file.empty() ? fs::path() : self, ca_bundle_) {}

  std::expected<InputsReport, std::string> take() {
    if (auto fetched = fetch(); !fetched) return std::unexpected(fetched.error());
    std::string listing;
    for (const std::string& file : order_.files) {
      if (auto written = write(file, listing); !written) return std::unexpected(written.error());
    }
    // Names and contents of all of them: what the repository's own hash says of such a text.
    GitRun run;
    run.arguments = in_repository({"hash-object", "--stdin"});
    run.input = listing;
    auto hashed = git_.run(run);
    if (!hashed) return std::unexpected(hashed.error());
    return InputsReport{commit_, hashed->output.substr(0, kCommit)};
  }

 private:
  [[nodiscard]] std::vector<std::string> in_repository(std::vector<std::string> words) const {
    words.insert(words.begin(), {"--git-dir", config_.repository.string()});
    return words;
  }

  [[nodiscard]] std::expected<std::string, std::string> line(std::vector<std::string> words) const {
    GitRun run;
    run.arguments = in_repository(std::move(words));
    auto result = git_.run(run);
    if (!result) return std::unexpected(std::move(result.error()));
    return result->output.substr(0, result->output.find('\n'));
  }

  std::expected<void, std::string> fetch() {
    const auto from =
        git_.fetch_first({"refs/heads/" + config_.ref, "refs/tags/" + config_.ref}, kRef);
    if (!from) return std::unexpected(from.error());
    auto tip = line({"rev-parse", "--verify", std::string(kRef) + "^{commit}"});
    if (!tip) return std::unexpected(std::move(tip.error()));
    commit_ = order_.commit.empty() ? *tip : order_.commit;
    if (!is_commit(commit_)) return std::unexpected(commit_ + " is no commit");
    if (commit_ != *tip && !line({"merge-base", "--is-ancestor", commit_, *tip}))
      return std::unexpected(fmt::format(
          "commit {} is not part of {}: a setup takes what that holds, and nothing else", commit_,
          config_.ref));
    return {};
  }

  std::expected<void, std::string> write(const std::string& file, std::string& listing) {
    GitRun look;
    look.arguments = in_repository({"ls-tree", "-z", "--long", "--full-tree", commit_, "--", file});
    auto listed = git_.run(look);
    if (!listed) return std::unexpected(std::move(listed.error()));
    // "100644 blob OID    SIZE\tPATH\0"
    const std::string& entry = listed->output;
    if (!entry.starts_with("100644 blob ") && !entry.starts_with("100755 blob "))
      return std::unexpected(
          fmt::format("spec.setup.inputs: {} is no file of commit {}", file, commit_));
    constexpr std::size_t kObjectAt = 12;
    const std::string object = entry.substr(kObjectAt, kCommit);
    const bool whole = entry.size() > kObjectAt + kCommit && is_commit(object) &&
                       entry.ends_with("\t" + file + std::string(1, '\0'));
    if (!whole) return std::unexpected(file + " cannot be read from the repository");
    if (std::atoll(entry.c_str() + kObjectAt + kCommit) > kMaxFile)
      return std::unexpected(
          fmt::format("spec.setup.inputs: {} is larger than {} bytes", file, kMaxFile));
    const fs::path to = order_.into / file;
    fs::create_directories(to.parent_path());
    GitRun read;
    read.arguments = in_repository({"cat-file", "blob", object});
    read.output_file = to;
    read.max_output_bytes = kMaxFile;
    if (auto done = git_.run(read); !done) return std::unexpected(std::move(done.error()));
    ::chmod(to.c_str(), 0444);
    listing += entry.substr(0, kObjectAt + kCommit) + " " + file + "\n";
    return {};
  }

  const Config& config_;
  const InputsOrder order_;
  const fs::path ca_bundle_;
  const Git git_;
  std::string commit_;
};

}  // namespace

int take_inputs(const Config& config, const fs::path& self, const InputsOrder& order) {
  umask(0022);  // another user reads them
  const auto bad = std::ranges::find_if_not(order.files, is_plain);
  std::expected<InputsReport, std::string> done;
  if (order.files.size() > kMostFiles || bad != order.files.end()) {
    done = std::unexpected("the inputs are no paths below a repository's root");
  } else {
    done = Inputs(config, self, order).take();
  }
  const nlohmann::json said =
      done ? nlohmann::json{{"commit", done->commit}, {"digest", done->digest}}
           : nlohmann::json{{"error", done.error().substr(0, kMaxMessage)}};
  const std::string text = said.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::ofstream out(config.termination_log, std::ios::trunc);
  out << text;
  if (!out.flush()) {
    log("error", config.termination_log.string() + ": the report cannot be written");
    return 1;
  }
  log(done ? "info" : "error", text);
  return done ? 0 : 1;
}

}  // namespace palisade::courier
