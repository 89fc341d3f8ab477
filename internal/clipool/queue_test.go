package clipool

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
)

// plainQueue is the queue as its description has it, without a heap: the order is
// found by looking at all that waits.
type plainQueue struct {
	waiting []*waiter
	running map[string]int
	turn    map[string]int
	clock   int
}

func (q *plainQueue) of(key string) int {
	n := 0
	for _, w := range q.waiting {
		if w.demand.key == key {
			n++
		}
	}
	return n
}

func (q *plainQueue) first(match func(*waiter) bool) *waiter {
	var best *waiter
	for _, w := range q.waiting {
		if match(w) && (best == nil || cmp.Or(
			cmp.Compare(q.running[w.demand.key], q.running[best.demand.key]),
			cmp.Compare(q.turn[w.demand.key], q.turn[best.demand.key])) < 0) {
			best = w
		}
	}
	return best
}

// TestTheQueueIsInOrder holds the queue against the plain one through any sequence
// of what happens to it, with keys whose requests are of several classes.
func TestTheQueueIsInOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		q, plain := newQueue(), &plainQueue{running: map[string]int{}, turn: map[string]int{}}
		drop := func(w *waiter) {
			q.remove(w)
			plain.waiting = slices.DeleteFunc(plain.waiting, func(other *waiter) bool { return other == w })
		}
		keys, classes := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}), rapid.SampledFrom([]string{"x", "y", "z"})
		r.Repeat(map[string]func(*rapid.T){
			"comes": func(r *rapid.T) {
				w := &waiter{demand: demand{key: keys.Draw(r, "key")}, class: classes.Draw(r, "class")}
				if plain.clock++; plain.of(w.demand.key) == 0 {
					plain.turn[w.demand.key] = plain.clock
				}
				plain.waiting = append(plain.waiting, w)
				q.add(w)
			},
			"is served": func(r *rapid.T) {
				w := q.firstOf(classes.Draw(r, "class"))
				if w == nil {
					r.Skip("nobody waits")
				}
				drop(w)
				plain.clock++
				plain.running[w.demand.key]++
				plain.turn[w.demand.key] = plain.clock
				q.began(w.demand.key)
			},
			"ends": func(r *rapid.T) {
				key := keys.Draw(r, "key")
				if plain.running[key] == 0 {
					r.Skip("it runs nothing")
				}
				plain.running[key]--
				q.ended(key)
			},
			"leaves": func(r *rapid.T) {
				if len(plain.waiting) == 0 {
					r.Skip("nobody waits")
				}
				drop(rapid.SampledFrom(plain.waiting).Draw(r, "waiter"))
			},
			"all of a class leave": func(r *rapid.T) {
				class := classes.Draw(r, "class")
				var want []*waiter
				for _, w := range plain.waiting {
					if w.class == class {
						want = append(want, w)
					}
				}
				plain.waiting = slices.DeleteFunc(plain.waiting, func(w *waiter) bool { return w.class == class })
				if got := q.empty(func(c string) bool { return c == class }); !slices.Equal(got, want) {
					r.Fatalf("%d left, not the %d in their order", len(got), len(want))
				}
			},
			"": func(r *rapid.T) {
				if got, want := q.first(), plain.first(func(*waiter) bool { return true }); got != want {
					r.Fatalf("first = %+v, want %+v", got, want)
				}
				for _, class := range []string{"x", "y", "z"} {
					in := func(w *waiter) bool { return w.class == class }
					if got, want := q.firstOf(class), plain.first(in); got != want {
						r.Fatalf("first of %s = %+v, want %+v", class, got, want)
					}
					if got, want := q.count(class), len(plain.waiting)-len(slices.DeleteFunc(slices.Clone(plain.waiting), in)); got != want {
						r.Fatalf("%d of class %s, want %d", got, class, want)
					}
				}
				known, most := 0, 0
				for _, key := range []string{"a", "b", "c", "d", "e"} {
					if plain.of(key)+plain.running[key] > 0 {
						known++
					}
					most = max(most, plain.of(key))
				}
				if q.size != len(plain.waiting) || len(q.shares) != known {
					r.Fatalf("%d wait, want %d; %d shares, want %d", q.size, len(plain.waiting), len(q.shares), known)
				}
				for _, key := range []string{"a", "b", "c", "d", "e"} {
					w := q.yields(key)
					if (w != nil) != (most > plain.of(key)+1) {
						r.Fatalf("%+v yields to %s, which has %d; the most are %d", w, key, plain.of(key), most)
					}
					if w == nil {
						continue
					}
					later := slices.ContainsFunc(plain.waiting, func(o *waiter) bool { return o.demand.key == w.demand.key && o.arrival > w.arrival })
					if plain.of(w.demand.key) != most || later {
						r.Fatalf("%+v yields: of its key %d wait, a later one: %t", w, plain.of(w.demand.key), later)
					}
				}
			},
		})
	})
}

// TestAKeyOfSeveralClassesKeepsItsPlace: when a key is given a worker, all that it waits
// for is served later at once, in whatever places of the heap it stands.
func TestAKeyOfSeveralClassesKeepsItsPlace(t *testing.T) {
	q := newQueue()
	wait := func(key, class string) *waiter {
		w := &waiter{demand: demand{key: key}, class: class}
		q.add(w)
		return w
	}
	served := wait("much", "w")
	for _, class := range []string{"x", "y", "z"} {
		wait("much", class)
	}
	others := []*waiter{wait("b", "x"), wait("c", "y"), wait("d", "z"), wait("e", "x")}
	q.remove(served)
	q.began("much")
	for i, want := range others {
		got := q.first()
		if got != want {
			t.Fatalf("%d. is %s's, not %s's", i+1, got.demand.key, want.demand.key)
		}
		q.remove(got)
		q.began(got.demand.key)
	}
}

