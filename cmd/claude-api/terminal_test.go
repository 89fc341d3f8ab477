package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"claude-code-api-service/client"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
)

// terminal is a claude-api that runs in a terminal of its own.
type terminal struct {
	*process
	file *os.File
}

// inTerminal starts claude-api in a terminal of a size. All that it shows is in stdout.
func inTerminal(t *testing.T, env []string, columns, lines uint16, args ...string) *terminal {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Dir = append(env, "TERM=xterm-256color"), t.TempDir()
	file, err := pty.StartWithSize(p.cmd, &pty.Winsize{Cols: columns, Rows: lines})
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&p.stdout, file) // ends with the program
	}()
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the state is kept in cmd
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		_ = file.Close()
		<-read
		if strings.Contains(p.stdout.String(), "DATA RACE") {
			t.Errorf("the race detector spoke:\n%s", p.stdout.String())
		}
	})
	return &terminal{p, file}
}

func (v *terminal) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := v.file.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// shows waits until a text that fits is on the screen, and gives its first group. The
// terminal is made another size meanwhile, so that all is drawn anew: otherwise only what
// has changed is, letter by letter.
func (v *terminal) shows(t *testing.T, pattern string) (found string) {
	t.Helper()
	fits, from := regexp.MustCompile(pattern), len(v.stdout.String())
	size := pty.Winsize{Cols: 120, Rows: 20}
	eventually(t, patience, "the screen shows "+pattern, func() bool {
		size.Rows ^= 1
		if err := pty.Setsize(v.file, &size); err != nil {
			t.Fatal(err)
		}
		groups := fits.FindStringSubmatch(v.stdout.String()[from:])
		if groups != nil {
			found = groups[len(groups)-1]
		}
		return groups != nil
	})
	return found
}

// left says whether the program has given the terminal back as it was.
func (v *terminal) left() bool {
	text := v.stdout.String()
	return strings.Contains(text, "\x1b[?1049h") && strings.LastIndex(text, "\x1b[?1049l") > strings.LastIndex(text, "\x1b[?1049h")
}

// TestTop looks at a service on the real CLI in a real terminal, ends a worker there, and
// asks the commands about workers.
func TestTop(t *testing.T) {
	up := newUpstream(t)
	s := &stand{service: serve(t, up.url, clitest.Path(t, install.Version)), upstream: up}
	s.ready(t)
	s.idle(t)
	admin := command(t, s.env, "keys", "create", "--data-dir="+s.data, "--project-id=ops", "--admin", "-q")
	env := append(environment(t), "CLAUDE_API_URL="+s.url, adminKeyVariable+"="+admin)

	v := inTerminal(t, env, 120, 20, "top", "--every=100ms")
	v.shows(t, `(?s)claude-api .*requests/s.*workers 0 busy 2 idle.*1 Requests`)
	v.press(t, "2")
	id := v.shows(t, `(worker_\w+)`)
	v.press(t, "x")
	v.shows(t, `End worker (worker_\w+)\? y: yes`)
	v.press(t, "y")
	if ended := v.shows(t, `worker (worker_\w+) is ended`); ended != id {
		t.Errorf("%s was asked for, %s is ended", id, ended)
	}
	s.idle(t) // another one is there
	v.press(t, "?")
	v.shows(t, `choose a line`)
	v.press(t, "q")
	if code := v.exit(t); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	eventually(t, patience, "the terminal is given back", v.left)

	v = inTerminal(t, env, 80, 24, "top")
	v.expect(t, &v.stdout, `requests/s`)
	v.press(t, "\x03")
	if code := v.exit(t); code != exitDone {
		t.Errorf("after ctrl+c: exit code %d", code)
	}
	v = inTerminal(t, env, 80, 24, "top")
	v.expect(t, &v.stdout, `requests/s`)
	v.signal(t, syscall.SIGTERM)
	if code := v.exit(t); code != exitDone {
		t.Errorf("after SIGTERM: exit code %d", code)
	}
	eventually(t, patience, "the terminal is given back", v.left)
	v = inTerminal(t, append(env, "CLAUDE_API_ADMIN_KEY="+s.key), 80, 24, "top")
	if code := v.exit(t); code != exitRefused {
		t.Errorf("with a caller's key: exit code %d", code)
	}

	if line := command(t, env, "top", "-n", "1"); !strings.Contains(line, "workers 0 busy 2 idle") || strings.Contains(line, "\x1b") {
		t.Errorf("without a terminal: %q", line)
	}
	testWorkers(t, env)
}

