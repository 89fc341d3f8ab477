package benchmark

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Stand is what a measurement stands on: a service and a simulator of the
// upstream, each a process of its own.
type Stand struct {
	Service  *Service
	Upstream string
	folder   string
	children []*exec.Cmd
	log      sharedLog
}

// sharedLog keeps what several processes say.
type sharedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *sharedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *sharedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// StandOptions say what to start.
type StandOptions struct {
	Self    string // the claude-api binary
	CLI     string // the Claude Code binary, or "off"
	Workers int
}

// NewStand starts both and waits until the service is ready.
func NewStand(ctx context.Context, o StandOptions) (*Stand, error) {
	folder, err := os.MkdirTemp("", "claude-api-bench-")
	if err != nil {
		return nil, err
	}
	s := &Stand{folder: folder}
	if err := s.start(ctx, o); err != nil {
		s.Close()
		return nil, fmt.Errorf("%w\n%s", err, s.log.String())
	}
	return s, nil
}

func (s *Stand) start(ctx context.Context, o StandOptions) error {
	upstream, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	if err := s.child(ctx, nil, o.Self, "simulator", "--listen="+upstream); err != nil {
		return err
	}
	s.Upstream = "http://" + upstream
	service, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	data := filepath.Join(s.folder, "data")
	environment := []string{
		"ANTHROPIC_API_KEY=sk-simulator", "ANTHROPIC_BASE_URL=" + s.Upstream,
		"CLAUDE_API_CLAUDE_PATH=" + o.CLI, fmt.Sprintf("CLAUDE_API_MAX_WORKERS=%d", o.Workers), "CLAUDE_API_LOG_LEVEL=warn",
	}
	if err := s.child(ctx, environment, o.Self, "serve", "--listen="+service, "--data-dir="+data); err != nil {
		return err
	}
	create := exec.CommandContext(ctx, o.Self, "keys", "create", "--data-dir="+data, "--project-id=bench", "--rate-limit=0", "-q")
	create.Env = s.environment(nil)
	key, err := create.Output()
	if err != nil {
		return fmt.Errorf("create a key: %w", err)
	}
	s.Service = NewService("http://"+service, strings.TrimSpace(string(key)))
	return s.Service.Ready(ctx)
}

func (s *Stand) environment(further []string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.folder, "TMPDIR=" + os.TempDir()}, further...)
}

func (s *Stand) child(ctx context.Context, environment []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = s.environment(environment)
	cmd.Stderr = &s.log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", args[0], err)
	}
	s.children = append(s.children, cmd)
	return nil
}

// Close stops both and removes their data.
func (s *Stand) Close() {
	for i := len(s.children) - 1; i >= 0; i-- {
		_ = s.children[i].Process.Signal(syscall.SIGTERM)
		_ = s.children[i].Wait()
	}
	_ = os.RemoveAll(s.folder)
}

func freeAddress(ctx context.Context) (string, error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), errors.Join(l.Close())
}
