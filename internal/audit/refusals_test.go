package audit_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/gateway"
)

// next is the observer behind a Refusals.
type next struct {
	mu   sync.Mutex
	seen int
}

func (n *next) Observe(gateway.Entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen++
}

// recorded runs a test with Refusals, and gives what the log has at its end.
func recorded(t *testing.T, play func(r *audit.Refusals)) (events []audit.Event, seen int) {
	synctest.Test(t, func(t *testing.T) {
		store, behind := &memory{}, &next{}
		l := audit.NewLog(audit.Options{Store: store})
		r := audit.NewRefusals(l, behind)
		play(r)
		r.Close()
		closeLog(t, l)
		events, seen = store.events(), behind.seen
	})
	return events, seen
}

func refusal(category apierror.Category, caller *gateway.Caller, address string) gateway.Entry {
	return gateway.Entry{
		RequestID: "req_1", Endpoint: "/v1/messages", Caller: caller, Address: address,
		Status: http.StatusTeapot, Category: string(category), Refused: true,
	}
}

func TestWhatIsARefusal(t *testing.T) {
	caller := &gateway.Caller{KeyID: "key_1", ProjectID: "alpha"}
	for name, tt := range map[string]struct {
		entry gateway.Entry
		want  audit.Event // without an action: none
	}{
		"a success": {entry: gateway.Entry{Caller: caller, Status: http.StatusOK}},
		"a wrong key": {
			refusal(apierror.AuthError, nil, "192.0.2.1"),
			audit.Event{Action: audit.Refused, Address: "192.0.2.1", Target: "/v1/messages", Detail: "auth_error", RequestID: "req_1"},
		},
		"a revoked key": {
			refusal(apierror.AuthError, caller, "192.0.2.1"),
			audit.Event{
				Action: audit.Refused, Actor: "key_1", Project: "alpha", Address: "192.0.2.1", Target: "/v1/messages",
				Detail: "auth_error", RequestID: "req_1",
			},
		},
		"a limit": {
			refusal(apierror.RateLimited, caller, "192.0.2.1"),
			audit.Event{
				Action: audit.Refused, Actor: "key_1", Project: "alpha", Address: "192.0.2.1", Target: "/v1/messages",
				Detail: "rate_limited", RequestID: "req_1",
			},
		},
		"a budget": {
			refusal(apierror.BudgetExceeded, caller, ""),
			audit.Event{Action: audit.Refused, Actor: "key_1", Project: "alpha", Target: "/v1/messages", Detail: "budget_exceeded", RequestID: "req_1"},
		},
		"a right": {
			refusal(apierror.Permission, caller, ""),
			audit.Event{Action: audit.Refused, Actor: "key_1", Project: "alpha", Target: "/v1/messages", Detail: "permission", RequestID: "req_1"},
		},
		"a full queue":  {entry: refusal(apierror.Overloaded, caller, "")},
		"a bad request": {entry: refusal(apierror.BadRequest, caller, "")},
		"the upstream's": {entry: gateway.Entry{
			Caller: caller, Status: http.StatusTooManyRequests, Category: string(apierror.RateLimited),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			events, seen := recorded(t, func(r *audit.Refusals) { r.Observe(tt.entry) })
			if seen != 1 {
				t.Errorf("the next observer heard of %d requests", seen)
			}
			if tt.want.Action == "" {
				if len(events) != 0 {
					t.Errorf("recorded %+v", events)
				}
				return
			}
			if len(events) != 1 {
				t.Fatalf("recorded %+v", events)
			}
			events[0].Time = time.Time{}
			if events[0] != tt.want {
				t.Errorf("recorded\n%+v, want\n%+v", events[0], tt.want)
			}
		})
	}
}

// TestAFlood is an attacker who tries keys from one address, and a key that
// ignores its limits, for three minutes.
func TestAFlood(t *testing.T) {
	const each = 5000 // in each minute
	caller := &gateway.Caller{KeyID: "key_1", ProjectID: "alpha"}
	events, seen := recorded(t, func(r *audit.Refusals) {
		for range 3 {
			for range each {
				r.Observe(refusal(apierror.AuthError, nil, "192.0.2.1:99"))
				r.Observe(refusal(apierror.RateLimited, caller, "192.0.2.1:99"))
			}
			time.Sleep(time.Minute)
			synctest.Wait()
		}
	})
	if seen != 6*each {
		t.Errorf("the next observer heard of %d requests", seen)
	}
	stranger, key := 0, 0
	var summaries []string
	for _, e := range events {
		switch {
		case strings.Contains(e.Detail, "more"):
			summaries = append(summaries, fmt.Sprintf("%s/%s/%s: %s", e.Actor, e.Project, e.Address, e.Detail))
		case e.Actor == "":
			stranger++
		default:
			key++
		}
	}
	if stranger != 30 || key != 300 || len(summaries) != 6 {
		t.Errorf("%d events of the stranger, %d of the key, %d sums", stranger, key, len(summaries))
	}
	all := strings.Join(summaries, "\n")
	for _, want := range []string{"//192.0.2.1: auth_error, 4990 more within a minute", "key_1/alpha/: rate_limited, 4900 more within a minute"} {
		if strings.Count(all, want) != 3 {
			t.Errorf("%q isn't there three times:\n%s", want, all)
		}
	}
}

