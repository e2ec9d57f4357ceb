// What a provider would do on its own, in the shapes of both APIs.
#include "provider_side.h"

#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace palisade::gateway::llm {
namespace {

using nlohmann::json;

json chat(json content) {
  return {{"model", "m"}, {"messages", {{{"role", "user"}, {"content", std::move(content)}}}}};
}
json part(json one) {
  return chat(json::array({{{"type", "text"}, {"text", "look"}}, std::move(one)}));
}
json with(const char* member, json value) {
  json out = chat("hi");
  out[member] = std::move(value);
  return out;
}

std::string where(Endpoint endpoint, const std::string& body) {
  EXPECT_TRUE(read_request(endpoint, body)) << body;
  const auto found = find_provider_side(endpoint, body);
  return found ? found->where : "";
}

TEST(ProviderSide, IsFoundInOpenAisShapes) {
  const struct {
    json body;
    const char* where;
  } cases[] = {
      {part({{"type", "image_url"}, {"image_url", {{"url", "https://evil.example/?q=secret"}}}}),
       "messages[0].content[1].image_url.url"},
      {part({{"type", "image_url"}, {"image_url", "https://evil.example/"}}),
       "messages[0].content[1].image_url"},
      {part({{"type", "image_url"}, {"image_url", {{"url", "//evil.example/x"}}}}),
       "messages[0].content[1].image_url.url"},
      {part({{"type", "video_url"}, {"video_url", {{"url", "ftp://evil.example/x"}}}}),
       "messages[0].content[1].video_url.url"},
      {part({{"type", "input_image"}, {"image_url", {"https://evil.example/"}}}),
       "messages[0].content[1].image_url[0]"},
      {part({{"type", "image"}, {"image", "http://evil.example/"}}),
       "messages[0].content[1].image"},
      {part({{"type", "file"}, {"file", {{"file_id", "file-1"}}}}),
       "messages[0].content[1].file.file_id"},
      {part({{"type", "input_file"}, {"file_url", "https://evil.example/x.pdf"}}),
       "messages[0].content[1].file_url"},
      {with("tools",
            {{{"type", "function"}, {"function", {{"name", "f"}}}}, {{"type", "web_search"}}}),
       "tools[1].type"},
      {with("tools", {{{"type", "mcp"}, {"server_url", "https://evil.example"}}}), "tools[0].type"},
      {with("tools", {{{"type", "code_interpreter"}}}), "tools[0].type"},
      {with("web_search_options", json::object()), "web_search_options"},
      {with("plugins", {{{"id", "web"}}}), "plugins"},
      {with("search_parameters", {{"mode", "on"}}), "search_parameters"},
      {with("data_sources", json::array()), "data_sources"},
  };
  for (const auto& test : cases)
    EXPECT_EQ(where(Endpoint::kChat, test.body.dump()), test.where) << test.body;
}

TEST(ProviderSide, IsFoundInAnthropicsShapes) {
  const auto block = [](const char* type, json source) {
    return part({{"type", type}, {"source", std::move(source)}});
  };
  const struct {
    json body;
    const char* where;
  } cases[] = {
      {block("image", {{"type", "url"}, {"url", "https://evil.example/?q=secret"}}),
       "messages[0].content[1].source.url"},
      {block("document", {{"type", "url"}, {"url", "https://evil.example/x.pdf"}}),
       "messages[0].content[1].source.url"},
      {block("document", {{"type", "file"}, {"file_id", "file_1"}}),
       "messages[0].content[1].source.file_id"},
      {part({{"type", "tool_result"},
             {"tool_use_id", "t"},
             {"content",
              json::array({{{"type", "image"},
                            {"source", {{"type", "url"}, {"url", "https://evil.example"}}}}})}}),
       "messages[0].content[1].content[0].source.url"},
      {part({{"type", "container_upload"}, {"file_id", "file_1"}}),
       "messages[0].content[1].file_id"},
      {with("mcp_servers", {{{"type", "url"}, {"url", "https://evil.example"}}}), "mcp_servers"},
      {with("container", "container_1"), "container"},
      {with("tools", {{{"type", "web_fetch_20250910"}, {"name", "web_fetch"}}}), "tools[0].type"},
      {with("tools", {{{"type", "web_search_20250305"}, {"name", "web_search"}}}), "tools[0].type"},
      {with("tools", {{{"type", "code_execution_20250825"}, {"name", "x"}}}), "tools[0].type"},
      {with("tools", {{{"type", "mcp_toolset"}, {"mcp_server_name", "x"}}}), "tools[0].type"},
      {with("system",
            json::array({{{"type", "image"},
                          {"source", {{"type", "url"}, {"url", "https://evil.example"}}}}})),
       "system[0].source.url"},
  };
  for (const auto& test : cases)
    EXPECT_EQ(where(Endpoint::kMessages, test.body.dump()), test.where) << test.body;
}

// However the JSON is written.
TEST(ProviderSide, IsFoundWhereItsNamesAreEscaped) {
  const std::string cases[] = {
      R"({"model":"m","messages":[{"role":"user","content":[{"type":"image_url","\u0069mage_url":{"\u0075rl":"https:\/\/evil.example"}}]}]})",
      R"({"model":"m","messages":[{"role":"user","content":[{"image_url":{"url":"\u0064ata:,x"}}]}]})",
      R"({"model":"m","messages":[{"role":"user","content":[{"IMAGE_URL":{"Url":"https://evil.example"}}]}]})",
      R"({"model":"m","messages":[],"mcp\u005fservers":[]})",
      R"({"model":"m","messages":[],"tools":[ {"parameters":{"type":"object"} , "type" : "web\u005fsearch"} ]})",
      R"({"model":"m","messages":[],"container":true})",
      R"({"model":"m","messages":[{"content":[{"image":"h\u0074tp://evil.example"}]}]})",
      R"({"model":"m","messages":[{"content":[{"text":"}]"},[[{"source":{"url":"x"}}]]]}]})",
  };
  for (const std::string& body : cases)
    EXPECT_NE(where(Endpoint::kChat, body), "") << body;
}

