package supervise

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script puts a program into PATH, alone, that keeps its arguments and does what a
// shell is told. It gives where the arguments are.
func script(t *testing.T, name, body string) (calls func() string) {
	t.Helper()
	folder := t.TempDir()
	log := filepath.Join(folder, "calls")
	text := "#!/bin/sh\necho \"$*\" >> '" + log + "'\n" + body + "\n"
	if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder)
	return func() string {
		text, err := os.ReadFile(log)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.WriteFile(log, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
}

func options(t *testing.T) Options {
	t.Helper()
	home := t.TempDir()
	return Options{Program: "/opt/claude api/claude-api", Home: home, DataDir: filepath.Join(home, "100% $data")}
}

func fileText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestInstallUserUnit(t *testing.T) {
	calls := script(t, "systemctl", "")
	o := options(t)
	o.Config = o.Home + "/my settings.yaml"
	s := newSystemd(o, true)
	s.root = t.TempDir()
	plan, err := s.install(o.Home + "/key 100%")
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := calls(); got != "--user daemon-reload\n--user enable claude-api.service" {
		t.Errorf("it ran %s", got)
	}
	unit := fileText(t, filepath.Join(o.Home, ".config/systemd/user/claude-api.service"))
	for _, want := range []string{
		`ExecStart="/opt/claude api/claude-api" serve "--data-dir=` + o.Home + `/100%% $$data"` + "\n",
		`Environment="CLAUDE_API_CONFIG=` + o.Home + `/my settings.yaml"` + "\n",
		"LoadCredential=anthropic-api-key:" + o.Home + "/key 100%%\nEnvironment=ANTHROPIC_API_KEY_FILE=%d/anthropic-api-key\n",
	} {
		if !strings.Contains(unit, want) {
			t.Errorf("no %q in\n%s", want, unit)
		}
	}

	plan, err = s.uninstall()
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := calls(); got != "--user disable --now claude-api.service\n--user daemon-reload" {
		t.Errorf("it ran %s", got)
	}
	if s.installed() {
		t.Error("the unit is left")
	}
	if _, err := s.uninstall(); err == nil {
		t.Error("what isn't installed was removed")
	}
}

func TestInstallSystemUnit(t *testing.T) {
	calls := script(t, "systemctl", "")
	o := options(t)
	s := newSystemd(o, false)
	s.root = t.TempDir()
	// What it starts must be seen from behind ProtectHome= and PrivateTmp=.
	for _, hidden := range []string{"/home/me/bin/claude-api", "/root/claude-api", "/tmp/claude-api"} {
		s.options.Program = hidden
		if _, err := s.install(""); err == nil || !strings.Contains(err.Error(), "/usr/local/bin") {
			t.Errorf("%s: %v", hidden, err)
		}
	}
	s.options.Program = "/usr/local/bin/claude-api"
	settings := filepath.Join(s.root, "etc/claude-api/config.yaml")
	if err := os.MkdirAll(filepath.Dir(settings), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(settings, []byte("strict: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	plan, err := s.install("/etc/keys/anthropic")
	if err != nil {
		t.Fatal(err)
	}
	plan.commands = plan.commands[1:] // systemd-sysusers is the machine's
	var shown bytes.Buffer
	if err := plan.Print(&shown); err != nil || !strings.Contains(shown.String(), "keep "+settings+" as it is") {
		t.Errorf("%v\n%s", err, shown.String())
	}
	if err := plan.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := calls(); got != "daemon-reload\nenable claude-api.service" {
		t.Errorf("it ran %s", got)
	}
	unit := fileText(t, filepath.Join(s.root, "etc/systemd/system/claude-api.service"))
	if !strings.Contains(unit, "ExecStart=/usr/local/bin/claude-api serve\n") || !strings.Contains(unit, "LoadCredential=anthropic-api-key:/etc/keys/anthropic\n") {
		t.Error(unit)
	}
	if fileText(t, settings) != "strict: true\n" {
		t.Error("the operator's settings were replaced")
	}
	plan, err = s.uninstall()
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The socket first: it would start the service.
	if got := calls(); got != "disable --now claude-api.socket claude-api.service\ndaemon-reload" {
		t.Errorf("it ran %s", got)
	}
	if left, err := filepath.Glob(filepath.Join(s.root, "etc/s*/*/claude-api*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A package's unit stays the package's.
func TestInstallBesideAPackage(t *testing.T) {
	s := newSystemd(options(t), false)
	s.root, s.options.Program = t.TempDir(), "/usr/bin/claude-api"
	folder := filepath.Join(s.root, "usr/lib/systemd/system")
	if err := errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(filepath.Join(folder, unitName), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if !s.installed() {
		t.Error("the package's unit isn't seen")
	}
	if _, err := s.install(""); err == nil || !strings.Contains(err.Error(), "a package") {
		t.Errorf("install: %v", err)
	}
	if _, err := s.uninstall(); err == nil || !strings.Contains(err.Error(), "remove the package") {
		t.Errorf("uninstall: %v", err)
	}
}

func TestInstallRefusesPathsThatUnitsCannotHold(t *testing.T) {
	for _, change := range []func(o *Options) (key string){
		func(o *Options) string { o.Program = "/opt/a\nExecStartPre=/bin/evil"; return "" },
		func(o *Options) string { o.Program = `/opt/"a"/claude-api`; return "" },
		func(o *Options) string { o.DataDir = "/data\x00"; return "" },
		func(o *Options) string { o.Config = "/x\ny"; return "" },
		func(*Options) string { return "relative" },
		func(*Options) string { return "/key\nUser=root" },
		func(*Options) string { return "/a:b" },
	} {
		o := options(t)
		key := change(&o)
		s := newSystemd(o, true)
		s.root = t.TempDir()
		if plan, err := s.install(key); err == nil {
			t.Errorf("%+v %q: %+v", o, key, plan.files)
		}
	}
}

func TestSystemdStatus(t *testing.T) {
	s := newSystemd(options(t), false)
	got := s.read("ActiveState=active\nSubState=running\nMainPID=46\nStatusText=serving at http://127.0.0.1:8006,unix:/run/s; ready\nActiveEnterTimestamp=@1795960000\n")
	want := Status{Manager: "systemd", State: Running, PID: 46, Since: time.Unix(1795960000, 0).UTC(), URL: "http://127.0.0.1:8006", Detail: "serving at http://127.0.0.1:8006,unix:/run/s; ready", Log: "journalctl --unit=claude-api.service --no-pager --lines=100"}
	if got != want {
		t.Errorf("got %+v", got)
	}
	for text, want := range map[string]Status{
		"ActiveState=failed\nSubState=failed\nMainPID=0\nStatusText=serving at x\nActiveEnterTimestamp=@1\n": {State: Failed, Detail: "failed", URL: "x"},
		"ActiveState=inactive\nSubState=dead\nMainPID=0\nStatusText=\nActiveEnterTimestamp=\n":               {State: Stopped, Detail: "dead"},
		"ActiveState=activating\nSubState=start\nMainPID=7\n":                                                {State: Starting, Detail: "start", PID: 7},
	} {
		want.Manager, want.Log = got.Manager, got.Log
		if got := s.read(text); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestSystemdStartStop(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(state, []byte("inactive"), 0o600); err != nil {
		t.Fatal(err)
	}
	calls := script(t, "systemctl", `
case "$1 $2" in
"start claude-api.service") echo active > '`+state+`';;
"stop claude-api.service") echo inactive > '`+state+`';;
esac
read -r now < '`+state+`' || true
echo "ActiveState=$now"
echo MainPID=9`)
	s := newSystemd(options(t), false)
	if err := s.Stop(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("a stop of what doesn't run: %v", err)
	}
	status, err := s.Start(t.Context())
	if err != nil || status.State != Running || status.PID != 9 {
		t.Errorf("%+v, %v", status, err)
	}
	if _, err := s.Start(t.Context()); !errors.Is(err, ErrRunning) {
		t.Errorf("a second start: %v", err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if got := calls(); strings.Count(got, "start claude-api.service") != 1 || strings.Count(got, "stop claude-api.service") != 1 {
		t.Errorf("it ran\n%s", got)
	}
}

// plist is what launchd reads of the file: keys and values in turn.
type plist struct {
	Dict struct {
		Inner string `xml:",innerxml"`
	} `xml:"dict"`
}

// values reads a property list: what stands behind each key, and whether all of it is
// well-formed XML of elements that a property list has.
func values(t *testing.T, text string) map[string][]string {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	known := map[string]bool{"plist": true, "dict": true, "key": true, "string": true, "array": true, "true": true, "false": true, "integer": true}
	found := map[string][]string{}
	key := ""
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if !known[element.Name.Local] {
			t.Errorf("<%s> is in no property list", element.Name.Local)
		}
		switch element.Name.Local {
		case "key", "string", "integer":
			var value string
			if err := d.DecodeElement(&value, &element); err != nil {
				t.Fatal(err)
			}
			if element.Name.Local == "key" {
				key = value
				found[key] = nil
			} else {
				found[key] = append(found[key], value)
			}
		case "true", "false":
			found[key] = append(found[key], element.Name.Local)
		}
	}
}

func TestLaunchAgent(t *testing.T) {
	o := options(t)
	o.Program, o.Config = "/Users/me/R&D/<claude>", "/Users/me/my settings.yaml"
	l := newLaunchd(o)
	plan, err := l.install("/Users/me/key")
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	text := fileText(t, filepath.Join(o.Home, "Library/LaunchAgents/local.claude-api.plist"))
	if err := xml.Unmarshal([]byte(text), &plist{}); err != nil || !strings.Contains(text, `<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN"`) {
		t.Fatalf("%v in\n%s", err, text)
	}
	got := values(t, text)
	for key, want := range map[string][]string{
		"Label": {"local.claude-api"}, "ProgramArguments": {o.Program, "serve", "--data-dir=" + o.DataDir}, "RunAtLoad": {"true"}, "SuccessfulExit": {"false"},
		"CLAUDE_API_CONFIG": {o.Config}, "ANTHROPIC_API_KEY_FILE": {"/Users/me/key"}, "Umask": {"63"}, "ExitTimeOut": {"45"},
		"StandardErrorPath": {filepath.Join(o.Home, "Library/Logs/claude-api.log")},
	} {
		if fmt.Sprint(got[key]) != fmt.Sprint(want) {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
}

// TestLaunchd drives what stands for launchctl on a machine without it: it says of a
// loaded agent what launchctl print says, and fails for one that isn't.
func TestLaunchd(t *testing.T) {
	loaded := filepath.Join(t.TempDir(), "loaded")
	calls := script(t, "launchctl", `
case "$1" in
bootstrap) : > '`+loaded+`';;
bootout) /bin/rm '`+loaded+`';;
print) [ -e '`+loaded+`' ] || exit 113
  printf '%s = {\n\tactive count = 1\n\tstate = running\n\n\tpid = 4711\n}\n' "$2";;
esac`)
	l := newLaunchd(options(t))
	domain := "gui/" + strconv.Itoa(os.Getuid())
	if err := l.Stop(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("a stop of what doesn't run: %v", err)
	}
	plan, err := l.install("")
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	status, err := l.Start(t.Context())
	if err != nil || status.State != Running || status.PID != 4711 {
		t.Errorf("%+v, %v", status, err)
	}
	if _, err := l.Start(t.Context()); !errors.Is(err, ErrRunning) {
		t.Errorf("a second start: %v", err)
	}
	calls()
	plan, err = l.uninstall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := calls(), "print "+domain+"/local.claude-api\nbootout "+domain+"/local.claude-api"; got != want {
		t.Errorf("it ran\n%s\nwant\n%s", got, want)
	}
	if exists(l.plist) {
		t.Error("the agent is left")
	}
	if status, err := l.Status(t.Context()); err != nil || status.State != Stopped {
		t.Errorf("%+v, %v", status, err)
	}
}

// What a manager complains of is told.
func TestCommandThatFails(t *testing.T) {
	script(t, "systemctl", "echo 'Unit claude-api.service is masked.' >&2; exit 1")
	_, err := newSystemd(options(t), true).Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "Unit claude-api.service is masked.") || !refused(err) {
		t.Errorf("got %v", err)
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	long := strings.Repeat("x", 70_000) + "\n"
	for _, tt := range []struct {
		text  string
		lines int
		want  string
	}{
		{"", 3, ""},
		{"a\nb\nc\n", 0, ""},
		{"a\nb\nc\n", 1, "c\n"},
		{"a\nb\nc\n", 2, "b\nc\n"},
		{"a\nb\nc\n", 3, "a\nb\nc\n"},
		{"a\nb\nc\n", 9, "a\nb\nc\n"},
		{"a\nb\nunfinished", 1, "unfinished"},
		{"\n\n\n", 2, "\n\n"},
		{long + long + "end\n", 2, long + "end\n"},
	} {
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := tail(t.Context(), &got, path, tt.lines, false); err != nil || got.String() != tt.want {
			t.Errorf("%d of %.20q: %.20q, %v", tt.lines, tt.text, got.String(), err)
		}
	}
}

// pieces hands on what is written.
type pieces chan string

func (p pieces) Write(b []byte) (int, error) {
	p <- string(b)
	return len(b), nil
}

// A log that is put aside for a new one is followed into that.
func TestTailFollows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	add := func(text string) {
		t.Helper()
		file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_, err = file.WriteString(text)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	add("one\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got, ended := make(pieces), make(chan error, 1)
	go func() { ended <- tail(ctx, got, path, 10, true) }()
	expect := func(want string) {
		t.Helper()
		select {
		case text := <-got:
			if text != want {
				t.Errorf("got %q, want %q", text, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("no %q", want)
		}
	}
	expect("one\n")
	add("two\n")
	expect("two\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	add("three\n")
	expect("three\n")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
