#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <thread>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <kube/base64.h>
#include <kube/client.h>
#include <kube/envtest.h>
#include <kube/envtest_pki.h>

#include "envtest_process.h"

namespace kube {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using envtest::KeyPair;
using envtest::Process;
using envtest::ReservedPort;

constexpr auto kPoll = std::chrono::milliseconds(50);
constexpr auto kCrdDeadline = std::chrono::seconds(30);
constexpr auto kStopPatience = std::chrono::seconds(20);
constexpr std::size_t kLogLines = 20;

std::unexpected<Error> failure(std::string what) {
  return std::unexpected(Error{0, "EnvTest", std::move(what), {}, {}});
}

Result<void> write_file(const fs::path& file, const std::string& text) {
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) return failure(file.string() + " cannot be written");
  return {};
}

// YAML 1.2's core schema, as the API's own tools read it; aliases are refused with everything else
// that yaml-cpp throws.
Json scalar_to_json(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;  // quoted or a block
  if (text.empty() || text == "~" || text == "null") return nullptr;
  if (text == "true" || text == "True") return true;
  if (text == "false" || text == "False") return false;
  const char* end = text.data() + text.size();
  std::int64_t integer = 0;
  if (const auto [at, ec] = std::from_chars(text.data(), end, integer);
      ec == std::errc() && at == end)
    return integer;
  double number = 0;  // std::from_chars would take words too: inf, nan
  if (const auto [at, ec] = std::from_chars(text.data(), end, number);
      ec == std::errc() && at == end &&
      text.find_first_not_of("0123456789+-.eE") == std::string::npos)
    return number;
  return text;
}

Json yaml_to_json(const YAML::Node& node) {
  if (node.IsMap()) {
    Json out = Json::object();
    for (const auto& entry : node)
      out[entry.first.as<std::string>()] = yaml_to_json(entry.second);
    return out;
  }
  if (node.IsSequence()) {
    Json out = Json::array();
    for (const auto& item : node)
      out.push_back(yaml_to_json(item));
    return out;
  }
  return node.IsScalar() ? scalar_to_json(node) : Json(nullptr);
}

bool has_condition(const Json& object, const std::string& type) {
  static const Json::json_pointer kConditions("/status/conditions");
  if (!object.contains(kConditions)) return false;
  return std::ranges::any_of(object.at(kConditions), [&](const Json& condition) {
    return condition.value("type", "") == type && condition.value("status", "") == "True";
  });
}

}  // namespace

struct EnvTest::Impl {
  Options options;
  fs::path directory;
  ReservedPort etcd_port;
  ReservedPort peer_port;
  ReservedPort api_port;
  // The API server ends before its etcd does.
  Process etcd;
  Process apiserver;
  KeyPair etcd_client;
  std::string etcd_ca;

  [[nodiscard]] std::string path(const char* name) const { return (directory / name).string(); }

  [[nodiscard]] Result<fs::path> binary(const char* name) const {
    fs::path bin = options.tools_bin;
    if (bin.empty()) {
      const char* variable = std::getenv("PALISADE_TOOLS_BIN");
      if (variable != nullptr) bin = variable;
    }
    if (bin.empty())
      return failure(
          "PALISADE_TOOLS_BIN is not set: build etcd and kube-apiserver with `make tools` and set "
          "it to build/tools/bin");
    const fs::path file = bin / name;
    std::error_code ec;
    if (!fs::is_regular_file(file, ec))
      return failure(file.string() + " does not exist: build it with `make tools`");
    return fs::absolute(file);
  }

