package job_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/postgres/pgtest"
)

func TestJobsEnd(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		errBroken := errors.New("a secret of the database")
		works := map[string]func(r *job.Run) (jsontext.Value, error){
			"completes": func(*job.Run) (jsontext.Value, error) { return jsontext.Value(`{"n":1}`), nil },
			"refused": func(*job.Run) (jsontext.Value, error) {
				return jsontext.Value(`{"half":1}`), &apierror.Error{Category: apierror.BudgetExceeded, Message: "the budget is spent", Cause: errBroken}
			},
			"garbles": func(*job.Run) (jsontext.Value, error) {
				return nil, &apierror.Error{Category: apierror.CLIError, Message: "no \x00 \xff text"}
			},
			"breaks": func(*job.Run) (jsontext.Value, error) { return nil, errBroken },
			"panics": func(*job.Run) (jsontext.Value, error) { panic(errBroken) },
			"late":   func(*job.Run) (jsontext.Value, error) { return nil, fmt.Errorf("late: %w", context.DeadlineExceeded) },
		}
		n := start(t, p, 4, func(ctx context.Context, r *job.Run) (jsontext.Value, error) {
			if err := r.Emit(ctx, text(`{"n":1}`)); err != nil {
				return nil, err
			}
			return works[r.Job().ID](r)
		})
		for _, tt := range []struct {
			id                string
			state             job.State
			category, message string
			result            string
		}{
			{"completes", job.Completed, "", "", `{"n":1}`},
			{"refused", job.Failed, "budget_exceeded", "the budget is spent", `{"half":1}`},
			{"garbles", job.Failed, "cli_error", "no  ? text", ""},
			{"breaks", job.Failed, "internal", "internal error", ""},
			{"panics", job.Failed, "internal", "internal error", ""},
			{"late", job.Failed, "timeout", "it took too long", ""},
		} {
			submit(t, n, task(tt.id))
			j, events := ended(t, n, tt.id)
			if j.State != tt.state || j.Category != tt.category || j.Message != tt.message || string(j.Result) != tt.result || j.Attempt != 1 {
				t.Errorf("%s: %+v", tt.id, j)
			}
			if gapless(t, events); len(events) != 1 {
				t.Errorf("%s: %d events", tt.id, len(events))
			}
		}
	})
}

// TestAgain has work that fails for a passing reason.
func TestAgain(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		errPasses := &apierror.Error{Category: apierror.ConnectionError, Message: "no way there"}
		errSays := &apierror.Error{Category: apierror.Overloaded, Message: "it is asked too much", RetryAfter: 1500 * time.Millisecond}
		var failed time.Time
		n := start(t, p, 1, func(_ context.Context, r *job.Run) (jsontext.Value, error) {
			if r.Job().ID == "told" {
				if r.Job().Attempt == 1 {
					failed = time.Now()
					return nil, job.Again(errSays)
				}
				if waited := time.Since(failed); waited < errSays.RetryAfter {
					t.Errorf("it was tried again after %v", waited)
				}
				return nil, nil
			}
			if r.Job().ID == "once" && r.Job().Attempt == 2 {
				return nil, nil
			}
			return nil, fmt.Errorf("try: %w", job.Again(errPasses))
		})
		never := task("never")
		never.MaxAttempts = 2
		submit(t, n, task("once"))
		submit(t, n, task("told"))
		submit(t, n, never)
		if j, _ := ended(t, n, "told"); j.State != job.Completed || j.Attempt != 2 {
			t.Errorf("a job that is told when: %+v", j)
		}
		if j, _ := ended(t, n, "once"); j.State != job.Completed || j.Attempt != 2 {
			t.Errorf("a job that fails once: %+v", j)
		}
		if j, _ := ended(t, n, "never"); j.State != job.Failed || j.Attempt != 2 || j.Category != "connection_error" {
			t.Errorf("a job that always fails: %+v", j)
		}
	})
}

