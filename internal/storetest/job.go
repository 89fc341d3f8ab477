package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/job"
)

const (
	jobLease = time.Minute
	// lapsed is a lease that has ended when it begins.
	lapsed = -time.Second
	jobTTL = time.Hour
)

func sampleJob(id string) job.Job {
	return job.Job{
		ID: id, Kind: job.KindTask, KeyID: "key_1", ProjectID: "alpha", Priority: job.PriorityDefault, MaxAttempts: 3,
		Request: jsontext.Value(`{"description":"größer \u0000"}`), Progress: jsontext.Value(`{}`),
	}
}

func mustSubmit(t *testing.T, s job.Store, jobs ...job.Job) {
	t.Helper()
	for _, j := range jobs {
		if _, err := s.Submit(t.Context(), j); err != nil {
			t.Fatalf("Submit(%s): %v", j.ID, err)
		}
	}
}

func mustClaim(t *testing.T, s job.Store, node string, lease time.Duration) job.Job {
	t.Helper()
	j, err := s.Claim(t.Context(), job.KindTask, node, lease)
	if err != nil {
		t.Fatalf("Claim: %v", err)
	}
	return j
}

func holdOf(j job.Job) job.Hold { return job.Hold{ID: j.ID, Node: j.Node, Attempt: j.Attempt} }

func mustFinish(t *testing.T, s job.Store, j job.Job, end job.End) {
	t.Helper()
	if err := s.Finish(t.Context(), holdOf(j), end); err != nil {
		t.Fatalf("Finish(%s): %v", j.ID, err)
	}
}

// mustBe reads a job whose state is to be this one.
func mustBe(t *testing.T, s job.Store, id string, state job.State) job.Job {
	t.Helper()
	j, err := s.Job(t.Context(), "key_1", id)
	if err != nil || j.State != state {
		t.Fatalf("job %s is %+v, %v; want %s", id, j, err, state)
	}
	return j
}

// TestJobs checks a job.Store. open gives a new, empty store each time and sees to its
// end.
func TestJobs(t *testing.T, open func(t *testing.T) job.Store) {
	t.Run("a job's life", func(t *testing.T) { testLife(t, open(t)) })
	t.Run("a job that runs in a request", func(t *testing.T) { testBegun(t, open(t)) })
	t.Run("whose turn it is", func(t *testing.T) { testTurn(t, open(t)) })
	t.Run("each job is claimed once", func(t *testing.T) { testClaims(t, open(t)) })
	t.Run("events", func(t *testing.T) { testEvents(t, open(t)) })
	t.Run("answers", func(t *testing.T) { testAnswers(t, open(t)) })
	t.Run("who lost a job writes nothing", func(t *testing.T) { testFence(t, open(t)) })
	t.Run("lists", func(t *testing.T) { testLists(t, open(t)) })
	t.Run("cancelling", func(t *testing.T) { testCancel(t, open(t)) })
	t.Run("back to the queue", func(t *testing.T) { testRequeue(t, open(t)) })
	t.Run("recovery", func(t *testing.T) { testRecovery(t, open(t)) })
	t.Run("forgetting", func(t *testing.T) { testForgetting(t, open(t)) })
}

