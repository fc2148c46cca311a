//go:build tools

// Package interop names the NSQ programs the matrix runs, so that `go mod tidy`
// keeps what they need in go.mod and go.sum. It holds no code and is never linked.
package interop

import (
	_ "github.com/nsqio/nsq/apps/nsq_tail"
	_ "github.com/nsqio/nsq/apps/nsq_to_file"
	_ "github.com/nsqio/nsq/apps/nsqadmin"
	_ "github.com/nsqio/nsq/apps/nsqd"
	_ "github.com/nsqio/nsq/apps/nsqlookupd"
)