// TestManyJobs runs more than there are workers, on several nodes where there may be.
func TestManyJobs(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		const all, workers = 60, 3
		var runs sync.Map
		var now, most atomic.Int64
		work := func(ctx context.Context, r *job.Run) (jsontext.Value, error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			times, _ := runs.LoadOrStore(r.Job().ID, new(atomic.Int64))
			times.(*atomic.Int64).Add(1)
			return nil, errors.Join(r.Emit(ctx, text(`1`)), r.Emit(ctx, text(`2`)))
		}
		nodes := []*node{start(t, p, workers, work)}
		if p.url != "" {
			nodes = append(nodes, start(t, p, workers, work))
		}
		for i := range all {
			j := task(fmt.Sprint("task_", i))
			submit(t, nodes[i%len(nodes)], j)
		}
		for i := range all {
			j, events := ended(t, nodes[0], fmt.Sprint("task_", i))
			if gapless(t, events); j.State != job.Completed || len(events) != 2 {
				t.Errorf("%+v, %d events", j, len(events))
			}
			if times, ok := runs.Load(j.ID); !ok || times.(*atomic.Int64).Load() != 1 {
				t.Errorf("%s was run %v times", j.ID, times)
			}
		}
		if most.Load() > int64(workers*len(nodes)) {
			t.Errorf("%d ran at once", most.Load())
		}
	})
}

// until runs work that lasts until its context ends, and tells of its beginning.
func until(began chan<- *job.Run) job.Work {
	return func(ctx context.Context, r *job.Run) (jsontext.Value, error) {
		began <- r
		<-ctx.Done()
		return jsontext.Value(`{"cut":true}`), context.Cause(ctx)
	}
}

func TestCancel(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		began := make(chan *job.Run, 1)
		n := start(t, p, 1, until(began))
		submit(t, n, task("runs"))
		<-began
		submit(t, n, task("waits"))
		if j, err := n.Cancel(t.Context(), "key_1", "waits"); err != nil || j.State != job.Cancelled {
			t.Errorf("one that waits: %+v, %v", j, err)
		}
		other := n
		if p.url != "" { // from another node
			other = engine(t, p, job.Options{})
			if err := other.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if j, err := other.Cancel(t.Context(), "key_1", "runs"); err != nil || j.State != job.Running || !j.Cancelling {
			t.Errorf("one that runs: %+v, %v", j, err)
		}
		j, _ := ended(t, other, "runs")
		if j.State != job.Cancelled || j.Category != job.CategoryCancelled || string(j.Result) != `{"cut":true}` {
			t.Errorf("it ended as %+v", j)
		}
		if _, err := n.Cancel(t.Context(), "key_1", "runs"); !errors.Is(err, job.ErrEnded) {
			t.Errorf("again: %v", err)
		}
	})
}

// TestAnswers answers from another node, and after the run that asked has gone.
func TestAnswers(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		asked := make(chan int, 4)
		work := func(ctx context.Context, r *job.Run) (jsontext.Value, error) {
			asked <- r.Job().Attempt
			first, err := r.Answer(ctx, 1)
			if err != nil {
				return nil, err
			}
			asked <- 0
			second, err := r.Answer(ctx, 2)
			return jsontext.Value(fmt.Sprintf("[%s,%s]", first, second)), err
		}
		n := start(t, p, 1, work)
		submit(t, n, task("asks"))
		if attempt := <-asked; attempt != 1 {
			t.Errorf("attempt %d", attempt)
		}
		other := n
		if p.url != "" {
			other = engine(t, p, job.Options{})
			if err := other.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := other.Answer(t.Context(), "key_1", "asks", 1, jsontext.Value(`"yes"`)); err != nil {
			t.Fatal(err)
		}
		<-asked
		if err := other.Answer(t.Context(), "key_1", "asks", 1, jsontext.Value(`"no"`)); !errors.Is(err, job.ErrAnswered) {
			t.Errorf("a second answer: %v", err)
		}
		n.stop()
		again := start(t, p, 1, work)
		if attempt := <-asked; attempt != 2 {
			t.Errorf("attempt %d", attempt)
		}
		<-asked // what was answered before isn't asked again
		if err := again.Answer(t.Context(), "key_1", "asks", 2, jsontext.Value(`"also"`)); err != nil {
			t.Fatal(err)
		}
		if j, _ := ended(t, again, "asks"); j.State != job.Completed || string(j.Result) != `["yes","also"]` || j.MaxAttempts != job.DefaultMaxAttempts+1 {
			t.Errorf("%+v", j)
		}
	})
}

