package clipool

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestTheSizeFollowsTheDemand: whatever comes when, there are never more workers
// than the most, never fewer than the least for longer than a start takes, and
// after a quiet time there are the least again.
func TestTheSizeFollowsTheDemand(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		most := rapid.IntRange(1, 6).Draw(r, "most")
		least := rapid.IntRange(1, most).Draw(r, "least")
		reuse := rapid.SampledFrom([]Reuse{ReuseAlways, ReuseSameProject, ReuseNever}).Draw(r, "reuse")
		type step struct {
			gap, took time.Duration
			key       string
			dies      bool
		}
		steps := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) step {
			return step{
				gap:  time.Duration(rapid.IntRange(0, 40_000).Draw(r, "gap")) * time.Millisecond / time.Duration(rapid.IntRange(1, 40).Draw(r, "hurry")),
				took: time.Duration(rapid.IntRange(1, 20_000).Draw(r, "took")) * time.Millisecond,
				key:  rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "key"),
				dies: rapid.IntRange(0, 9).Draw(r, "dies") == 0,
			}
		}), 1, 60).Draw(r, "steps")
		withStubs(t, Options{Workers: most, MinWorkers: least, Reuse: reuse, Starting: 2, QueueTimeout: -1, QueuePerWorker: 1_000}, nil, func(t *testing.T, p *stubbed) {
			done := make(chan struct{})
			var watching, requests sync.WaitGroup
			watching.Go(func() {
				few := time.Duration(0)
				for {
					select {
					case <-done:
						return
					case <-time.After(100 * time.Millisecond):
					}
					n := p.workers()
					if n > most {
						t.Errorf("%d workers, at most %d", n, most)
					}
					// Where each request takes a process of its own, many of them outrun what
					// may start at once.
					if few += 100 * time.Millisecond; n >= least || p.Status().Starting == 2 {
						few = 0
					}
					if few > 5*time.Second {
						t.Errorf("for %v there have been fewer than %d workers", few, least)
					}
				}
			})
			deaths := 0 // so many that they are a crash loop have a test of their own
			for _, s := range steps {
				time.Sleep(s.gap)
				if alive := p.stubs(); s.dies && len(alive) > 0 && deaths < crashDeaths-1 {
					deaths++
					alive[0].Kill()
				}
				requests.Go(func() {
					if err := p.use(t.Context(), s.key, s.took); err != nil {
						t.Error(err)
					}
				})
			}
			requests.Wait()
			time.Sleep(time.Duration(most+2)*DefaultShrinkAfter + time.Minute)
			if n := p.workers(); n != least {
				t.Errorf("at rest there are %d workers, want %d", n, least)
			}
			close(done)
			watching.Wait()
		})
	})
}

// TestASteadyLoadStartsNobody: once the pool has what a load needs, it stays so.
func TestASteadyLoadStartsNobody(t *testing.T) {
	for _, keys := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d projects", keys), func(t *testing.T) {
			withStubs(t, Options{Workers: 8, MinWorkers: 1, MaxAge: 24 * time.Hour, SpareAfter: 24 * time.Hour, QueueTimeout: -1}, nil, func(t *testing.T, p *stubbed) {
				stop := make(chan struct{})
				var load sync.WaitGroup
				for i := range 3 {
					load.Go(func() {
						random := rand.New(rand.NewPCG(1, uint64(i)))
						for {
							select {
							case <-stop:
								return
							case <-time.After(time.Duration(random.IntN(1_000)) * time.Millisecond):
							}
							if err := p.use(t.Context(), fmt.Sprint(i%keys), time.Duration(random.IntN(3_000))*time.Millisecond); err != nil {
								t.Error(err)
							}
						}
					})
				}
				time.Sleep(15 * time.Minute)
				launched, workers := p.launched.Load(), p.workers()
				if workers < 3 || workers > 4 {
					t.Errorf("%d workers for three callers", workers)
				}
				for range 60 {
					time.Sleep(time.Minute)
					if n := p.workers(); n != workers {
						t.Fatalf("%d workers became %d", workers, n)
					}
				}
				if more := p.launched.Load() - launched; more != 0 {
					t.Errorf("%d more were started in an hour of the same load", more)
				}
				close(stop)
				load.Wait()
			})
		})
	}
}

// A burst makes the pool grow at once: nobody waits for more than a start.
func TestABurstIsServedAsTheyCome(t *testing.T) {
	withStubs(t, Options{Workers: 6, MinWorkers: 1, Starting: 6}, nil, func(t *testing.T, p *stubbed) {
		time.Sleep(2 * time.Second)
		if n := p.workers(); n != 1 {
			t.Fatalf("%d workers at rest", n)
		}
		began := time.Now()
		var burst sync.WaitGroup
		for range 6 {
			burst.Go(func() {
				if err := p.use(t.Context(), "a", 10*time.Second); err != nil {
					t.Error(err)
				}
			})
		}
		burst.Wait()
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("six requests of 10 s took %v", took)
		}
	})
}

