package processapi

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
)

// noteEvery is how often a batch notes at most what is done of it: each time writes
// all of that.
const noteEvery = 500 * time.Millisecond

// serveBatchAsync queues a batch. Each prompt is admitted when it runs.
func (h *Handler) serveBatchAsync(w http.ResponseWriter, r *http.Request, call *gateway.Call, body []byte) error {
	j, err := h.submit(r.Context(), call, job.Job{ID: newID("batch_"), Kind: job.KindBatch}, body)
	if err != nil {
		return err
	}
	return accept(w, call, pathBatch, j.ID)
}

// batch does a job of the kind batch. Prompts of which a former attempt has noted what
// became of them aren't asked again.
func (h *Handler) batch(ctx context.Context, r Run) (jsontext.Value, error) {
	j := r.Job()
	ctx, done := h.grace.begin(ctx)
	defer done()
	call, o, err := h.taken(ctx, &j, pathBatch)
	if err != nil {
		return h.untaken(ctx, err)
	}
	scanner := h.scanners.Get(o.Body)
	request, err := decodeBatch(scanner)
	h.scanners.Put(scanner)
	if err != nil {
		return h.failed(ctx, o, err)
	}
	so := &soFar{run: r, results: results{Total: len(request.prompts)}}
	b, err := h.prepareBatch(call, request, h.options.AsyncTimeout)
	if err == nil && j.Progress != nil {
		err = json.Unmarshal(j.Progress, &so.results)
	}
	if err != nil {
		return h.failed(ctx, o, err)
	}
	limited, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	b.waits, b.known = true, so.known()
	b.done = func(i int, result outcome) {
		if result.err != nil && ctx.Err() != nil {
			return // cut off: it is to be asked again
		}
		so.add(ctx, resultOf(i, b.prompts[i], result))
	}
	h.runBatch(limited, b)
	so.end()
	if h.options.Ran != nil {
		call.Clock.Finish()
		h.options.Ran(call)
	}
	if ctx.Err() != nil {
		so.note(ctx)
		return nil, context.Cause(ctx)
	}
	return so.results.append(nil), nil
}

// soFar is what is done of a batch.
type soFar struct {
	run Run

	mu      sync.Mutex // guards what follows
	results results
	noted   time.Time
	behind  bool        // something isn't noted
	timer   *time.Timer // of the next note; nil: none is due
}

func (s *soFar) known() map[int]bool {
	known := map[int]bool{}
	for _, p := range s.results.Prompts {
		known[p.Place] = true
	}
	return known
}

// add keeps a result at its place, and has it noted: within noteEvery.
func (s *soFar) add(ctx context.Context, r result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, _ := slices.BinarySearchFunc(s.results.Prompts, r.Place, func(p result, place int) int { return p.Place - place })
	s.results.Prompts = slices.Insert(s.results.Prompts, at, r)
	s.behind = true
	switch wait := noteEvery - time.Since(s.noted); {
	case s.timer != nil:
	case wait <= 0:
		s.write(ctx)
	default:
		s.timer = time.AfterFunc(wait, func() { s.note(ctx) })
	}
}

// note writes down what is done, unless all of that is written.
func (s *soFar) note(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = nil
	if s.behind {
		s.write(ctx)
	}
}

// write is note under the lock. What can't be written is asked again, should this run die.
func (s *soFar) write(ctx context.Context) {
	progress, err := json.Marshal(s.results)
	if err == nil {
		err = s.run.Note(context.WithoutCancel(ctx), progress)
	}
	s.noted, s.behind = time.Now(), err != nil
}

// end ends the noting, when nothing more is added.
func (s *soFar) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
}

// serveBatchRun gives an asynchronous batch of the caller's, with the results so far.
func (h *Handler) serveBatchRun(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	j, err := h.find(r, call, job.KindBatch)
	if err != nil {
		return err
	}
	u, err := runOf(j)
	switch {
	case err != nil:
	case u.Status == statusCompleted:
		u.Response = j.Result
	case j.Progress != nil:
		var so results
		if err = json.Unmarshal(j.Progress, &so); err == nil {
			u.Response = so.append(nil)
		}
	}
	if err == nil && u.Status == statusFailed && j.Result != nil {
		u.failure = failure{}
		err = json.Unmarshal(j.Result, &u.failure)
	}
	if err != nil {
		return err
	}
	return h.tell(w, call, &u)
}
