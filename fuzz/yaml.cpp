// The YAML reader on any text: what it gives is JSON, within its bounds, and JSON that is read as
// YAML says the same as JSON that is read as JSON.
#include <nlohmann/json.hpp>
#include <simdjson.h>

#include "fuzz/check.h"
#include "pods.h"
#include "text.h"
#include "yaml_json.h"

namespace {

using namespace palisade;
using nlohmann::json;

constexpr std::size_t kMaxError = 16 * 1024;

void check_error(const cli::ReadError& error) {
  fuzz::check(error.line >= 1 && error.column >= 1, "lines and columns count from 1");
  fuzz::check(!error.message.empty(), "an error says what is wrong");
  fuzz::check_shown(cli::printable(error.message), kMaxError);
}

json check_document(const cli::Document& document) {
  fuzz::check(document.line >= 1, "lines count from 1");
  fuzz::check(document.json.size() <= cli::kMaxJson + (1U << 20U), "a document is bounded");
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  const simdjson::padded_string padded(document.json);
  fuzz::check(parser.parse(padded).get(root) == simdjson::SUCCESS, "a document is JSON",
              document.json);
  (void)cli::find_pods(root);
  // The other reader finds no key twice in it.
  const auto again = cli::read_json(document.json);
  if (root.is_object() || root.is_array()) {
    fuzz::check(again && again->size() == 1, "a document is one that the JSON reader takes",
                again ? document.json : again.error().message);
  }
  return json::parse(document.json, nullptr, false);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::view(data, size);
  const auto documents = cli::read_documents(text);
  if (!documents) {
    check_error(documents.error());
    return 0;
  }
  std::vector<json> read;
  for (const cli::Document& document : *documents)
    read.push_back(check_document(document));

  const json plain = json::parse(text, nullptr, false);
  if (!plain.is_structured()) return 0;
  fuzz::check(read.size() == 1 && read.front() == plain, "JSON is read as it is",
              plain.dump(-1, ' ', true));
  // Written without line feeds and beyond ASCII, it means the same to the YAML reader, if that
  // takes it at all: its keys end at 1024 bytes, for one.
  const std::string canonical = plain.dump(-1, ' ', true);
  if (const auto yaml = cli::read_yaml(canonical); yaml) {
    fuzz::check(yaml->size() == 1 && json::parse(yaml->front().json, nullptr, false) == plain,
                "JSON is YAML", canonical);
  }
  return 0;
}