// While another worker can be started for a request, or starts already, none is
// given up for it.
func TestAGrowingPoolKeepsTheWorkersOfOthers(t *testing.T) {
	slow := func(s *stub) error { s.empties = 5 * time.Millisecond; return nil }
	withStubs(t, Options{Workers: 2, MinWorkers: 1, Starting: 2}, slow, func(t *testing.T, p *stubbed) {
		time.Sleep(2 * time.Second)
		if err := p.use(t.Context(), "a", time.Second); err != nil {
			t.Error(err)
		}
		if err := p.use(t.Context(), "b", time.Second); err != nil { // a's worker is being emptied
			t.Error(err)
		}
		if n := p.launched.Load(); n != 2 || p.workers() != 2 {
			t.Errorf("%d were started, %d are there", n, p.workers())
		}
	})
	withStubs(t, Options{Workers: 2, MinWorkers: 1, Starting: 2}, nil, func(t *testing.T, p *stubbed) {
		time.Sleep(2 * time.Second)
		var both sync.WaitGroup
		both.Go(func() {
			if err := p.use(t.Context(), "a", 1500*time.Millisecond); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		both.Go(func() { // a's worker is free before the one that starts for b
			if err := p.use(t.Context(), "b", time.Second); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		if n := p.launched.Load(); n != 2 || p.workers() != 2 {
			t.Errorf("%d were started, %d are there", n, p.workers())
		}
	})
}

func TestThePoolLeavesTheMachineItsMemory(t *testing.T) {
	for room, want := range map[float64]int{-1: 1, 0.5: 1, 1.2: 1, 3.4: 3, 100: 5} {
		t.Run(fmt.Sprintf("room for %g", room), func(t *testing.T) {
			var p *stubbed
			free := func() (int64, bool) {
				used := 0
				if p != nil {
					used = len(p.stubs())
				}
				return memoryReserve + int64((room-float64(used))*stubBytes), true
			}
			withStubs(t, Options{Workers: 5, MinWorkers: 1, Memory: free}, nil, func(t *testing.T, pool *stubbed) {
				p = pool
				var load sync.WaitGroup
				for range 20 {
					load.Go(func() {
						if err := p.use(t.Context(), "a", 2*time.Second); err != nil {
							t.Error(err)
						}
					})
				}
				time.Sleep(4 * time.Second)
				for range 10 {
					if n := p.workers(); n > want {
						t.Errorf("%d workers, there is memory for %d", n, want)
					}
					time.Sleep(time.Second)
				}
				synctest.Wait()
				if want < 5 && len(p.stubs()) != want {
					t.Errorf("%d workers, there is memory for %d", len(p.stubs()), want)
				}
				load.Wait()
			})
		})
	}
}

func TestFreeMemory(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for _, test := range []struct {
		name  string
		files fstest.MapFS
		free  int64
		known bool
	}{
		{"nothing is known", fstest.MapFS{}, 0, false},
		{"no group", fstest.MapFS{"proc/meminfo": file("MemTotal: 9000 kB\nMemAvailable:    2000 kB\n")}, 2000 << 10, true},
		{"not a number", fstest.MapFS{"proc/meminfo": file("MemAvailable: many kB\n")}, 0, false},
		{"a group without a limit", fstest.MapFS{
			"proc/meminfo": file("MemAvailable: 2000 kB\n"), "proc/self/cgroup": file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/memory.max": file("max\n"), "sys/fs/cgroup/a/b/memory.current": file("5\n"),
		}, 2000 << 10, true},
		{"a group's limit", fstest.MapFS{
			"proc/meminfo": file("MemAvailable: 2000 kB\n"), "proc/self/cgroup": file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/memory.max": file("100000\n"), "sys/fs/cgroup/a/b/memory.current": file("70000\n"),
			"sys/fs/cgroup/a/b/memory.stat": file("anon 10\ninactive_file 20000\n"),
		}, 50_000, true},
		{"the limit of the group above", fstest.MapFS{
			"proc/meminfo": file("MemAvailable: 2000 kB\n"), "proc/self/cgroup": file("0::/a/b\n"),
			"sys/fs/cgroup/a/memory.max": file("100\n"), "sys/fs/cgroup/a/memory.current": file("120\n"),
		}, -20, true},
		{"a container", fstest.MapFS{
			"proc/meminfo": file("MemAvailable: 2000 kB\n"), "proc/self/cgroup": file("0::/../../elsewhere\n"),
			"sys/fs/cgroup/memory.max": file("100\n"), "sys/fs/cgroup/memory.current": file("60\n"),
		}, 40, true},
		{"version 1", fstest.MapFS{
			"proc/meminfo": file("MemAvailable: 2000 kB\n"), "proc/self/cgroup": file("5:cpu:/x\n4:memory:/a\n"),
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": file("100\n"), "sys/fs/cgroup/memory/a/memory.usage_in_bytes": file("60\n"),
			"sys/fs/cgroup/memory/a/memory.stat": file("inactive_file 1\ntotal_inactive_file 10\n"),
		}, 50, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if free, known := freeMemory(test.files); free != test.free || known != test.known {
				t.Errorf("%d, %t, want %d, %t", free, known, test.free, test.known)
			}
		})
	}
}
