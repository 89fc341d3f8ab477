// Package client calls a claude-code-api-service: process, batch, task and streams,
// with their shapes as types.
package client
