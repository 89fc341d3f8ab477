package clipool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/message"
)

// stub is a process without one, for tests that run in a time of their own.
type stub struct {
	started  time.Time
	resident int64
	empties  time.Duration // how long it takes to be emptied
	exited   chan struct{}
	end      sync.Once
	mute     atomic.Bool // gives no sign of life
	pings    atomic.Int64
}

var errMute = errors.New("no answer in time")

func (s *stub) Bind(context.Context, claudecli.Settings) error { return nil }
func (s *stub) Replay(context.Context, []message.Turn) error   { return nil }
func (s *stub) Empty(context.Context) error                    { time.Sleep(s.empties); return nil }
func (s *stub) Kill()                                          { s.end.Do(func() { close(s.exited) }) }
func (s *stub) Close()                                         { s.Kill() }
func (s *stub) Exited() <-chan struct{}                        { return s.exited }
func (s *stub) Ending() string                                 { return "exit: as asked" }
func (s *stub) PID() int                                       { return 1 }
func (s *stub) ResidentBytes() int64                           { return s.resident }
func (s *stub) Turns() int                                     { return 0 }
func (s *stub) Started() time.Time                             { return s.started }
func (s *stub) Turn(context.Context, jsontext.Value, claudecli.Handler) (claudecli.Answer, error) {
	return claudecli.Answer{}, nil
}

func (s *stub) Resume(context.Context, claudecli.Settings, []claudecli.ToolResult, claudecli.Handler) (claudecli.Answer, error) {
	return claudecli.Answer{}, nil
}

// Ping answers after 2 ms, or gives up after five seconds.
func (s *stub) Ping(ctx context.Context) error {
	s.pings.Add(1)
	answer := 2 * time.Millisecond
	if s.mute.Load() {
		answer = 5 * time.Second
	}
	select {
	case <-time.After(answer):
	case <-s.exited:
		return claudecli.ErrDied
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.mute.Load() {
		return errMute
	}
	return nil
}

// stubbed is a pool of stubs, each of which takes a second to start.
type stubbed struct {
	*Pool
	launched atomic.Int64
	mu       sync.Mutex
	all      []*stub
}

const stubBytes = 300 << 20

// withStubs runs a test in a time of its own, on a started pool whose processes
// are stubs. born may be nil; it sees each new one, or fails the start.
func withStubs(t *testing.T, options Options, born func(*stub) error, test func(t *testing.T, p *stubbed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if options.Memory == nil {
			options.Memory = func() (int64, bool) { return 0, false }
		}
		p := &stubbed{Pool: New(options)}
		p.launch = func(claudecli.Options) (process, error) {
			p.launched.Add(1)
			time.Sleep(time.Second)
			s := &stub{started: time.Now(), resident: stubBytes, exited: make(chan struct{})}
			if born != nil {
				if err := born(s); err != nil {
					return nil, err
				}
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.all = append(p.all, s)
			return s, nil
		}
		p.Start(claudecli.Features{Emptying: claudecli.EmptyByRewind, ChangeSystem: true, LiveSettings: true})
		defer p.Close()
		test(t, p)
	})
}

// stubs gives the processes that haven't ended.
func (p *stubbed) stubs() []*stub {
	p.mu.Lock()
	defer p.mu.Unlock()
	var alive []*stub
	for _, s := range p.all {
		select {
		case <-s.exited:
		default:
			alive = append(alive, s)
		}
	}
	return alive
}

// use has a request of the key take a worker for a while.
func (p *stubbed) use(ctx context.Context, key string, took time.Duration) error {
	w, err := p.acquire(ctx, demand{key: key, project: key})
	if err != nil {
		return err
	}
	time.Sleep(took)
	w.served = true
	p.release(key, w, nil)
	return nil
}

// workers counts the workers that there are or will be.
func (p *stubbed) workers() int {
	p.Pool.mu.Lock()
	defer p.Pool.mu.Unlock()
	return len(p.alive) + p.starting
}
