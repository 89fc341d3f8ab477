package job_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/job"
)

// The test binary runs itself as a node of its own. These variables tell it at which step
// of a job's life to die (or to serve), where jobs are kept, and where its work is noted.
const (
	childStep = "JOB_TEST_STEP"
	childFile = "JOB_TEST_FILE"
	childURL  = "JOB_TEST_URL"
	childLog  = "JOB_TEST_LOG"
	serve     = "serve"
)

// childLease is longer than this machine ever lets a process wait, and short enough for
// those who wait for its end.
const childLease = 3 * time.Second

// die ends this process as kill -9 does.
func die() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	fmt.Fprintln(os.Stderr, "kill:", err)
	select {}
}

// mortal is a store whose process dies at a step.
type mortal struct {
	job.Store
	step string
}

func (m *mortal) before(method string) { m.at("before " + method) }
func (m *mortal) after(method string)  { m.at("after " + method) }
func (m *mortal) at(step string) {
	if m.step == step {
		die()
	}
}

func (m *mortal) Submit(ctx context.Context, j job.Job) (job.Job, error) {
	m.before("Submit")
	defer m.after("Submit")
	return m.Store.Submit(ctx, j)
}

func (m *mortal) Claim(ctx context.Context, kind job.Kind, node string, lease time.Duration) (job.Job, error) {
	m.before("Claim")
	defer m.after("Claim")
	return m.Store.Claim(ctx, kind, node, lease)
}

func (m *mortal) Append(ctx context.Context, h job.Hold, events []job.Event) (int64, error) {
	m.before("Append")
	defer m.after("Append")
	return m.Store.Append(ctx, h, events)
}

func (m *mortal) Note(ctx context.Context, h job.Hold, progress jsontext.Value) error {
	m.before("Note")
	defer m.after("Note")
	return m.Store.Note(ctx, h, progress)
}

func (m *mortal) PutAnswer(ctx context.Context, keyID, id string, n int, value jsontext.Value) error {
	m.before("PutAnswer")
	defer m.after("PutAnswer")
	return m.Store.PutAnswer(ctx, keyID, id, n, value)
}

func (m *mortal) Requeue(ctx context.Context, h job.Hold, after time.Duration, free bool) error {
	m.before("Requeue")
	defer m.after("Requeue")
	return m.Store.Requeue(ctx, h, after, free)
}

func (m *mortal) Finish(ctx context.Context, h job.Hold, end job.End) error {
	m.before("Finish")
	defer m.after("Finish")
	err := m.Store.Finish(ctx, h, end)
	if m.step == "acknowledged" {
		time.AfterFunc(time.Second, die) // River has acknowledged the ticket by then
	}
	return err
}

// worker does the work of these tests, and notes what it does in a folder that all
// nodes share.
type worker struct {
	folder string
	begins func()
	lasts  func() time.Duration
	asks   bool
}