  Result<void> make_directory() {
    std::string name = (fs::temp_directory_path() / "palisade-envtest-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) return failure(name + " cannot be made");
    directory = name;
    return {};
  }

  Result<void> write_pair(const char* certificate, const char* key, const KeyPair& pair) const {
    auto written = write_file(directory / certificate, pair.certificate);
    if (written) written = write_file(directory / key, pair.key);
    return written;
  }

  // etcd and the API server have CAs of their own: a client of one is a stranger to the other.
  Result<void> write_certificates() {
    auto etcd_authority = envtest::Authority::make("envtest-etcd-ca");
    if (!etcd_authority) return std::unexpected(etcd_authority.error());
    auto authority = envtest::Authority::make("envtest-ca");
    if (!authority) return std::unexpected(authority.error());
    auto etcd_server = etcd_authority->issue({"etcd", "", {"localhost"}, {"127.0.0.1"}});
    if (!etcd_server) return std::unexpected(etcd_server.error());
    auto client = etcd_authority->issue({"kube-apiserver", "", {}, {}});
    if (!client) return std::unexpected(client.error());
    auto server = authority->issue(
        {"kube-apiserver",
         "",
         {"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
         {"127.0.0.1", "10.0.0.1"}});
    if (!server) return std::unexpected(server.error());
    auto admin = authority->issue({"envtest-admin", "system:masters", {}, {}});
    if (!admin) return std::unexpected(admin.error());
    auto signing = envtest::make_signing_key();
    if (!signing) return std::unexpected(signing.error());
    etcd_client = *client;
    etcd_ca = etcd_authority->certificate();

    const std::array<Result<void>, 7> written{
        write_file(directory / "etcd-ca.pem", etcd_ca),
        write_file(directory / "ca.pem", authority->certificate()),
        write_pair("etcd.pem", "etcd-key.pem", *etcd_server),
        write_pair("etcd-client.pem", "etcd-client-key.pem", etcd_client),
        write_pair("apiserver.pem", "apiserver-key.pem", *server),
        write_pair("service-account.pub", "service-account-key.pem", *signing),
        write_file(directory / "kubeconfig", kubeconfig(authority->certificate(), *admin)),
    };
    for (const auto& one : written) {
      if (!one) return one;
    }
    return {};
  }

  [[nodiscard]] std::string kubeconfig(const std::string& ca, const KeyPair& admin) const {
    return fmt::format(
        "apiVersion: v1\nkind: Config\ncurrent-context: envtest\n"
        "clusters:\n- name: envtest\n  cluster:\n    server: https://127.0.0.1:{}\n"
        "    certificate-authority-data: {}\n"
        "users:\n- name: admin\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n"
        "contexts:\n- name: envtest\n  context: {{cluster: envtest, user: admin}}\n",
        api_port.number(), encode_base64(ca), encode_base64(admin.certificate),
        encode_base64(admin.key));
  }

  [[nodiscard]] std::string etcd_url() const {
    return fmt::format("https://127.0.0.1:{}", etcd_port.number());
  }

  Result<void> start_etcd() {
    const auto program = binary("etcd");
    if (!program) return std::unexpected(program.error());
    const std::string peer = fmt::format("http://127.0.0.1:{}", peer_port.number());
    return etcd.start(
        {program->string(), "--name=envtest", "--data-dir=" + path("etcd"),
         "--listen-client-urls=" + etcd_url(), "--advertise-client-urls=" + etcd_url(),
         "--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
         "--initial-cluster=envtest=" + peer, "--socket-reuse-port", "--socket-reuse-address",
         "--cert-file=" + path("etcd.pem"), "--key-file=" + path("etcd-key.pem"),
         "--trusted-ca-file=" + path("etcd-ca.pem"), "--client-cert-auth", "--unsafe-no-fsync",
         "--log-level=warn"},
        directory / "etcd.log");
  }

  Result<void> start_apiserver() {
    const auto program = binary("kube-apiserver");
    if (!program) return std::unexpected(program.error());
    std::vector<std::string> arguments{
        program->string(),
        "--etcd-servers=" + etcd_url(),
        "--etcd-cafile=" + path("etcd-ca.pem"),
        "--etcd-certfile=" + path("etcd-client.pem"),
        "--etcd-keyfile=" + path("etcd-client-key.pem"),
        "--etcd-compaction-interval=0",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        fmt::format("--secure-port={}", api_port.number()),
        "--permit-port-sharing",
        "--permit-address-sharing",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--authorization-mode=RBAC",
        "--disable-admission-plugins=ServiceAccount",
        "--allow-privileged=true",
        "--client-ca-file=" + path("ca.pem"),
        "--tls-cert-file=" + path("apiserver.pem"),
        "--tls-private-key-file=" + path("apiserver-key.pem"),
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-key-file=" + path("service-account.pub"),
        "--service-account-signing-key-file=" + path("service-account-key.pem")};
    arguments.insert(arguments.end(), options.apiserver_flags.begin(),
                     options.apiserver_flags.end());
    const auto started = apiserver.start(arguments, directory / "kube-apiserver.log");
    if (!started) return started;
    return wait_ready();
  }

  [[nodiscard]] std::string logs() const {
    return fmt::format("\n--- kube-apiserver.log\n{}\n--- etcd.log\n{}",
                       envtest::tail(directory / "kube-apiserver.log", kLogLines),
                       envtest::tail(directory / "etcd.log", kLogLines));
  }

  Result<void> wait_ready() {
    const auto client = connect();
    if (!client) return std::unexpected(client.error());
    const auto deadline = Clock::now() + options.ready_deadline;
    std::string last = "no answer";
    while (Clock::now() < deadline) {
      if (!etcd.running()) return failure("etcd ended with " + etcd.ending() + logs());
      if (!apiserver.running())
        return failure("kube-apiserver ended with " + apiserver.ending() + logs());
      const auto ready = (*client)->get_raw("/readyz");
      if (ready) return {};
      last = ready.error().text();
      std::this_thread::sleep_for(kPoll);
    }
    return failure(fmt::format("kube-apiserver is not ready after {} s: {}{}",
                               options.ready_deadline.count(), last, logs()));
  }

  [[nodiscard]] Result<std::unique_ptr<Client>> connect() const {
    auto config = load_kubeconfig(directory / "kubeconfig");
    if (!config) return std::unexpected(std::move(config.error()));
    return Client::connect(std::move(*config), Client::TransportKind::kBeast);
  }
};

EnvTest::EnvTest() : impl_(std::make_unique<Impl>()) {}

EnvTest::~EnvTest() {
  // Nothing is worth keeping, so nothing is asked politely.
  impl_->apiserver.stop(SIGKILL, kStopPatience);
  impl_->etcd.stop(SIGKILL, kStopPatience);
  std::error_code ignored;  // a leftover in the temporary directory harms no one
  if (!impl_->directory.empty()) fs::remove_all(impl_->directory, ignored);
}

Result<std::unique_ptr<EnvTest>> EnvTest::start(Options options) {
  std::unique_ptr<EnvTest> env(new EnvTest);
  Impl& impl = *env->impl_;
  impl.options = std::move(options);
  // Both looked for at once: one is of no use without the other.
  for (const char* name : {"etcd", "kube-apiserver"}) {
    if (const auto found = impl.binary(name); !found) return std::unexpected(found.error());
  }
  for (ReservedPort* port : {&impl.etcd_port, &impl.peer_port, &impl.api_port}) {
    auto reserved = ReservedPort::make();
    if (!reserved) return std::unexpected(std::move(reserved.error()));
    *port = std::move(*reserved);
  }
  auto done = impl.make_directory();
  if (done) done = impl.write_certificates();
  if (done) done = impl.start_etcd();
  if (done) done = impl.start_apiserver();
  if (!done) return std::unexpected(std::move(done.error()));
  return env;
}

Config EnvTest::config() const {
  auto config = load_kubeconfig(kubeconfig_path());
  if (!config) throw std::runtime_error(config.error().text());
  return std::move(*config);
}

std::string EnvTest::kubeconfig_path() const {
  return impl_->path("kubeconfig");
}

Result<void> EnvTest::stop_apiserver(Stop how) {
  if (!impl_->apiserver.running()) return failure("kube-apiserver is not running");
  impl_->apiserver.stop(how == Stop::kGraceful ? SIGTERM : SIGKILL, kStopPatience);
  return {};
}

Result<void> EnvTest::start_apiserver() {
  if (impl_->apiserver.running()) return failure("kube-apiserver is running already");
  return impl_->start_apiserver();
}

Result<void> EnvTest::compact() const {
  TransportOptions options;
  options.base_url = impl_->etcd_url();
  options.tls_material = [impl = impl_.get()] {
    return TlsMaterial{impl->etcd_ca, impl->etcd_client.certificate, impl->etcd_client.key};
  };
  const auto etcd = make_beast_transport(options);
  // etcd's JSON gateway: https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/
  const auto post = [&](const char* target, const Json& body) -> Result<Json> {
    Request request;
    request.method = "POST";
    request.target = target;
    request.headers = {{"Content-Type", "application/json"}};
    request.body = body.dump();
    const auto answer = etcd->send(request, {});
    if (!answer) return std::unexpected(answer.error());
    Json parsed = Json::parse(answer->body, nullptr, false);
    if (answer->status != 200 || !parsed.is_object())
      return failure(fmt::format("etcd {}: {} {}", target, answer->status, answer->body));
    return parsed;
  };
  const auto status = post("/v3/maintenance/status", Json::object());
  if (!status) return std::unexpected(status.error());
  const std::string revision =
      status->value("header", Json::object()).value("revision", std::string());
  const auto compacted = post("/v3/kv/compaction", {{"revision", revision}, {"physical", true}});
  if (!compacted) return std::unexpected(compacted.error());
  return {};
}

Result<void> EnvTest::install_crd(const fs::path& file) const {
  Json crd;
  try {
    crd = yaml_to_json(YAML::LoadFile(file.string()));
  } catch (const YAML::Exception& error) {
    return failure(file.string() + ": " + error.what());
  }
  static const Json::json_pointer kName("/metadata/name");
  static const Json::json_pointer kVersions("/spec/versions");
  if (!crd.is_object() || crd.value("kind", "") != "CustomResourceDefinition" ||
      !crd.contains(kName) || !crd.contains(kVersions)) {
    return failure(file.string() + ": is not a CustomResourceDefinition");
  }
  const auto client = impl_->connect();
  if (!client) return std::unexpected(client.error());
  const auto& definitions = resources::kCustomResourceDefinitions;
  const std::string name = crd.at(kName);
  ApplyOptions apply;
  apply.field_manager = "envtest";
  const auto applied = (*client)->apply(definitions, "", name, crd, apply);
  if (!applied) return std::unexpected(applied.error());

  const Json& spec = crd.at("spec");
  Resource resource{spec.at("group"), "", spec.at("names").at("plural"),
                    spec.at("names").at("kind"), spec.at("scope") == "Namespaced"};
  for (const Json& version : spec.at("versions")) {
    if (version.value("served", false)) resource.version = version.at("name");
  }
  const auto deadline = Clock::now() + kCrdDeadline;
  std::string last;
  while (Clock::now() < deadline) {
    const auto now = (*client)->get(definitions, "", name);
    if (!now) {
      last = now.error().text();
    } else if (has_condition(*now, "Established")) {
      // The condition comes a little before the handler does.
      const auto listed = (*client)->list_page(resource, {});
      if (listed) return {};
      last = listed.error().text();
    } else {
      last = now->value("status", Json::object()).dump();
    }
    std::this_thread::sleep_for(kPoll);
  }
  return failure("CustomResourceDefinition " + name + " is not served after 30 s: " + last);
}

}  // namespace kube
