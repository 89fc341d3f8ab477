package clipool

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
)

// brittle makes processes that end by themselves after a while, while life says so.
func brittle(life *atomic.Int64) func(*stub) error {
	return func(s *stub) error {
		if life := life.Load(); life > 0 {
			time.AfterFunc(time.Duration(life), s.Kill)
		}
		return nil
	}
}

func TestACrashLoopFailsThePool(t *testing.T) {
	for _, ends := range []string{"a worker that lives", "a request that is served"} {
		t.Run(ends, func(t *testing.T) {
			var life atomic.Int64
			life.Store(int64(50 * time.Millisecond))
			withStubs(t, Options{Workers: 2, MinWorkers: 2, Starting: 2}, brittle(&life), func(t *testing.T, p *stubbed) {
				time.Sleep(time.Minute)
				s := p.Status()
				if !s.Failed || !strings.Contains(s.Reason, "keeps ending") || strings.Contains(s.Reason, "as asked") {
					t.Fatalf("status = %+v", s)
				}
				if err := p.use(t.Context(), "a", 0); apierror.From(err) == nil || apierror.From(err).Category != apierror.Overloaded || !strings.Contains(err.Error(), "as asked") {
					t.Errorf("a request got %v", err)
				}
				// One at a time, later and later.
				before := p.launched.Load()
				time.Sleep(5 * time.Minute)
				if more := p.launched.Load() - before; more < 5 || more > 12 {
					t.Errorf("%d starts in five minutes", more)
				}
				life.Store(0)
				for p.workers() == 0 || p.Status().Starting > 0 {
					time.Sleep(100 * time.Millisecond)
				}
				if s := p.Status(); !s.Failed || p.workers() != 1 {
					t.Errorf("while one is on trial: %+v", s)
				}
				if ends == "a request that is served" {
					if err := p.use(t.Context(), "a", time.Millisecond); err != nil {
						t.Error(err)
					}
				} else {
					time.Sleep(provenAfter + DefaultInspectEvery)
				}
				synctest.Wait()
				if s := p.Status(); s.Failed || s.Reason != "" {
					t.Errorf("afterwards: %+v", s)
				}
				time.Sleep(3 * time.Second)
				if n := len(p.stubs()); n != 2 {
					t.Errorf("%d workers at the end", n)
				}
			})
		})
	}
}

// Workers that end now and then, or after they have served somebody, are replaced
// and no more.
func TestDeathsThatAreNoCrashLoop(t *testing.T) {
	t.Run("rare", func(t *testing.T) {
		var life atomic.Int64
		life.Store(int64(6 * time.Second))
		withStubs(t, Options{Workers: 1}, brittle(&life), func(t *testing.T, p *stubbed) {
			for range 600 {
				time.Sleep(time.Second)
				if s := p.Status(); s.Failed {
					t.Fatalf("status = %+v", s)
				}
			}
		})
	})
	t.Run("after a request each", func(t *testing.T) {
		withStubs(t, Options{Workers: 1}, nil, func(t *testing.T, p *stubbed) {
			for range 50 {
				if err := p.use(t.Context(), "a", time.Millisecond); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				for _, s := range p.stubs() {
					s.Kill()
				}
			}
			if s := p.Status(); s.Failed {
				t.Errorf("status = %+v", s)
			}
		})
	})
}

// Many that have all served somebody may end at once: the machine was short of
// memory, say.
func TestAMassDeathIsNoCrashLoop(t *testing.T) {
	withStubs(t, Options{Workers: 12, Starting: 12, Reuse: ReuseAlways}, nil, func(t *testing.T, p *stubbed) {
		time.Sleep(2 * time.Second)
		var all sync.WaitGroup
		for range 12 {
			all.Go(func() {
				if err := p.use(t.Context(), "a", time.Second); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		synctest.Wait()
		for _, s := range p.stubs() {
			s.Kill()
		}
		synctest.Wait()
		if s := p.Status(); s.Failed || s.Starting != 12 {
			t.Errorf("status = %+v", s)
		}
	})
}

func TestAMuteWorkerIsReplaced(t *testing.T) {
	withStubs(t, Options{Workers: 2, Starting: 2, Reuse: ReuseAlways, SpareAfter: time.Hour}, nil, func(t *testing.T, p *stubbed) {
		time.Sleep(2 * time.Second)
		healthy, mute := p.stubs()[0], p.stubs()[1]
		mute.mute.Store(true)
		began := time.Now()
		for len(p.stubs()) == 2 && time.Since(began) < 10*time.Minute {
			// Whoever comes meanwhile is served at once, by the other one.
			for range 10 {
				time.Sleep(100 * time.Millisecond)
				if s := p.Status(); s.Idle != 2 && len(p.stubs()) == 2 {
					t.Fatalf("status = %+v", s)
				}
			}
		}
		if took := time.Since(began); took < DefaultHeartbeatEvery || took > DefaultHeartbeatEvery+2*DefaultInspectEvery+5*time.Second {
			t.Errorf("replaced after %v", took)
		}
		time.Sleep(2 * time.Second)
		if left := p.stubs(); len(left) != 2 || left[0] != healthy || left[1] == mute {
			t.Errorf("%d workers are left, or the wrong ones", len(left))
		}
		if p.launched.Load() != 3 {
			t.Errorf("%d started", p.launched.Load())
		}
		before := healthy.pings.Load()
		time.Sleep(10 * DefaultHeartbeatEvery)
		if asked := healthy.pings.Load() - before; asked < 5 || asked > 10 {
			t.Errorf("asked %d times in five minutes", asked)
		}
	})
}

// A request takes another worker than the one that is asked for a sign of life, and
// waits for that only where there is no other.
func TestRequestsDuringAHeartbeat(t *testing.T) {
	withStubs(t, Options{Workers: 2, Starting: 2, Reuse: ReuseAlways, SpareAfter: time.Hour}, nil, func(t *testing.T, p *stubbed) {
		time.Sleep(2 * time.Second)
		for _, s := range p.stubs() {
			s.mute.Store(true) // each takes five seconds to be found out
		}
		time.Sleep(DefaultHeartbeatEvery - 2*time.Second)
		for p.Status().Idle != 2 || p.stubs()[0].pings.Load()+p.stubs()[1].pings.Load() == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		began := time.Now()
		if err := p.use(t.Context(), "a", 0); err != nil || time.Since(began) > 0 {
			t.Errorf("served after %v, %v", time.Since(began), err)
		}
	})
	withStubs(t, Options{Workers: 1, Reuse: ReuseAlways, SpareAfter: time.Hour}, nil, func(t *testing.T, p *stubbed) {
		time.Sleep(2 * time.Second)
		only := p.stubs()[0]
		for only.pings.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		began := time.Now()
		if err := p.use(t.Context(), "a", 0); err != nil || time.Since(began) > 2*time.Millisecond || p.launched.Load() != 1 {
			t.Errorf("served after %v, %v, %d started", time.Since(began), err, p.launched.Load())
		}
	})
}

func TestCloseDuringAHeartbeat(t *testing.T) {
	withStubs(t, Options{Workers: 1}, nil, func(t *testing.T, p *stubbed) {
		time.Sleep(2 * time.Second)
		s := p.stubs()[0]
		s.mute.Store(true)
		for s.pings.Load() == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		began := time.Now()
		p.Close()
		if took := time.Since(began); took > 0 || len(p.stubs()) != 0 {
			t.Errorf("closed after %v, %d workers left", took, len(p.stubs()))
		}
		if err := p.use(context.Background(), "a", 0); apierror.From(err) == nil {
			t.Errorf("a request got %v", err)
		}
	})
}
