// Package meter is the upstream of agentic runs: an address on this machine at which each
// call is admitted, charged and recorded as one of the run's caller, and none learns the
// service's credential.
package meter