TEST(ProviderSide, LeavesTheRest) {
  const json schema{
      {"type", "object"},
      {"properties", {{"url", {{"type", "string"}, {"default", "https://x.example"}}}}}};
  const json cases[] = {
      chat("see https://example.com and {\"image_url\": \"https://example.com\"}"),
      part({{"type", "image_url"}, {"image_url", {{"url", "data:image/png;base64,AAAA"}}}}),
      part({{"type", "image_url"}, {"image_url", {{"url", "DATA:image/png;base64,AAAA"}}}}),
      part({{"type", "image"},
            {"source", {{"type", "base64"}, {"media_type", "image/png"}, {"data", "AAAA"}}}}),
      part({{"type", "image"}, {"image", "iVBORw0KGgo+/="}}),
      part({{"type", "file"}, {"file", {{"filename", "a.pdf"}, {"file_data", "data:x,AAAA"}}}}),
      part({{"type", "input_audio"}, {"input_audio", {{"data", "AAAA"}, {"format", "wav"}}}}),
      // What the model called, and what it cited, is text to it.
      part({{"type", "tool_use"},
            {"id", "t"},
            {"name", "fetch"},
            {"input", {{"url", "https://x.example"}}}}),
      part({{"type", "text"}, {"text", "x"}, {"citations", {{{"url", "https://x.example"}}}}}),
      with("tools",
           {{{"type", "function"}, {"function", {{"name", "f"}, {"parameters", schema}}}}}),
      with("tools", {{{"name", "f"}, {"input_schema", schema}}}),
      with("tools", {{{"type", "custom"}, {"name", "f"}},
                     {{"type", "bash_20250124"}, {"name", "bash"}},
                     {{"type", "text_editor_20250728"}, {"name", "e"}}}),
      with("metadata", {{"url", "https://x.example"}}),
      with("mcp_servers", nullptr),
      with("response_format", {{"json_schema", schema}}),
  };
  for (const json& body : cases) {
    EXPECT_EQ(where(Endpoint::kChat, body.dump()), "") << body;
    EXPECT_EQ(where(Endpoint::kMessages, body.dump(2)), "") << body;
  }
  EXPECT_EQ(where(Endpoint::kEmbeddings, R"({"model":"m","input":["https://x.example"]})"), "");
  EXPECT_EQ(
      where(Endpoint::kEmbeddings, R"({"model":"m","input":[{"image":"https://x.example"}]})"),
      "input[0].image");
}

// One pass, however it is nested and however much there is of it.
TEST(ProviderSide, TakesItsTimeOnceForAll) {
  std::string body = R"({"model":"m","messages":[)";
  for (int i = 0; i < 200'000; ++i)
    body += R"({"role":"user","content":[{"type":"text","text":"url"}]},)";
  body += R"({"content":[{"url":"x"}]}]})";
  EXPECT_EQ(where(Endpoint::kChat, body), "messages[200000].content[0].url");
}

}  // namespace
}  // namespace palisade::gateway::llm