func testLife(t *testing.T, s job.Store) {
	before := time.Now().Add(-time.Minute)
	kept, err := s.Submit(t.Context(), sampleJob("task_1"))
	if err != nil {
		t.Fatal(err)
	}
	if kept.Created.Before(before) || kept.Created.After(time.Now().Add(time.Minute)) {
		t.Errorf("it was made at %s", kept.Created)
	}
	want := sampleJob("task_1")
	want.State, want.Created = job.Queued, kept.Created
	if !reflect.DeepEqual(kept, want) {
		t.Errorf("submitted\n%+v, want\n%+v", kept, want)
	}
	if got := mustBe(t, s, "task_1", job.Queued); !reflect.DeepEqual(got, want) {
		t.Errorf("it is\n%+v, want\n%+v", got, want)
	}
	if _, err := s.Submit(t.Context(), sampleJob("task_1")); !errors.Is(err, job.ErrExists) {
		t.Errorf("a second of the same id: %v", err)
	}
	if _, err := s.Claim(t.Context(), job.KindBatch, "node", jobLease); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("a job of another kind: %v", err)
	}
	claimed := mustClaim(t, s, "node", jobLease)
	want.State, want.Attempt, want.Node, want.Started = job.Running, 1, "node", claimed.Started
	if !reflect.DeepEqual(claimed, want) || claimed.Started.IsZero() {
		t.Errorf("claimed\n%+v, want\n%+v", claimed, want)
	}
	if _, err := s.Claim(t.Context(), job.KindTask, "node", jobLease); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("it was claimed twice: %v", err)
	}
	if err := s.Note(t.Context(), holdOf(claimed), jsontext.Value(`{"step":2}`)); err != nil {
		t.Fatal(err)
	}
	end := job.End{State: job.Failed, Result: jsontext.Value(`{"half":true}`), Category: "timeout", Message: "it took too long", TTL: jobTTL}
	mustFinish(t, s, claimed, end)
	got := mustBe(t, s, "task_1", job.Failed)
	want.State, want.Progress, want.Result, want.Category, want.Message = job.Failed, jsontext.Value(`{"step":2}`), end.Result, end.Category, end.Message
	want.Ended, want.Expires = got.Ended, got.Ended.Add(jobTTL)
	if !reflect.DeepEqual(got, want) || got.Ended.IsZero() {
		t.Errorf("it ended as\n%+v, want\n%+v", got, want)
	}
}

func testBegun(t *testing.T, s job.Store) {
	j := sampleJob("task_1")
	j.Node, j.Attempt, j.MaxAttempts = "node", 1, 1
	begun, err := s.Begin(t.Context(), j, lapsed)
	if err != nil || begun.State != job.Running || begun.Started.IsZero() {
		t.Fatalf("%+v, %v", begun, err)
	}
	if _, err := s.Begin(t.Context(), j, jobLease); !errors.Is(err, job.ErrExists) {
		t.Errorf("a second of the same id: %v", err)
	}
	jobs, err := s.Recover(t.Context(), jobTTL)
	if err != nil || len(jobs) != 1 || jobs[0].State != job.Failed || jobs[0].Category != job.CategoryInterrupted || jobs[0].Message == "" || jobs[0].Expires.IsZero() {
		t.Errorf("its node died: %+v, %v", jobs, err)
	}
}

// testTurn has keys with many jobs, and priorities.
func testTurn(t *testing.T, s job.Store) {
	for n := range 6 {
		mustSubmit(t, s, sampleJob(fmt.Sprintf("a%d", n)))
	}
	for n := range 2 {
		j := sampleJob(fmt.Sprintf("b%d", n))
		j.KeyID = "key_2"
		mustSubmit(t, s, j)
	}
	last, first := sampleJob("last"), sampleJob("first")
	last.KeyID, last.Priority = "key_3", job.PriorityLast
	first.Priority = job.PriorityFirst
	mustSubmit(t, s, last, first)

	var order []string
	for range 10 {
		j := mustClaim(t, s, "node", jobLease)
		order = append(order, j.ID)
		if len(order) > 3 { // first three run on, those behind them end at once
			mustFinish(t, s, j, job.End{State: job.Completed, TTL: jobTTL})
		}
	}
	// Each key in its turn, the one with fewest that run first, then the one whose last
	// began the longest ago. A priority is among a key's own: nobody passes others by it.
	if want := []string{"first", "b0", "last", "a0", "b1"}; !slices.Equal(order[:len(want)], want) {
		t.Errorf("the order is %v", order)
	}
	for n := range 5 {
		if slices.Index(order, fmt.Sprintf("a%d", n)) > slices.Index(order, fmt.Sprintf("a%d", n+1)) {
			t.Errorf("a key's jobs aren't in their order: %v", order)
		}
	}
}

