package main

import (
	"errors"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
)

func TestState(t *testing.T) {
	now := time.Now()
	past, future := now.Add(-time.Second), now.Add(time.Hour)
	for _, tt := range []struct {
		want string
		key  apikey.Key
	}{
		{"active", apikey.Key{}},
		{"active", apikey.Key{ExpiresAt: &future}},
		{"expired", apikey.Key{ExpiresAt: &past}},
		{"revoked", apikey.Key{RevokedAt: &past}},
		{"revoked", apikey.Key{RevokedAt: &past, ExpiresAt: &past}},
	} {
		if got := state(tt.key, now); got != tt.want {
			t.Errorf("%+v is %s, want %s", tt.key, got, tt.want)
		}
	}
}

func TestPlain(t *testing.T) {
	cause := errors.New("the disk is full")
	for _, tt := range []struct {
		name, want string
		err        error
	}{
		{"a field", "--rate-limit must be more", &apierror.Error{Category: apierror.BadRequest, Param: "requests_per_minute", Message: "requests_per_minute must be more"}},
		{"a field of another name", "name: wrong", &apierror.Error{Category: apierror.BadRequest, Param: "budget.name", Message: "name: wrong"}},
		{"a field in the middle", "the profile is wrong", &apierror.Error{Category: apierror.BadRequest, Param: "profile", Message: "the profile is wrong"}},
		{"a longer word", "names must be short", &apierror.Error{Category: apierror.BadRequest, Param: "name", Message: "names must be short"}},
		{"a wish", "no such key", &apierror.Error{Category: apierror.BadRequest, Param: "key", Message: "no such key", Cause: apikey.ErrNotFound}},
		{"a key", "the API key was revoked", &apierror.Error{Category: apierror.AuthError, Message: "the API key was revoked"}},
		{"a failure", "the disk is full", cause},
		{"our fault", "internal: broken: the disk is full", apierror.Wrap(apierror.Internal, "broken", cause)},
	} {
		if got := plain(tt.err).Error(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if err := plain(nil); err != nil {
		t.Errorf("nothing became %v", err)
	}
}
