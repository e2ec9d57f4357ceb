// The webhook's HTTPS server and what its TLS needs: a certificate that the program keeps itself or
// that is mounted, and the clients' authority where the API server shows a certificate.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <kube/client.h>
#include <kube/http_server.h>
#include <webhook/certificates.h>

namespace prometheus {
class Registry;
}

namespace palisade::webhook {

struct ServingOptions {
  kube::HttpServerOptions http;  // of which tls and clients are set here
  KeeperOptions keeper;
  // Holds tls.crt and tls.key, which then replace the keeper.
  std::filesystem::path certificate_dir;
  // PEM; clients must show a certificate of it. With `client_names`: with one of these subjects.
  std::filesystem::path client_ca_file;
  std::vector<std::string> client_names;
};

class Serving {
 public:
  // `client` is the keeper's. Metrics go to `registry`, which outlives it.
  Serving(std::shared_ptr<const kube::Client> client, ServingOptions options,
          kube::HttpHandler handler, prometheus::Registry& registry);
  ~Serving();
  Serving(const Serving&) = delete;
  Serving& operator=(const Serving&) = delete;

  // Waits for a certificate (up to a minute where it has to be made) and opens the port. Throws
  // std::runtime_error.
  void start();
  [[nodiscard]] std::uint16_t port() const;
  // Why reviews must not be sent here yet, or "".
  [[nodiscard]] std::string not_ready() const;
  // Sets the metrics to what they are now.
  void measure();
  // From now on each answer ends its connection; stop() closes the door.
  void retire();
  void stop(std::chrono::milliseconds drain);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::webhook
