package job

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// Run is one attempt at a job, on this node. It is safe for concurrent use.
type Run struct {
	engine *Engine
	job    Job
	queued bool // it came from the queue, and may go back there
	ctx    context.Context
	cancel context.CancelCauseFunc
	// answers rings when there may be an answer.
	answers signal

	mu      sync.Mutex // guards what follows
	renewed time.Time  // when the last renewal that succeeded began
	next    *batch     // events that wait for the write that runs; nil: none
	writing bool
}

// batch is events that are kept together.
type batch struct {
	events []Event
	done   chan struct{}
	err    error
}

// adopt makes the run of a job that is this node's, since a moment after asked.
func (e *Engine) adopt(ctx context.Context, j Job, asked time.Time, queued bool) *Run {
	if e.options.Began != nil {
		e.options.Began(j)
	}
	r := &Run{engine: e, job: j, queued: queued, renewed: asked}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	e.mu.Lock()
	e.runs[j.ID] = r
	stopping := e.stopping
	e.mu.Unlock()
	if stopping && queued {
		r.cancel(ErrStopping)
	}
	e.changed(j.ID)
	return r
}

func (e *Engine) running(id string) *Run {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.runs[id]
}

// Job gives the job as it was when the run began.
func (r *Run) Job() Job { return r.job }

// Context ends when the run is to end; its cause says why.
func (r *Run) Context() context.Context { return r.ctx }

func (r *Run) hold() Hold {
	return Hold{ID: r.job.ID, Node: r.engine.node, Attempt: r.job.Attempt}
}

// Emit keeps an event behind the others, and gives it to those who listen. When it
// returns without an error, the event is durable. Events that come while others are
// written are written together. The run may emit also after its context has ended.
func (r *Run) Emit(ctx context.Context, event Event) error {
	if event.Time.IsZero() {
		event.Time = time.Now()
	}
	r.mu.Lock()
	if r.next == nil {
		r.next = &batch{done: make(chan struct{})}
	}
	b := r.next
	b.events = append(b.events, event)
	if r.writing {
		r.mu.Unlock()
		select {
		case <-b.done:
			return b.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.writing = true
	r.mu.Unlock()
	r.write(ctx)
	return b.err
}

// write writes what waits, and what comes meanwhile.
func (r *Run) write(ctx context.Context) {
	for {
		r.mu.Lock()
		b := r.next
		r.next = nil
		r.writing = b != nil
		r.mu.Unlock()
		if b == nil {
			return
		}
		b.err = r.keep(ctx, func(ctx context.Context) error {
			first, err := r.engine.store.Append(ctx, r.hold(), b.events)
			for i := range b.events {
				b.events[i].Seq = first + int64(i)
			}
			return err
		})
		if b.err == nil {
			r.engine.feed.publish(r.job.ID, b.events...)
			r.engine.bell.ring(r.job.ID)
		}
		close(b.done)
	}
}

// keep writes something of the run, also after its context's end.
func (r *Run) keep(ctx context.Context, write func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	err := write(ctx)
	if errors.Is(err, ErrLost) {
		r.cancel(ErrLost)
	}
	return err
}

// Live gives an event to those who listen on this node now. It isn't kept.
func (r *Run) Live(event Event) {
	event.Seq = 0
	if event.Time.IsZero() {
		event.Time = time.Now()
	}
	r.engine.feed.publish(r.job.ID, event)
}

// Note keeps the progress for whoever goes on with the job. When it returns without an
// error, it is durable.
func (r *Run) Note(ctx context.Context, progress jsontext.Value) error {
	return r.keep(ctx, func(ctx context.Context) error { return r.engine.store.Note(ctx, r.hold(), progress) })
}

// Answer waits for the answer to question n, which may have been given to a former
// attempt, until ctx ends.
func (r *Run) Answer(ctx context.Context, n int) (jsontext.Value, error) {
	every := pollFar
	if r.engine.options.Bus == nil {
		every = pollNear
	}
	poll := time.NewTicker(every)
	defer poll.Stop()
	for {
		rung := r.answers.wait()
		value, err := r.engine.store.Answer(ctx, r.job.ID, n)
		if value != nil || err != nil {
			return value, err
		}
		select {
		case <-rung:
		case <-poll.C:
		case <-r.ctx.Done():
			return nil, context.Cause(r.ctx)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Settle answers question n itself, as for want of another answer, and gives the answer
// that counts: the first.
func (r *Run) Settle(ctx context.Context, n int, value jsontext.Value) (kept jsontext.Value, err error) {
	err = r.keep(ctx, func(ctx context.Context) error {
		kept, err = r.engine.store.Settle(ctx, r.hold(), n, value)
		return err
	})
	return kept, err
}

// work takes a job from the queue and does it.
func (e *Engine) work(ctx context.Context, kind Kind) error {
	asked := time.Now()
	j, err := e.store.Claim(ctx, kind, e.node, e.options.Lease)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("claim a job: %w", err)
	}
	r := e.adopt(context.WithoutCancel(ctx), j, asked, true)
	result, err := r.do(e.works[kind])
	if err := r.close(result, err); err != nil && !errors.Is(err, ErrLost) {
		e.log.ErrorContext(ctx, "a job's end can't be kept: it is done again", "job", j.ID, "error", err)
	}
	return nil
}

// do does the job. A panic is an error.
func (r *Run) do(work Work) (result jsontext.Value, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.engine.log.Error("panic in a job", "job", r.job.ID, "panic", p, "stack", string(debug.Stack()))
			err = apierror.Wrap(apierror.Internal, "internal error", fmt.Errorf("panic: %v", p))
		}
	}()
	return work(r.ctx, r)
}

// close writes how the run ended, again and again for as long as the job is the run's.
func (r *Run) close(result jsontext.Value, err error) error {
	defer r.drop()
	state, write := r.ending(result, err)
	if told := r.engine.options.Ended; told != nil {
		told(r.job.Kind, state)
	}
	for {
		err := r.keep(r.ctx, write)
		if err == nil || errors.Is(err, ErrLost) || !r.valid() {
			return err
		}
		time.Sleep(storePause)
	}
}

func (r *Run) valid() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.renewed) < r.engine.options.Lease*4/5
}

