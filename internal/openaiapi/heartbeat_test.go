package openaiapi_test

import (
	"net/http"
	"testing"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/openaiapi"
	"claude-code-api-service/internal/protocol/protocoltest"
)

func TestHeartbeats(t *testing.T) {
	protocoltest.Heartbeats(t, func(g *gateway.Gateway) func(mux *http.ServeMux) {
		return openaiapi.New(openaiapi.Options{Gateway: g}).Register
	}, "/v1/chat/completions", `{"model":"haiku","stream":true,"messages":[{"role":"user","content":"x"}]}`)
}
