package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// errMissing says that there is no PostgreSQL to run.
var errMissing = errors.New("PostgreSQL isn't installed: there are no initdb and postgres in /usr/lib/postgresql/*/bin or on the PATH (Debian: apt install postgresql)")

// Bin finds the folder of PostgreSQL's binaries: the newest of Debian's, or
// that of the PATH; false when there is none.
func Bin() (string, bool) {
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // fails only for a bad pattern
	version := func(folder string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(folder))) // 0 is the oldest
		return n
	}
	slices.SortFunc(folders, func(a, b string) int { return version(b) - version(a) })
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			folders = append(folders, filepath.Dir(path))
		}
	}
	for _, folder := range folders {
		_, initdb := os.Stat(filepath.Join(folder, "initdb"))
		_, postgres := os.Stat(filepath.Join(folder, "postgres"))
		if initdb == nil && postgres == nil {
			return folder, true
		}
	}
	return "", false
}

// Server is a running PostgreSQL server.
type Server struct {
	bin, folder string
	port        int
	settings    []string
	attributes  *syscall.SysProcAttr

	mu        sync.Mutex // guards what follows, and lets one statement of administer through
	databases int
	process   *os.Process
	ended     chan struct{} // closed when process has ended
}

// prefix begins the name of each server's folder; the test binary's pid follows.
const prefix = "claude-api-postgres-"

func newServer(settings ...string) (*Server, error) {
	bin, found := Bin()
	if !found {
		return nil, errMissing
	}
	attributes, err := attributes()
	if err != nil {
		return nil, err
	}
	sweep()
	folder, err := os.MkdirTemp("", prefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, folder: folder, settings: settings, attributes: attributes}
	if err := s.initialise(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	// Between choosing a port and listening on it another process may take it.
	for range 3 {
		if s.port, err = freePort(); err != nil {
			break
		}
		if err = s.Start(); err == nil {
			err = s.administer("CREATE ROLE " + Stranger + " LOGIN PASSWORD 'another'")
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// sweep removes the folders of servers whose test binary was killed: the server
// ends with it, its folder stays.
func sweep() {
	folders, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*")) // fails only for a bad pattern
	for _, folder := range folders {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(folder), prefix), "-")
		n, err := strconv.Atoi(pid)
		if err == nil && errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			_ = os.RemoveAll(folder) // somebody else's: it stays
		}
	}
}

func freePort() (int, error) {
	var listen net.ListenConfig
	listener, err := listen.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// access lets the tests' user in without the work of a password, which SCRAM
// makes slow on purpose.
const access = "host all " + Stranger + " 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"

func (s *Server) initialise() error {
	if c := s.attributes.Credential; c != nil {
		if err := os.Chown(s.folder, int(c.Uid), int(c.Gid)); err != nil {
			return err
		}
	}
	cmd := exec.Command(filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", User, "--no-sync", "-E", "UTF8", "--locale=C", "--auth=trust")
	cmd.Env, cmd.Dir, cmd.SysProcAttr = []string{"PATH=" + s.bin, "LC_ALL=C"}, s.folder, s.attributes
	runtime.LockOSThread() // as in Start
	defer runtime.UnlockOSThread()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return os.WriteFile(filepath.Join(s.data(), "pg_hba.conf"), []byte(access), 0o600)
}

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

func (s *Server) url(user, database string) string {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
	return (&url.URL{Scheme: "postgres", User: url.UserPassword(user, Password), Host: address, Path: database, RawQuery: "sslmode=disable"}).String()
}

// Start starts the server again after Stop, on the same port, and waits until it
// takes connections.
func (s *Server) Start() error {
	args := []string{"-D", s.data()}
	for _, setting := range append([]string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(s.port), "unix_socket_directories=",
		"shared_buffers=32MB", "max_wal_size=256MB",
	}, s.settings...) {
		args = append(args, "-c", setting)
	}
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), args...)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = []string{"PATH=" + s.bin, "LC_ALL=C"}, s.folder, s.attributes
	var output bytes.Buffer // read once the process has ended
	cmd.Stdout, cmd.Stderr = &output, &output

	started, ended := make(chan error), make(chan struct{})
	go func() {
		// The signal of a parent's death is sent when this thread ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // what matters is in the output
			close(ended)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	s.mu.Lock()
	s.process, s.ended = cmd.Process, ended
	s.mu.Unlock()
	if err := s.await(ended); err != nil {
		err = errors.Join(err, s.stop(syscall.SIGQUIT))
		return fmt.Errorf("%w\n%s", err, output.Bytes())
	}
	return nil
}

// await asks until the server answers: nothing tells.
func (s *Server) await(ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.url(User, "postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-tick.C:
		case <-ended:
			return errors.New("postgres ended at its start")
		case <-ctx.Done():
			return fmt.Errorf("postgres doesn't answer: %w", err)
		}
	}
}

// Running says whether the server runs.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process != nil
}

// Crash ends the server as `pg_ctl stop -m immediate` does: at once, without
// writing anything more; the next Start recovers from the log of what was
// committed.
func (s *Server) Crash() error { return s.stop(syscall.SIGQUIT) }

// stop sends the signal and waits for the end. Without a running server it does
// nothing.
func (s *Server) stop(signal syscall.Signal) error {
	s.mu.Lock()
	process, ended := s.process, s.ended
	s.process = nil
	s.mu.Unlock()
	if process == nil {
		return nil
	}
	if err := process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal postgres: %w", err)
	}
	select {
	case <-ended:
		return nil
	case <-time.After(patience):
		return errors.New("postgres doesn't end")
	}
}

func (s *Server) remove() error {
	return errors.Join(s.Crash(), os.RemoveAll(s.folder))
}
