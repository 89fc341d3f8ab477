package gateway

import (
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// Paid says whether the call has cost something, or may have: a backend was asked
// and didn't refuse. It is known before EventWriter.End, and may be asked by any
// goroutine at any time.
func (c *Call) Paid() bool { return c.paid.Load() }

// Failed says that Serve ended with an error, or that Fail was called. It may be
// asked by any goroutine at any time.
func (c *Call) Failed() bool { return c.failed.Load() }

// Fail says of a call that its children were served for that each of them failed
// and that none has cost anything.
func (c *Call) Fail() { c.failed.Store(true) }

// paid says whether a call has cost something, or may have. Tokens that were
// reported are a cost. Without any, a call that never got to the upstream has cost
// nothing, nor has one that the upstream refused, or whose connection failed: those
// are what a backend repeats by itself.
func paid(call *Call, result Result, err error) bool {
	if !call.asked {
		return false
	}
	if err == nil || result.Summary != (message.Summary{}) {
		return true
	}
	_, queued := call.Clock.Took(latency.Queue)
	if _, bound := call.Clock.Took(latency.Bind); queued && !bound && call.Backend != BackendDirect {
		return false // it got no worker
	}
	e := apierror.From(err)
	if e.Upstream != nil {
		return false
	}
	switch e.Category {
	case apierror.Timeout, apierror.ClientClosed, apierror.CLIError, apierror.UpstreamError, apierror.Internal:
		return true
	}
	return false
}