// drop forgets the run, which is over.
func (r *Run) drop() {
	e := r.engine
	e.mu.Lock()
	delete(e.runs, r.job.ID)
	e.mu.Unlock()
	r.cancel(nil)
	e.ended.ring()
	e.changed(r.job.ID)
}

// ending gives the job's state at the run's end, Queued where it goes on elsewhere or later,
// and what writes it.
func (r *Run) ending(result jsontext.Value, err error) (State, func(ctx context.Context) error) {
	store, cause := r.engine.store, context.Cause(r.ctx)
	end := End{State: Failed, Result: result, TTL: r.engine.options.TTL}
	var retry again
	var wait later
	switch {
	case err == nil:
		end.State = Completed
	case errors.Is(cause, ErrCancelled):
		end = r.cancelled(result)
	case errors.Is(cause, ErrLost):
		return Queued, func(context.Context) error { return ErrLost }
	case r.queued && (errors.Is(err, ErrStopping) || errors.Is(cause, ErrStopping) && cutOff(err)):
		return Queued, r.requeue(0, true)
	case errors.Is(cause, ErrStopping) && !r.queued:
		end.Category, end.Message = CategoryInterrupted, Interrupted
	case r.queued && errors.As(err, &wait):
		return Queued, r.requeue(wait.after, true)
	case r.queued && errors.As(err, &retry) && r.job.Attempt < r.job.MaxAttempts:
		return Queued, r.requeue(pause(r.job.Attempt, err), false)
	default:
		end.Category, end.Message = describe(err)
		if end.Category == string(apierror.ClientClosed) {
			end.State = Cancelled
		}
	}
	return end.State, func(ctx context.Context) error { return store.Finish(ctx, r.hold(), end) }
}

// mostPause is how long a failed attempt's error may have the next one wait.
const mostPause = 30 * time.Second

// pause is how long a job waits after an attempt that failed: as long as its error says,
// since what comes sooner fails likewise, but never for minutes.
func pause(attempt int, err error) time.Duration {
	wait := backoff(attempt)
	var told *apierror.Error
	if errors.As(err, &told) {
		wait = max(wait, min(told.RetryAfter, mostPause))
	}
	return wait
}

// cutOff says that work ended because it was to stop, and didn't come to an end of its own
// meanwhile: that may not come twice.
func cutOff(err error) bool {
	var told *apierror.Error
	return !errors.As(err, &told) || errors.Is(err, context.Canceled)
}

func (r *Run) cancelled(result jsontext.Value) End {
	return End{State: Cancelled, Result: result, Category: CategoryCancelled, Message: ErrCancelled.Error(), TTL: r.engine.options.TTL}
}

// requeue gives the job back to the queue, unless somebody wants it to end: this run may not
// have heard of that yet.
func (r *Run) requeue(after time.Duration, free bool) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		err := r.engine.store.Requeue(ctx, r.hold(), after, free)
		if errors.Is(err, ErrCancelled) {
			return r.engine.store.Finish(ctx, r.hold(), r.cancelled(nil))
		}
		return err
	}
}

// mostMessage is how many bytes of an error's message are kept.
const mostMessage = 2000

// describe gives what of an error the job's key may read.
func describe(err error) (category, message string) {
	var told *apierror.Error
	switch {
	case errors.As(err, &told):
		return string(told.Category), gateway.Storable(told.Message, mostMessage)
	case errors.Is(err, context.Canceled):
		return string(apierror.ClientClosed), "the caller left"
	case errors.Is(err, context.DeadlineExceeded):
		return string(apierror.Timeout), "it took too long"
	}
	return string(apierror.Internal), "internal error"
}

// signal tells everybody who waits. The zero value is ready.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait gives a channel that is closed by the next ring.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) ring() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