// newStaffed makes a pool of workers without processes, all idle.
func newStaffed(workers, perWorker int) *Pool {
	p := New(Options{Workers: workers, QueuePerWorker: perWorker})
	for range workers {
		w := &worker{process: &claudecli.Process{}}
		p.alive[w] = true
		p.idle = append(p.idle, w)
	}
	return p
}

// finish frees a worker, as if it had been emptied at once.
func (p *Pool) finish(key string, w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue.ended(key)
	p.park(w)
}

// visit is a request on its way through the pool.
type visit struct {
	key    string
	leave  context.CancelFunc
	worker *worker // once it has one
	err    error   // once it has failed
	// alone says that its key had no other request when it came, and rivals are the
	// keys that waited then: each may be served once before it.
	alone  bool
	rivals map[string]bool
}

// TestNobodyStarvesAKey: whatever comes when, a request of a key that has no other
// is passed by at most one request of each other key that waited when it came.
func TestNobodyStarvesAKey(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		workers := rapid.IntRange(1, 4).Draw(r, "workers")
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{"comes", "ends", "comes", "comes", "ends", "leaves"}), 1, 200).Draw(r, "steps")
		keys := rapid.SliceOfN(rapid.SampledFrom([]string{"noisy", "a", "noisy", "b"}), len(steps), len(steps)).Draw(r, "keys")
		synctest.Test(t, func(t *testing.T) {
			p := newStaffed(workers, 1_000)
			var waiting, running []*visit
			// serve notes who has been given a worker: at most one since the last time.
			serve := func() {
				synctest.Wait()
				for i, v := range waiting {
					if v.worker == nil {
						continue
					}
					waiting = slices.Delete(waiting, i, i+1)
					running = append(running, v)
					for _, other := range waiting {
						if !other.alone || other.key == v.key {
							continue
						}
						if !other.rivals[v.key] {
							t.Fatalf("%s passed the only request of %s a second time, or came after it", v.key, other.key)
						}
						delete(other.rivals, v.key)
					}
					return
				}
			}
			for i, step := range steps {
				switch {
				case step == "comes":
					v := &visit{key: keys[i], alone: true, rivals: map[string]bool{}}
					for _, other := range slices.Concat(waiting, running) {
						v.alone = v.alone && other.key != v.key
					}
					for _, other := range waiting {
						v.rivals[other.key] = true
					}
					ctx, leave := context.WithCancel(t.Context())
					v.leave = leave
					go func() { v.worker, v.err = p.acquire(ctx, demand{key: v.key}) }()
					waiting = append(waiting, v)
				case step == "ends" && len(running) > 0:
					at := i % len(running)
					v := running[at]
					running = slices.Delete(running, at, at+1)
					v.leave()
					p.finish(v.key, v.worker)
				case step == "leaves" && len(waiting) > 0:
					at := i % len(waiting)
					waiting[at].leave()
					waiting = slices.Delete(waiting, at, at+1)
				}
				serve()
			}
			for _, v := range waiting {
				v.leave()
			}
			synctest.Wait()
			for _, v := range running {
				v.leave()
				p.finish(v.key, v.worker)
			}
			if len(p.idle) != workers || p.queue.size+len(p.queue.shares) != 0 {
				t.Errorf("at the end %d workers are idle, %d requests wait, %d keys have a share", len(p.idle), p.queue.size, len(p.queue.shares))
			}
		})
	})
}

// TestAFullQueueIsShared: one key may use all of it, until others come.
func TestAFullQueueIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places = 10
		p := newStaffed(1, places)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		refused := map[string]int{}
		come := func(key string) {
			go func() {
				_, err := p.acquire(ctx, demand{key: key})
				if e := apierror.From(err); e != nil && e.Category == apierror.Overloaded && e.RetryAfter == time.Second {
					p.mu.Lock()
					defer p.mu.Unlock()
					refused[key]++
				}
			}()
			synctest.Wait()
		}
		come("noisy") // has the worker
		for range places + 1 {
			come("noisy")
		}
		if n := p.queue.count(""); n != places || refused["noisy"] != 1 {
			t.Errorf("a key alone: %d wait, %v refused", n, refused)
		}
		for range places {
			come("quiet")
		}
		if quiet := p.queue.shares["quiet"].waiting; quiet != places/2 || refused["quiet"] != places/2 || refused["noisy"] != 1+places/2 {
			t.Errorf("of two keys the second has %d of %d places, %v refused", quiet, places, refused)
		}
		for i := range places {
			come(fmt.Sprint("single ", i))
		}
		if p.queue.size != places || len(p.queue.shares) != places {
			t.Errorf("%d keys of %d requests wait, want %d", len(p.queue.shares), p.queue.size, places)
		}
		leave()
		synctest.Wait()
	})
}

// BenchmarkQueue is what a freed worker costs with the fullest queue there is: ten
// requests for each of a thousand workers.
func BenchmarkQueue(b *testing.B) {
	for _, keys := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint("keys ", keys), func(b *testing.B) {
			q := newQueue()
			add := func(i int) {
				q.add(&waiter{demand: demand{key: fmt.Sprint("key_", i%keys)}, class: fmt.Sprint("class_", i%keys%50)})
			}
			for i := range 10_000 {
				add(i)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				w := q.first()
				q.remove(w)
				q.began(w.demand.key)
				q.ended(w.demand.key)
				add(i)
				i++
			}
		})
	}
}
