//go:build unix

package dashboard_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
)

var (
	browser     = flag.Bool("browser", false, "open the page in Chromium; without it these tests are skipped, because they need npm ci in the folder web")
	screenshots = flag.String("screenshots", "", "write pictures of the page into this folder")
)

const (
	// folder is where the page is made, and the scripts that open it.
	folder = "../../web"
	// requireVariable makes a missing browser a failure instead of a skip, when it is set
	// to 1.
	requireVariable = "CLAUDE_API_TEST_REQUIRE_BROWSER"
	// patience bounds every wait for one thing, scriptTime a whole script.
	patience   = 60 * time.Second
	scriptTime = 8 * time.Minute
)

// checks are those of web/test/dashboard.mjs, in their order.
func checks() []string {
	return []string{
		"sign-in", "every view", "real data", "live request", "filter requests", "a key’s life", "what is wrong with a key",
		"a budget’s life", "an approval lets a task go on", "a refusal is told to the model", "a task is ended", "a worker is ended",
		"playground: chat", "playground: compare", "playground: task", "keyboard", "axe", "phone", "colours and motion", "nothing jumps",
		"the connection is lost", "a session that ends", "sign-out", "nothing in the console",
	}
}

// TestBrowser opens the page in Chromium, against the service as a process of its own,
// with the real CLI and the simulator as its upstream.
func TestBrowser(t *testing.T) {
	if !*browser {
		t.Skip("SKIPPED: make test-dashboard opens the page in a browser")
	}
	tools := findTools(t)
	s := newStand(t, clitest.NewUpstream(t).URL(), "--max-workers=3")
	s.seed(t)
	results := map[string]string{}
	for line := range strings.Lines(s.run(t, tools, "dashboard.mjs")) {
		var r struct{ Check, Error string }
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Check == "" {
			t.Errorf("dashboard.mjs printed %q", line)
			continue
		}
		results[r.Check] = r.Error
	}
	for _, name := range checks() {
		t.Run(name, func(t *testing.T) {
			if failure, ran := results[name]; !ran {
				t.Error("it didn't run")
			} else if failure != "" {
				t.Error(failure)
			}
		})
		delete(results, name)
	}
	for name := range results {
		t.Errorf("%q ran and isn't known here", name)
	}
}

// TestScreenshots writes the pictures of docs/dashboard.md.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("SKIPPED: make screenshots takes the pictures")
	}
	tools := findTools(t)
	to, err := filepath.Abs(*screenshots)
	if err != nil {
		t.Fatal(err)
	}
	upstream := httptest.NewServer(director{clitest.NewUpstream(t)})
	defer upstream.Close()
	s := newStand(t, upstream.URL, "--max-workers=4")
	s.seed(t)
	s.pictures = to
	t.Log(s.run(t, tools, "screenshots.mjs"))
}

// director tells the simulator what to answer, so that no prompt in a picture has to: how
// long it takes follows from the prompt.
type director struct{ simulator http.Handler }

// ServeHTTP implements http.Handler.
func (d director) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller left: nobody to tell
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	has := func(text string) bool { return bytes.Contains(body, []byte(text)) }
	sum := fnv.New32a()
	_, _ = sum.Write(body) // never fails
	n := sum.Sum32()
	directive := fmt.Sprintf("delay=%dms interval=%dms tokens=%d", 90+n%260, 6+n>>8%10, 20+n>>16%90)
	switch answered := has(`"tool_result"`); {
	case has("Find out why") && has(`"name":"Bash"`) && !answered:
		directive = `delay=200ms tool=Bash input={"command":"go test ./cart/... -run TestTotal"}`
	case has("Write down") && has(`"name":"Write"`) && !answered:
		directive = `delay=200ms tool=Write input={"file_path":"notes.md","content":"# This week\n\n- the cart\n"}`
	case has("Write down") && answered:
		directive = "delay=200ms text=The notes are in notes.md."
	case has("river"):
		directive = "delay=120ms interval=8ms tokens=24"
	}
	r.Header.Set("X-Simulator", directive)
	d.simulator.ServeHTTP(w, r)
}

