package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
)

// background is the service as a process that nobody looks after: it is started once,
// found again by a file, and isn't started anew when it dies.
type background struct {
	options        Options
	pid, log, lock string
}

// logKept is the size from which on a start puts the former log aside.
const logKept = 10 << 20

// startTimeout bounds the wait for a service that neither serves nor ends.
const startTimeout = 2 * time.Minute

// pollEvery is how often the end of a process that isn't a child is looked for.
const pollEvery = 50 * time.Millisecond

func newBackground(o Options) *background {
	return &background{
		options: o, pid: filepath.Join(o.DataDir, "service.pid"), log: filepath.Join(o.DataDir, "service.log"), lock: filepath.Join(o.DataDir, "service.lock"),
	}
}

// record is the file that remembers the process.
type record struct {
	PID   int       `json:"pid"`
	Birth string    `json:"birth"` // see birth: a number alone may be another process's by now
	Since time.Time `json:"since"`
	URL   string    `json:"url"` // "" until it serves
}

// alive says whether the process that the file remembers runs.
func (r record) alive() bool {
	born, err := birth(r.PID)
	return err == nil && r.PID > 0 && born == r.Birth
}

// read gives what is remembered; nothing is no error.
func (b *background) read() (r record, err error) {
	text, err := os.ReadFile(b.pid)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return record{}, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return record{}, fmt.Errorf("%s holds no process: remove it", b.pid)
	}
	return r, nil
}

// write remembers a process, all of it or nothing.
func (b *background) write(r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return replaceFile(b.pid, append(text, '\n'), 0o600)
}

// locked keeps other starts and stops out. The system gives the lock up when the process
// ends.
func (b *background) locked(do func() error) (err error) {
	if err := os.MkdirAll(b.options.DataDir, 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(b.lock, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return errors.New("another claude-api service command is starting or stopping it")
	} else if err != nil {
		return fmt.Errorf("lock %s: %w", b.lock, err)
	}
	return do()
}

// Start implements Manager.
func (b *background) Start(ctx context.Context) (s Status, err error) {
	err = b.locked(func() error {
		former, err := b.read()
		if err != nil {
			return err
		}
		if former.alive() {
			return fmt.Errorf("%w: process %d", ErrRunning, former.PID)
		}
		if err := b.start(ctx); err != nil {
			return err
		}
		s, err = b.Status(ctx)
		return err
	})
	return s, err
}

// start starts the process and waits until it serves, of which it is told as a service
// manager is.
func (b *background) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	heard, forget, err := listenForNews()
	if err != nil {
		return err
	}
	defer forget()
	log, err := b.openLog()
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	cmd := exec.Command(b.options.Program, "serve", "--data-dir="+b.options.DataDir) //nolint:noctx // it outlives this command
	cmd.Env = append(withoutManagers(os.Environ()), "NOTIFY_SOCKET="+heard.path)
	if b.options.Config != "" {
		cmd.Env = append(cmd.Env, "CLAUDE_API_CONFIG="+b.options.Config)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // the terminal's signals aren't for it
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // the state is kept in cmd
	}()
	r := record{PID: cmd.Process.Pid, Since: time.Now().UTC().Truncate(time.Second)}
	if r.Birth, err = birth(r.PID); err == nil {
		err = b.write(r)
	}
	if err == nil {
		r.URL, err = heard.serving(ctx, ended)
	}
	if err == nil {
		err = b.write(r)
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, errEnded) {
		return errors.Join(fmt.Errorf("%w (%s):\n%s", err, cmd.ProcessState, b.since(begin)), b.forget())
	}
	// It would be a service that nobody can find.
	end(cmd.Process, ended)
	return errors.Join(err, b.forget())
}

// endTimeout is how long a service that hasn't begun to serve may take to end.
const endTimeout = 15 * time.Second

// end ends a process, by force if need be. Signals fail only for one that has ended.
func end(process *os.Process, ended <-chan struct{}) {
	_ = process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(endTimeout):
		_ = process.Kill()
		<-ended
	}
}

// withoutManagers leaves out what a service manager has told this process of itself.
func withoutManagers(env []string) []string {
	var kept []string
	for _, pair := range env {
		name, _, _ := strings.Cut(pair, "=")
		switch name {
		case "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES":
		default:
			kept = append(kept, pair)
		}
	}
	return kept
}

