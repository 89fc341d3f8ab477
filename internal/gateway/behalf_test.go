package gateway_test

import (
	"errors"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
)

func TestACallOnBehalfOfAKey(t *testing.T) {
	g := gateway.New(gateway.Options{Strict: true})
	caller := &gateway.Caller{KeyID: "key_1", ProjectID: "alpha"}
	call, err := g.OpenFor(t.Context(), "req_1", "/admin/v1/playground/chat", caller, "192.0.2.1")
	if err != nil || call.Caller != caller || call.RequestID != "req_1" || call.Endpoint != "/admin/v1/playground/chat" || call.Address != "192.0.2.1" || !call.Strict {
		t.Errorf("%+v, %v", call, err)
	}
	if _, known := call.Clock.Took(latency.Auth); !known {
		t.Error("its clock doesn't run")
	}
	_, err = g.OpenFor(t.Context(), "req_2", "/admin/v1/playground/chat", &gateway.Caller{KeyID: "key_2", Admin: true}, "192.0.2.1")
	var e *apierror.Error
	if !errors.As(err, &e) || e.Code != apierror.CodeAdminKey || e.Category != apierror.Permission {
		t.Errorf("an admin key: %v", err)
	}
}
