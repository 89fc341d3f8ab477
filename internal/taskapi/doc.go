// Package taskapi serves tasks over HTTP: POST /v1/task, /v1/tasks, their events, artifacts
// and approvals, and GET /v1/capabilities.
package taskapi