func testWorkers(t *testing.T, env []string) {
	if text := command(t, env, "workers", "status"); !regexp.MustCompile(`(?s)Mode: +.*rewind.*Idle: +2.*At most: +2`).MatchString(text) {
		t.Errorf("status:\n%s", text)
	}
	list := command(t, env, "workers", "list", "-o", "csv")
	found := regexp.MustCompile(`(?m)^(worker_\w+),\d+,idle,`).FindAllStringSubmatch(list, -1)
	if len(found) != 2 || !strings.HasPrefix(list, "id,pid,state,age_seconds,idle_seconds,turns,rss_bytes,model,project_id,request_id\n") {
		t.Fatalf("list:\n%s", list)
	}
	if text := command(t, env, "workers", "kill", found[0][1]); text != found[0][1]+" is ended" {
		t.Errorf("kill: %q", text)
	}
	for args, want := range map[string]int{
		"workers kill worker_none": exitNotFound, "workers list --key-file=none": exitRefused, "workers list -o xml": exitUsage,
	} {
		if code := start(t, env, strings.Fields(args)...).exit(t); code != want {
			t.Errorf("%s: exit code %d, want %d", args, code, want)
		}
	}
}

// TestWorkersWithout asks a service that has none.
func TestWorkersWithout(t *testing.T) {
	s := serve(t, newUpstream(t).url, "off")
	s.ready(t)
	admin := command(t, s.env, "keys", "create", "--data-dir="+s.data, "--project-id=ops", "--admin", "-q")
	env := append(environment(t), "CLAUDE_API_URL="+s.url, keyVariable+"="+admin)
	p := start(t, env, "workers", "status")
	if code := p.exit(t); code != exitNotFound || !strings.Contains(p.stderr.String(), "without the CLI") {
		t.Errorf("%d %s", code, p.stderr.String())
	}
	if text := command(t, env, "workers", "list", "-o", "json"); strings.Join(strings.Fields(text), "") != "[]" {
		t.Errorf("%q", text)
	}
}