func (w *worker) note(id, what string, args ...any) {
	file, err := os.OpenFile(filepath.Join(w.folder, id+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintf(file, what+"\n", args...)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		panic(err)
	}
}

// work holds a lock that the system takes back when the process dies.
func (w *worker) work(ctx context.Context, r *job.Run) (jsontext.Value, error) {
	id := r.Job().ID
	lock, err := os.OpenFile(filepath.Join(w.folder, id+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		w.note(id, "TWICE at the same time: %v", err)
		return nil, err
	}
	w.note(id, "begin %d", r.Job().Attempt)
	if w.begins != nil {
		w.begins()
	}
	if err := r.Emit(ctx, text(fmt.Sprintf(`{"attempt":%d,"n":1}`, r.Job().Attempt))); err != nil {
		return nil, err
	}
	if err := r.Note(ctx, jsontext.Value(`{"step":1}`)); err != nil {
		return nil, err
	}
	answer := jsontext.Value(`null`)
	if w.asks {
		if err := r.Emit(ctx, text(`"asks"`)); err != nil {
			return nil, err
		}
		if answer, err = r.Answer(ctx, 1); err != nil {
			return nil, err
		}
	}
	if w.lasts != nil {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(w.lasts()):
		}
	}
	if err := r.Emit(ctx, text(fmt.Sprintf(`{"attempt":%d,"n":2}`, r.Job().Attempt))); err != nil {
		return nil, err
	}
	w.note(id, "return %d", r.Job().Attempt)
	return answer, nil
}

// child is the other process.
func child() {
	step, ctx := os.Getenv(childStep), context.Background()
	store, bus, closeAll, err := place{file: os.Getenv(childFile), url: os.Getenv(childURL)}.open(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	w := &worker{folder: os.Getenv(childLog), asks: step != serve}
	switch step {
	case serve:
		w.lasts = func() time.Duration { return time.Duration(rand.IntN(150)) * time.Millisecond }
	case "in the work":
		w.begins = die
	}
	workers := map[job.Kind]int{job.KindTask: 2}
	if strings.HasSuffix(step, "Submit") {
		workers = nil // they might be faster
	}
	e := job.New(job.Options{Store: &mortal{store, step}, Bus: bus, Lease: childLease, Workers: workers})
	e.Handle(job.KindTask, w.work)
	if err := e.Start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if step != serve {
		live(e, strings.HasSuffix(step, "Requeue"))
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the tests close it
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := errors.Join(e.Stop(ctx), closeAll()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// live leads a job through its life, in which this process dies.
func live(e *job.Engine, stops bool) {
	ctx := context.Background()
	if _, err := e.Submit(ctx, task("job")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for event, err := range e.Events(ctx, "key_1", "job", 0) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if string(event.Data) != `"asks"` {
			continue
		}
		if stops {
			_ = e.Stop(ctx)
		}
		if err := e.Answer(ctx, "key_1", "job", 1, jsontext.Value(`"child"`)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// childProcess starts another node.
func childProcess(t *testing.T, step string, p place, folder string) (*exec.Cmd, io.Closer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childStep+"="+step, childFile+"="+p.file, childURL+"="+p.url, childLog+"="+folder)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd, stdin
}

// TestKilledAtEachStep kills the node between every two steps of a job's life, and looks
// at what the next node makes of it.
func TestKilledAtEachStep(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		for _, tt := range []struct {
			step    string
			attempt int    // with which the job ends
			answer  string // that it gets; "" is ours
		}{
			{"before Submit", 1, ""},
			{"after Submit", 1, ""},
			{"before Claim", 1, ""}, // River's ticket is taken
			{"after Claim", 2, ""},
			{"in the work", 2, ""},
			{"before Append", 2, ""},
			{"after Append", 2, ""},
			{"before Note", 2, ""},
			{"after Note", 2, ""},
			{"before PutAnswer", 2, ""},
			{"after PutAnswer", 2, "child"},
			{"before Requeue", 2, ""},
			{"after Requeue", 2, ""},
			{"before Finish", 2, "child"},
			{"after Finish", 1, "child"}, // River's ticket isn't acknowledged
			{"acknowledged", 1, "child"},
		} {
			t.Run(tt.step, func(t *testing.T) {
				t.Parallel() // most of the time they wait for a lease
				p := p.another(t)
				folder := t.TempDir()
				cmd, stdin := childProcess(t, tt.step, p, folder)
				err := cmd.Wait()
				_ = stdin.Close()
				if cmd.ProcessState.ExitCode() != -1 {
					t.Fatalf("the child wasn't killed: %v", err)
				}
				checkSurvivor(t, p, folder, tt.attempt, tt.answer)
			})
		}
	})
}

func checkSurvivor(t *testing.T, p place, folder string, attempt int, answer string) {
	t.Helper()
	w := &worker{folder: folder, asks: true}
	n := start(t, p, 2, w.work)
	// Whoever got no answer submits again.
	if _, err := n.Submit(t.Context(), task("job")); err != nil && !errors.Is(err, job.ErrExists) {
		t.Fatal(err)
	}
	err := n.Answer(t.Context(), "key_1", "job", 1, jsontext.Value(`"parent"`))
	switch {
	case answer == "" && err == nil:
		answer = "parent"
	case answer == "" || !errors.Is(err, job.ErrAnswered) && !errors.Is(err, job.ErrEnded):
		t.Errorf("the answer: %v", err)
	}
	j, events := ended(t, n, "job")
	gapless(t, events)
	if j.State != job.Completed || j.Attempt != attempt || string(j.Result) != `"`+answer+`"` || string(j.Progress) != `{"step":1}` {
		t.Errorf("it ended as %+v with %s", j, j.Result)
	}
	last := fmt.Sprintf(`{"attempt":%d,"n":2}`, attempt)
	if len(events) < 3 || len(events) > 6 || string(events[len(events)-1].Data) != last {
		t.Errorf("its events are %v", events)
	}
	checkLog(t, folder, "job")
	jobs, err := n.List(t.Context(), "key_1", job.Filter{})
	if err != nil || len(jobs) != 1 {
		t.Errorf("there are %d jobs, %v", len(jobs), err)
	}
}

// checkLog reads what the nodes noted of a job: no attempt begins twice, and no two ran at
// the same time.
func checkLog(t *testing.T, folder, id string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(folder, id+".log"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "TWICE") || seen[line] {
			t.Errorf("job %s:\n%s", id, raw)
			return
		}
		seen[line] = true
	}
}

// TestNodesDie has several nodes do many jobs, and kills and stops one after the other:
// each job ends exactly once, and none is done twice at the same time.
func TestNodesDie(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		const jobs, nodes, deaths = 50, 3, 10
		folder := t.TempDir()
		n := engine(t, p, job.Options{})
		if err := n.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		type other struct {
			cmd   *exec.Cmd
			stdin io.Closer
		}
		var others []other
		add := func() {
			cmd, stdin := childProcess(t, serve, p, folder)
			others = append(others, other{cmd, stdin})
		}
		for range nodes {
			add()
		}
		for i := range jobs {
			j := task(fmt.Sprint("job_", i))
			j.MaxAttempts = deaths + 1
			submit(t, n, j)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range deaths {
				time.Sleep(time.Duration(100+rand.IntN(300)) * time.Millisecond) // chance, not order
				o := others[0]
				others = others[1:]
				if i%2 == 0 {
					_ = o.cmd.Process.Kill()
					_ = o.cmd.Wait()
				} else if err := errors.Join(o.stdin.Close(), o.cmd.Wait()); err != nil {
					t.Errorf("a node that was stopped: %v", err)
				}
				add()
			}
		})
		wg.Wait()
		for i := range jobs {
			id := fmt.Sprint("job_", i)
			j, events := ended(t, n, id)
			if gapless(t, events); j.State != job.Completed {
				t.Errorf("%+v", j)
			}
			checkLog(t, folder, id)
		}
		for _, o := range others {
			if err := errors.Join(o.stdin.Close(), o.cmd.Wait()); err != nil {
				t.Error(err)
			}
		}
	})
}
