package httpserver

import (
	"net/http"

	"claude-code-api-service/internal/openapi"
)

// Operations documents the server's own endpoints, and those of the document
// itself.
func Operations() []openapi.Operation {
	text := func(description string) *openapi.Schema {
		return &openapi.Schema{Type: openapi.String, Description: description}
	}
	get := func(path, id, summary string, responses ...openapi.Response) openapi.Operation {
		return openapi.Operation{
			Method: http.MethodGet, Path: path, ID: id, Tag: "Service", Summary: summary, Public: true, Responses: responses,
		}
	}
	service := &openapi.Schema{Name: "Service", Type: openapi.Object, Properties: []openapi.Property{
		{Name: "status", Required: true, Schema: &openapi.Schema{Type: openapi.String, Enum: []string{StatusOK, StatusDegraded, StatusDown, StatusOff}}},
		{Name: "detail", Required: true, Schema: text("What the part does, or what is wrong.")},
	}}
	health := &openapi.Schema{Name: "Health", Type: openapi.Object, Properties: []openapi.Property{
		{Name: "status", Required: true, Schema: &openapi.Schema{Type: openapi.String, Enum: []string{StatusOK, StatusDegraded}}},
		{Name: "version", Required: true, Schema: text("")},
		{Name: "uptime_seconds", Required: true, Schema: &openapi.Schema{Type: openapi.Number}},
		{Name: "services", Required: true, Schema: &openapi.Schema{Type: openapi.Object, Values: service}},
	}}
	ready := &openapi.Schema{Name: "Ready", Type: openapi.Object, Properties: []openapi.Property{
		{Name: "ready", Required: true, Schema: &openapi.Schema{Type: openapi.Boolean}},
		{Name: "reason", Required: true, Schema: text("Why not, \"\" when ready.")},
	}}
	return []openapi.Operation{
		get("/health", "health", "What each part of the service does; answered from memory", openapi.Response{Status: http.StatusOK, Schema: health}),
		get("/ready", "ready", "Whether new requests are welcome",
			openapi.Response{Status: http.StatusOK, Schema: ready},
			openapi.Response{Status: http.StatusServiceUnavailable, Description: "Starting, stopping or saturated", Schema: ready}),
		get("/metrics", "metrics", "Prometheus metrics", openapi.Response{Status: http.StatusOK, ContentType: "text/plain"}),
		get("/openapi.json", "openapi", "This document", openapi.Response{Status: http.StatusOK, ContentType: openapi.JSON}),
		get("/docs", "docs", "This document as a page", openapi.Response{Status: http.StatusOK, ContentType: "text/html"}),
	}
}