// TestStopHandsBack stops a node whose work lasts: another goes on with it.
func TestStopHandsBack(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		began := make(chan *job.Run, 1)
		first := start(t, p, 1, until(began))
		submit(t, first, task("lasts"))
		r := <-began
		if err := r.Note(t.Context(), jsontext.Value(`{"step":1}`)); err != nil {
			t.Fatal(err)
		}
		if err := r.Emit(t.Context(), text(`1`)); err != nil {
			t.Fatal(err)
		}
		first.stop()
		if !errors.Is(context.Cause(r.Context()), job.ErrStopping) {
			t.Errorf("the cause is %v", context.Cause(r.Context()))
		}
		second := start(t, p, 1, func(ctx context.Context, r *job.Run) (jsontext.Value, error) {
			return r.Job().Progress, r.Emit(ctx, text(`2`))
		})
		j, events := ended(t, second, "lasts")
		if gapless(t, events); j.State != job.Completed || j.Attempt != 2 || string(j.Result) != `{"step":1}` || len(events) != 2 {
			t.Errorf("%+v, %d events", j, len(events))
		}
	})
}

// TestStopKeepsWhatEnded stops a node whose work comes to an end of its own meanwhile, or has
// been cancelled by a node of which it hasn't heard: neither is done again.
func TestStopKeepsWhatEnded(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		began := make(chan *job.Run, 2)
		errSpent := &apierror.Error{Category: apierror.BudgetExceeded, Message: "the budget is spent"}
		var n *node
		// mark is a cancellation of which the run hears too late.
		mark := func(r *job.Run) error {
			_, err := n.store.Cancel(t.Context(), "key_1", r.Job().ID, time.Hour)
			return err
		}
		n = start(t, p, 2, func(ctx context.Context, r *job.Run) (jsontext.Value, error) {
			began <- r
			<-ctx.Done()
			if r.Job().ID == "fails" {
				return jsontext.Value(`{}`), errSpent
			}
			return nil, errors.Join(mark(r), context.Cause(ctx))
		})
		submit(t, n, task("fails"))
		submit(t, n, task("cancelled"))
		<-began
		<-began
		n.stop()
		other := start(t, p, 2, until(began))
		if j, _ := ended(t, other, "fails"); j.State != job.Failed || j.Category != "budget_exceeded" || j.Attempt != 1 {
			t.Errorf("what failed by itself: %+v", j)
		}
		if j, _ := ended(t, other, "cancelled"); j.State != job.Cancelled || j.Attempt != 1 {
			t.Errorf("what was cancelled: %+v", j)
		}
	})
}

// TestLostLease has a node that can't reach its store for long: another takes the job, and
// the first one stops and writes nothing more.
func TestLostLease(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		began := make(chan *job.Run, 2)
		cut := &cutOff{}
		store, bus, closeAll, err := p.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = closeAll() }()
		cut.Store = store
		first := job.New(job.Options{Store: cut, Bus: bus, Lease: time.Second, Workers: map[job.Kind]int{job.KindTask: 1}})
		first.Handle(job.KindTask, until(began))
		if err := first.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := first.Submit(t.Context(), task("lost")); err != nil {
			t.Fatal(err)
		}
		r := <-began
		cut.off.Store(true)
		<-r.Context().Done()
		if cause := context.Cause(r.Context()); !errors.Is(cause, job.ErrLost) {
			t.Errorf("the cause is %v", cause)
		}
		second := engine(t, p, job.Options{Lease: time.Second})
		if err := second.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		await(t, "the job goes back to the queue", func() bool {
			j, err := second.Job(t.Context(), "key_1", "lost")
			return err == nil && j.State == job.Queued
		})
		if err := r.Emit(t.Context(), text(`1`)); !errors.Is(err, job.ErrLost) {
			t.Errorf("it still writes: %v", err)
		}
		cut.off.Store(false)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := first.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
}

var errCut = errors.New("no way to the database")

// cutOff is a store that a node can't reach at times, for its leases.
type cutOff struct {
	job.Store
	off atomic.Bool
}

