//go:build tools

// Package tools pins what the local cluster is built from; no part of the product imports it.
package tools

import (
	_ "gvisor.dev/gvisor/runsc"
)
