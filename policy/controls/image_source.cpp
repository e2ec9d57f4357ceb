// image-source: images come from where the settings say, and are what was reviewed.
//
// | field                             | allowed                                                  |
// | --------------------------------- | -------------------------------------------------------- |
// | CONTAINER.image,                  | one of allowedRegistries of the settings, a "/" and more |
// | spec.volumes[*].image.reference   | (anything where they name none)                          |
// |                                   | ...@sha256:HEX or @sha512:HEX, where the settings say    |
// |                                   | requireDigests                                           |
//
// Names are compared as they are written. A short name ("nginx") says no registry: the node's
// configuration chooses one, so only a short prefix in the settings lets it pass.
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cel.h"
#include "controls.h"
#include "images.h"
#include "report.h"

namespace palisade::policy::table::image_source {
namespace {

constexpr std::string_view kId = "image-source";
constexpr std::array kReferences{
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.5.1"),
    std::string_view(
        "NSA/CISA Kubernetes Hardening Guidance 1.2: building secure container images"),
    std::string_view("SOC 2: CC6.8"),
};

void judge(Report& report, const Settings& settings, const Node& image) {
  const auto name = image.text();
  if (name.broken()) {
    report.wrong_type(image, "the name of an image");
    return;
  }
  for (std::string& problem : image_problems(name.value, settings))
    report(image, std::move(problem));
}

void check(const PodView& pod, const Settings& settings, std::vector<Finding>& out) {
  Report report{kId, out};
  for (const Container& container : pod.containers())
    judge(report, settings, container.image);
  each_item(report, pod.volumes(), [&](const Node& volume) {
    const Node source = volume["image"];
    if (source.absent()) return;
    const Node reference = source["reference"];
    judge(report, settings, reference);
  });
}

std::string twin(const Settings& settings) {
  std::string bad;
  if (settings.allowed_registries) {
    std::vector<std::string> beginnings;
    for (std::string registry : *settings.allowed_registries) {
      while (registry.ends_with('/'))
        registry.pop_back();
      if (!registry.empty()) beginnings.push_back(registry + "/");
    }
    bad = "!" + cel::list(beginnings) + ".exists(r, IMAGE.startsWith(r) && size(IMAGE) > size(r))";
  }
  if (settings.require_digests) {
    bad += (bad.empty() ? "" : " || ") + std::string("!IMAGE.matches(") +
           cel::text("^[^@]*@(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$") + ")";
  }
  if (bad.empty()) return "[]";
  return cel::containers(cel::replaced(bad, "IMAGE", "k.c.?image.orValue('')"), ".image") + " + " +
         cel::volumes("has(v.v.image) && (" +
                          cel::replaced(bad, "IMAGE", "v.v.image.?reference.orValue('')") + ")",
                      ".image.reference");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "Images come from the allowed registries",
    .why =
        "Whoever chooses the image chooses the programs that are trusted with the repository and "
        "its token; a moved tag swaps them after the review.",
    .remedy =
        "name each image in full below one of the allowed registries, by digest where the settings "
        "ask for one",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::image_source
