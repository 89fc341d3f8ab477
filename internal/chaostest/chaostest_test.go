package chaostest_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/chaostest"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/simulator"
)

// isCLI makes the test binary the fake CLI.
const isCLI = "CHAOS_IS_CLI"

func TestMain(m *testing.M) {
	if os.Getenv(isCLI) == "1" {
		chaostest.RunCLI()
	}
	os.Exit(m.Run())
}

func TestAPlanFollowsFromTheSeed(t *testing.T) {
	one := func(seed uint64) (plans []chaostest.Plan, starts []chaostest.Start) {
		for caller := range 20 {
			for n := range 100 {
				plans = append(plans, chaostest.NewPlan(seed, caller, n))
			}
			starts = append(starts, chaostest.NewStart(seed, caller))
		}
		return plans, starts
	}
	plans, starts := one(1)
	again, startsAgain := one(1)
	if !slices.Equal(plans, again) || !slices.Equal(starts, startsAgain) {
		t.Error("the same seed gives another schedule")
	}
	if others, otherStarts := one(2); slices.Equal(plans, others) || slices.Equal(starts, otherStarts) {
		t.Error("another seed gives the same schedule")
	}
	nonces := map[string]bool{}
	for _, p := range plans {
		nonces[p.Nonce] = true
		if p.Fault == chaostest.SlowBody && p.Leave == 0 {
			t.Errorf("nobody ends %+v", p)
		}
	}
	if len(nonces) != len(plans) {
		t.Errorf("%d nonces for %d plans", len(nonces), len(plans))
	}
}

// seen is the upstream of a probe.
type seen struct{ *simulator.Simulator }

func (s seen) Bodies() (bodies [][]byte) {
	for _, r := range s.Requests() {
		if r.Path == "/v1/messages" {
			bodies = append(bodies, r.Body)
		}
	}
	return bodies
}

func (s seen) Seen(ctx context.Context, text string) error {
	return s.Wait(ctx, func(simulator.Stats) bool {
		return slices.ContainsFunc(s.Bodies(), func(b []byte) bool { return strings.Contains(string(b), text) })
	})
}

// TestTheFakeCLIPassesTheProbe has the service's own probe look at the fake CLI: a
// CLI that isn't taken for a good one would be no test of the pool.
func TestTheFakeCLIPassesTheProbe(t *testing.T) {
	upstream := simulator.New(simulator.Options{KeepBodies: 1000})
	if _, err := upstream.Start(""); err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	found, err := claudecli.Probe(t.Context(), claudecli.Options{
		Path: path, Root: t.TempDir(), Model: "claude-sonnet-5-5", Env: []string{isCLI + "=1"},
	}, seen{upstream})
	if err != nil || found.Emptying != claudecli.EmptyByRewind || !found.ChangeSystem || !found.ExtraBody || !found.OneCall {
		t.Errorf("%+v, %v", found, err)
	}
}

// TestEachFault asks the upstream once for each fault.
func TestEachFault(t *testing.T) {
	up, err := chaostest.NewUpstream(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { up.Close() })
	const broken = -1 // instead of a status: there is no header
	for fault, want := range map[chaostest.Fault]struct {
		status int
		whole  bool // the body is read to an end
		holds  string
	}{
		"":                    {200, true, "message_stop"},
		chaostest.ResetBefore: {broken, false, ""},
		chaostest.ResetHeader: {200, false, ""},
		chaostest.ResetBody:   {200, false, "message_start"},
		chaostest.Silent:      {broken, false, ""},
		chaostest.Stalled:     {200, false, "message_start"},
		chaostest.SlowBody:    {200, false, "e"},
		chaostest.SlowStart:   {200, true, "message_stop"},
		chaostest.Garbage:     {200, true, "no answer"},
		chaostest.BadEvent:    {200, true, "\xff"},
		chaostest.Truncated:   {200, true, "message_start"},
		chaostest.ErrorEvent:  {200, true, "overloaded_error"},
		chaostest.Duplicate:   {200, true, "message_stop"},
		chaostest.Storm:       {429, true, "rate_limit_error"},
		chaostest.StormAfter:  {429, true, "rate_limit_error"},
		chaostest.Internal:    {500, true, "api_error"},
		chaostest.Overloaded:  {529, true, "overloaded_error"},
		chaostest.Large:       {200, true, "message_stop"},
		chaostest.Huge:        {200, true, "message_stop"},
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if fault == chaostest.Silent || fault == chaostest.Stalled || fault == chaostest.SlowBody {
				ctx, cancel = context.WithTimeout(t.Context(), 1500*time.Millisecond)
				defer cancel()
			}
			p := chaostest.Plan{Nonce: "nonce", Fault: fault}
			body := `{"model":"claude-haiku-5-5","max_tokens":100,"stream":true,"messages":[{"role":"user","content":"` + p.Prompt() + `"}]}`
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, up.URL()+"/v1/messages", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("X-Api-Key", "any")
			request.Header.Set("Anthropic-Version", "2023-06-01")
			status, got, readErr := broken, []byte(nil), errors.New("no answer")
			if response, err := (&http.Transport{}).RoundTrip(request); err == nil {
				defer response.Body.Close()
				status = response.StatusCode
				got, readErr = io.ReadAll(response.Body)
			}
			if status != want.status || (readErr == nil) != want.whole || !strings.Contains(string(got), want.holds) {
				t.Errorf("status %d, %v: %.300q; want %+v", status, readErr, got, want)
			}
		})
	}
}

// TestStartsAreHandedOutOnceArmed asks as processes of the CLI do.
func TestStartsAreHandedOutOnceArmed(t *testing.T) {
	up, err := chaostest.NewUpstream(7)
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	counts := map[chaostest.Start]int{}
	for i := range 200 {
		up.Arm(i >= 100)
		response, err := http.Get(up.Scripts())
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || i < 100 && len(text) > 0 {
			t.Fatalf("%d: %q, %v", i, text, err)
		}
		counts[chaostest.Start(text)]++
	}
	if names := slices.Sorted(maps.Keys(counts)); len(names) < 8 || counts[""] < 120 {
		t.Errorf("%v", counts)
	}
}