// openLog opens the log for a new process, after putting a long one aside.
func (b *background) openLog() (*os.File, error) {
	if info, err := os.Lstat(b.log); err == nil && info.Size() > logKept {
		if err := os.Rename(b.log, b.log+".1"); err != nil {
			return nil, err
		}
	}
	file, err := os.OpenFile(b.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Chmod(0o600); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// mostOfEnd bounds what of the log is told of a start that failed.
const mostOfEnd = 4000

// since gives the log's end from an offset on.
func (b *background) since(offset int64) string {
	file, err := os.Open(b.log)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil {
		offset = max(offset, info.Size()-mostOfEnd)
	}
	text, err := io.ReadAll(io.NewSectionReader(file, offset, mostOfEnd))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}

// news is a socket at which a service says how it is, in the protocol of sd_notify.
type news struct {
	conn *net.UnixConn
	path string
}

func listenForNews() (n *news, forget func(), err error) {
	// Its folder is this user's alone, and short enough for a socket's address.
	folder, err := os.MkdirTemp("", "claude-api-start-")
	if err != nil {
		return nil, nil, err
	}
	n = &news{path: filepath.Join(folder, "s")}
	if n.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.path, Net: "unixgram"}); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(folder))
	}
	return n, func() { _, _ = n.conn.Close(), os.RemoveAll(folder) }, nil
}

// errEnded means that the service ended instead of serving.
var errEnded = errors.New("the service has ended")

// serving waits until the service says that it serves, and gives where.
func (n *news) serving(ctx context.Context, ended <-chan struct{}) (url string, err error) {
	ready := make(chan string, 1)
	go func() {
		for {
			var message [4096]byte
			length, err := n.conn.Read(message[:])
			if err != nil {
				return // it is closed
			}
			if text, ok := strings.CutPrefix(string(message[:length]), "READY=1\n"); ok {
				ready <- text
				return
			}
		}
	}()
	select {
	case text := <-ready:
		return urlOf(text), nil
	case <-ended:
		return "", errEnded
	case <-ctx.Done():
		return "", fmt.Errorf("the service hasn't begun to serve: %w", context.Cause(ctx))
	}
}

// urlOf finds the first address in what the service says of itself: "serving at URL,URL;
// …".
func urlOf(status string) string {
	_, rest, _ := strings.Cut(status, "serving at ")
	rest, _, _ = strings.Cut(rest, ";")
	url, _, _ := strings.Cut(rest, ",")
	return strings.TrimSpace(url)
}

// Stop implements Manager: it asks the very process that was started, however its number
// is used by now.
func (b *background) Stop(ctx context.Context) error {
	return b.locked(func() error {
		r, err := b.read()
		if err != nil {
			return err
		}
		// The handle comes before the check: on Linux it stays that process's.
		process, err := os.FindProcess(r.PID)
		if err != nil || !r.alive() {
			return errors.Join(ErrStopped, b.forget())
		}
		defer func() { _ = process.Release() }()
		if err := process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		for r.alive() {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return fmt.Errorf("process %d is still finishing what runs: %w", r.PID, context.Cause(ctx))
			}
		}
		return b.forget()
	})
}

func (b *background) forget() error {
	if err := os.Remove(b.pid); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Status implements Manager.
func (b *background) Status(ctx context.Context) (Status, error) {
	s := Status{Manager: "none: a process in the background", State: Stopped, Log: b.log}
	r, err := b.read()
	if err != nil || r.PID == 0 {
		return s, err
	}
	if !r.alive() {
		s.Detail = fmt.Sprintf("process %d has ended without being stopped", r.PID)
		return s, nil
	}
	s.State, s.PID, s.Since, s.URL = Running, r.PID, r.Since, r.URL
	if r.URL == "" {
		s.State = Starting
		return s, nil
	}
	s.Detail = readiness(ctx, r.URL)
	return s, nil
}

// readiness is what /ready says. Where it needs more than plain HTTP to be asked, it
// isn't.
func readiness(ctx context.Context, url string) string {
	if !strings.HasPrefix(url, "http://") {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/ready", http.NoBody)
	if err != nil {
		return ""
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return "doesn't answer: " + err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Ready  bool   `json:"ready"`
		Reason string `json:"reason"`
	}
	if err := json.UnmarshalRead(io.LimitReader(response.Body, 1<<16), &answer); err != nil {
		return "answers " + response.Status
	}
	if answer.Ready {
		return "ready"
	}
	return "not ready: " + answer.Reason
}

// Logs implements Manager.
func (b *background) Logs(ctx context.Context, w io.Writer, lines int, follow bool) error {
	return tail(ctx, w, b.log, lines, follow)
}
