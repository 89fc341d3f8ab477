package admission

import (
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// TestTokensOfBothLimits: a request takes of each limit no more than it has, and gives
// each back no more than it took of it.
func TestTokensOfBothLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(Options{})
		limited := func() *gateway.Call {
			call := requestOf(t, "k", 5000)
			call.Caller.Key.TokensPerMinute, call.Caller.Project.TokensPerMinute = 600, 60_000
			return call
		}
		call := limited()
		if err := begin(a, call); err != nil {
			t.Fatal(err)
		}
		a.Release(call, used(500, 0))
		err := begin(a, limited())
		refused(t, err, apierror.RateLimited, true)
		if retry := apierror.From(err).RetryAfter; retry != 50*time.Second {
			t.Errorf("retry after %v", retry)
		}
		if left := call.Limits; left.TokensLimit != 600 {
			t.Errorf("limits = %+v", left)
		}
	})
}

// TestATokenIsGivenBackOnce: by time, or by the end of the request that took it.
func TestATokenIsGivenBackOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rate
		start := time.Now()
		now := func() time.Duration { return time.Since(start) }
		var long, other taken
		r.hold(&long, 600, 600, now())
		time.Sleep(time.Minute) // all of it is free again
		r.hold(&other, 600, 600, now())
		r.settle(&long, 0, 600, now())
		if wait := r.wait(600, 600, now()); wait != time.Minute {
			t.Errorf("after a long request all may be taken in %v", wait)
		}
		r.settle(&other, 100, 600, now())
		if wait := r.wait(600, 600, now()); wait != 10*time.Second {
			t.Errorf("after one that used 100, all may be taken in %v", wait)
		}
		if r.newest != nil {
			t.Error("one is held still")
		}
	})
}

// TestRatesAreAsIfOnlyThatWasTakenWhichIsUsed: whatever runs beside each other and
// however long, after all have ended a rate is as if each had taken at once what it
// has used; and never before does it let more through.
func TestRatesAreAsIfOnlyThatWasTakenWhichIsUsed(t *testing.T) {
	type running struct {
		taken taken
		used  int
	}
	rapid.Check(t, func(t *rapid.T) {
		const limit = 60 // one a second
		var r, exact rate
		var now time.Duration
		var list []*running
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 40).Draw(t, "seconds")) * time.Second
			if len(list) > 0 && rapid.Bool().Draw(t, "ends") {
				i := rapid.IntRange(0, len(list)-1).Draw(t, "which")
				r.settle(&list[i].taken, list[i].used, limit, now)
				list = append(list[:i], list[i+1:]...)
			} else if n := rapid.IntRange(1, limit).Draw(t, "n"); r.wait(n, limit, now) <= 0 {
				x := &running{used: rapid.IntRange(0, n).Draw(t, "used")}
				r.hold(&x.taken, n, limit, now)
				exact.take(x.used, limit, now)
				list = append(list, x)
			}
			if max(r.free, now) < max(exact.free, now) {
				t.Fatalf("all is free at %v, and at %v of what was used alone", r.free, exact.free)
			}
		}
		for _, x := range list {
			r.settle(&x.taken, x.used, limit, now)
		}
		if max(r.free, now) != max(exact.free, now) || r.newest != nil {
			t.Fatalf("in the end all is free at %v, and at %v of what was used alone", r.free, exact.free)
		}
	})
}

// TestADebtOfTokensEnds: what an answer is said to have used may be anything, but its key
// isn't locked for longer than a day.
func TestADebtOfTokensEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(Options{})
		limited := func() *gateway.Call {
			call := requestOf(t, "k", 1)
			call.Caller.Key.TokensPerMinute = 2
			return call
		}
		call := limited()
		if err := begin(a, call); err != nil {
			t.Fatal(err)
		}
		a.Release(call, used(1_000_000_000, 0))
		err := begin(a, limited())
		refused(t, err, apierror.RateLimited, true)
		retry := apierror.From(err).RetryAfter
		if retry < 24*time.Hour || retry > 25*time.Hour {
			t.Errorf("retry after %v", retry)
		}
		time.Sleep(retry)
		if err := begin(a, limited()); err != nil {
			t.Errorf("at the promised time: %v", err)
		}
	})
}
