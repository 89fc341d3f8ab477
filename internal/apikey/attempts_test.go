package apikey_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
)

// attempt presents a key that nobody has, and gives what became of it.
func (f *fixture) attempt(t *testing.T, address string) (took time.Duration, e *apierror.Error) {
	t.Helper()
	start := time.Now()
	_, err := f.auth.Authenticate(t.Context(), "cc_"+strings.Repeat("0", 40), address)
	if !errors.As(err, &e) {
		t.Fatalf("Authenticate = %v, want an apierror", err)
	}
	return time.Since(start), e
}

// exhaust uses up what is answered at once.
func (f *fixture) exhaust(t *testing.T, address string) {
	t.Helper()
	for n := range 20 {
		if took, e := f.attempt(t, address); took != 0 || e.Category != apierror.AuthError {
			t.Fatalf("attempt %d took %v: %v", n+1, took, e)
		}
	}
}

func TestFailedAttemptsAreSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		f.exhaust(t, "192.0.2.1")
		for range 5 { // each one waits for the second that it costs
			if took, e := f.attempt(t, "192.0.2.1"); took != time.Second || e.Category != apierror.AuthError {
				t.Errorf("took %v: %v, want a second", took, e)
			}
		}
		if took, e := f.attempt(t, "192.0.2.2"); took != 0 || e.Category != apierror.AuthError {
			t.Errorf("another address waits %v: %v", took, e)
		}
		time.Sleep(20 * time.Second) // all is forgotten
		f.exhaust(t, "192.0.2.1")
	})
}

func TestTooManyFailedAttemptsAtOnceAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		f.exhaust(t, "192.0.2.1")
		type result struct {
			took time.Duration
			err  *apierror.Error
		}
		results := make(chan result)
		for range 10 {
			go func() {
				took, e := f.attempt(t, "192.0.2.1")
				results <- result{took, e}
			}()
		}
		var slowed, refused []time.Duration
		for range 10 {
			switch r := <-results; r.err.Category {
			case apierror.AuthError:
				slowed = append(slowed, r.took)
			case apierror.RateLimited:
				if r.took != 0 || r.err.RetryAfter != time.Second || r.err.Status() != 429 {
					t.Errorf("refused after %v: %v, retry after %v", r.took, r.err, r.err.RetryAfter)
				}
				refused = append(refused, r.took)
			default:
				t.Errorf("refused with %v", r.err)
			}
		}
		if fmt.Sprint(slowed) != "[1s 2s 3s]" || len(refused) != 7 {
			t.Errorf("slowed by %v, %d refused; want 1 s, 2 s and 3 s, and 7", slowed, len(refused))
		}
	})
}

// The moment that a refusal names is the first at which an attempt is looked at
// again.
func TestTheRetryAfterOfARefusedAttemptIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		f.exhaust(t, "192.0.2.1")
		left, leave := context.WithCancel(t.Context())
		leave()
		for range 3 { // they don't wait, but count
			if _, err := f.auth.Authenticate(left, "cc_x", "192.0.2.1"); apierror.From(err).Category != apierror.AuthError {
				t.Fatal(err)
			}
		}
		time.Sleep(300 * time.Millisecond)
		_, e := f.attempt(t, "192.0.2.1")
		if e.Category != apierror.RateLimited || e.RetryAfter != 700*time.Millisecond {
			t.Fatalf("%v, retry after %v; want 700 ms", e, e.RetryAfter)
		}
		time.Sleep(e.RetryAfter - time.Nanosecond)
		if _, e := f.attempt(t, "192.0.2.1"); e.Category != apierror.RateLimited || e.RetryAfter != time.Nanosecond {
			t.Errorf("a nanosecond early: %v, retry after %v", e, e.RetryAfter)
		}
		time.Sleep(time.Nanosecond)
		if took, e := f.attempt(t, "192.0.2.1"); e.Category != apierror.AuthError || took != 3*time.Second {
			t.Errorf("at that moment: %v after %v", e, took)
		}
	})
}

func TestAGoodKeyIsNeverSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		text, _ := f.create(t, apikey.Create{})
		f.exhaust(t, "192.0.2.1")
		start := time.Now()
		for range 100 {
			if _, err := f.auth.Authenticate(t.Context(), text, "192.0.2.1"); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("a good key waited %v", took)
		}
	})
}

func TestWhatCountsAsAFailedAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		revoked, key := f.create(t, apikey.Create{})
		if _, err := f.keys.Revoke(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			key   string
			waits time.Duration
		}{
			"malformed": {"sk-ant-1", time.Second},
			"revoked":   {revoked, time.Second},
			"missing":   {"", 0}, // nothing was tried
		} {
			f.exhaust(t, name) // these are no addresses: they count as one
			start := time.Now()
			if _, err := f.auth.Authenticate(t.Context(), c.key, name); apierror.From(err).Category != apierror.AuthError {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(start); took != c.waits {
				t.Errorf("%s waited %v, want %v", name, took, c.waits)
			}
			time.Sleep(time.Minute)
		}
		f.exhaust(t, "192.0.2.1")
		f.store.fail(errors.New("disk on fire"))
		if took, e := f.attempt(t, "192.0.2.1"); took != 0 || e.Category != apierror.Overloaded {
			t.Errorf("a store that fails: %v after %v", e, took)
		}
	})
}

func TestAddressesThatCountAsOne(t *testing.T) {
	for name, c := range map[string]struct {
		one, other string
		same       bool
	}{
		"two IPv4":                {"192.0.2.1", "192.0.2.2", false},
		"IPv4 written as IPv6":    {"192.0.2.1", "::ffff:192.0.2.1", true},
		"two of one IPv6 network": {"2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true},
		"two IPv6 networks":       {"2001:db8:0:1::1", "2001:db8:0:2::1", false},
		"a zone":                  {"fe80::1%eth0", "fe80::2%eth1", true},
		"no addresses":            {"", "@", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture()
				f.exhaust(t, c.one)
				if took, _ := f.attempt(t, c.other); (took > 0) != c.same {
					t.Errorf("the other waited %v", took)
				}
			})
		})
	}
}

// Made-up addresses can't fill the memory: those beyond the bound share one
// account, until others are idle again.
func TestTheAddressesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		for n := range 10_000 {
			if took, e := f.attempt(t, fmt.Sprintf("10.0.%d.%d", n>>8, n&0xff)); took != 0 {
				t.Fatalf("address %d waited %v: %v", n, took, e)
			}
		}
		for n := range 20 {
			if took, _ := f.attempt(t, fmt.Sprintf("192.0.2.%d", n)); took != 0 {
				t.Errorf("address %d beyond the bound waited %v", n, took)
			}
		}
		if took, _ := f.attempt(t, "192.0.2.100"); took != time.Second {
			t.Errorf("the addresses beyond the bound have more than one burst: %v", took)
		}
		time.Sleep(time.Second) // all the others are idle now
		f.exhaust(t, "192.0.2.100")
	})
}
