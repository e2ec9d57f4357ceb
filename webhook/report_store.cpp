#include "report_store.h"

#include <algorithm>
#include <array>

#include <spdlog/spdlog.h>

namespace palisade::webhook {

namespace {

using kube::Json;

constexpr const char* kManagedBy = "app.kubernetes.io/managed-by";
constexpr std::uint32_t kPage = 20;  // of objects of up to a megabyte

// The first that is served is written to.
const std::array<kube::Resource, 2>& report_apis() {
  static const std::array<kube::Resource, 2> kApis{
      kube::Resource{"openreports.io", "v1alpha1", "reports", "Report", true},
      kube::Resource{"wgpolicyk8s.io", "v1alpha2", "policyreports", "PolicyReport", true}};
  return kApis;
}

std::string dumped(const Json& part) {
  return part.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// What of a report is ours to say.
std::string comparable(const Json& report) {
  Json out = Json::object();
  for (const char* key : {"results", "summary"}) {
    const auto found = report.find(key);
    if (found != report.end()) out[key] = *found;
  }
  const Json::json_pointer left_out(std::string("/metadata/annotations/") +
                                    "palisade.dev~1results-left-out");
  if (report.contains(left_out)) out["leftOut"] = report[left_out];
  const Json::json_pointer label("/metadata/labels/app.kubernetes.io~1managed-by");
  if (report.contains(label)) out["manager"] = report[label];
  return dumped(out);
}

Json object_of(const kube::Resource& api, const std::string& ns, const Report& report) {
  Json out{{"apiVersion", api.api_version()},
           {"kind", api.kind},
           {"metadata",
            {{"name", kReportName}, {"namespace", ns}, {"labels", {{kManagedBy, kReportManager}}}}},
           {"results", report.results},
           {"summary", report.summary}};
  if (report.left_out > 0)
    out["metadata"]["annotations"][kLeftOutAnnotation] = std::to_string(report.left_out);
  if (api.group == "openreports.io") out["source"] = "palisade";
  return out;
}

kube::Result<bool> is_served(const kube::Client& client, const kube::Resource& api,
                             const std::stop_token& stop) {
  const auto listed = client.get_raw("/apis/" + api.group + "/" + api.version, stop);
  if (!listed) {
    if (listed.error().is_not_found()) return false;
    return std::unexpected(listed.error());
  }
  const Json document = Json::parse(*listed, nullptr, false);
  const auto resources = document.find("resources");
  return resources != document.end() && resources->is_array() &&
         std::ranges::any_of(*resources, [&](const Json& one) {
           return one.is_object() && one.value("name", Json()) == api.plural;
         });
}

// Calls `each` for every report of ours.
template <class Each>
kube::Result<void> each_report(const kube::Client& client, const kube::Resource& api,
                               const std::stop_token& stop, Each each) {
  kube::ListOptions query;
  query.label_selector = std::string(kManagedBy) + "=" + kReportManager;
  query.limit = kPage;
  while (true) {
    auto page = client.list_page(api, query, stop);
    if (!page) return std::unexpected(page.error());
    for (const Json& report : page->items) {
      if (metadata_text(report, "name") != kReportName) continue;
      if (kube::Result<void> done = each(report); !done) return done;
    }
    if (page->continue_token.empty() || page->continue_token == query.continue_token) return {};
    query.continue_token = page->continue_token;
  }
}

kube::Result<void> remove_report(const kube::Client& client, const kube::Resource& api,
                                 const std::string& ns, const std::string& uid,
                                 const std::stop_token& stop) {
  kube::DeleteOptions options;
  options.uid = uid;
  auto removed = client.remove(api, ns, kReportName, options, stop);
  if (!removed && removed.error().is_not_found()) return {};
  return removed;
}

}  // namespace

std::string metadata_text(const Json& object, const char* key) {
  const Json::json_pointer at(std::string("/metadata/") + key);
  return object.contains(at) && object[at].is_string() ? object[at].get<std::string>()
                                                       : std::string();
}

kube::Result<void> ReportStore::discover(const std::stop_token& stop) {
  const kube::Resource* chosen = nullptr;
  std::vector<const kube::Resource*> others;
  for (const kube::Resource& api : report_apis()) {
    const auto served = is_served(*client_, api, stop);
    if (!served) return std::unexpected(served.error());
    if (!*served) continue;
    if (chosen == nullptr) {
      chosen = &api;
    } else {
      others.push_back(&api);
    }
  }
  if (chosen != api_) {
    spdlog::info("reports are written to {}", chosen == nullptr
                                                  ? "no API: none is served"
                                                  : chosen->plural + "." + chosen->group);
  }
  api_ = chosen;
  held_.clear();
  if (api_ != nullptr) {
    if (auto read = read_all(*api_, stop); !read) return read;
  }
  for (const kube::Resource* other : others) {
    if (auto removed = remove_all(*other, stop); !removed) return removed;
  }
  return {};
}

kube::Result<void> ReportStore::read_all(const kube::Resource& api, const std::stop_token& stop) {
  return each_report(*client_, api, stop, [&](const Json& report) -> kube::Result<void> {
    held_.insert_or_assign(metadata_text(report, "namespace"),
                           Held{metadata_text(report, "uid"),
                                metadata_text(report, "resourceVersion"), comparable(report)});
    return {};
  });
}

kube::Result<void> ReportStore::remove_all(const kube::Resource& api, const std::stop_token& stop) {
  return each_report(*client_, api, stop, [&](const Json& report) {
    return remove_report(*client_, api, metadata_text(report, "namespace"),
                         metadata_text(report, "uid"), stop);
  });
}

void ReportStore::forget() {
  api_ = nullptr;
  held_.clear();
}

void ReportStore::forget(const std::string& ns) {
  held_.erase(ns);
}

std::vector<std::string> ReportStore::namespaces() const {
  std::vector<std::string> out;
  for (const auto& [ns, held] : held_)
    out.push_back(ns);
  return out;
}

Json ReportStore::results(const std::string& ns) const {
  const auto held = held_.find(ns);
  if (held == held_.end()) return Json::array();
  const Json report = Json::parse(held->second.text);
  return report.contains("results") ? report["results"] : Json::array();
}

bool ReportStore::would_change(const std::string& ns, const Report* report) const {
  if (api_ == nullptr) return false;
  const auto held = held_.find(ns);
  if (report == nullptr || held == held_.end()) return (report != nullptr) != (held != held_.end());
  return comparable(object_of(*api_, ns, *report)) != held->second.text;
}

kube::Result<void> ReportStore::write(const std::string& ns, const Report& report,
                                      const std::stop_token& stop) {
  Json object = object_of(*api_, ns, report);
  const auto held = held_.find(ns);
  kube::Result<Json> written;
  if (held == held_.end()) {
    written = client_->create(*api_, ns, object, stop);
  } else {
    object["metadata"]["uid"] = held->second.uid;
    object["metadata"]["resourceVersion"] = held->second.version;
    written = client_->update(*api_, ns, kReportName, object, "", stop);
  }
  if (!written) {
    // Somebody else's write, or one of ours whose answer was lost. A report of our name is ours,
    // whoever made it: else anybody could keep the namespace's report away.
    if (written.error().code == 409 || written.error().is_not_found()) read_one(ns, stop);
    return std::unexpected(written.error());
  }
  // What was asked for, not what came back: a schema that drops a field is not written to for ever.
  held_.insert_or_assign(ns, Held{metadata_text(*written, "uid"),
                                  metadata_text(*written, "resourceVersion"), comparable(object)});
  return {};
}

kube::Result<void> ReportStore::remove(const std::string& ns, const std::stop_token& stop) {
  const auto held = held_.find(ns);
  if (held == held_.end()) return {};
  auto removed = remove_report(*client_, *api_, ns, held->second.uid, stop);
  if (removed) {
    held_.erase(held);
  } else if (removed.error().code == 409) {
    read_one(ns, stop);
  }
  return removed;
}

void ReportStore::read_one(const std::string& ns, const std::stop_token& stop) {
  const auto report = client_->get(*api_, ns, kReportName, stop);
  if (report) {
    held_.insert_or_assign(
        ns, Held{metadata_text(*report, "uid"), metadata_text(*report, "resourceVersion"),
                 comparable(*report)});
  } else if (report.error().is_not_found()) {
    held_.erase(ns);
  }
}

}  // namespace palisade::webhook
