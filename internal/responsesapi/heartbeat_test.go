package responsesapi_test

import (
	"net/http"
	"testing"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/responsesapi"
)

func TestHeartbeats(t *testing.T) {
	protocoltest.Heartbeats(t, func(g *gateway.Gateway) func(mux *http.ServeMux) {
		return responsesapi.New(responsesapi.Options{Gateway: g}).Register
	}, "/v1/responses", `{"model":"haiku","stream":true,"store":false,"input":"x"}`)
}