func (c *cutOff) Renew(ctx context.Context, holds []job.Hold, lease time.Duration) ([]job.Hold, error) {
	if c.off.Load() {
		return nil, errCut
	}
	return c.Store.Renew(ctx, holds, lease)
}

func (c *cutOff) Recover(ctx context.Context, ttl time.Duration) ([]job.Job, error) {
	if c.off.Load() {
		return nil, errCut
	}
	return c.Store.Recover(ctx, ttl)
}

func (c *cutOff) Claim(ctx context.Context, kind job.Kind, node string, lease time.Duration) (job.Job, error) {
	if c.off.Load() {
		return job.Job{}, errCut
	}
	return c.Store.Claim(ctx, kind, node, lease)
}

// await waits for what another process or goroutine does, and tells nobody of.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it doesn't", what)
		}
	}
}

// TestBegin runs jobs in their own requests.
func TestBegin(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		n := engine(t, p, job.Options{})
		if err := n.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		begin := func(ctx context.Context, id string) (*job.Run, func(jsontext.Value, error) error) {
			t.Helper()
			r, finish, err := n.Begin(ctx, task(id))
			if err != nil {
				t.Fatal(err)
			}
			return r, finish
		}
		r, finish := begin(t.Context(), "completes")
		if err := r.Emit(t.Context(), text(`1`)); err != nil {
			t.Error(err)
		}
		if err := finish(jsontext.Value(`2`), nil); err != nil {
			t.Error(err)
		}
		if j, events := ended(t, n, "completes"); j.State != job.Completed || string(j.Result) != `2` || len(events) != 1 {
			t.Errorf("%+v, %v", j, events)
		}

		r, finish = begin(t.Context(), "cancelled")
		if _, err := n.Cancel(t.Context(), "key_1", "cancelled"); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
		if err := finish(nil, context.Cause(r.Context())); err != nil {
			t.Error(err)
		}
		if j, _ := ended(t, n, "cancelled"); j.State != job.Cancelled {
			t.Errorf("%+v", j)
		}

		ctx, leave := context.WithCancel(t.Context())
		r, finish = begin(ctx, "left")
		leave()
		<-r.Context().Done()
		if err := finish(nil, context.Cause(r.Context())); err != nil {
			t.Error(err)
		}
		if j, _ := ended(t, n, "left"); j.State != job.Cancelled || j.Category != "client_closed" {
			t.Errorf("%+v", j)
		}

		r, finish = begin(t.Context(), "stopped")
		done := make(chan error, 1)
		go func() {
			<-r.Context().Done()
			done <- finish(nil, context.Cause(r.Context()))
		}()
		n.stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if j, _ := ended(t, engine(t, p, job.Options{}), "stopped"); j.State != job.Failed || j.Category != job.CategoryInterrupted {
			t.Errorf("%+v", j)
		}
	})
}

// TestAskedForTwice has a request sent again whose first answer was lost, and others.
func TestAskedForTwice(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		n := engine(t, p, job.Options{})
		ask := func(key, once string) string {
			j := task("")
			j.KeyID, j.Once = key, once
			kept, err := n.Submit(t.Context(), j)
			if err != nil {
				t.Fatal(err)
			}
			return kept.ID
		}
		first := ask("key_1", "a")
		if again := ask("key_1", "a"); again != first {
			t.Errorf("%s, then %s", first, again)
		}
		if _, err := n.Cancel(t.Context(), "key_1", first); err != nil {
			t.Fatal(err)
		}
		if again := ask("key_1", "a"); again != first {
			t.Errorf("%s, then %s, when it had ended", first, again)
		}
		seen := map[string]bool{first: true}
		for _, other := range [][2]string{{"key_1", "b"}, {"key_2", "a"}, {"key_1", ""}, {"key_1", ""}} {
			id := ask(other[0], other[1])
			if seen[id] || !strings.HasPrefix(id, "task_") {
				t.Errorf("%v is %s", other, id)
			}
			seen[id] = true
		}
	})
}

