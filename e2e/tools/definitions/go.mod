// Definitions of kinds that are others', which tests install: what Palisade writes of them is held to the true schemas. Only files of the modules are
// read and nothing is built, so `go mod tidy` would drop them; after changing a version: go mod download with the three names.
module palisade.dev/e2e/tools/definitions

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/openreports/reports-api v0.2.1
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
