// The agent's clone, made by its own user before it begins.
#include <fstream>

#include <fmt/format.h>
#include <sys/stat.h>

#include <courier/courier.h>

namespace palisade::courier {

namespace {

using Done = std::expected<void, std::string>;

constexpr auto kCheckout = std::chrono::seconds(1800);  // of a large repository
// Stay in the clone, as a start; the agent may change them there, which binds nobody else.
constexpr const char* kSettings[] = {"core.hooksPath=/dev/null", "submodule.recurse=false",
                                     "gc.auto=0"};

std::expected<std::string, std::string> ran(const Git& git, std::vector<std::string> arguments) {
  GitRun run;
  run.arguments = std::move(arguments);
  run.deadline = kCheckout;
  auto result = git.run(run);
  if (!result) return std::unexpected(std::move(result.error()));
  return std::move(result->output);
}

Done write_line(const fs::path& file, const std::string& line) {
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << line << "\n";
  if (!out.flush()) return std::unexpected(file.string() + ": cannot be written");
  return {};
}

Done clone_bundle(const Git& git, const Config& config, const fs::path& part) {
  std::vector<std::string> clone{
      "clone", "--quiet", "--template=", "--no-tags", "--branch", config.branch};
  for (const char* setting : kSettings) {
    clone.emplace_back("-c");
    clone.emplace_back(setting);
  }
  clone.push_back(config.bundle.string());
  clone.push_back(part.string());
  if (auto cloned = ran(git, std::move(clone)); !cloned)
    return std::unexpected(std::move(cloned.error()));
  if (auto forgot = ran(git, {"-C", part.string(), "remote", "remove", "origin"}); !forgot)
    return std::unexpected(std::move(forgot.error()));
  return {};
}

// A checkout in `tree` with the git directory `own` whose history is read where it was handed out:
// no object is copied. Every git is told its directories, for what another user owns it would not
// look for.
Done stand_on_objects(const Git& git, const Config& config, const fs::path& own,
                      const fs::path& tree) {
  const std::string branch = "refs/heads/" + config.branch;
  const auto start =
      ran(git, {"--git-dir", config.bundle.string(), "rev-parse", "--verify", branch});
  if (!start) return std::unexpected(start.error());
  if (auto made = ran(git, {"init", "--quiet", "--bare",
                            "--template=", "--initial-branch=" + config.branch, own.string()});
      !made)
    return std::unexpected(std::move(made.error()));
  if (auto written =
          write_line(own / "objects" / "info" / "alternates", (config.bundle / "objects").string());
      !written)
    return written;
  std::vector<std::string> settings(std::begin(kSettings), std::end(kSettings));
  settings.emplace_back("core.bare=false");
  for (const std::string& setting : settings) {
    const auto equals = setting.find('=');
    if (auto set = ran(git, {"config", "--file", (own / "config").string(),
                             setting.substr(0, equals), setting.substr(equals + 1)});
        !set)
      return std::unexpected(std::move(set.error()));
  }
  const std::vector<std::vector<std::string>> steps{{"update-ref", branch, start->substr(0, 40)},
                                                    {"reset", "--quiet", "--hard"}};
  for (const std::vector<std::string>& step : steps) {
    std::vector<std::string> arguments{"--git-dir", own.string(), "--work-tree", tree.string()};
    arguments.insert(arguments.end(), step.begin(), step.end());
    if (auto done = ran(git, std::move(arguments)); !done)
      return std::unexpected(std::move(done.error()));
  }
  return {};
}

void clear(const fs::path& directory) {
  for (const auto& entry : fs::directory_iterator(directory))
    fs::remove_all(entry.path());
}

// The checkout on a volume of its own, the agent's git directory beside its HOME, and what the
// repository has in the output directory on the volume that will lie there. The git directory comes
// last to its name: then all is done.
Done check_out_read_only(const Git& git, const Config& config) {
  const fs::path part = config.git_dir.string() + ".part";
  fs::remove_all(part);
  for (const fs::path& volume : {config.workspace, config.output})
    clear(volume);
  if (auto stands = stand_on_objects(git, config, part, config.workspace); !stands) return stands;
  if (auto written = write_line(config.workspace / ".git", "gitdir: " + config.git_dir.string());
      !written)
    return written;
  // The courier has seen that no link is on the way.
  const fs::path place = config.workspace / config.output_dir;
  fs::create_directories(place);
  fs::copy(place, config.output, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  fs::rename(part, config.git_dir);
  return {};
}

Done check_out(const Git& git, const Config& config) {
  if (config.mount == Mount::kReadOnly) return check_out_read_only(git, config);
  const fs::path part = config.workspace.string() + ".part";
  fs::remove_all(part);
  if (config.mount == Mount::kReadWrite) {
    if (auto cloned = clone_bundle(git, config, part); !cloned) return cloned;
  } else {
    fs::create_directory(part);
    if (auto stands = stand_on_objects(git, config, part / ".git", part); !stands) return stands;
  }
  fs::rename(part, config.workspace);
  return {};
}

}  // namespace

int checkout(const Config& config) {
  umask(0022);
  try {
    fs::create_directories(config.home);
    // Another start of the pod's containers: the work stays.
    if (fs::exists(config.mount == Mount::kReadOnly ? config.git_dir : config.workspace / ".git"))
      return 0;
    Config mine = config;
    mine.token_file.clear();
    mine.repository = config.home / "unused";  // HOME and TMPDIR of git: this container's own
    if (auto done = check_out(Git(mine, "file", {}, {}), config); !done) {
      log("error", done.error());
      return 1;
    }
  } catch (const fs::filesystem_error& error) {
    log("error", error.what());
    return 1;
  }
  log("info", fmt::format("checked out {}", config.branch));
  return 0;
}

}  // namespace palisade::courier
