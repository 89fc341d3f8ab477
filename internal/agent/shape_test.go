package agent

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/trace"
)

// stub is a process that does nothing but live until it is ended.
type stub struct{ exited chan struct{} }

func (*stub) Ready(context.Context) error                         { return nil }
func (*stub) Bind(context.Context, claudecli.AgentSettings) error { return nil }
func (*stub) Trace(context.Context, trace.Environment) error      { return nil }
func (*stub) Turn(context.Context, jsontext.Value, claudecli.AgentHandler) (claudecli.AgentAnswer, error) {
	return claudecli.AgentAnswer{}, nil
}
func (*stub) Session() string           { return "" }
func (s *stub) Kill()                   {}
func (s *stub) End()                    { close(s.exited) }
func (s *stub) Exited() <-chan struct{} { return s.exited }
func (*stub) ResidentBytes() int64      { return 1 }

// starter launches stubs, each in a second, and counts.
type starter struct {
	at, started atomic.Int64
	fail        atomic.Bool
}

func (s *starter) launch(ctx context.Context, _ *shape) (*worker, error) {
	if s.at.Add(1) > 1 {
		panic("two start at once")
	}
	defer s.at.Add(-1)
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if s.fail.Load() {
		return nil, errors.New("it doesn't start")
	}
	s.started.Add(1)
	return &worker{process: &stub{make(chan struct{})}}, nil
}

func newStarter(o Options) (*Runner, *starter) {
	s := &starter{}
	r := New(o)
	r.launch = s.launch
	r.Start()
	return r, s
}

// taken takes a process for a shape, and tells how long that took.
func taken(t *testing.T, r *Runner, s *shape) (took time.Duration, spare bool) {
	t.Helper()
	began := time.Now()
	w, spare, err := r.worker(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	w.close(r.options.Logger)
	return time.Since(began), spare
}

func TestSparesAreOfTheLastShapes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newStarter(Options{Spares: 2, SpareFor: time.Minute})
		defer r.Close()
		a, b, c := &shape{key: "a"}, &shape{key: "b"}, &shape{key: "b", tools: []string{"Read"}}
		for _, shape := range []*shape{a, b, c} {
			if took, spare := taken(t, r, shape); spare || took < time.Second {
				t.Errorf("%v: %v, %v", shape, took, spare)
			}
		}
		time.Sleep(10 * time.Second)
		if n := r.Status().Spares; n != 2 {
			t.Errorf("%d spares", n)
		}
		if took, spare := taken(t, r, b); !spare || took != 0 {
			t.Errorf("b: %v, %v", took, spare)
		}
		if _, spare := taken(t, r, a); spare {
			t.Error("a has a spare still")
		}
		time.Sleep(10 * time.Second)
		for _, last := range []struct {
			shape *shape
			want  bool
		}{{a, true}, {b, true}, {c, false}} {
			if _, spare := taken(t, r, last.shape); spare != last.want {
				t.Errorf("%v: %v", last.shape, spare)
			}
			time.Sleep(10 * time.Second)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if status := r.Status(); status.Spares != 0 || status.Starting != 0 || len(r.spares) != 0 {
			t.Errorf("after a quiet time: %+v", status)
		}
		before := s.started.Load()
		time.Sleep(time.Hour)
		if s.started.Load() != before {
			t.Error("they are started for nobody")
		}
	})
}

// TestTwoRunsOfOneShape at the same time: the second has the spare that the first one had
// started.
func TestTwoRunsOfOneShape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newStarter(Options{Spares: 1})
		defer r.Close()
		a := &shape{key: "a"}
		taken(t, r, a)
		time.Sleep(500 * time.Millisecond) // its spare is half started
		if took, spare := taken(t, r, a); !spare || took != 500*time.Millisecond {
			t.Errorf("%v, %v", took, spare)
		}
		time.Sleep(10 * time.Second)
		if n := s.started.Load(); n != 3 {
			t.Errorf("%d were started", n)
		}
	})
}

func TestASpareThatCantBeStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newStarter(Options{Spares: 1})
		defer r.Close()
		a := &shape{key: "a"}
		taken(t, r, a)
		s.fail.Store(true)
		time.Sleep(10 * time.Second)
		if _, _, err := r.worker(t.Context(), a); err == nil || r.Status().Starting != 0 {
			t.Errorf("%v, %+v", err, r.Status())
		}
		s.fail.Store(false)
		if _, spare := taken(t, r, a); spare {
			t.Error("a spare that failed was given")
		}
	})
}

// TestWhatGoesOnHasNoSpare and takes none.
func TestWhatGoesOnHasNoSpare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newStarter(Options{Spares: 1})
		defer r.Close()
		taken(t, r, &shape{key: "a"})
		time.Sleep(10 * time.Second)
		if _, spare := taken(t, r, &shape{key: "a", session: aSession}); spare {
			t.Error("a session went on in a spare")
		}
		time.Sleep(10 * time.Second)
		if n := r.Status().Spares; n != 1 {
			t.Errorf("%d spares", n)
		}
	})
}

func TestAnEarlierRunThatCantBe(t *testing.T) {
	r := New(Options{Folder: t.TempDir()})
	for _, spec := range []Spec{{Workspace: "../x"}, {Session: "x"}, {Directory: "/srv", Workspace: "0123456789abcdef"}} {
		spec.Caller = &gateway.Caller{KeyID: "key_1"}
		if _, err := r.shapeOf(&spec); !errors.Is(err, errName) {
			t.Errorf("%+v: %v", spec, err)
		}
	}
}