func testClaims(t *testing.T, s job.Store) {
	const all = 40
	for n := range all {
		j := sampleJob(fmt.Sprintf("task_%d", n))
		j.KeyID = fmt.Sprint("key_", n%3)
		mustSubmit(t, s, j)
	}
	var mu sync.Mutex
	claimed := map[string]int{}
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for {
				j, err := s.Claim(t.Context(), job.KindTask, fmt.Sprint("node_", n), jobLease)
				if errors.Is(err, job.ErrNotFound) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				claimed[j.ID]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(claimed) != all {
		t.Errorf("%d of %d were claimed", len(claimed), all)
	}
	for id, times := range claimed {
		if times != 1 {
			t.Errorf("%s was claimed %d times", id, times)
		}
	}
}

func testEvents(t *testing.T, s job.Store) {
	mustSubmit(t, s, sampleJob("task_1"))
	j := mustClaim(t, s, "node", jobLease)
	if events, last, err := s.Events(t.Context(), "task_1", 0, 10); len(events) != 0 || last || err != nil {
		t.Errorf("before the first: %+v, %v, %v", events, last, err)
	}
	var sent []job.Event
	for _, size := range []int{1, 3, 2} {
		var batch []job.Event
		for range size {
			batch = append(batch, job.Event{Time: start, Type: "text", Data: jsontext.Value(fmt.Sprintf(`{"n":%d}`, len(sent)+len(batch)))})
		}
		first, err := s.Append(t.Context(), holdOf(j), batch)
		if err != nil || first != int64(len(sent)+1) {
			t.Fatalf("Append = %d, %v; want %d", first, err, len(sent)+1)
		}
		for i := range batch {
			batch[i].Seq = first + int64(i)
		}
		sent = append(sent, batch...)
	}
	got, last, err := s.Events(t.Context(), "task_1", 2, 3)
	if err != nil || last || !reflect.DeepEqual(got, sent[2:5]) {
		t.Errorf("three after 2 are %+v, %v, %v", got, last, err)
	}
	mustFinish(t, s, j, job.End{State: job.Completed, TTL: jobTTL})
	for _, tt := range []struct {
		after int64
		limit int
		want  []job.Event
		last  bool
	}{{0, 10, sent, true}, {0, 5, sent[:5], false}, {5, 10, sent[5:], true}, {6, 10, nil, true}, {99, 10, nil, true}} {
		got, last, err := s.Events(t.Context(), "task_1", tt.after, tt.limit)
		if err != nil || last != tt.last || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%d after %d, when it has ended: %+v, %v, %v", tt.limit, tt.after, got, last, err)
		}
	}
	if _, _, err := s.Events(t.Context(), "absent", 0, 1); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("events of none: %v", err)
	}
}

