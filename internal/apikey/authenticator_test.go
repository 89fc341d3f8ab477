package apikey_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/gateway"
)

type fixture struct {
	store *memory
	keys  *apikey.Keys
	auth  *apikey.Authenticator
	log   *bytes.Buffer
}

func newFixture() *fixture {
	store, log := newMemory(), new(bytes.Buffer)
	return &fixture{
		store, apikey.NewKeys(apikey.Options{Store: store}),
		apikey.NewAuthenticator(apikey.AuthenticatorOptions{Store: store, Logger: slog.New(slog.NewTextHandler(log, nil))}), log,
	}
}

func (f *fixture) create(t testing.TB, create apikey.Create) (string, apikey.Key) {
	t.Helper()
	create.ProjectID = "alpha"
	text, key, err := f.keys.Create(context.Background(), create)
	if err != nil {
		t.Fatal(err)
	}
	return text, key
}

func (f *fixture) accepted(t *testing.T, key string) *gateway.Caller {
	t.Helper()
	caller, err := f.auth.Authenticate(t.Context(), key, "192.0.2.1")
	if err != nil || caller == nil {
		t.Fatalf("Authenticate = %v, %v; want a caller", caller, err)
	}
	return caller
}

func (f *fixture) refused(t *testing.T, key, message string) {
	t.Helper()
	caller, err := f.auth.Authenticate(t.Context(), key, "192.0.2.1")
	var e *apierror.Error
	if !errors.As(err, &e) || e.Category != apierror.AuthError || e.Code != apierror.CodeInvalidKey || e.Status() != 401 {
		t.Fatalf("Authenticate = %v, %v; want auth_error", caller, err)
	}
	if former := strings.Contains(message, "the API key was") || strings.Contains(message, "has expired"); former != (caller != nil) {
		t.Errorf("%v is beside %v", caller, err)
	}
	if !strings.Contains(e.Message, message) {
		t.Errorf("message is %q, want %q", e.Message, message)
	}
	if key != "" && strings.Contains(err.Error(), key) {
		t.Error("the error repeats the key")
	}
}

func TestAuthenticateOnceFromStoreThenFromMemory(t *testing.T) {
	f := newFixture()
	text, key := f.create(t, apikey.Create{Profile: "free", RequestsPerMinute: new(7)})
	first := f.accepted(t, text)
	free, err := f.keys.Profile(t.Context(), "free")
	if err != nil {
		t.Fatal(err)
	}
	if want := (gateway.Caller{
		KeyID: key.ID, ProjectID: "alpha", Profile: "free", Permissions: free.Permissions, Key: gateway.RateLimits{RequestsPerMinute: 7}, Location: time.UTC,
	}); !reflect.DeepEqual(*first, want) {
		t.Errorf("caller is %+v, want %+v", *first, want)
	}
	for range 5 {
		if f.accepted(t, text) != first {
			t.Error("another caller")
		}
	}
	if n := f.store.lookedUp(); n != 1 {
		t.Errorf("%d look-ups, want 1", n)
	}
}

func TestAuthenticateRefuses(t *testing.T) {
	f := newFixture()
	text, _ := f.create(t, apikey.Create{})
	for name, c := range map[string]struct{ key, message string }{
		"no key":          {"", "missing API key: send x-api-key or Authorization: Bearer"},
		"another scheme":  {"sk-ant-" + text, "invalid API key"},
		"upper case":      {strings.ToUpper(text), "invalid API key"},
		"too short":       {text[:42], "invalid API key"},
		"a space at last": {text + " ", "invalid API key"},
		"a huge one":      {"cc_" + strings.Repeat("a", 1<<20), "invalid API key"},
	} {
		t.Run(name, func(t *testing.T) {
			f.refused(t, c.key, c.message)
			if n := f.store.lookedUp(); n != 0 {
				t.Errorf("%d look-ups for a malformed key", n)
			}
		})
	}
}

func TestUnknownKeyWorksOnceItIsMade(t *testing.T) {
	f := newFixture()
	text := "cc_" + strings.Repeat("0a", 20)
	f.refused(t, text, "invalid API key")
	if err := f.store.CreateKey(t.Context(), apikey.Key{ID: "key_late"}, apikey.HashOf(text), nil); err != nil {
		t.Fatal(err)
	}
	if caller := f.accepted(t, text); caller.KeyID != "key_late" {
		t.Errorf("caller is %+v", caller)
	}
}

func TestKeyExpiresInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		expires := time.Now().Add(time.Minute)
		text, _ := f.create(t, apikey.Create{ExpiresAt: &expires})
		f.accepted(t, text)
		time.Sleep(time.Minute - time.Nanosecond)
		f.accepted(t, text)
		time.Sleep(time.Nanosecond)
		f.refused(t, text, "the API key has expired")
		if n := f.store.lookedUp(); n != 1 {
			t.Errorf("%d look-ups, want 1", n)
		}
	})
}

func TestWatchNoticesAChangeOfAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		ctx, stop := context.WithCancel(t.Context())
		go f.auth.Watch(ctx)
		synctest.Wait()
		text, key := f.create(t, apikey.Create{})
		f.accepted(t, text)
		time.Sleep(time.Second)
		lookups := f.store.lookedUp()
		f.accepted(t, text)
		if f.store.lookedUp() != lookups+1 { // the creation was a change, too
			t.Fatalf("%d look-ups", f.store.lookedUp())
		}
		time.Sleep(time.Hour)
		f.accepted(t, text)
		if f.store.lookedUp() != lookups+1 {
			t.Error("the memory was dropped although nothing changed")
		}

		if err := f.store.RevokeKey(t.Context(), key.ID, time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(apikey.DefaultInterval)
		synctest.Wait()
		f.refused(t, text, "the API key was revoked")
		lookups = f.store.lookedUp()
		f.refused(t, text, "the API key was revoked")
		if f.store.lookedUp() != lookups {
			t.Error("a revoked key costs a look-up each time")
		}
		stop()
		synctest.Wait()
	})
}

// A revocation that happens between a look-up's read and its answer must not
// be covered by that answer.
func TestALookUpThatAChangeOvertookIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		text, key := f.create(t, apikey.Create{})
		ctx, stop := context.WithCancel(t.Context())
		go f.auth.Watch(ctx)
		synctest.Wait()
		f.store.during = func() {
			if err := f.store.RevokeKey(context.Background(), key.ID, time.Now()); err != nil {
				t.Error(err)
			}
			time.Sleep(apikey.DefaultInterval)
			synctest.Wait()
		}
		f.accepted(t, text) // it was good when it was read
		f.store.during = nil
		f.refused(t, text, "the API key was revoked")
		stop()
		synctest.Wait()
	})
}

func TestStoreFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		text, _ := f.create(t, apikey.Create{})
		f.accepted(t, text)
		ctx, stop := context.WithCancel(t.Context())
		go f.auth.Watch(ctx)
		synctest.Wait()
		f.accepted(t, text)

		broken := errors.New("disk on fire")
		f.store.fail(broken)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		_, err := f.auth.Authenticate(t.Context(), text, "192.0.2.1")
		var e *apierror.Error
		if !errors.As(err, &e) || e.Category != apierror.Overloaded || e.Status() != 503 || e.RetryAfter <= 0 || !errors.Is(err, broken) {
			t.Errorf("error is %v, want overloaded with the cause", err)
		}
		if strings.Contains(e.Message, "fire") {
			t.Errorf("the caller reads %q", e.Message)
		}
		f.refused(t, "", "missing API key")

		f.store.fail(nil)
		time.Sleep(apikey.DefaultInterval)
		synctest.Wait()
		f.accepted(t, text)
		if errs, infos := strings.Count(f.log.String(), "level=ERROR"), strings.Count(f.log.String(), "level=INFO"); errs != 1 || infos != 1 {
			t.Errorf("the log says\n%s", f.log)
		}
		stop()
		synctest.Wait()
	})
}

func TestCallerLeavesDuringTheLookUp(t *testing.T) {
	f := newFixture()
	text, _ := f.create(t, apikey.Create{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.auth.Authenticate(ctx, text, "192.0.2.1")
	if e := apierror.From(err); e.Category != apierror.ClientClosed {
		t.Errorf("error is %v, want client_closed", err)
	}
	f.accepted(t, text) // nothing was remembered of it
}

func BenchmarkAuthenticate(b *testing.B) {
	f := newFixture()
	text, _ := f.create(b, apikey.Create{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.auth.Authenticate(context.Background(), text, "192.0.2.1"); err != nil {
			b.Fatal(err)
		}
	}
	if n := f.store.lookedUp(); n != 1 {
		b.Errorf("%d look-ups", n)
	}
}

func BenchmarkAuthenticateParallel(b *testing.B) {
	f := newFixture()
	text, _ := f.create(b, apikey.Create{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := f.auth.Authenticate(context.Background(), text, "192.0.2.1"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
