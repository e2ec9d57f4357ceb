#include <string>

#include <nlohmann/json.hpp>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <kube/log.h>

namespace kube {

namespace {

// As they stand in a line: `,"name":"value"` each. Of the thread that logs: the logger formats a
// line before its call returns.
thread_local std::string fields_of_thread;

class JsonFields final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg&, const std::tm&, spdlog::memory_buf_t& out) override {
    out.append(fields_of_thread.data(), fields_of_thread.data() + fields_of_thread.size());
  }
  [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JsonFields>();
  }
};

// The message as a JSON string: a name or an error text from outside cannot end the line or forge a
// field.
class JsonMessage final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    const std::string text =
        nlohmann::json(std::string(message.payload.data(), message.payload.size()))
            .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    out.append(text.data(), text.data() + text.size());
  }
  [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JsonMessage>();
  }
};

}  // namespace

LogFields::LogFields(std::initializer_list<std::pair<std::string_view, std::string_view>> fields)
    : before_(fields_of_thread.size()) {
  for (const auto& [name, value] : fields) {
    if (value.empty()) continue;
    fields_of_thread += ",\"";
    fields_of_thread += name;
    fields_of_thread += "\":";
    fields_of_thread +=
        nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
}

LogFields::~LogFields() {
  fields_of_thread.resize(before_);
}

void init_json_logs(const std::string& level) {
  auto logger = std::make_shared<spdlog::logger>("palisade",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  formatter->add_flag<JsonMessage>('*').add_flag<JsonFields>('&').set_pattern(
      R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l"%&,"message":%*})");
  logger->set_formatter(std::move(formatter));
  logger->set_level(spdlog::level::from_str(level));
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace kube