// TestForget forgets jobs whose time is over, and those that their key removes.
func TestForget(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		forgotten := make(chan string, 2)
		n := engine(t, p, job.Options{TTL: time.Millisecond})
		n.Forgotten(job.KindTask, func(_ context.Context, j job.Job) { forgotten <- j.ID })
		r, finish, err := n.Begin(t.Context(), task("old"))
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Remove(t.Context(), "key_1", r.Job().ID); !errors.Is(err, job.ErrRunning) {
			t.Errorf("one that runs: %v", err)
		}
		if err := finish(nil, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond) // the store's clock isn't ours to set
		if err := n.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if id := <-forgotten; id != "old" {
			t.Errorf("%s is forgotten", id)
		}
		await(t, "the job goes", func() bool {
			_, err := n.Job(t.Context(), "key_1", "old")
			return errors.Is(err, job.ErrNotFound)
		})
		_, finish, err = n.Begin(t.Context(), task("removed"))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(finish(nil, nil), n.Remove(t.Context(), "key_1", "removed")); err != nil {
			t.Error(err)
		}
		if id := <-forgotten; id != "removed" {
			t.Errorf("%s is forgotten", id)
		}
		if err := n.Remove(t.Context(), "key_1", "removed"); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("again: %v", err)
		}
	})
}

// TestClockJumps sets the file's leases so far into the past as a clock that jumps ahead
// makes them: nobody loses a job that runs.
func TestClockJumps(t *testing.T) {
	p := place{file: filepath.Join(t.TempDir(), "tasks.db")}
	began := make(chan *job.Run, 2)
	n := engine(t, p, job.Options{Lease: 5 * time.Second, Workers: map[job.Kind]int{job.KindTask: 1}})
	n.Handle(job.KindTask, until(began))
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	submit(t, n, task("lasts"))
	r := <-began
	raw, err := sql.Open("sqlite", p.file+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	for range 3 {
		if _, err := raw.ExecContext(t.Context(), "UPDATE jobs SET lease_until = 1"); err != nil {
			t.Fatal(err)
		}
		await(t, "the lease is renewed", func() bool {
			var until int64
			err := raw.QueryRowContext(t.Context(), "SELECT lease_until FROM jobs").Scan(&until)
			return err == nil && until > 1
		})
	}
	if j, err := n.Job(t.Context(), "key_1", "lasts"); err != nil || j.State != job.Running || j.Attempt != 1 || r.Context().Err() != nil {
		t.Errorf("%+v, %v; the run's context: %v", j, err, context.Cause(r.Context()))
	}
}

// TestDatabaseGoes crashes PostgreSQL under a job that runs: it goes on when the
// database is back, and so does the queue.
func TestDatabaseGoes(t *testing.T) {
	server := pgtest.Start(t)
	p := place{url: server.Database(t)}
	began, goOn := make(chan *job.Run, 1), make(chan struct{})
	// The server's return may take longer than the usual lease.
	n := engine(t, p, job.Options{Lease: time.Minute, Workers: map[job.Kind]int{job.KindTask: 1}})
	n.Handle(job.KindTask, func(ctx context.Context, r *job.Run) (jsontext.Value, error) {
		if r.Job().ID == "runs" {
			began <- r
			<-goOn
		}
		return nil, context.Cause(ctx)
	})
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	submit(t, n, task("runs"))
	r := <-began
	if err := server.Crash(); err != nil {
		t.Fatal(err)
	}
	if err := r.Emit(t.Context(), text(`1`)); err == nil {
		t.Error("an event was kept by a database that isn't there")
	}
	_, err := n.Submit(t.Context(), task("refused"))
	var told *apierror.Error
	if !errors.As(err, &told) || told.Category != apierror.Overloaded || told.RetryAfter == 0 {
		t.Errorf("a job for a database that isn't there: %v", err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if err := r.Emit(t.Context(), text(`2`)); err != nil {
		t.Error(err)
	}
	close(goOn)
	j, events := ended(t, n, "runs")
	if gapless(t, events); j.State != job.Completed || j.Attempt != 1 || len(events) != 1 {
		t.Errorf("%+v, %d events", j, len(events))
	}
	submit(t, n, task("later"))
	if j, _ := ended(t, n, "later"); j.State != job.Completed {
		t.Errorf("%+v", j)
	}
}
