package gateway_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// adminRooms have a caller who administers the service.
type adminRooms struct{ rooms }

func (*adminRooms) Authenticate(context.Context, string, string) (*gateway.Caller, error) {
	return &gateway.Caller{KeyID: "key_admin", Admin: true}, nil
}

func TestAnAdminKeyGeneratesNothing(t *testing.T) {
	r := &adminRooms{}
	g := gateway.New(gateway.Options{Authenticator: r, Admitter: r, Router: r, Recorder: r, Observer: r})
	call, err := g.Open(t.Context(), "id", "/v1/x", "key", "192.0.2.1")
	var e *apierror.Error
	if !errors.As(err, &e) || e.Category != apierror.Permission || e.Code != apierror.CodeAdminKey || e.Status() != 403 {
		t.Fatalf("Open = %v, want permission", err)
	}
	g.Refuse(t.Context(), call, err)
	if len(r.heard) != 1 || !r.heard[0].Refused || r.heard[0].Caller == nil || r.heard[0].Caller.KeyID != "key_admin" {
		t.Errorf("heard %+v, want one refusal of the key", r.heard)
	}
}

// formerRooms have a caller whose key isn't taken any more.
type formerRooms struct{ rooms }

func (*formerRooms) Authenticate(context.Context, string, string) (*gateway.Caller, error) {
	return &gateway.Caller{KeyID: "key_former"}, apierror.New(apierror.AuthError, "the API key was revoked")
}

// Whose a refused key was is for the observer: the call has no caller.
func TestTheObserverHearsWhoseARefusedKeyWas(t *testing.T) {
	r := &formerRooms{}
	g := gateway.New(gateway.Options{Authenticator: r, Admitter: r, Router: r, Recorder: r, Observer: r})
	call, err := g.Open(t.Context(), "id", "/v1/x", "key", "192.0.2.1")
	if e := apierror.From(err); e == nil || e.Category != apierror.AuthError || call.Caller != nil {
		t.Fatalf("Open = %+v, %v; want auth_error and no caller", call.Caller, err)
	}
	g.Refuse(t.Context(), call, err)
	if len(r.heard) != 1 || !r.heard[0].Refused || r.heard[0].Caller == nil || r.heard[0].Caller.KeyID != "key_former" {
		t.Errorf("heard %+v, want one refusal of the key", r.heard)
	}
}

func TestEntriesNameTheAddress(t *testing.T) {
	r := &rooms{}
	call, err := serve(t, t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range slices.Concat(r.rows, r.heard) {
		if entry.Address != "192.0.2.1" {
			t.Errorf("an entry names the address %q", entry.Address)
		}
	}
	if child := call.Child("id-1"); len(r.rows) != 1 || child.Address != "192.0.2.1" {
		t.Errorf("%d rows; a child has the address %q", len(r.rows), child.Address)
	}
}

// Whoever tries a key and leaves before the answer has tried it all the same.
func TestAFailedAttemptIsHeardOfAlthoughTheCallerLeft(t *testing.T) {
	for _, c := range []struct {
		err  error
		want apierror.Category
	}{
		{apierror.New(apierror.AuthError, "invalid API key"), apierror.AuthError},
		{apierror.New(apierror.Overloaded, "later"), apierror.ClientClosed},
	} {
		ctx, leave := context.WithCancel(t.Context())
		leave()
		r := &rooms{fail: map[string]error{"authenticate": c.err}}
		if _, err := serve(t, ctx, r); !errors.Is(err, c.err) {
			t.Errorf("err = %v, want %v", err, c.err)
		}
		if len(r.heard) != 1 || r.heard[0].Category != string(c.want) {
			t.Errorf("heard %+v, want %s", r.heard, c.want)
		}
	}
}