func testAnswers(t *testing.T, s job.Store) {
	ctx := t.Context()
	mustSubmit(t, s, sampleJob("task_1"))
	j := mustClaim(t, s, "node", jobLease)
	if value, err := s.Answer(ctx, "task_1", 1); value != nil || err != nil {
		t.Errorf("before there is one: %s, %v", value, err)
	}
	var wg sync.WaitGroup
	answers := make(chan string, 8)
	for n := range 8 {
		wg.Go(func() {
			text := fmt.Sprintf(`{"from":%d}`, n)
			switch err := s.PutAnswer(ctx, "key_1", "task_1", 1, jsontext.Value(text)); {
			case err == nil:
				answers <- text
			case !errors.Is(err, job.ErrAnswered):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(answers)
	first := <-answers
	if value, err := s.Answer(ctx, "task_1", 1); string(value) != first || err != nil || len(answers) > 0 {
		t.Errorf("the answer is %s, %v; want %s, and %d more won", value, err, first, len(answers))
	}
	if kept, err := s.Settle(ctx, holdOf(j), 1, jsontext.Value(`"late"`)); string(kept) != first || err != nil {
		t.Errorf("the run settles for %s, %v", kept, err)
	}
	if kept, err := s.Settle(ctx, holdOf(j), 2, jsontext.Value(`"denied"`)); string(kept) != `"denied"` || err != nil {
		t.Errorf("the run settles for %s, %v", kept, err)
	}
	if err := s.PutAnswer(ctx, "key_1", "task_1", 2, jsontext.Value(`1`)); !errors.Is(err, job.ErrAnswered) {
		t.Errorf("an answer after the run's: %v", err)
	}
	if err := s.PutAnswer(ctx, "key_2", "task_1", 3, jsontext.Value(`1`)); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("another key's answer: %v", err)
	}
	mustFinish(t, s, j, job.End{State: job.Completed, TTL: jobTTL})
	if err := s.PutAnswer(ctx, "key_1", "task_1", 3, jsontext.Value(`1`)); !errors.Is(err, job.ErrEnded) {
		t.Errorf("an answer after the end: %v", err)
	}
}

// testFence lets a run lose its job, and tries all that it could write.
func testFence(t *testing.T, s job.Store) {
	ctx := t.Context()
	mustSubmit(t, s, sampleJob("task_1"))
	former := mustClaim(t, s, "node", lapsed)
	if _, err := s.Append(ctx, holdOf(former), []job.Event{{Time: start, Type: "text", Data: jsontext.Value(`{}`)}}); err != nil {
		t.Fatalf("nobody has it yet: %v", err)
	}
	if jobs, err := s.Recover(ctx, jobTTL); err != nil || len(jobs) != 1 || jobs[0].State != job.Queued {
		t.Fatalf("%+v, %v", jobs, err)
	}
	check := func(when string) {
		t.Helper()
		h := holdOf(former)
		_, appendErr := s.Append(ctx, h, []job.Event{{Time: start, Type: "text", Data: jsontext.Value(`{}`)}})
		_, settleErr := s.Settle(ctx, h, 1, jsontext.Value(`1`))
		for name, err := range map[string]error{
			"Append": appendErr, "Settle": settleErr, "Note": s.Note(ctx, h, jsontext.Value(`{"stale":1}`)),
			"Requeue": s.Requeue(ctx, h, 0, false), "Finish": s.Finish(ctx, h, job.End{State: job.Completed, TTL: jobTTL}),
		} {
			if !errors.Is(err, job.ErrLost) {
				t.Errorf("%s of who lost it, %s: %v", name, when, err)
			}
		}
		if still, err := s.Renew(ctx, []job.Hold{h}, jobLease); err != nil || len(still) != 0 {
			t.Errorf("Renew of who lost it, %s: %+v, %v", when, still, err)
		}
	}
	check("while it waits")
	latter := mustClaim(t, s, "node", jobLease) // the same node: the attempt tells them apart
	if latter.Attempt != 2 {
		t.Errorf("attempt %d", latter.Attempt)
	}
	check("while another runs it")
	if first, err := s.Append(ctx, holdOf(latter), []job.Event{{Time: start, Type: "text", Data: jsontext.Value(`{}`)}}); err != nil || first != 2 {
		t.Errorf("its next event is number %d, %v", first, err)
	}
	mustFinish(t, s, latter, job.End{State: job.Completed, TTL: jobTTL})
	check("when it has ended")
	if j := mustBe(t, s, "task_1", job.Completed); string(j.Progress) != `{}` {
		t.Errorf("its progress is %s", j.Progress)
	}
}

func testLists(t *testing.T, s job.Store) {
	var ids []string
	for n := range 5 {
		j := sampleJob(fmt.Sprintf("task_%d", n))
		if n == 2 {
			j.Kind = job.KindBatch
		}
		mustSubmit(t, s, j)
		ids = append([]string{j.ID}, ids...)
	}
	other := sampleJob("other")
	other.KeyID = "key_2"
	mustSubmit(t, s, other)
	mustFinish(t, s, mustClaim(t, s, "node", jobLease), job.End{State: job.Completed, TTL: jobTTL}) // task_0
	for _, tt := range []struct {
		filter job.Filter
		want   []string
	}{
		{job.Filter{}, ids},
		{job.Filter{Kind: job.KindBatch}, []string{"task_2"}},
		{job.Filter{State: job.Completed}, []string{"task_0"}},
		{job.Filter{Before: "task_3"}, ids[2:]},
		{job.Filter{Before: "other"}, nil},
		{job.Filter{Limit: 2}, ids[:2]},
	} {
		if tt.filter.Limit == 0 {
			tt.filter.Limit = 10
		}
		jobs, err := s.List(t.Context(), "key_1", tt.filter)
		var got []string
		for _, j := range jobs {
			if j.Request != nil || j.Progress != nil || j.KeyID != "key_1" || j.Created.IsZero() {
				t.Errorf("a list has %+v", j)
			}
			got = append(got, j.ID)
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("List(%+v) = %v, %v; want %v", tt.filter, got, err, tt.want)
		}
	}
	everybodys := append([]string{"other"}, ids...)
	for _, tt := range []struct {
		filter job.Filter
		want   []string
	}{
		{job.Filter{}, everybodys},
		{job.Filter{Kind: job.KindBatch}, []string{"task_2"}},
		{job.Filter{State: job.Completed}, []string{"task_0"}},
		{job.Filter{State: job.Queued, Limit: 2}, everybodys[:2]},
		{job.Filter{Before: "task_3"}, ids[2:]},
		{job.Filter{Before: "absent"}, nil},
		{job.Filter{Before: "\x00"}, nil},
	} {
		if tt.filter.Limit == 0 {
			tt.filter.Limit = 10
		}
		jobs, err := s.All(t.Context(), tt.filter)
		var got []string
		for _, j := range jobs {
			if string(j.Request) != string(other.Request) || j.Progress != nil || (j.KeyID == "key_2") != (j.ID == "other") || j.Created.IsZero() {
				t.Errorf("a list of all has %+v", j)
			}
			got = append(got, j.ID)
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("All(%+v) = %v, %v; want %v", tt.filter, got, err, tt.want)
		}
	}
	mustClaim(t, s, "node", jobLease)
	if queued, running, err := s.Count(t.Context()); queued != 4 || running != 1 || err != nil {
		t.Errorf("Count = %d, %d, %v", queued, running, err)
	}
	if j, err := s.Find(t.Context(), "other"); err != nil || j.KeyID != "key_2" || string(j.Request) != string(other.Request) {
		t.Errorf("Find: %+v, %v", j, err)
	}
	for _, id := range []string{"absent", "", "\x00", "\xff"} {
		if _, err := s.Find(t.Context(), id); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("Find(%q): %v", id, err)
		}
	}
	for _, id := range []string{"absent", "other", "\x00", "\xff"} {
		if _, err := s.Job(t.Context(), "key_1", id); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("Job(%q): %v", id, err)
		}
	}
}

func testCancel(t *testing.T, s job.Store) {
	ctx := t.Context()
	mustSubmit(t, s, sampleJob("task_1"))
	if _, err := s.Cancel(ctx, "key_2", "task_1", jobTTL); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("another key's: %v", err)
	}
	j, err := s.Cancel(ctx, "key_1", "task_1", jobTTL)
	if err != nil || j.State != job.Cancelled || j.Category != job.CategoryCancelled || j.Ended.IsZero() || !j.Expires.Equal(j.Ended.Add(jobTTL)) {
		t.Errorf("one that waits: %+v, %v", j, err)
	}
	if _, err := s.Claim(ctx, job.KindTask, "node", jobLease); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("it is claimed: %v", err)
	}
	if j, err = s.Cancel(ctx, "key_1", "task_1", jobTTL); !errors.Is(err, job.ErrEnded) || j.State != job.Cancelled {
		t.Errorf("again: %+v, %v", j, err)
	}
	mustSubmit(t, s, sampleJob("task_2"))
	running := mustClaim(t, s, "node", jobLease)
	if j, err = s.Cancel(ctx, "key_1", "task_2", jobTTL); err != nil || j.State != job.Running || !j.Cancelling || !j.Ended.IsZero() || !j.Expires.IsZero() {
		t.Errorf("one that runs: %+v, %v", j, err)
	}
	still, err := s.Renew(ctx, []job.Hold{holdOf(running), {ID: "absent", Node: "node", Attempt: 1}}, lapsed)
	want := holdOf(running)
	want.Cancelling = true
	if err != nil || !slices.Equal(still, []job.Hold{want}) {
		t.Errorf("its node hears %+v, %v", still, err)
	}
	if err := s.Requeue(ctx, holdOf(running), 0, true); !errors.Is(err, job.ErrCancelled) {
		t.Errorf("back to the queue: %v", err)
	}
	jobs, err := s.Recover(ctx, jobTTL)
	if err != nil || len(jobs) != 1 || jobs[0].State != job.Cancelled || jobs[0].Expires.IsZero() {
		t.Errorf("its node died: %+v, %v", jobs, err)
	}
}

