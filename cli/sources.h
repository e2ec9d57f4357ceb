// Files, directories and settings that a command line names.
#pragma once

#include <cstddef>
#include <expected>
#include <iosfwd>
#include <string>
#include <vector>

#include <policy/policy.h>

#include "yaml_json.h"

namespace palisade::cli {

// A file that is to be read. What came from a directory was not named one by one: there, documents
// that are no Kubernetes objects (values.yaml) are passed over instead of refused.
struct Source {
  std::string file;  // "-" is standard input
  bool from_directory = false;
};

// Files as they are named; directories recursively: *.yaml, *.yml and *.json, sorted, symbolic
// links followed, each directory once. What cannot be walked is in `problems`, each with its place.
struct Sources {
  std::vector<Source> files;
  std::vector<std::string> problems;
};
[[nodiscard]] Sources find_sources(const std::vector<std::string>& named);

// "<stdin>" for "-", else the name, safe for a terminal.
[[nodiscard]] std::string shown(const std::string& file);
// "FILE:LINE:COLUMN: MESSAGE".
[[nodiscard]] std::string place(const std::string& file, const ReadError& error);

// The whole text, at most a byte over kMaxInput; the error does not repeat the file's name.
[[nodiscard]] std::expected<std::string, std::string> read_file(const std::string& file,
                                                                std::istream& in);
// The documents of a file; the error has its place.
[[nodiscard]] std::expected<std::vector<Document>, std::string> read_source(const std::string& file,
                                                                            std::istream& in);
// The policy settings in a JSON or YAML file; the defaults where `file` is empty.
[[nodiscard]] std::expected<policy::Settings, std::string> read_settings(const std::string& file,
                                                                         std::istream& in);

}  // namespace palisade::cli
