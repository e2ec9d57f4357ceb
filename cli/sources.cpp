#include "sources.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <istream>
#include <set>
#include <system_error>

#include <fmt/format.h>

#include "text.h"

namespace palisade::cli {
namespace {

namespace fs = std::filesystem;

std::expected<std::string, std::string> read_all(std::istream& in) {
  std::string text;
  std::array<char, 65536> buffer{};
  while (in.read(buffer.data(), buffer.size()) || in.gcount() > 0) {
    text.append(buffer.data(), static_cast<std::size_t>(in.gcount()));
    if (text.size() > kMaxInput) break;  // the reader says so
  }
  if (in.bad()) return std::unexpected(std::string("cannot be read: ") + std::strerror(errno));
  return text;
}

bool manifest_name(const fs::path& path) {
  const fs::path extension = path.extension();
  return extension == ".yaml" || extension == ".yml" || extension == ".json";
}

class Walker {
 public:
  explicit Walker(Sources& out) : out_(out) {}

  void walk(const fs::path& directory) {
    std::error_code error;
    // A link to a directory that is being read, or was: each has one canonical name.
    const fs::path canonical = fs::canonical(directory, error);
    if (error) return problem(directory, error.message());
    if (!seen_.insert(canonical).second) return;
    std::vector<fs::path> entries;
    for (fs::directory_iterator at(directory, error), end; !error && at != end;
         at.increment(error)) {
      entries.push_back(at->path());
    }
    if (error) problem(directory, error.message());
    std::ranges::sort(entries);
    for (const fs::path& entry : entries)
      visit(entry);
  }

 private:
  void visit(const fs::path& entry) {
    std::error_code error;
    const fs::file_status status = fs::status(entry, error);
    if (fs::is_directory(status)) return walk(entry);
    if (!manifest_name(entry)) return;
    if (error) return problem(entry, error.message());
    // A pipe or a device of that name would block or never end.
    if (!fs::is_regular_file(status)) return problem(entry, "it is no regular file");
    out_.files.push_back({entry.string(), true});
  }
  void problem(const fs::path& path, const std::string& what) {
    out_.problems.push_back(shown(path.string()) + ": cannot be read: " + what);
  }

  Sources& out_;
  std::set<fs::path> seen_;
};

}  // namespace

Sources find_sources(const std::vector<std::string>& named) {
  Sources out;
  for (const std::string& name : named) {
    std::error_code error;
    if (name == "-" || !fs::is_directory(name, error)) {
      out.files.push_back({name, false});  // whether it can be opened shows when it is read
      continue;
    }
    const std::size_t files = out.files.size();
    const std::size_t problems = out.problems.size();
    Walker(out).walk(name);
    if (out.files.size() == files && out.problems.size() == problems) {
      out.problems.push_back(shown(name) + ": holds no .yaml, .yml or .json file");
    }
  }
  return out;
}

std::string shown(const std::string& file) {
  return file == "-" ? "<stdin>" : printable(file);
}

std::string place(const std::string& file, const ReadError& error) {
  return fmt::format("{}:{}:{}: {}", shown(file), error.line, error.column,
                     printable(error.message));
}

std::expected<std::string, std::string> read_file(const std::string& file, std::istream& in) {
  if (file == "-") return read_all(in);
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return std::unexpected(std::string("cannot be opened: ") + std::strerror(errno));
  // Opening a directory succeeds; only reading fails.
  stream.peek();
  if (stream.bad()) return std::unexpected("cannot be read: is it a directory?");
  stream.clear();
  return read_all(stream);
}

std::expected<std::vector<Document>, std::string> read_source(const std::string& file,
                                                              std::istream& in) {
  const auto text = read_file(file, in);
  if (!text) return std::unexpected(shown(file) + ": " + text.error());
  auto documents = read_documents(*text);
  if (!documents) return std::unexpected(place(file, documents.error()));
  return std::move(*documents);
}

std::expected<policy::Settings, std::string> read_settings(const std::string& file,
                                                           std::istream& in) {
  if (file.empty()) return policy::Settings{};
  const auto documents = read_source(file, in);
  if (!documents) return std::unexpected(documents.error());
  if (documents->size() != 1) {
    return std::unexpected(
        fmt::format("{}:1:1: must hold one document, not {}", shown(file), documents->size()));
  }
  auto settings = policy::parse_settings(documents->front().json);
  if (!settings) {
    return std::unexpected(place(file, {documents->front().line, 1, settings.error()}));
  }
  return settings;
}

}  // namespace palisade::cli
