// Package monitor knows what the service does at this moment and did in the last
// minutes: requests that run with the stages that they have passed, requests that have
// ended, percentiles by endpoint, backend and model, and rates by second. Everything is
// in memory, of this process alone, and bounded; the ledger is what lasts.
package monitor