func testRequeue(t *testing.T, s job.Store) {
	ctx := t.Context()
	mustSubmit(t, s, sampleJob("task_1"))
	if err := s.Requeue(ctx, holdOf(mustClaim(t, s, "node", jobLease)), 0, true); err != nil {
		t.Fatal(err)
	}
	if j := mustBe(t, s, "task_1", job.Queued); j.Attempt != 1 || j.MaxAttempts != 4 {
		t.Errorf("an attempt that isn't counted: %+v", j)
	}
	if err := s.Requeue(ctx, holdOf(mustClaim(t, s, "other", jobLease)), time.Hour, false); err != nil {
		t.Fatal(err)
	}
	if j := mustBe(t, s, "task_1", job.Queued); j.Attempt != 2 || j.MaxAttempts != 4 {
		t.Errorf("one that is: %+v", j)
	}
	if _, err := s.Claim(ctx, job.KindTask, "node", jobLease); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("it is claimed before its time: %v", err)
	}
}

func testRecovery(t *testing.T, s job.Store) {
	ctx := t.Context()
	once := sampleJob("once")
	once.MaxAttempts = 1
	mustSubmit(t, s, once, sampleJob("again"), sampleJob("alive"))
	lost := []job.Job{mustClaim(t, s, "dead", jobLease), mustClaim(t, s, "dead", jobLease)}
	alive := mustClaim(t, s, "alive", lapsed)
	if still, err := s.Renew(ctx, []job.Hold{holdOf(alive)}, jobLease); err != nil || len(still) != 1 {
		t.Errorf("Renew: %+v, %v", still, err)
	}
	if jobs, err := s.Recover(ctx, jobTTL); err != nil || len(jobs) != 0 {
		t.Errorf("while all live: %+v, %v", jobs, err)
	}
	for _, j := range lost {
		if _, err := s.Renew(ctx, []job.Hold{holdOf(j)}, lapsed); err != nil {
			t.Fatal(err)
		}
	}
	jobs, err := s.Recover(ctx, jobTTL)
	states := map[string]job.State{}
	for _, j := range jobs {
		states[j.ID] = j.State
	}
	if want := map[string]job.State{"once": job.Failed, "again": job.Queued}; err != nil || !reflect.DeepEqual(states, want) {
		t.Errorf("recovered %v, %v; want %v", states, err, want)
	}
	if j := mustClaim(t, s, "alive", jobLease); j.ID != "again" || j.Attempt != 2 {
		t.Errorf("handed on: %+v", j)
	}
}

