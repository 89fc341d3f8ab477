package agent_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/simulator"
)

// until polls what a process outside decides.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited for too long until " + what)
		}
	}
}

func (s *service) spares(n int64) func() bool {
	return func() bool { r := s.Status(); return r.Spares == n && r.Starting == 0 }
}

// TestSparesAreWarmAndNeverShared has runs of one shape follow each other: each has a
// workspace and a session that no other had.
func TestSparesAreWarmAndNeverShared(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		s := newService(t, version, nil, func(o *agent.Options) { o.Spares = 1 })
		seen := map[string]bool{}
		var took []time.Duration
		for i := range 3 {
			h := &heard{}
			began := time.Now()
			o, err := s.Run(t.Context(), spec("key_1", call("Bash", map[string]any{"command": "ls -A ~ . && echo left > ~/mark && echo left > mark"})), h)
			took = append(took, time.Since(began))
			if err != nil || seen[o.Session] || seen[o.Workspace] || strings.Contains(h.results(), "mark") || len(o.Artifacts) != 1 {
				t.Fatalf("run %d: %+v, %v\n%s", i, o, err, h.results())
			}
			seen[o.Session], seen[o.Workspace] = true, true
			until(t, "a spare is there", s.spares(1))
		}
		t.Logf("cold %v, warm %v and %v", took[0], took[1], took[2])

		// Another shape's spare takes the place of the one.
		another := spec("key_2", "hello")
		if _, err := s.Run(t.Context(), another, &heard{}); err != nil {
			t.Fatal(err)
		}
		until(t, "the other's spare is there", func() bool { return s.spares(1)() && len(s.folders(t)) == 1 })
		s.Close()
		s.nothingLeft(t)
		// The spares' workspaces are gone with them, those of the runs are there.
		for _, folder := range read(t, filepath.Join(s.folder, "key_1", "work")) {
			if !seen[folder] {
				t.Errorf("a spare's workspace was left: %s", folder)
			}
		}
	})
}

func read(t *testing.T, folder string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (s *service) folders(t *testing.T) []string { t.Helper(); return read(t, s.root) }

func TestNoSparesWhereMemoryIsShort(t *testing.T) {
	var mu sync.Mutex
	free := int64(1 << 40)
	s := newService(t, install.Version, nil, func(o *agent.Options) {
		o.Spares = 1
		o.Memory = func() (int64, bool) { mu.Lock(); defer mu.Unlock(); return free, true }
	})
	if _, err := s.Run(t.Context(), spec("key_1", "hello"), &heard{}); err != nil {
		t.Fatal(err)
	}
	until(t, "a spare is there", s.spares(1))
	mu.Lock()
	free = 100 << 20
	mu.Unlock()
	// A run of another shape has the spare ended, and leaves none.
	if _, err := s.Run(t.Context(), spec("key_2", "hello"), &heard{}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.nothingLeft(t)
	if r := s.Status(); r.Spares != 0 {
		t.Errorf("%+v", r)
	}
}

// TestASpareThatDied isn't given to a run.
func TestASpareThatDied(t *testing.T) {
	s := newService(t, install.Version, nil, func(o *agent.Options) { o.Spares = 1 })
	if _, err := s.Run(t.Context(), spec("key_1", "hello"), &heard{}); err != nil {
		t.Fatal(err)
	}
	until(t, "a spare is there", s.spares(1))
	if killed, err := claudecli.KillMarked(s.marker); killed == 0 || err != nil {
		t.Fatalf("%d killed, %v", killed, err)
	}
	if o, err := s.Run(t.Context(), spec("key_1", "hello"), &heard{}); err != nil || o.Text != "Echo: hello" {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestTheRestOfAKilledService ends with its next start: processes by their marker, which
// the run folder names; here a service of its own process is killed in a run.
func TestTheRestOfAKilledService(t *testing.T) {
	if os.Getenv("AGENT_TEST_CHILD") != "" {
		runUntilKilled(t)
		return
	}
	folder := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), program, "-test.run=^TestTheRestOfAKilledService$")
	child.Env = append(os.Environ(), "AGENT_TEST_CHILD="+folder)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "its tool runs", func() bool { _, err := os.Stat(filepath.Join(folder, "started")); return err == nil })
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	if killed, err := claudecli.KillMarked(markerOfChild); killed == 0 || err != nil {
		t.Errorf("what its tool had started wasn't found: %d, %v", killed, err)
	}
	// The work that it did is there for another one to go on from.
	if _, err := os.Stat(filepath.Join(folder, "started")); err != nil {
		t.Error(err)
	}
}

const markerOfChild = "agenttestchild00"

func runUntilKilled(t *testing.T) {
	folder := os.Getenv("AGENT_TEST_CHILD")
	s := newService(t, install.Version, nil, func(o *agent.Options) { o.Process.Marker = markerOfChild })
	want := spec("key_1", call("Bash", map[string]any{"command": "(setsid sleep 1000 &) ; sleep 0.2; touch started; sleep 1000"}))
	want.Directory = folder
	_, err := s.Run(t.Context(), want, &heard{})
	t.Fatal("it ended by itself", err)
}

// TestBeforeTheProbe runs wait for it, and are refused when it fails.
func TestBeforeTheProbe(t *testing.T) {
	s := agent.New(agent.Options{Folder: t.TempDir()})
	defer s.Close()
	if r := s.Status(); !strings.Contains(r.Reason, "starting") {
		t.Errorf("%+v", r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Run(ctx, spec("key_1", "hello"), &heard{}); err == nil || ctx.Err() == nil {
		t.Errorf("it didn't wait: %v", err)
	}
	s.Fail(os.ErrNotExist)
	if _, err := s.Run(t.Context(), spec("key_1", "hello"), &heard{}); err == nil || s.Status().Reason == "" {
		t.Errorf("%v, %+v", err, s.Status())
	}
}

// BenchmarkRun is a run of one answer, from the call to its outcome.
func BenchmarkRun(b *testing.B) {
	for _, version := range clitest.Versions {
		for name, spares := range map[string]int{"cold": 0, "warm": 1} {
			b.Run(version+"/"+name, func(b *testing.B) {
				s := newService(b, version, nil, func(o *agent.Options) { o.Spares = spares })
				if _, err := s.Run(b.Context(), spec("key_1", "hello"), &heard{}); err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					b.StopTimer()
					until(b, "the spare is there", s.spares(int64(spares)))
					b.StartTimer()
					if _, err := s.Run(b.Context(), spec("key_1", "hello"), &heard{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkLeave is the time from a caller's leaving, in the middle of an answer, to the
// end of the upstream's call.
func BenchmarkLeave(b *testing.B) {
	for _, version := range clitest.Versions {
		b.Run(version, func(b *testing.B) {
			s := newService(b, version, nil, nil)
			var took []time.Duration
			for b.Loop() {
				ctx, leave := context.WithCancel(b.Context())
				h := &heard{event: func(e agent.Event) error {
					if e.Type != agent.EventToken || ctx.Err() != nil {
						return nil
					}
					at := time.Now()
					leave()
					err := s.upstream.Wait(b.Context(), func(s simulator.Stats) bool { return s.InFlight == 0 })
					took = append(took, time.Since(at))
					return err
				}}
				if _, err := s.Run(ctx, spec("key_1", "[[tokens=4000 interval=5ms]]"), h); err == nil {
					b.Fatal("the run has an end of its own")
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "left-p50-ms")
			b.ReportMetric(float64(took[len(took)-1].Microseconds())/1e3, "left-max-ms")
		})
	}
}
