package main

import (
	"errors"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
)

func TestState(t *testing.T) {
	past, future := time.Now().Add(-time.Second), time.Now().Add(time.Hour)
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
		if got := state(tt.key); got != tt.want {
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
		{"a wish", "no such key", &apierror.Error{Category: apierror.BadRequest, Param: "key", Message: "no such key", Cause: apikey.ErrNotFound}},
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

func TestShown(t *testing.T) {
	key := "cc_0123456789abcdef0123456789abcdef01234567"
	if got := shown(key); got != "cc_01234567…" {
		t.Errorf("a key is shown as %s", got)
	}
	if got := shown("key_1"); got != "key_1" {
		t.Errorf("an id is shown as %s", got)
	}
}