func testForgetting(t *testing.T, s job.Store) {
	ctx := t.Context()
	mustSubmit(t, s, sampleJob("task_1"), sampleJob("task_2"))
	first, second := mustClaim(t, s, "node", jobLease), mustClaim(t, s, "node", jobLease)
	if _, err := s.Append(ctx, holdOf(first), []job.Event{{Time: start, Type: "text", Data: jsontext.Value(`{}`)}}); err != nil {
		t.Fatal(err)
	}
	if err := s.PutAnswer(ctx, "key_1", first.ID, 1, jsontext.Value(`1`)); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, "key_1", first.ID); !errors.Is(err, job.ErrRunning) {
		t.Errorf("one that runs: %v", err)
	}
	mustFinish(t, s, first, job.End{State: job.Completed, Result: jsontext.Value(`1`), TTL: lapsed})
	mustFinish(t, s, second, job.End{State: job.Completed, TTL: jobTTL})
	jobs, err := s.Expired(ctx, 10)
	if err != nil || len(jobs) != 1 || jobs[0].ID != first.ID || jobs[0].Request == nil || jobs[0].Result == nil {
		t.Errorf("expired are %+v, %v", jobs, err)
	}
	if err := s.Remove(ctx, "key_2", first.ID); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("another key's: %v", err)
	}
	if err := s.Remove(ctx, "key_1", first.ID); err != nil {
		t.Error(err)
	}
	if _, _, err := s.Events(ctx, first.ID, 0, 1); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("its events: %v", err)
	}
	if value, err := s.Answer(ctx, first.ID, 1); value != nil || err != nil {
		t.Errorf("its answer: %s, %v", value, err)
	}
	if err := s.Remove(ctx, "key_1", first.ID); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
}
