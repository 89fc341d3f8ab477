package processapi_test

import (
	"net/http"
	"testing"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/processapi"
	"claude-code-api-service/internal/protocol/protocoltest"
)

func TestHeartbeats(t *testing.T) {
	protocoltest.Heartbeats(t, func(g *gateway.Gateway) func(mux *http.ServeMux) {
		return processapi.New(processapi.Options{Gateway: g}).Register
	}, "/v1/process", `{"provider":"claudecode","model_name":"haiku","user_message":"x","additional_params":{"stream":true}}`)
}
