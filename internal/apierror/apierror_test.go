package apierror_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
)

// TestStatus is the contract's table of errors.
func TestStatus(t *testing.T) {
	tests := []struct {
		err  *apierror.Error
		want int
	}{
		{apierror.New(apierror.BadRequest, ""), 400},
		{&apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeTooLarge}, 413},
		{&apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeModelNotFound}, 404},
		{&apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeMethod}, 405},
		{&apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotImplemented}, 501},
		{&apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeIdempotencyInProgress}, 409},
		{&apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeIdempotencyTooLarge}, 409},
		{&apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeIdempotencyMismatch}, 422},
		{apierror.New(apierror.AuthError, ""), 401},
		{&apierror.Error{Category: apierror.AuthError, Upstream: &apierror.Upstream{Status: 401, OurCredential: true}}, 502},
		{apierror.New(apierror.Permission, ""), 403},
		{apierror.New(apierror.BudgetExceeded, ""), 429},
		{apierror.New(apierror.RateLimited, ""), 429},
		{apierror.New(apierror.Overloaded, ""), 503},
		{apierror.New(apierror.UpstreamError, ""), 502},
		{apierror.New(apierror.ConnectionError, ""), 502},
		{apierror.New(apierror.CLIError, ""), 502},
		{apierror.New(apierror.Timeout, ""), 504},
		{apierror.New(apierror.ClientClosed, ""), 499},
		{apierror.New(apierror.Internal, ""), 500},
	}
	for _, test := range tests {
		if got := test.err.Status(); got != test.want {
			t.Errorf("%s %s: status %d, want %d", test.err.Category, test.err.Code, got, test.want)
		}
	}
}

func TestFrom(t *testing.T) {
	inner := apierror.Wrap(apierror.Timeout, "slow", io.ErrUnexpectedEOF)
	if got := apierror.From(fmt.Errorf("wrapped: %w", inner)); got != inner || !errors.Is(got, io.ErrUnexpectedEOF) {
		t.Errorf("From found %v", got)
	}
	unknown := apierror.From(errors.New("password is hunter2"))
	if unknown.Status() != 500 || strings.Contains(unknown.Message, "hunter2") || !strings.Contains(unknown.Error(), "hunter2") {
		t.Errorf("an unknown error became %v for the caller, %v for the log", unknown.Message, unknown)
	}
	if apierror.From(nil) != nil {
		t.Error("From(nil) isn't nil")
	}
}

func TestMayPass(t *testing.T) {
	for status, want := range map[int]bool{
		400: false, 401: false, 402: false, 403: false, 404: false, 413: false, 422: false, 301: false,
		408: true, 409: true, 429: true, 500: true, 502: true, 503: true, 504: true, 529: true,
	} {
		if got := apierror.FromUpstream(status, "").MayPass(); got != want {
			t.Errorf("upstream status %d: %t", status, got)
		}
	}
	for category, want := range map[apierror.Category]bool{
		apierror.BadRequest: false, apierror.AuthError: false, apierror.Permission: false, apierror.BudgetExceeded: false,
		apierror.ClientClosed: false, apierror.Internal: false,
		apierror.RateLimited: true, apierror.Overloaded: true, apierror.UpstreamError: true, apierror.ConnectionError: true,
		apierror.CLIError: true, apierror.Timeout: true,
	} {
		if got := apierror.New(category, "").MayPass(); got != want {
			t.Errorf("%s: %t", category, got)
		}
	}
	// The CLI without a credential knows no status.
	e := &apierror.Error{Category: apierror.AuthError, Upstream: &apierror.Upstream{OurCredential: true}}
	if e.MayPass() {
		t.Error("a missing credential passes by itself")
	}
}