// TestOnTerminal runs commands in a terminal: they have colours, a progress bar, and
// nothing of an answer steers the terminal.
func TestOnTerminal(t *testing.T) {
	s := serve(t, newUpstream(t).url, "off")
	s.ready(t)
	env := append(environment(t), "CLAUDE_API_URL="+s.url, keyVariable+"="+s.key)
	file := filepath.Join(t.TempDir(), "prompts.txt")
	if err := os.WriteFile(file, []byte("one\n[[error=500]]\n[[delay=300ms]]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	v := inTerminal(t, env, 80, 24, "batch", "run", file)
	if code := v.exit(t); code != exitPartly {
		t.Errorf("exit code %d", code)
	}
	v.expect(t, &v.stdout, `\r\x1b\[K\[-{40}\] 0/3`)
	v.expect(t, &v.stdout, `\x1b\[31mfailed`)
	v.expect(t, &v.stdout, `2 of 3 completed, 1 failed`)

	v = inTerminal(t, append(env, "NO_COLOR=1"), 80, 24, "health", "deps")
	v.expect(t, &v.stdout, `direct +ok`)
	if v.exit(t); strings.Contains(v.stdout.String(), "\x1b") {
		t.Errorf("in spite of NO_COLOR:\n%q", v.stdout.String())
	}
	v = inTerminal(t, env, 80, 24, "process", "send", "a\x1b[2Jb")
	v.expect(t, &v.stdout, `Echo: a\?\[2Jb`)
	v = inTerminal(t, env, 80, 24, "process", "send", "--stream", "a\x1b[2Jb")
	v.expect(t, &v.stdout, `Echo: a\?\[2Jb`)
}

// TestInterrupted interrupts commands that wait: the exit code says so, and a batch goes
// on.
func TestInterrupted(t *testing.T) {
	up := newUpstream(t)
	s := serve(t, up.url, "off")
	s.ready(t)
	env := append(environment(t), "CLAUDE_API_URL="+s.url, keyVariable+"="+s.key)
	file := filepath.Join(t.TempDir(), "prompts.txt")
	if err := os.WriteFile(file, []byte("[[delay=2s]]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	waits := func() bool { return up.Stats().InFlight > 0 }
	p := start(t, env, "batch", "run", file)
	eventually(t, patience, "the batch runs", waits)
	p.signal(t, syscall.SIGINT)
	if code := p.exit(t); code != exitInterrupted {
		t.Errorf("exit code %d: %s", code, p.stderr.String())
	}
	id := p.expect(t, &p.stderr, `claude-api batch get (batch_\w+)`)
	if text := command(t, env, "batch", "get", id, "--wait"); !strings.Contains(text, "completed") {
		t.Errorf("%s", text)
	}
	p = start(t, env, "process", "send", "[[delay=1m]]")
	eventually(t, patience, "the prompt is asked", waits)
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitInterrupted || !strings.Contains(p.stderr.String(), "interrupted") {
		t.Errorf("exit code %d: %s", code, p.stderr.String())
	}
	eventually(t, patience, "its call has ended", func() bool { return !waits() })
}

func TestPrompts(t *testing.T) {
	for _, tt := range []struct{ form, text, want string }{
		{"txt", " a \n\n b", "a b"},
		{"json", `["a", {"prompt":"b","id":"x"}, {"prompt":"c","id":7}, {"prompt":"d","id":null}]`, "a b(x) c(7) d"},
		{"json", `{"prompts":["a"],"model":"haiku"}`, "a"},
		{"json", `{"prompts":["a",""]}`, "! prompt 2"},
		{"json", `["a",7]`, "! prompt 2"},
		{"json", `["a"`, "! list"},
		{"json", `[]`, ""},
		{"jsonl", "\"a\"\n\n{\"prompt\":\"b\"}\n", "a b"},
		{"jsonl", "\"a\"\nb", "! line 2"},
		{"csv", "id,prompt,note\n1,a,x\n2,\"b\nc\",y\n", "a(1) b\nc(2)"},
		{"csv", "prompt\na\n\"\"\n", "! line 3"},
		{"csv", "a,b\n", "! columns"},
		{"csv", "prompt,id\na\n", "! fields"},
		{"csv", "", ""},
	} {
		prompts, err := parsePrompts([]byte(tt.text), tt.form)
		var got []string
		for _, p := range prompts {
			if p.ID != "" {
				p.Prompt += "(" + p.ID + ")"
			}
			got = append(got, p.Prompt)
		}
		if want, fails := strings.CutPrefix(tt.want, "! "); fails {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %q: %v", tt.form, tt.text, err)
			}
			continue
		}
		if err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("%s %q: %q %v", tt.form, tt.text, got, err)
		}
	}
	for file, want := range map[string]string{"a.JSON": "json", "b.ndjson": "jsonl", "c.csv": "csv", "-": "txt", "d": "txt"} {
		if got := formOf(file); got != want {
			t.Errorf("%s is %s", file, got)
		}
	}
}

// FuzzPrompts reads any file in any form: no prompt is empty.
func FuzzPrompts(f *testing.F) {
	f.Add("txt", []byte("a\n\nb"))
	f.Add("json", []byte(`["a",{"prompt":"b","id":1e9}]`))
	f.Add("jsonl", []byte("\"a\"\n{\"prompt\":\"b\"}"))
	f.Add("csv", []byte("prompt,id\n\"a\nb\",1"))
	f.Fuzz(func(t *testing.T, form string, text []byte) {
		prompts, err := parsePrompts(text, form)
		for _, p := range prompts {
			if strings.TrimSpace(p.Prompt) == "" && err == nil {
				t.Fatalf("%q", p)
			}
		}
	})
}

func TestProgressLine(t *testing.T) {
	for _, tt := range []struct {
		done, total, width int
		besides, want      string
	}{
		{0, 4, 80, "", "[" + strings.Repeat("-", 40) + "] 0/4  1m1s"},
		{1, 4, 80, "1 failed", "[##########" + strings.Repeat("-", 30) + "] 1/4  1 failed  1m1s"},
		{9, 4, 30, "", "[" + strings.Repeat("#", 18) + "] 9/4  1m1s"},
		{1, 4, 12, "", " 1/4  1m1s"},
		{1, 4, 5, "", " 1/4 "},
		{1, 0, 80, "", " 1/0  1m1s"},
		{1, 4, 0, "", ""},
	} {
		if got := progressLine(tt.done, tt.total, tt.besides, 61_900*time.Millisecond, tt.width); got != tt.want {
			t.Errorf("%d of %d in %d: %q, want %q", tt.done, tt.total, tt.width, got, tt.want)
		}
	}
}

func TestExitCodeOf(t *testing.T) {
	told := func(status int, category string) error {
		return fmt.Errorf("wrapped: %w", &client.Error{Status: status, Category: category})
	}
	for want, errs := range map[int][]error{
		exitDone:        {nil},
		exitFailed:      {errors.New("x"), context.DeadlineExceeded, told(502, client.CategoryAuth), told(502, client.CategoryUpstream), told(409, "")},
		exitInterrupted: {context.Canceled},
		exitUsage:       {misused("x"), told(400, client.CategoryBadRequest)},
		exitNotFound:    {notFound("x"), told(404, client.CategoryBadRequest)},
		exitRefused:     {told(401, client.CategoryAuth), told(403, client.CategoryPermission), told(403, "")},
		exitUnreachable: {&url.Error{Op: "Get", URL: "http://x", Err: errors.New("refused")}},
		exitLater:       {told(429, client.CategoryRateLimited), told(503, client.CategoryOverloaded), told(403, client.CategoryBudgetExceeded), told(0, client.CategoryOverloaded), told(503, "")},
	} {
		for _, err := range errs {
			if got := exitCode(err); got != want {
				t.Errorf("%v: %d, want %d", err, got, want)
			}
		}
	}
}
