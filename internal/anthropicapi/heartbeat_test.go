package anthropicapi_test

import (
	"net/http"
	"testing"

	"claude-code-api-service/internal/anthropicapi"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol/protocoltest"
)

func TestHeartbeats(t *testing.T) {
	protocoltest.Heartbeats(t, func(g *gateway.Gateway) func(mux *http.ServeMux) {
		return anthropicapi.New(anthropicapi.Options{Gateway: g}).Register
	}, "/v1/messages", `{"model":"haiku","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"x"}]}`)
}