// TestBuilt holds what is committed against what the sources give.
func TestBuilt(t *testing.T) {
	if !*browser {
		t.Skip("SKIPPED: make test-dashboard builds the page anew")
	}
	tools := findTools(t)
	built := filepath.Join(t.TempDir(), "dist")
	ctx, cancel := context.WithTimeout(t.Context(), scriptTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, tools.node, "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn", "--emptyOutDir", "--outDir", built)
	cmd.Dir, cmd.Env = folder, tools.environment(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	want, got := tree(t, built), tree(t, "dist")
	for name, body := range want {
		if !bytes.Equal(got[name], body) {
			t.Errorf("%s isn't committed as it is built: run make dashboard", name)
		}
	}
	for name := range got {
		if want[name] == nil {
			t.Errorf("%s is committed and isn't built any more: run make dashboard", name)
		}
	}
}

func tree(t *testing.T, root string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		files[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// tools are the programs that are needed beside Go.
type tools struct{ node, chromium string }

// findTools finds Node.js, what npm has installed, and Chromium. Where one is missing, the
// test is skipped, or fails where they are required.
func findTools(t *testing.T) tools {
	t.Helper()
	var found tools
	node, err := exec.LookPath("node")
	if err == nil {
		found.node, err = filepath.Abs(node)
	}
	if err == nil {
		_, err = os.Stat(filepath.Join(folder, "node_modules", "playwright-core"))
	}
	if err == nil {
		for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
			if found.chromium, err = exec.LookPath(name); err == nil {
				return found
			}
		}
	}
	if os.Getenv(requireVariable) == "1" {
		t.Fatalf("the browser is required here (%s=1): %v (run make test-dashboard)", requireVariable, err)
	}
	t.Skipf("SKIPPED: the browser can't be had: %v (run make test-dashboard)", err)
	return found
}

// environment is built from nothing, so that no key, proxy or address of the machine is
// used.
func (p tools) environment(t *testing.T, further ...string) []string {
	t.Helper()
	return append([]string{"PATH=" + filepath.Dir(p.node) + ":/usr/bin:/bin", "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "TZ=UTC", "DO_NOT_TRACK=1"}, further...)
}

// stand is the service, and what a script needs of it.
type stand struct {
	program, data, cli, upstream, url string
	arguments                         []string
	admin, key                        string
	env                               []string
	pictures                          string

	mu      sync.Mutex
	service *service
}

// newStand builds the service and starts it, with a key of each kind.
func newStand(t *testing.T, upstream string, arguments ...string) *stand {
	t.Helper()
	s := &stand{
		data: t.TempDir(), cli: clitest.Path(t, install.Version), upstream: upstream, arguments: arguments,
		program: filepath.Join(t.TempDir(), "claude-api"), pictures: t.TempDir(),
		env: []string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "TZ=UTC"},
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", s.program, "../../cmd/claude-api")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the service: %v\n%s", err, out)
	}
	// A port that is free now, and the same after a start.
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	s.admin = s.command(t, "keys", "create", "--project-id=operations", "--name=operator", "--admin", "-q")
	s.key = s.newKey(t, "shop", "checkout")
	return s
}

func (s *stand) newKey(t *testing.T, project, name string, further ...string) string {
	t.Helper()
	return s.command(t, append([]string{"keys", "create", "--project-id=" + project, "--name=" + name, "--profile=enterprise", "--rate-limit=0", "-q"}, further...)...)
}

// command runs one of the commands that work on the database, and gives what it prints.
func (s *stand) command(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.program, append(args, "--data-dir="+s.data)...)
	cmd.Env = s.env
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, errs.String())
	}
	return strings.TrimSpace(string(out))
}

// seed makes what the views show: a second key, a budget, and requests on both paths.
func (s *stand) seed(t *testing.T) {
	t.Helper()
	s.newKey(t, "support", "support-bot", "--budget-tokens-day=2000000")
	s.command(t, "budgets", "set", "--project-id=shop", "--period=month", "--usd=50", "--soft-usd=40")
	for _, backend := range []string{"cli", "direct"} {
		body := `{"model":"haiku","max_tokens":200,"messages":[{"role":"user","content":"Name a river. [[tokens=30]]"}]}`
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/v1/messages", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Api-Key", s.key)
		r.Header.Set("X-Claude-Backend", backend)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("seed on %s: %d, %v", backend, response.StatusCode, err)
		}
	}
}

// service is the running process.
type service struct {
	cmd   *exec.Cmd
	errs  *tail
	ended chan struct{}
}

var serving = regexp.MustCompile(`msg=serving url=`)

// start starts the service and waits until it is ready.
func (s *stand) start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.service != nil {
		return errors.New("it runs")
	}
	args := append([]string{"serve", "--listen=" + strings.TrimPrefix(s.url, "http://"), "--data-dir=" + s.data}, s.arguments...)
	p := &service{cmd: exec.Command(s.program, args...), errs: &tail{}, ended: make(chan struct{})}
	p.cmd.Env = append(s.env, "ANTHROPIC_API_KEY=sk-ant-planted-0123456789", "ANTHROPIC_BASE_URL="+s.upstream, "CLAUDE_API_CLAUDE_PATH="+s.cli)
	p.cmd.Stderr = p.errs
	p.cmd.WaitDelay = patience / 6
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the state is kept in cmd
	}()
	s.service = p
	return s.await(ctx, p)
}

// await waits until the service is ready; nothing tells of it.
func (s *stand) await(ctx context.Context, p *service) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/ready", nil)
		if err != nil {
			return err
		}
		if response, err := http.DefaultClient.Do(r); err == nil {
			_ = response.Body.Close() // nothing of it is read
			if response.StatusCode == http.StatusOK && serving.MatchString(p.errs.String()) {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("the service has ended: %s", p.errs)
		case <-ctx.Done():
			return fmt.Errorf("the service isn't ready: %s", p.errs)
		}
	}
}

// stop ends the service as an operator does, and kills it where that takes too long.
func (s *stand) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.service
	if p == nil {
		return nil
	}
	s.service = nil
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return errors.New("the service had to be killed")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the service exited with %d: %s", code, p.errs)
	}
	return nil
}

// tail collects what is written to it, and tells its end.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.text[max(0, len(w.text)-20_000):])
}

// run runs a script of web/test and gives what it prints. It can have the service
// stopped and started.
func (s *stand) run(t *testing.T, tools tools, script string) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.stop()) })
	mux.HandleFunc("POST /start", func(w http.ResponseWriter, r *http.Request) { reply(w, s.start(context.WithoutCancel(r.Context()))) })
	control := httptest.NewServer(mux)
	defer control.Close()
	given, err := json.Marshal(map[string]string{
		"url": s.url, "admin": s.admin, "key": s.key, "control": control.URL, "browser": tools.chromium, "folder": s.pictures,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), scriptTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, tools.node, filepath.Join("test", script))
	cmd.Dir, cmd.Env = folder, tools.environment(t, "STAND="+string(given), "CHECKS="+os.Getenv("CHECKS"))
	// The browser is a child of the script: both end when time is over.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var errs bytes.Buffer
	cmd.Stderr = &errs
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	lines := bufio.NewScanner(pipe)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		t.Log(lines.Text())
		out.WriteString(lines.Text() + "\n")
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v\n%s", script, err, errs.String())
	}
	return out.String()
}

func reply(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
