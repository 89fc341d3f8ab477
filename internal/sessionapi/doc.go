// Package sessionapi serves sessions over HTTP: /v1/sessions.
package sessionapi