// TestManyAddresses is an attacker with many addresses. The log holds few events
// all the same, and counts each refusal.
// TestARevokedKeyFloods has no more events than a stranger.
func TestARevokedKeyFloods(t *testing.T) {
	former := &gateway.Caller{KeyID: "key_1", ProjectID: "alpha"}
	events, _ := recorded(t, func(r *audit.Refusals) {
		for range 1000 {
			r.Observe(refusal(apierror.AuthError, former, "192.0.2.1"))
		}
	})
	if len(events) != 11 || events[10].Actor != "key_1" || events[10].Detail != "auth_error, 990 more within a minute" {
		t.Errorf("%d events, at last %+v", len(events), events[len(events)-1])
	}
}

func TestManyAddresses(t *testing.T) {
	const addresses, each = 1000, 20
	events, _ := recorded(t, func(r *audit.Refusals) {
		for range each {
			for i := range addresses {
				r.Observe(refusal(apierror.AuthError, nil, fmt.Sprintf("10.0.%d.%d", i/250, i%250)))
			}
		}
	})
	if len(events) > 200 {
		t.Errorf("%d events in a minute", len(events))
	}
	counted := 0
	for _, e := range events {
		n := 1
		if _, err := fmt.Sscanf(e.Detail, "auth_error, %d more", &n); err != nil {
			n = 1
		}
		counted += n
	}
	if counted != addresses*each {
		t.Errorf("%d refusals are counted, want %d", counted, addresses*each)
	}
}

// TestANetworkIsOneStranger: whoever has an IPv6 network has all its addresses.
func TestANetworkIsOneStranger(t *testing.T) {
	for name, addresses := range map[string][]string{
		"a /64":           {"2001:db8::1", "2001:db8::2", "[2001:db8::3]:443", "2001:db8::ffff:1"},
		"IPv4, two forms": {"192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1:80", "[::ffff:192.0.2.1]:81"},
		"zones":           {"fe80::1%eth0", "fe80::1%eth1", "fe80::2", "fe80::2%x"},
		"no address":      {"", "", "", ""},
		"a socket":        {"@", "@", "@", "@"},
	} {
		events, _ := recorded(t, func(r *audit.Refusals) {
			for range 5 {
				for _, address := range addresses {
					r.Observe(refusal(apierror.AuthError, nil, address))
				}
			}
		})
		if len(events) != 11 || events[10].Detail != "auth_error, 10 more within a minute" {
			t.Errorf("%s: %d events, the last is %+v", name, len(events), events[len(events)-1])
		}
	}
}

func TestAnIdleWindowWritesNothing(t *testing.T) {
	events, _ := recorded(t, func(r *audit.Refusals) {
		r.Observe(refusal(apierror.AuthError, nil, "192.0.2.1"))
		time.Sleep(time.Hour)
		for range 10 { // a whole new window
			r.Observe(refusal(apierror.AuthError, nil, "192.0.2.1"))
		}
		time.Sleep(time.Hour)
	})
	if len(events) != 11 {
		t.Errorf("%d events, want one for each refusal", len(events))
	}
}

func TestAfterCloseOnlyTheNextHears(t *testing.T) {
	events, seen := recorded(t, func(r *audit.Refusals) {
		r.Close()
		r.Observe(refusal(apierror.AuthError, nil, "192.0.2.1"))
	})
	if len(events) != 0 || seen != 1 {
		t.Errorf("%d events, %d seen", len(events), seen)
	}
}

func TestManyRefusalsAtOnce(t *testing.T) {
	events, seen := recorded(t, func(r *audit.Refusals) {
		var wg sync.WaitGroup
		for i := range 8 {
			caller := &gateway.Caller{KeyID: fmt.Sprint("key_", i)}
			wg.Go(func() {
				for range 200 {
					r.Observe(refusal(apierror.Permission, caller, ""))
				}
			})
		}
		wg.Wait()
	})
	if len(events) != 8*101 || seen != 1600 {
		t.Errorf("%d events, %d seen; want a hundred each, and the sums", len(events), seen)
	}
}
