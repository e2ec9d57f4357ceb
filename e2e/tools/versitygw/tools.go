//go:build tools

// Package tools pins the S3 server of the archive's tests; no part of the product imports it.
package tools

import (
	_ "github.com/versity/versitygw/cmd/versitygw"
)
